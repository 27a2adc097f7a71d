"""Text to machine code."""

import ctypes
import threading

import numpy as np
import pytest

from graphc.codegen.target import host, runs_here
from graphc.errors import LoweringError
from graphc.runtime.jit import compile_ir
from graphc.target import AVX2, AVX512, GENERIC, X86

SQUARE = """
define internal i64 @square(i64 %x) noinline {
  %y = mul i64 %x, %x
  ret i64 %y
}
define i64 @entry(i64 %x) {
  %cell = alloca i64
  store i64 %x, ptr %cell
  %again = load i64, ptr %cell
  %y = call i64 @square(i64 %again)
  ret i64 %y
}
"""


def call(native, name, argument):
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(native.address(name))(argument)


@pytest.mark.parametrize("target", [host(), GENERIC], ids=["host", "generic"])
def test_compiled_code_runs(target):
    assert call(compile_ir(SQUARE, target), "entry", -12) == 144


def test_the_stages_are_timed_and_the_text_is_kept():
    native = compile_ir(SQUARE, host())
    assert list(native.seconds) == ["parse", "optimise", "generate", "load"]
    assert all(0 < s < 10 for s in native.seconds.values())
    assert native.llvm == SQUARE
    assert native.target == host()


def test_assembly_of_the_module_and_of_one_function():
    native = compile_ir(SQUARE, host())
    square = native.assembly_of("square")
    assert square.startswith("square:")
    assert "mul" in square
    assert "entry:" not in square
    assert "entry:" in native.assembly
    with pytest.raises(LoweringError, match="no function cube"):
        native.assembly_of("cube")


def test_stack_cells_become_registers():
    native = compile_ir(SQUARE, host())
    assert "alloca" not in native.optimised
    assert "call i64 @square(i64 %x)" in native.optimised


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define i64 @f( {", "expected type"),
        ("define i64 @f(i64 %x) {\n  ret i32 0\n}", "value doesn't match function result type"),
        ("define i64 @f() {\n  %y = add i64 %z, 1\n  ret i64 %y\n}", "undefined value '%z'"),
        (
            "define i64 @f(i1 %c) {\n  br i1 %c, label %a, label %b\na:\n  %y = add i64 1, 1\n  br label %b\n"
            "b:\n  ret i64 %y\n}",
            "does not dominate",
        ),
    ],
)
def test_what_llvm_refuses_is_an_error_of_ours(text, message):
    with pytest.raises(LoweringError, match="LLVM refuses") as error:
        compile_ir(text, host())
    assert message in str(error.value)


def test_an_unknown_export_is_refused():
    with pytest.raises(LoweringError, match="exports no function square_root"):
        compile_ir(SQUARE, host()).address("square_root")


@pytest.mark.skipif(runs_here(AVX512) or not X86, reason="this processor runs every target")
def test_code_for_another_processor_can_be_read_but_not_run():
    text = """
    define void @double(ptr %p) {
      %x = load <16 x float>, ptr %p, align 4
      %y = fadd <16 x float> %x, %x
      store <16 x float> %y, ptr %p, align 4
      ret void
    }
    """
    native = compile_ir(text, AVX512)
    assert "%zmm0" in native.assembly
    assert "%zmm0" not in compile_ir(text, AVX2).assembly
    with pytest.raises(LoweringError, match="code for avx512 cannot run"):
        native.address("double")


def test_vectors_are_as_precise_as_numpy():
    text = """
    declare <8 x float> @llvm.fma.v8f32(<8 x float>, <8 x float>, <8 x float>)
    define void @axpy(ptr %p) {
      %x = load <8 x float>, ptr %p, align 4
      %y = call <8 x float> @llvm.fma.v8f32(<8 x float> %x, <8 x float> %x, <8 x float> splat (float 1.0))
      store <8 x float> %y, ptr %p, align 4
      ret void
    }
    """
    x = np.linspace(-2, 2, 8, dtype=np.float32)
    expected = (x.astype(np.float64) ** 2 + 1).astype(np.float32)
    native = compile_ir(text, host())
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(native.address("axpy"))(x.ctypes.data)
    np.testing.assert_array_equal(x, expected)


def test_several_threads_compile_at_once():
    results = {}

    def work(n):
        text = f"define i64 @entry(i64 %x) {{\n  %y = add i64 %x, {n}\n  ret i64 %y\n}}"
        for _ in range(5):
            results[n] = call(compile_ir(text, host()), "entry", 100)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: 100 + n for n in range(6)}
