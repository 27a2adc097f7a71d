"""The numpy meaning of formulas, against loops written out and against the definition element by element."""

from itertools import product
from math import floor, inf, isnan, nan

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.errors import GraphError, LoweringError, ShapeError
from graphc.ops import evaluate as module
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import (
    Axis,
    Cond,
    FloorDiv,
    Mod,
    N,
    Read,
    Where,
    divides,
    eq,
    formula,
    ge,
    index_symbol,
    le,
    lt,
    tensor_symbol,
    walk,
)
from graphc.ops.scalars import erf, exp, expm1, log1p, maximum, minimum, sigmoid, softplus, sqrt, tanh
from graphc.types import BATCH, DType

n, c, k, y, x, r, q, h = map(index_symbol, "nckyxrqh")


def tensor(name):
    return lambda *index: Read(tensor_symbol(name), *index)


def axes(**extents):
    return [Axis(index_symbol(name), extent) for name, extent in extents.items()]


A, B, G, L, W, X = map(tensor, "ABGLWX")
random = np.random.default_rng(7)


# ------------------------------------------------------------------------ the definition, element by element


def by_definition(f, arrays, batch=1):
    """Python numbers and Fractions only, one element at a time."""
    extents = [batch if a.extent is BATCH else a.extent for a in (*f.axes, *f.over)]
    symbols = [a.symbol for a in (*f.axes, *f.over)]
    kept = extents[: len(f.axes)]
    collected = {point: [] for point in product(*map(range, kept))}

    def of(e, at):
        match e:
            case Read():
                index = [of(i, at) for i in e.index]
                array = arrays[e.name]
                inside = all(i == int(i) and 0 <= i < s for i, s in zip(index, array.shape, strict=True))
                return array[tuple(int(i) for i in index)].item() if inside else 0
            case Where():
                return of(e.args[1] if of(e.args[0], at) else e.args[2], at)
            case Cond():
                a = [of(p, at) for p in e.args[1:]]
                match e.kind:
                    case "ge":
                        return a[0] >= 0
                    case "divides":
                        return sp.Rational(a[1]) % a[0] == 0
                    case "eq":
                        return a[0] == a[1]
                    case "lt":
                        return a[0] < a[1]
                    case _:
                        return a[0] <= a[1]
            case FloorDiv():
                return floor(sp.Rational(of(e.args[0], at)) / of(e.args[1], at))
            case Mod():
                return sp.Rational(of(e.args[0], at)) % of(e.args[1], at)
            case sp.Symbol():
                return at[e]
            case sp.Rational():
                return int(e) if e.q == 1 else e
            case sp.Add():
                return sum(of(p, at) for p in e.args)
            case sp.Mul():
                result = 1
                for p in e.args:
                    result = result * of(p, at)
                return result
        raise AssertionError(e)

    for point in product(*map(range, extents)):
        at = dict(zip(symbols, point, strict=True)) | {N: batch}
        if all(of(p, at) for p in f.conditions):
            collected[point[: len(kept)]].append(float(of(f.body, at)))
    reductions = {
        None: sum,
        "sum": sum,
        "max": lambda v: nan if any(map(isnan, v)) else max(v, default=-inf),
        "min": lambda v: nan if any(map(isnan, v)) else min(v, default=inf),
        "prod": lambda v: np.prod(v) if v else 1.0,
    }
    return np.array([reductions[f.reduction](v) for v in collected.values()]).reshape(kept)


def check(f, batch=1, **arrays):
    got = evaluate(f, arrays, batch)
    np.testing.assert_allclose(got, by_definition(f, arrays, batch), rtol=1e-13, atol=1e-13)
    return got


coefficient = st.integers(-2, 2)


@st.composite
def index_expressions(draw, symbols):
    e = sum((draw(coefficient) * s for s in symbols), sp.Integer(draw(st.integers(-2, 2))))
    match draw(st.sampled_from(["affine", "affine", "ratio", "floor", "mod", "gather"])):
        case "ratio":
            return e / draw(st.integers(2, 3))
        case "floor":
            return FloorDiv(e, draw(st.integers(2, 3))) + draw(st.sampled_from(symbols))
        case "mod":
            return Mod(e / 2, draw(st.integers(2, 3)))
        case "gather":
            return L(e)
        case _:
            return e


@st.composite
def formulas(draw):
    over = draw(st.sampled_from([{}, {"r": 3}, {"r": 3, "q": 2}]))
    reduction = draw(st.sampled_from(["sum", "sum", "sum", "max", "min", "prod"])) if over else None
    kept = draw(st.sampled_from([{}, {"h": 4}, {"h": 3, "k": 2}])) if over else {"h": 4, "k": 2}
    symbols = [index_symbol(s) for s in (*kept, *over)]
    index = index_expressions(symbols)
    first, second = A(draw(index), draw(index)), B(draw(index))
    body = draw(
        st.sampled_from(
            [
                first * second,
                first * second + symbols[0],
                -3 * first,
                Where(le(second, first), first, second * symbols[-1]),
            ]
        )
    )
    conditions = draw(
        st.lists(
            st.one_of(
                index.map(ge),
                st.tuples(st.integers(2, 3), index).map(lambda t: divides(*t)),
                st.tuples(index, index).map(lambda t: eq(*t)),
                st.tuples(index, index).map(lambda t: lt(*t)),
            ),
            max_size=2,
        )
    )
    return formula(axes(**kept), body, reduction, axes(**over), conditions)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(formulas(), st.sampled_from([None, nan, inf]))
