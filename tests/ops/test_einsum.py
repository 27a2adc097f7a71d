"""Sums of products by indices: random equations against numpy, the order of products, mistakes in equations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.dsl import functional as F
from graphc.dsl.tensor import input
from graphc.dsl.trace import trace
from graphc.errors import GraphcError
from graphc.graph.interpreter import interpret
from graphc.ops.einsum import cheapest, parse, spread

EXTENTS = dict(zip("abcde", (2, 3, 1, 4, 2), strict=True))


@st.composite
def equations(draw: st.DrawFn) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """An equation and the shapes of its operands; `...` stands for axes that broadcast."""
    count = draw(st.integers(1, 4))
    parts, shapes = [], []
    for _ in range(count):
        letters = draw(st.lists(st.sampled_from("abcde"), max_size=3))
        hidden = draw(st.sampled_from(((), (), (3,), (2, 3), (2, 1)))) if draw(st.booleans()) else None
        at = draw(st.integers(0, len(letters)))
        signs = [*letters[:at], *([] if hidden is None else ["..."]), *letters[at:]]
        parts.append("".join(signs))
        shapes.append(tuple(e for s in signs for e in (hidden or () if s == "..." else (EXTENTS[s],))))
    used = sorted({s for part in parts for s in part if s != "."})
    kept = draw(st.permutations([s for s in used if draw(st.booleans())]))
    dots = ["..."] if any("..." in part for part in parts) else []
    return f"{','.join(parts)}->{''.join([*dots, *kept])}", tuple(shapes)


@settings(max_examples=80, deadline=None)
@given(equations())
def test_random_equations_mean_what_they_mean_in_numpy(case: tuple[str, tuple[tuple[int, ...], ...]]) -> None:
    equation, shapes = case
    arrays = {f"x{k}": np.random.default_rng((k, *shape)).normal(size=shape) for k, shape in enumerate(shapes)}
    tensor = F.einsum(equation, *[input(name, a.shape, "float64") for name, a in arrays.items()])
    expected = np.einsum(equation, *arrays.values())
    assert tensor.shape == expected.shape
    (found,) = interpret(trace([tensor]).graph, arrays).outputs
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_without_an_arrow_the_result_has_the_letters_that_occur_once() -> None:
    assert str(parse("ij, jk")) == "ij,jk->ik"
    assert str(parse("ba")) == "ba->ab"
    assert str(parse("...ii")) == "...ii->..."


def test_products_are_taken_in_the_order_that_costs_least() -> None:
    named, extents = spread(parse("ij,jk,kl->il"), ((2, 100), (100, 3), (3, 50)))
    assert [(pair, str(step)) for pair, step in cheapest(named, extents)] == [
        ((0, 1), "ij,jk->ik"), ((1, 0), "ik,kl->il"),
    ]  # fmt: skip
    named, extents = spread(parse("ij,jk,kl->il"), ((50, 3), (3, 100), (100, 2)))
    assert [str(step) for _, step in cheapest(named, extents)] == ["jk,kl->jl", "ij,jl->il"]


@pytest.mark.parametrize(
    ("equation", "shapes", "error"),
    [
        ("ij,jk->iz", ((2, 3), (3, 4)), "einsum: 'ij,jk->iz': the result has index z, but no operand has"),
        ("ij->ii", ((2, 3),), "einsum: 'ij->ii': index i stands twice in the result"),
        ("i1->i", ((2, 3),), "einsum: 'i1->i': '1' is not an index"),
        ("ij,jk", ((2, 3),), "einsum: ij,jk->ik is for 2 operands, got 1"),
        ("ij->i", ((2, 3, 4),), "einsum: ij names 2 axes, but operand 0 has 3 (2, 3, 4)"),
        ("ijk->i", ((2, 3),), "einsum: ijk names 3 axes, but operand 0 has 2 (2, 3)"),
        ("ij,jk,kl", ((2, 3), (4, 5), (5, 2)), "einsum: index j is 3 in operand 0 but 4 in operand 1"),
        ("...i,...i", ((2, 3), (4, 3)), "einsum: shapes (2,) and (4,) do not broadcast"),
    ],
)  # fmt: skip
def test_mistakes(equation: str, shapes: tuple[tuple[int, ...], ...], error: str) -> None:
    with pytest.raises(GraphcError) as caught:
        F.einsum(equation, *[input(f"x{k}", shape) for k, shape in enumerate(shapes)])
    assert error in str(caught.value)
    assert f"{__file__}:" in str(caught.value)
