"""The text of Loop IR, character by character."""

import pytest

from graphc.loops.expressions import (
    BOOL,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Cell,
    Compare,
    Const,
    Extract,
    Fma,
    Fold,
    Iota,
    Load,
    Name,
    Number,
    Pack,
    Select,
    Splat,
    Unary,
)
from graphc.loops.index import Element, Index, constant, maximum, minimum, of_atom, quotient, variable
from graphc.loops.ir import (
    Accumulate,
    Assign,
    Barrier,
    Bind,
    Call,
    Condition,
    Declare,
    For,
    Function,
    Guard,
    If,
    Let,
    Mode,
    Step,
    Store,
)
from graphc.loops.printer import body_text, expression_text
from graphc.types import BATCH, DType

F32, F64, I32 = DType.FLOAT32, DType.FLOAT64, DType.INT32
N, n, j, k, y = (variable(v) for v in "Nnjky")
ZERO = constant(0)
a, b, c = (Name(v, F32) for v in "abc")
p, q = (Name(v, BOOL) for v in "pq")
i, m = (Name(v, I32) for v in "im")
X = Buffer("x", F32, (BATCH, 784))
W = Buffer("w", F32, (784, 16))
Y = Buffer("y", F32, (BATCH, 16))


def dense() -> Function:
    """y[n, j] = relu(Σ_k x[n, k] · w[k, j]), sixteen columns at a time."""
    broadcast = Name("a", F32, 8)
    update = tuple(
        Accumulate("acc", (constant(t),), "sum", Binary("mul", broadcast, Load(W, (k, constant(8 * t)), 8)))
        for t in range(2)
    )
    relu = Binary("max", Cell("acc", (ZERO,), F32, 8), Const(0.0, F32, 8))
    body = (
        Declare("acc", (2,), F32, Const(0.0, F32, 8), 8),
        For("k", ZERO, constant(784), (Let("a", Splat(Load(X, (n, k)), 8)), *update)),
        Store(Y, (n, ZERO), relu),
        Store(Y, (n, constant(8)), Cell("acc", (constant(1),), F32, 8), active=N - n),
    )
    loop = For("n", ZERO, N, body, Mode.PARALLEL)
    return Function("dense", (X, W, Y), (loop,), "classifier/dense")


DENSE = """\
kernel dense(x: f32[N,784], w: f32[784,16], y: f32[N,16]):   # classifier/dense
  for n in 0..N parallel:
    acc: f32x8[2] = 0.0
    for k in 0..784:
      let a = splat8(x[n, k])
      acc[0] += a * load8(w[k, 0])
      acc[1] += a * load8(w[k, 8])
    store y[n, 0:8] = max(acc[0], 0.0)
    store y[n, 8:16] active N-n = acc[1]
"""


def test_kernel():
    assert str(dense()) == DENSE


def test_step():
    whole = tuple(Buffer(f"program_{b.name}", b.dtype, b.shape) for b in (X, W, Y))
    names = tuple(b.name for b in whole)
    step = Step("forward", whole, (dense(),), (Call("dense", names, "layer1"), Barrier(), Guard("program_y")))
    expected = (
        "step forward:\n"
        "  buffer program_x: f32[N,784]\n"
        "  buffer program_w: f32[784,16]\n"
        "  buffer program_y: f32[N,16]\n"
        "  dense(program_x, program_w, program_y)   # layer1\n"
        "  barrier\n"
        "  stop unless program_y is finite\n"
        "\n"
    )
    assert str(step) == expected + DENSE


