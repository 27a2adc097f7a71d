"""The register-tiled matrix product: the shape of every contraction kernel."""

import re

import numpy as np
import pytest

from graphc.codegen.llvm import emit
from graphc.loops.expressions import Binary, Buffer, Cell, Const, Load, Splat
from graphc.loops.index import ZERO, constant, variable
from graphc.loops.ir import Accumulate, Call, Declare, For, Function, Step, Store
from graphc.runtime.jit import compile_ir
from graphc.target import AVX2, AVX512
from graphc.types import DType

F32 = DType.FLOAT32
i, j, k = map(variable, "ijk")


def product(m, n, depth, rows, vectors, lanes, dtype=F32, unroll=1):
    """C[i, j] = Σ_k A[i, k] · B[k, j] in tiles of rows x (vectors · lanes) registers."""
    a, b, c = Buffer("A", dtype, (m, depth)), Buffer("B", dtype, (depth, n)), Buffer("C", dtype, (m, n))
    cells = [(r, v) for r in range(rows) for v in range(vectors)]

    def multiply(r, v, u):
        left, right = Load(a, (i + r, k + u)), Load(b, (k + u, j + v * lanes), lanes)
        return Accumulate("acc", (constant(r), constant(v)), "sum", Binary("mul", Splat(left, lanes), right))

    def store(r, v):
        return Store(c, (i + r, j + v * lanes), Cell("acc", (constant(r), constant(v)), dtype, lanes))

    tile = (
        Declare("acc", (rows, vectors), dtype, Const(0.0, dtype, lanes), lanes),
        For(
            "k",
            ZERO,
            constant(depth),
            tuple(multiply(r, v, u) for u in range(unroll) for r, v in cells),
            step=unroll,
        ),
        *(store(r, v) for r, v in cells),
    )
    columns = For("j", ZERO, constant(n), tile, step=vectors * lanes)
    f = Function("product", (a, b, c), (For("i", ZERO, constant(m), (columns,), step=rows),), "dense")
    return Step("step", (a, b, c), (f,), (Call("product", ("A", "B", "C")),))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unroll", [1, 4])
def test_product(run, dtype, unroll):
    kind = DType.of(dtype)
    step = product(12, 32, 40, 6, 2, 256 // kind.bits, kind, unroll)
    random = np.random.default_rng(0)
    a, b = random.standard_normal((12, 40)).astype(dtype), random.standard_normal((40, 32)).astype(dtype)
    got = run(step, {"A": a, "B": b, "C": np.full((12, 32), np.nan)})["C"]
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    assert np.abs(got - exact).max() < 40 * np.finfo(dtype).eps * np.abs(exact).max()


@pytest.mark.parametrize(
    ("target", "rows", "vectors", "register"),
    [(AVX2, 6, 2, "ymm"), (AVX2, 4, 3, "ymm"), (AVX512, 14, 2, "zmm"), (AVX512, 6, 4, "zmm")],
)
def test_the_inner_loop_is_fused_multiply_adds_that_never_touch_the_stack(target, rows, vectors, register):
    lanes = target.lanes(F32)
    step = product(rows * 2, vectors * lanes * 3, 96, rows, vectors, lanes)
    text = compile_ir(emit(step, target), target).assembly_of("product")
    blocks = re.split(r"^\.LBB\d+_\d+:", text, flags=re.MULTILINE)
    hot = max(blocks, key=lambda block: block.count("vfmadd"))
    hot = hot[: re.search(r"^\tj\w+\t.*$", hot, re.MULTILINE).end()]
    assert hot.count("vfmadd") == rows * vectors
    assert not re.search(r"%[re][sb]p", hot), "a register was spilled"
    assert f"%{register}" in hot
    lines = [line for line in hot.splitlines() if line.startswith("\t")]
    # Broadcasts, loads and the multiply-adds themselves, and at most four instructions that count and jump.
    assert len(lines) <= rows * vectors + rows + vectors + 4 + 1