def test_random_formulas_mean_their_definition(f, special):
    a, b = random.normal(size=(4, 3)), random.normal(size=5)
    if special is not None:
        a[1, 1] = special
    with np.errstate(invalid="ignore"):
        check(f, A=a, B=b, L=np.array([3, 0, -1, 2, 1]))


# ------------------------------------------------------------------------------------------------ written out


def test_convolution_against_loops():
    images, weights = random.normal(size=(2, 3, 7, 6)), random.normal(size=(4, 3, 3, 2))
    f = formula(
        axes(n=BATCH, k=4, y=4, x=7),
        X(n, c, 2 * y + r - 1, x + q - 1) * W(k, c, r, q),
        "sum",
        axes(c=3, r=3, q=2),
    )
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = np.zeros((2, 4, 4, 7))
    for i, j in product(range(4), range(7)):
        want[:, :, i, j] = np.tensordot(padded[:, :, 2 * i : 2 * i + 3, j : j + 2], weights, ([1, 2, 3], [1, 2, 3]))
    np.testing.assert_allclose(evaluate(f, {"X": images, "W": weights}, 2), want, rtol=1e-13, atol=1e-13)


def test_adjoint_of_a_strided_convolution_reads_between_elements_as_zero():
    f = formula(axes(h=7), G((h + 1 - r) / 2) * W(r), "sum", axes(r=3), (divides(2, h + 1 - r),))
    g, w = random.normal(size=4), random.normal(size=3)
    want = np.zeros(9)
    for i, j in product(range(4), range(3)):
        want[2 * i + j] += g[i] * w[j]
    np.testing.assert_allclose(evaluate(f, {"G": g, "W": w}), want[1:8], rtol=1e-14)
    # without the condition the read itself is zero there
    bare = formula(f.axes, f.body, "sum", f.over)
    np.testing.assert_allclose(evaluate(bare, {"G": g, "W": w}), want[1:8], rtol=1e-14)


def test_gather_and_its_adjoint():
    table, labels, grad = (
        random.normal(size=(5, 3)),
        np.array([4, 0, 4, 2], np.int32),
        random.normal(size=(4, 3)),
    )
    f = formula(axes(n=BATCH, k=3), A(L(n), k))
    np.testing.assert_array_equal(evaluate(f, {"A": table, "L": labels}, 4), table[labels])
    scatter = formula(axes(h=5, k=3), G(n, k), "sum", axes(n=BATCH), (eq(h, L(n)),))
    want = np.zeros((5, 3))
    np.add.at(want, labels, grad)
    np.testing.assert_allclose(evaluate(scatter, {"G": grad, "L": labels}, 4), want, rtol=1e-15)


def test_an_index_computed_in_floating_point():
    values = random.normal(size=(3, 5))
    best = evaluate(formula(axes(n=3), k, "min", axes(k=5), (eq(A(n, k), B(n)),)), {"A": values, "B": values.max(1)})
    np.testing.assert_array_equal(best, values.argmax(1))
    picked = formula(axes(n=3), A(n, B(n)))
    np.testing.assert_array_equal(evaluate(picked, {"A": values, "B": best}), values.max(1))
    np.testing.assert_array_equal(evaluate(picked, {"A": values, "B": np.array([0.5, inf, nan])}), [0, 0, 0])


def test_empty_reductions():
    nowhere = (ge(-1 - r),)
    for reduction, value in (("sum", 0), ("max", -inf), ("min", inf), ("prod", 1)):
        f = formula(axes(h=2), A(h, r), reduction, axes(r=3), nowhere)
        np.testing.assert_array_equal(evaluate(f, {"A": np.ones((2, 3))}), [value] * 2)


def test_a_pointwise_formula_is_zero_where_a_condition_fails():
    f = formula(axes(h=5), 1 / A(h), None, (), (divides(2, h), ge(h - 1)))
    np.testing.assert_array_equal(evaluate(f, {"A": np.array([0.0, 1, 2, 3, 4])}), [0, 0, 0.5, 0, 0.25])


def test_batch_extent_and_number():
    f = formula((), A(n) / N, "sum", axes(n=BATCH))
    assert evaluate(f, {"A": np.arange(5.0)}, 5) == 2.0
    np.testing.assert_array_equal(evaluate(formula(axes(n=BATCH), N - n), {}, 3), [3, 2, 1])
    assert evaluate(formula(axes(n=BATCH, k=2), A(n, k)), {"A": np.ones((0, 2))}, 0).shape == (0, 2)


def test_no_axes_at_all():
    assert evaluate(formula((), A() + 1), {"A": np.array(2.0)}) == 3.0