def test_statements():
    body = (
        For("j", j * 0 + 4, minimum(N, constant(64)), (), step=8),
        For("l", ZERO, constant(8), (Bind("m", n * 8 + k),), Mode.VECTOR, active=N - n),
        For("q", ZERO, N - n, (Declare("best", (), F32, Const(float("-inf"), F32)),), Mode.UNROLL),
        If(
            (Condition("ge", y - 1), Condition("divides", y + 1, 2)),
            (
                Assign("best", (), a),
                Accumulate("best", (), "max", b),
                Accumulate("acc", (k, ZERO), "prod", c),
            ),
        ),
        Store(X, (n, n * 8 + 4), Const(1.0, F32, 4)),
    )
    assert body_text(body) == (
        "for j in 4..min(N, 64) by 8:\n"
        "  nothing\n"
        "vector l in 0..8 active N-n:\n"
        "  m := k+8*n\n"
        "for q in 0..(N-n) unroll:\n"
        "  best: f32 = -inf\n"
        "if y-1 >= 0 and 2 divides y+1:\n"
        "  best = a\n"
        "  best max= b\n"
        "  acc[k, 0] *= c\n"
        "store x[n, 8*n+4:8*n+8] = 1.0\n"
    )


def add(x, z):
    return Binary("add", x, z)


def sub(x, z):
    return Binary("sub", x, z)


def mul(x, z):
    return Binary("mul", x, z)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (add(add(a, b), c), "a + b + c"),
        (add(a, add(b, c)), "a + (b + c)"),
        (sub(a, sub(b, c)), "a - (b - c)"),
        (mul(add(a, b), c), "(a + b) * c"),
        (add(mul(a, b), c), "a * b + c"),
        (Binary("div", a, mul(b, c)), "a / (b * c)"),
        (Unary("neg", add(a, b)), "-(a + b)"),
        (mul(Unary("neg", a), b), "-a * b"),
        (Unary("neg", Const(-1.0, F32)), "-(-1.0)"),
        (sub(a, Const(-1.0, F32)), "a - -1.0"),
        (Binary("pow", Unary("neg", a), Const(-2.0, F32)), "(-a) ** (-2.0)"),
        (Binary("min", a, Unary("exp", b)), "min(a, exp(b))"),
        (Binary("copysign", a, b), "copysign(a, b)"),
        (Fma(a, add(b, c), Const(0.1, F32)), "fma(a, b + c, 0.1)"),
        (Compare("le", add(a, b), c), "a + b <= c"),
        (Unary("not", Binary("or", p, Binary("and", p, q))), "not (p or p and q)"),
        (Binary("and", Unary("not", Compare("lt", a, b)), Compare("eq", a, c)), "not a < b and a == c"),
        (Binary("and", Binary("shl", i, Const(2, I32)), Binary("or", i, m)), "i << 2 & (i | m)"),
        (Binary("ashr", add(i, m), Const(1, I32)), "i + m >> 1"),
        (Select(p, a, Select(q, b, c)), "p ? a : q ? b : c"),
        (Select(p, Select(q, a, b), c), "p ? (q ? a : b) : c"),
        (add(Select(p, a, b), c), "(p ? a : b) + c"),
        (Const(True, BOOL), "true"),
        (Const(0.1, F64), "0.1"),
        (Const(1e-7, F32), "1e-07"),
        (Const(1 / 3, F32), "0.333333333"),
        (Const(1 / 3, F64), "0.3333333333333333"),
        (Const(float("inf"), F32), "inf"),
        (Cast(i, F32), "f32(i)"),
        (Cast(Load(X, (n, k), 8), F64), "f64x8(load8(x[n, k]))"),
        (Load(X, (n, k), 8, N - n), "load8(x[n, k] active N-n)"),
        (Bitcast(a, I32), "bits_i32(a)"),
        (Splat(a, 8), "splat8(a)"),
        (Pack((a, b, c, a)), "pack4(a, b, c, a)"),
        (Extract(Splat(a, 8), 3), "lane3(splat8(a))"),
        (Fold("sum", Cell("acc", (k,), F32, 8), 8), "sum8(acc[k])"),
        (Iota(I32, 8), "i32x8(iota)"),
        (Number(n + 1, F32), "f32(n+1)"),
        (Number(of_atom(Element("labels", (n,))), F32, 4), "f32x4(labels[n])"),
        (Number(quotient(n + 1, 2), I32), "i32((n+1)//2)"),
        (Number(maximum(n, k), I32), "i32(max(n, k))"),
        (Load(Buffer("loss", F32, ()), ()), "loss"),
    ],
)
def test_expressions(expression, text):
    assert expression_text(expression) == text


def test_empty_index_sum():
    assert str(Index()) == "0"
