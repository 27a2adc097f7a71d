"""Sliding products are recognised whatever their axes are called, and their four formulas have the same values."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from graphc.ops.correlation import Correlation, correlation, tiled
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Axis, Formula, Read, formula, ge, index_symbol, tensor_symbol
from graphc.types import BATCH

n, c, k, y, x, r, q, z, s = map(index_symbol, "nckyxrqzs")
BATCHES = 2


def tensor(name):
    return lambda *index: Read(tensor_symbol(name), *index)


X, W, G = map(tensor, "XWG")


def axes(**extents):
    return [Axis(index_symbol(name), extent) for name, extent in extents.items()]


def forward(height=9, width=7, rows=3, columns=3, top=1, left=1, channels=3, features=4, down=None, right=None):
    """Y[n, k, y, x] and the shapes of X and W; the padding may differ on all sides."""
    down, right = top if down is None else down, left if right is None else right
    out = axes(n=BATCH, k=features, y=height + top + down - rows + 1, x=width + left + right - columns + 1)
    f = formula(out, X(n, c, y + r - top, x + q - left) * W(k, c, r, q), "sum", axes(c=channels, r=rows, q=columns))
    return f, {"X": (BATCH, channels, height, width), "W": (features, channels, rows, columns)}


def input_gradient(height=9, width=7, rows=3, columns=3, top=1, left=1, channels=3, features=4):
    f = formula(
        axes(n=BATCH, c=channels, y=height, x=width), G(n, k, y - r + top, x - q + left) * W(k, c, r, q),
        "sum", axes(k=features, r=rows, q=columns),
    )  # fmt: skip
    outputs = height + 2 * top - rows + 1, width + 2 * left - columns + 1
    return f, {"G": (BATCH, features, *outputs), "W": (features, channels, rows, columns)}


def filter_gradient(height=9, width=7, rows=3, columns=3, top=1, left=1, channels=3, features=4):
    outputs = height + 2 * top - rows + 1, width + 2 * left - columns + 1
    f = formula(
        axes(k=features, c=channels, r=rows, q=columns), G(n, k, y, x) * X(n, c, y + r - top, x + q - left),
        "sum", axes(n=BATCH, y=outputs[0], x=outputs[1]),
    )  # fmt: skip
    return f, {"G": (BATCH, features, *outputs), "X": (BATCH, channels, height, width)}


def check(f: Formula, shapes, *tiles: int) -> Correlation:
    """The tiled form has the values of the formula."""
    found = correlation(f, shapes)
    assert isinstance(found, Correlation), found
    four = tiled(f, found, tiles)
    random = np.random.default_rng(3)
    arrays = {name: random.standard_normal([BATCHES if e is BATCH else e for e in s]) for name, s in shapes.items()}

    def value(g: Formula, known) -> np.ndarray:
        return evaluate(g, {o: known[o] for o in g.operands}, BATCHES)

    transformed = {"U": value(four.filter, arrays), "V": value(four.data, arrays)}
    got = value(four.result, {"M": value(four.product, transformed)})
    wanted = value(f, arrays)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    assert four.result.axes == f.axes
    return found


KINDS = {"forward": forward, "input_gradient": input_gradient, "filter_gradient": filter_gradient}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tiles", [(2, 2), (4, 4), (2, 4), (3, 3)])
def test_values(kind: str, tiles: tuple[int, int]) -> None:
    assert check(*KINDS[kind](), *tiles).gradient == (kind == "filter_gradient")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"height": 7, "width": 7},
        {"height": 14, "width": 14, "channels": 2, "features": 2},
        {"rows": 5, "columns": 5, "top": 2, "left": 2},
        {"rows": 2, "columns": 3, "top": 0, "left": 2},
        {"rows": 3, "columns": 1, "left": 0},
    ],
    ids=["7x7", "14x14", "5x5 taps", "2x3 taps", "3x1 taps"],
)
def test_values_of_other_sizes(kind: str, sizes: dict[str, int]) -> None:
    f, shapes = KINDS[kind](**sizes)
    found = correlation(f, shapes)
    assert isinstance(found, Correlation), found
    check(f, shapes, *[4 if p.taps > 1 else 1 for p in found.pairs])


def test_padding_that_differs_on_all_sides() -> None:
    check(*forward(top=2, down=0, left=0, right=1), 4, 4)


def test_one_axis() -> None:
    f = formula(axes(n=BATCH, k=4, x=11), X(n, c, x + q - 1) * W(k, c, q), "sum", axes(c=3, q=3))
    found = check(f, {"X": (BATCH, 3, 11), "W": (4, 3, 3)}, 4)
    assert [a.name for a in (*found.free, *found.shared, *found.features)] == ["n", "c", "k"]
    f = formula(axes(k=4, c=3, q=3), X(n, c, x + q - 1) * G(n, k, x), "sum", axes(n=BATCH, x=11))
    assert check(f, {"X": (BATCH, 3, 11), "G": (BATCH, 4, 11)}, 4).gradient


def test_a_filter_gradient_that_runs_backwards() -> None:
    """out[q] = Σ_x X[x - q]·G[x]: the filter of a transposed convolution."""
    f = formula(axes(k=4, c=3, q=3), X(n, c, x - q + 1) * G(n, k, x), "sum", axes(n=BATCH, x=11))
    check(f, {"X": (BATCH, 3, 11), "G": (BATCH, 4, 11)}, 4)


def test_a_factor_stays() -> None:
    f, shapes = forward()
    check(Formula(f.axes, f.body / 3, f.reduction, f.over, (), f.operands), shapes, 4, 2)


def test_names_and_order_do_not_matter() -> None:
    f = formula(axes(y=8, q=4, n=3), W(r, c, q) * X(y + r, n, c), "sum", axes(r=3, c=5))
    check(f, {"W": (3, 5, 4), "X": (10, 3, 5)}, 4)


def test_the_language_of_the_four() -> None:
    f, shapes = forward(height=8, width=8)
    four = tiled(f, correlation(f, shapes), (4, 2))
    assert [str(g) for g in (four.filter, four.data, four.product, four.result)] == [
        "out[a,b,c,k] = Σ_{r<3, q<3} W[k, c, r, q]·G(6,3)[a, r]·G(4,3)[b, q]",
        "out[a,b,n,t,u,c] = Σ_{p<6, s<4} X[n, c, p + 4·t - 1, s + 2·u - 1]·B(6,6)[a, p]·B(4,4)[b, s]",
        "out[a,b,n,t,u,k] = Σ_{c<3} U[a, b, c, k]·V[a, b, n, t, u, c]",
        "out[n,k,y,x] = Σ_{a<6, b<4} M[a, b, n, (y // 4), (x // 2), k]·A(2,4)[(x % 2), b]·A(4,6)[(y % 4), a]",
    ]


def strided(step: int, dilation: int = 1):
    return formula(
        axes(n=BATCH, k=4, y=4), X(n, c, step * y + dilation * r) * W(k, c, r), "sum", axes(c=3, r=3)
    ), {"X": (BATCH, 3, 9), "W": (4, 3, 3)}  # fmt: skip


REFUSED = {
    "stride": (*strided(2), "has a stride or dilation"),
    "dilation": (*strided(1, 2), "has a stride or dilation"),
    "matmul": (
        formula(axes(n=BATCH, k=4), X(n, c) * W(k, c), "sum", axes(c=3)), {"X": (BATCH, 3), "W": (4, 3)},
        "no operand is read at the sum",
    ),
    "depthwise": (
        formula(axes(n=BATCH, c=3, y=7), X(n, c, y + r) * W(c, r), "sum", axes(r=3)), {"X": (BATCH, 3, 9), "W": (3, 3)},
        "every c has a filter of its own",
    ),
    "no channels": (
        formula(axes(n=BATCH, k=3, y=7), X(n, y + r) * W(k, r), "sum", axes(r=3)), {"X": (BATCH, 9), "W": (3, 3)},
        "no channels to sum over",
    ),
    "three factors": (
        formula(axes(n=BATCH, k=3, y=7), X(n, c, y + r) * W(k, c, r) * G(c), "sum", axes(c=2, r=3)),
        {"X": (BATCH, 2, 9), "W": (3, 2, 3), "G": (2,)}, "two reads",
    ),
    "along the batch": (
        formula(axes(n=BATCH, k=3), X(n + r, c) * W(k, c, r), "sum", axes(c=2, r=3)), {"X": (BATCH, 2), "W": (3, 2, 3)},
        "slides along the batch",
    ),
    "three axes": (
        formula(
            axes(k=4, z=7, y=7, x=7), X(c, z + s, y + r, x + q) * W(k, c, s, r, q), "sum", axes(c=3, s=3, r=3, q=3)
        ),
        {"X": (3, 9, 9, 9), "W": (4, 3, 3, 3, 3)}, "two are the most",
    ),
    "long window": (
        formula(axes(n=BATCH, k=4, y=9), X(n, c, y + r) * W(k, c, r), "sum", axes(c=3, r=7)),
        {"X": (BATCH, 3, 15), "W": (4, 3, 7)}, "more than 5 elements",
    ),
    "a part of the positions": (
        formula(axes(k=4, c=3, r=3), X(n, c, y + r) * G(n, k, y), "sum", axes(n=BATCH, y=6)),
        {"X": (BATCH, 3, 9), "G": (BATCH, 4, 7)}, "sums over a part of G only",
    ),
    "conditions": (
        formula(axes(n=BATCH, k=4, y=7), X(n, c, y + r) * W(k, c, r), "sum", axes(c=3, r=3), [ge(y - r)]),
        {"X": (BATCH, 3, 9), "W": (4, 3, 3)}, "conditions leave out terms",
    ),
    "backwards": (
        formula(axes(n=BATCH, k=4, y=7), X(n, c, r - y) * W(k, c, r), "sum", axes(c=3, r=3)),
        {"X": (BATCH, 3, 9), "W": (4, 3, 3)}, "y runs backwards",
    ),
    "one element": (
        formula(axes(k=4, c=3, r=1), X(n, c, y + r) * G(n, k, y), "sum", axes(n=BATCH, y=9)),
        {"X": (BATCH, 3, 9), "G": (BATCH, 4, 9)}, "a window of one element",
    ),
    "maximum": (
        formula(axes(n=BATCH, k=4, y=7), X(n, c, y + r) * W(k, c, r), "max", axes(c=3, r=3)),
        {"X": (BATCH, 3, 9), "W": (4, 3, 3)}, "not a sum",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(name: str) -> None:
    f, shapes, reason = REFUSED[name]
    found = correlation(f, shapes)
    assert isinstance(found, str)
    assert reason in found


@settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_values_of_any_size(kind: str, data: st.DataObject) -> None:
    def size(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rows, columns = size(2, 4), size(2, 4)
    f, shapes = KINDS[kind](
        height=size(rows, 9), width=size(columns, 9), rows=rows, columns=columns, top=size(0, rows), left=size(0, 2),
        channels=size(1, 3), features=size(1, 3),
    )  # fmt: skip
    assume(isinstance(correlation(f, shapes), Correlation))
    check(f, shapes, size(2, 4), size(2, 4))
