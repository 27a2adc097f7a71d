"""Runs hand-built steps natively, for the processor at hand and for the plainest one of its family."""

import ctypes

import numpy as np
import pytest

from graphc.codegen.llvm import emit
from graphc.codegen.target import host
from graphc.loops.expressions import Buffer, Load
from graphc.loops.index import ZERO, constant, variable
from graphc.loops.ir import Call, For, Function, Step, Store
from graphc.runtime.jit import compile_ir
from graphc.target import GENERIC
from graphc.types import DType

GUARD = 64
"""Bytes on either side of an array that nobody may touch."""


@pytest.fixture(params=["host", "generic"])
def target(request):
    return host() if request.param == "host" else GENERIC


@pytest.fixture
def run(target):
    """run(step, arrays, batch, threads): the arrays afterwards, by name. Threads run one after the other."""

    def call(step, arrays, batch=0, threads=1):
        native = compile_ir(emit(step, target), target)
        entry = ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
        )(native.address(step.name))
        guarded, views = [], {}
        for buffer in step.buffers:
            array = np.ascontiguousarray(arrays[buffer.name], buffer.dtype.numpy)
            memory = np.full(array.nbytes + 2 * GUARD, 0xA5, np.uint8)
            views[buffer.name] = memory[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
            views[buffer.name][...] = array
            guarded.append(memory)
        table = (ctypes.c_void_p * len(guarded))(*(m.ctypes.data + GUARD for m in guarded))
        for thread in range(threads):
            entry(ctypes.addressof(table), batch, thread, threads, None)
        for memory in guarded:
            assert (memory[:GUARD] == 0xA5).all(), "stored before a buffer"
            assert (memory[-GUARD:] == 0xA5).all(), "stored behind a buffer"
        return views

    return call


@pytest.fixture
def single():
    """single(body, *buffers): a step of one kernel."""

    def make(body, *buffers):
        function = Function("kernel", buffers, tuple(body), "here")
        return Step("step", buffers, (function,), (Call("kernel", tuple(b.name for b in buffers)),))

    return make


@pytest.fixture
def elementwise(run, single):
    """elementwise(make, arrays, lanes, out): out[i] = make(x[i], y[i], ...) over whole vectors."""

    def apply(make, arrays, lanes, out):
        n = len(arrays[0])
        buffers = [Buffer(f"x{k}", DType.of(a.dtype), (n,)) for k, a in enumerate(arrays)]
        result = Buffer("out", DType.of(out), (n,))
        i = variable("i")
        e = make(*(Load(b, (i,), lanes) for b in buffers))
        loop = For("i", ZERO, constant(n), (Store(result, (i,), e),), step=lanes)
        data = {b.name: a for b, a in zip(buffers, arrays, strict=True)} | {"out": np.zeros(n, out)}
        return run(single([loop], result, *buffers), data)["out"]

    return apply