def test_operand_order():
    f = formula(axes(h=2), A(h) - B(h), operands=("B", "A"))
    np.testing.assert_array_equal(evaluate(f, [np.array([1.0, 2]), np.array([5.0, 5])]), [4, 3])


def test_scalar_functions():
    points = np.array([-3.0, -0.25, 0.5, 2.0])
    cases = {
        exp(A(h)): np.exp(points),
        expm1(A(h)): np.expm1(points),
        log1p(A(h) ** 2): np.log1p(points**2),
        tanh(A(h)): np.tanh(points),
        sigmoid(A(h)): 1 / (1 + np.exp(-points)),
        softplus(A(h)): np.log(1 + np.exp(points)),
        sqrt(A(h) + 4): np.sqrt(points + 4),
        1 / sqrt(A(h) + 4): 1 / np.sqrt(points + 4),
        (A(h) + 4) ** sp.Rational(3, 4): (points + 4) ** 0.75,
        A(h) ** -3: points**-3.0,
        maximum(A(h), 0.5): np.maximum(points, 0.5),
        minimum(A(h), 0): np.minimum(points, 0),
        sp.pi * A(h) + sp.E: np.pi * points + np.e,
        erf(A(h)): [-0.9999779095030014, -0.27632639016823696, 0.5204998778130465, 0.9953222650189527],
    }
    for e, want in cases.items():
        np.testing.assert_allclose(evaluate(formula(axes(h=4), e), {"A": points}), want, rtol=1e-14, err_msg=str(e))


def test_nan_propagates():
    a = np.array([1.0, nan, 3.0])
    relu = Where(le(A(h), 0), 0, A(h))
    np.testing.assert_array_equal(evaluate(formula(axes(h=3), relu), {"A": a}), a)
    for reduction in ("sum", "max", "min"):
        assert isnan(evaluate(formula((), A(r), reduction, axes(r=3)), {"A": a}))
    # what a condition excludes does not count, NaN or not
    product_of = formula((), A(r) * B(r), "sum", axes(r=3), (divides(2, r),))
    assert evaluate(product_of, {"A": a, "B": np.ones(3)}) == 4.0


def test_float32_arithmetic_and_float64_sums():
    overflow = formula(axes(h=1), A(h) ** 2 * B(h))
    arrays = {"A": np.array([1e30]), "B": np.array([1e-30])}
    assert evaluate(overflow, arrays, dtype=DType.FLOAT32)[0] == inf
    np.testing.assert_allclose(evaluate(overflow, arrays, dtype=DType.FLOAT64), [1e30])
    ones = np.full(1 << 20, 0.1, np.float32)
    total = evaluate(formula((), A(r), "sum", axes(r=1 << 20)), {"A": ones}, dtype="float32")
    assert total.dtype == np.float32
    assert total == np.float32(np.float64(np.float32(0.1)) * (1 << 20))


def test_integer_results():
    f = formula(axes(h=3), 2 * L(h) - 1)
    got = evaluate(f, {"L": np.array([3, 5, 7])}, dtype=np.int64)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, [5, 9, 13])


@pytest.mark.parametrize("reduction", ["sum", "max", None])
def test_blocks_change_nothing(monkeypatch, reduction):
    values = random.normal(size=(6, 50))
    over = axes(r=50) if reduction else []
    f = formula(axes(h=6) + ([] if reduction else axes(r=50)), exp(A(h, r)) - A(h, r), reduction, over)
    tall = formula(axes(r=50), A(h, r), "max", axes(h=6))
    whole = evaluate(f, {"A": values}), evaluate(tall, {"A": values})
    monkeypatch.setattr(module, "BLOCK", 64)
    np.testing.assert_allclose(evaluate(f, {"A": values}), whole[0], rtol=1e-14)
    np.testing.assert_array_equal(evaluate(tall, {"A": values}), whole[1])


def test_a_product_is_not_spread_over_the_whole_grid():
    # 2·10⁹ multiply-adds: as a dense grid this would take minutes
    f = formula(axes(n=1000, k=2000), A(n, c) * B(c, k), "sum", axes(c=1000))
    a, b = random.normal(size=(1000, 1000)), random.normal(size=(1000, 2000))
    np.testing.assert_allclose(evaluate(f, {"A": a, "B": b}), a @ b, rtol=1e-9, atol=1e-9)


def test_errors():
    f = formula(axes(h=2), A(h, 0))
    with pytest.raises(GraphError, match="no array for A"):
        evaluate(f, {"B": np.ones(2)})
    with pytest.raises(GraphError, match="reads 1 tensors"):
        evaluate(f, [])
    with pytest.raises(ShapeError, match=r"A is read with 2 indices, but has shape \(2,\)"):
        evaluate(f, {"A": np.ones(2)})
    with pytest.raises(GraphError, match="k is not an axis"):
        evaluate(formula(axes(h=2), A(k)), {"A": np.ones(2)})
    with pytest.raises(LoweringError, match="acosh is not known"):
        evaluate(formula(axes(h=2), sp.acosh(A(h))), {"A": np.ones(2)})
    assert any(isinstance(e, Read) for e in walk(f.body))
