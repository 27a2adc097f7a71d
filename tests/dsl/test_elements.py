"""Movement, selection, order, reductions and linear maps against torch: values and gradients in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc.dsl import functional as F
from graphc.dsl.derivatives import gradient as gradient_of
from graphc.dsl.derivatives import hessian as hessian_of
from graphc.dsl.tensor import input
from graphc.errors import GraphcError
from graphc.pipeline import compile_inference
from graphc.types import BATCH
from tests.against_torch import Expression, agree


def numbers(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return np.random.default_rng(shape).uniform(low, high, shape)


def places(below: int, *shape: int) -> np.ndarray:
    return np.random.default_rng((below, *shape)).integers(0, below, shape)


def with_zeros(*shape: int) -> np.ndarray:
    """None, one and two zeros in the rows."""
    x = numbers(*shape)
    x[1, 0] = x[2, 0] = x[2, 1] = 0
    return x


M, IMAGES = numbers(4, 6), numbers(2, 3, 4, 5)
SQUARE = numbers(2, 4, 4)
TIES = np.round(numbers(4, 9), 0)
DISTINCT = np.argsort(numbers(4, 6), axis=1)[:, :3].copy()

CASES: dict[str, tuple[Expression, tuple[Any, ...]]] = {
    "slices": (lambda f, x: (x[1:3, ..., 2], x[:, None, :, 1::2], x[-1], x[:, -2]), (IMAGES,)),
    "rows by integers": (lambda f, x, i: x[i], (M, places(4, 2, 3))),
    "columns by integers": (lambda f, x, i: x[1:, i], (M, places(6, 5))),
    "index_select": (lambda f, x, i: f.index_select(x, 1, i), (M, places(6, 5))),
    "take": (lambda f, x, i: f.take(x, i), (M, places(24, 3, 2))),
    "gather": (lambda f, x, i: f.gather(x, 1, i), (M, places(6, 4, 3))),
    "scatter": (lambda f, x, i, s: f.scatter(x, 1, i, s), (M, DISTINCT, numbers(4, 3))),
    "scatter_add": (lambda f, x, i, s: f.scatter_add(x, 1, i, s), (M, places(2, 4, 3), numbers(4, 3))),
    "gather of a part": (lambda f, x, i: (f.gather(x, 0, i), f.gather(x, 1, i)), (M, places(4, 3, 5))),
    "scatter to a part": (lambda f, x, i, s: f.scatter(x, 1, i, s), (M, DISTINCT[:2], numbers(2, 3))),
    "scatter_add to a part": (
        lambda f, x, i, s: (f.scatter_add(x, 0, i, s), f.scatter_add(x, 1, i, s)), (M, places(4, 3, 5), numbers(3, 5))
    ),
    "embedding": (lambda f, i, w: f.embedding(i, w), (places(7, 3, 4), numbers(7, 5))),
    "embedding with padding": (lambda f, i, w: f.embedding(i, w, 2), (places(3, 3, 4), numbers(7, 5))),
    "cat": (lambda f, x, y: (f.cat([x, y, x], 1), f.concat((x, y), -1)), (M, numbers(4, 2))),
    "stack": (lambda f, x, y: (f.stack([x, y]), f.stack((x, y, x), -1)), (M, numbers(4, 6, low=0))),
    "many side by side": (
        lambda f, x: (f.cat(f.unbind(f.tile(x, (5, 1)), 0)), f.stack(f.unbind(f.tile(x, (5, 1)), 0), 1)), (M,)
    ),
    "split": (lambda f, x: (*f.split(x, 4, 1), *f.split(x, [1, 3, 2], 1), *f.chunk(x, 4, 1), *f.unbind(x)), (M,)),
    "flip": (lambda f, x: f.flip(x, (0, -1)), (IMAGES,)),
    "roll": (lambda f, x: (f.roll(x, 2, 1), f.roll(x, (-1, 7), (0, 2)), f.roll(x, 7)), (numbers(3, 4, 5),)),
    "tile": (lambda f, x: (f.tile(x, (2, 3)), f.tile(x, (2, 1, 1)), f.repeat_interleave(x, 3, 1)), (M,)),
    "broadcast_to": (lambda f, x: f.broadcast_to(x, (2, 4, 3)), (numbers(4, 1),)),
    "squeeze": (lambda f, x: f.unsqueeze(f.squeeze(f.squeeze(x, 1)), -1), (numbers(4, 1, 3, 1),)),
    "unflatten": (lambda f, x: (f.unflatten(x, 1, (2, 3)), f.unflatten(x, -1, (3, -1))), (M,)),
    "movedim": (lambda f, x: f.movedim(f.swapaxes(x, 1, 3), (0, 2), (1, 0)), (IMAGES,)),
    "triangles": (lambda f, x: (f.tril(x), f.triu(x, 1), f.tril(x, -2)), (SQUARE,)),
    "diagonals": (lambda f, x: (f.diagonal(x, 1, -1, 1), f.diagonal(x, -1)), (SQUARE,)),
    "diag": (lambda f, x, v: (f.diag(x, -1), f.diag(v, 2), f.diag_embed(x)), (M, numbers(3))),
    "one_hot": (lambda f, i: f.one_hot(i, 5), (places(5, 3, 2),)),
    "sort": (lambda f, x: f.sort(x, -1), (numbers(4, 9),)),
    "topk": (lambda f, x: f.topk(x, 3, 1), (numbers(4, 9),)),
    "smallest": (lambda f, x: f.topk(x, 2, 0, False), (numbers(4, 3),)),
    "order of equal numbers": (lambda f, x: f.argsort(x, descending=True), (numbers(4, 9),)),
    "sums": (lambda f, x: (f.sum(x, (1, -1)), f.mean(x, 0), f.mean(x), f.cumsum(x, 2)), (IMAGES,)),
    "extrema": (lambda f, x: (f.amax(x, 1), f.amin(x, (0, 2)), f.argmax(x, 1), f.argmin(x)), (IMAGES,)),
    "products": (lambda f, x: (f.prod(x, 0), f.prod(x, 1), f.cumprod(x, 1), f.cumprod(x, 0)), (with_zeros(4, 6),)),
    "spread": (lambda f, x: (f.var(x, 1), f.std(x, (0, 2)), f.var(x), f.std(x, 1, correction=0)), (IMAGES,)),
    "logsumexp": (lambda f, x: (f.logsumexp(x, 1), f.logsumexp(100 * x, (0, 1))), (M,)),
    "running extrema": (
        lambda f, x: [y if f is F else y.values for y in (f.cummax(x, 1), f.cummin(x, 0), f.cummin(x, 1))],
        (numbers(4, 18),),
    ),
    "differences": (lambda f, x: (f.diff(x), f.diff(x, 2, 0)), (M,)),
    "pairs of numbers": (
        lambda f, a, b: (f.atan2(a, b), f.hypot(a, b), f.logaddexp(a, 40 * b), f.xlogy(a, f.abs(b))),
        (M, numbers(4, 6, high=3)),
    ),
    "between": (
        lambda f, a, b: (f.lerp(a, b, 0.3), f.lerp(a, b, a), f.masked_fill(a, b > 0, 0.5)), (M, numbers(4, 6, high=3))
    ),
    "parts of numbers": (
        lambda f, a, b: (f.frac(3 * a), f.remainder(a, b), f.remainder(a, 0.7), f.logsigmoid(a)),
        (M, numbers(4, 6, high=3)),
    ),
    "norms": (lambda f, x: (f.norm(x, 2, 1), f.norm(x, 1, 0), f.norm(x, 3, 1), f.norm(x, float("inf"), 1)), (M,)),
    "normalize": (lambda f, x: (f.normalize(x), f.normalize(x, 1, 0)), (M,)),
    "count_nonzero": (lambda f, x: f.count_nonzero(x, 1), (with_zeros(4, 6),)),
    "cdist": (lambda f, a, b: (f.cdist(a, b), f.cdist(a, b, p=1)), (numbers(2, 4, 3), numbers(2, 5, 3))),
    "pairwise_distance": (lambda f, a, b: f.pairwise_distance(a, b, 3), (M, numbers(4, 6, high=3))),
    "matmul": (
        lambda f, a, b, v: (a @ b, a @ v, v @ b, f.matmul(v, v)), (numbers(2, 3, 4), numbers(4, 5), numbers(4))
    ),
    "bilinear": (lambda f, x, z, w, b: f.bilinear(x, z, w, b), (M, numbers(4, 3), numbers(2, 6, 3), numbers(2))),
    "outer": (
        lambda f, a, b: (f.outer(a, b), f.dot(a, a), f.kron(f.outer(a, a), f.outer(a, b))), (numbers(3), numbers(4))
    ),
    "kron of other ranks": (lambda f, v, w, m: (f.kron(v, w), f.kron(v, m), f.kron(m, v)),
                            (numbers(3), numbers(2), numbers(2, 4))),
    "sums with products": (
        lambda f, x, a, b: (f.addmm(x, a, b, beta=0.5, alpha=2), f.addmm(x, a, b), f.mm(a, b)),
        (numbers(5), M, numbers(6, 5)),
    ),
    "stacks of matrices": (
        lambda f, x, a, b: (f.baddbmm(x, a, b, alpha=3), f.bmm(a, b)), (numbers(2, 4, 3), SQUARE, numbers(2, 4, 3))
    ),
    "tensordot": (lambda f, a, b: f.tensordot(a, b, ((1, 0), (0, 1))), (numbers(3, 4, 5), numbers(4, 3, 2))),
    "einsum": (
        lambda f, a, b, c: (f.einsum("bij,jk,bk->bi", a, b, c), f.einsum("...ij,jk", a, b), f.einsum("ik,jk->", c, c)),
        (numbers(2, 3, 4), numbers(4, 5), numbers(2, 5)),
    ),
    "diagonals by indices": (lambda f, x: (f.einsum("bii->bi", x), f.einsum("bii", x)), (SQUARE,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    expression, arrays = CASES[name]
    agree(expression, arrays)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_pairs_of_any_size_have_values_and_derivatives(scale: float) -> None:
    """Natively in float32, where squares would overflow and quotients of them be NaN."""
    a, b = input("a", (4, 6)), input("b", (4, 6))
    y, x = M, numbers(4, 6, high=3)
    angle, length = F.atan2(a, b), F.hypot(a, b)
    slopes = (gradient_of(angle.sum(), a), gradient_of(length.sum(), b))
    given = {"a": np.float32(scale * y), "b": np.float32(scale * x)}
    found = compile_inference((angle, length, *slopes))(**given)
    r = np.hypot(y, x)
    for got, expected in zip(found, (np.arctan2(y, x), scale * r, x / r / r / scale, x / r), strict=True):
        np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_pairs_at_the_origin_and_of_nan() -> None:
    a, b = input("a", (4,), "float64"), input("b", (4,), "float64")
    y, x = np.array([0, np.nan, 0, 1]), np.array([0, 0, np.nan, 0])
    functions = (F.atan2, F.hypot, F.xlogy)
    values = [f(a, b) for f in functions]
    found = compile_inference((*values, *[gradient_of(v.sum(), a) for v in values]))(a=y, b=x)
    half = np.pi / 2
    for got, last in zip(found, (half, 1, -np.inf, 0, 1, -np.inf), strict=True):
        np.testing.assert_allclose(got[[0, 3]], [0, last], atol=1e-15)
    for got in found[:3]:
        assert np.isnan(got[1:3]).all()


def test_integers_stay_integers() -> None:
    agree(
        lambda f, i: ((3 * i - 1) // 4, i % 3, f.flip(i, (1,)), f.cat((i, i)), i.sum(1), i.prod(0), i[1:], i * i),
        (places(9, 4, 3),),
    )


def test_equal_elements_keep_their_order_and_nan_is_the_largest() -> None:
    x = np.array([1.0, np.nan, 0.0, 1.0, np.nan, -np.inf, 0.0])
    v = input("v", x.shape, "float64")
    up, down = compile_inference((F.argsort(v), F.argsort(v, descending=True)))(v=x)
    assert up.dtype == np.int64
    assert up.tolist() == [5, 2, 6, 0, 3, 1, 4]
    assert down.tolist() == [1, 4, 0, 3, 2, 6, 5]


def test_computed_indices_run_natively() -> None:
    x, ids = numbers(5, 8).astype(np.float32), places(6, 5, 3)
    a, i = input("a", (BATCH, 8)), input("i", (BATCH, 3), "int64")
    best = F.argmax(a, 1)
    chosen = F.gather(a, 1, best[:, None] // 2)
    beyond = F.gather(a, 1, 3 * i - 4)
    found = compile_inference((best, chosen, beyond, F.where(i == 2, 1.5 * i.astype("float32"), 0.0)))(a=x, i=ids)
    assert found[0].tolist() == x.argmax(1).tolist()
    np.testing.assert_array_equal(found[1][:, 0], x[np.arange(5), x.argmax(1) // 2])
    place = 3 * ids - 4
    inside = (place >= 0) & (place < 8)
    expected = np.where(inside, np.take_along_axis(x, np.clip(place, 0, 7), 1), 0)  # what lies outside is 0
    np.testing.assert_array_equal(found[2], expected)
    np.testing.assert_array_equal(found[3], np.where(ids == 2, 3, 0))


def test_constants() -> None:
    x = input("x", (BATCH, 4))
    made = (
        x + F.linspace(0, 1, 4),
        x @ F.eye(4, 3, 1),
        x * F.arange(4).astype("float32"),
        F.ones_like(x),
        F.arange(9, 1, -3),
    )
    found = compile_inference(made)(x=np.ones((2, 4), np.float32))
    np.testing.assert_allclose(found[0], 1 + np.linspace([0] * 2, [1] * 2, 4).T, rtol=1e-6)
    np.testing.assert_array_equal(found[1], np.ones((2, 4)) @ np.eye(4, 3, 1))
    np.testing.assert_array_equal(found[2], [range(4)] * 2)
    np.testing.assert_array_equal(found[3], np.ones((2, 4)))
    assert found[4].tolist() == [9, 6, 3]


def test_the_derivative_of_a_product_with_zeros_is_differentiable_again() -> None:
    """∂²(abc)/∂a∂b = c, whatever is zero."""
    x = input("x", (3,), "float64")
    (hessian,) = compile_inference((hessian_of(F.prod(x), x),))(x=np.array([0.0, 0.0, 5.0]))
    np.testing.assert_array_equal(hessian, [[0, 5, 0], [5, 0, 0], [0, 0, 0]])


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda x, i: x[5], "slice: index 5 is outside of axis 0 of (4, 6)\n  hint: use -4 to 3"),
        (lambda x, i: x[:, 6:], "slice: [6:] leaves nothing of axis 1 of (4, 6)\n"
         "  hint: the axis has the places 0 to 5"),
        (lambda x, i: x[0, 0, 0], "slice: 3 indices for a tensor with 2 axes (4, 6)\n  hint: use at most 2"),
        (lambda x, i: x[::0], "slice: the step is 0\n  hint: leave it out, or use -1 for the reverse order"),
        (lambda x, i: i[2], "slice: axis 0 of (N, 3) is the batch: there need not be a sample 2\n"
         "  hint: take x[0] or x[-1], or slice the array that is fed"),
        (lambda x, i: F.concat((x, x[:, 1:]), 0), "concat: axis 1 is 6 in X0 (4, 6) but 5 in X1 (4, 5)\n"
         "  hint: only axis 0, along which they are put together, may differ"),
        (lambda x, i: F.concat((i, i)), "concat: axis 0 of (N, 3) is the batch: memory holds one batch\n"
         "  hint: put the arrays together that are fed"),
        (lambda x, i: F.stack((x, x[1:])), "stack: X0 is (4, 6), but X1 is (3, 6)"),
        (lambda x, i: F.split(x, [2, 3], 1), "split: the sizes (2, 3) add up to 5, but axis 1 of (4, 6) is 6\n"
         "  hint: sizes must be positive and add up to the extent"),
        (lambda x, i: F.gather(x, 1, i), "gather: axis 0 is N in index (N, 3), but 4 in X (4, 6)\n"
         "  hint: the batch must be equal: declare both with it, or both with a fixed number of samples"),
        (lambda x, i: F.gather(x[:2], 1, F.argsort(x)), "gather: axis 0 is 4 in index (4, 6), but 2 in X (2, 6)\n"
         "  hint: slice the index to 2 along axis 0"),
        (lambda x, i: F.scatter_add(x, 1, F.argsort(x), x[:, 1:]),
         "scatter_add: axis 1 is 6 in index (4, 6), but 5 in source (4, 5)\n  hint: slice the index to 5 along axis 1"),
        (lambda x, i: F.kron(x, i.astype("float32")), "kron: an axis of (4, 6) or (N, 3) is the batch\n"
         "  hint: declare the input with a fixed number of samples"),
        (lambda x, i: F.unflatten(x, 1, (4, -1)), "unflatten: axis 1 of (4, 6) is 6, which is not the product of the "
         "sizes (4, -1)\n  hint: sizes multiply to the extent of the axis; one of them may be -1"),
        (lambda x, i: F.diff(x, 4, 0), "diff: 4 elements along axis 0 of (4, 6) have no differences of order 4\n"
         "  hint: use n from 0 to 3"),
        (lambda x, i: F.sum(x, (0, -2)), "sum: axis 0 is named twice in (0, -2)\n  hint: name each axis once"),
        (lambda x, i: F.var(x[:, :1], 1), "var: 1 elements with correction 1 leave nothing to divide by\n"
         "  hint: use correction=0, the mean of the squares"),
        (lambda x, i: F.cumsum(i, 0), "cumsum: X must have a floating-point dtype, got int64"),
        (lambda x, i: F.topk(x, 7, 1), "argsort: 7 elements from place 0 of axis 1 with 6\n  hint: use at most 6"),
        (lambda x, i: F.one_hot(i, 0), "one_hot: the number of classes must be positive, got 0\n"
         "  hint: it cannot be read from data that are fed later: gc.one_hot(labels, 10)"),
        (lambda x, i: F.squeeze(x, 0), "squeeze: axis 0 of (4, 6) is 4, expected 1\n"
         "  hint: x[0] takes its first element"),
        (lambda x, i: F.broadcast_to(x, (4, 3)), "broadcast_to: (4, 6) cannot become (4, 3)\n"
         "  hint: axes are matched from the right, and only those of extent 1 can be repeated"),
        (lambda x, i: x @ x, "matmul: (4, 6) @ (4, 6): the inner extents are 6 and 4\n"
         "  hint: did you mean a @ b.T or a.T @ b?"),
        (lambda x, i: F.einsum("ij,jk->ik", x, x), "einsum: index j is 6 in operand 0 but 4 in operand 1"),
        (lambda x, i: F.diagonal(x, 9), "diagonal: diagonal 9 lies outside of a 4x6 matrix\n  hint: use -3 to 5"),
        (lambda x, i: i + 0.5, "add: 0.5 is no integer, but a is int64\n"
         "  hint: convert the tensor first: x.astype('float32')"),
        (lambda x, i: i // 0, "integers are divided by positive integers, got 0\n"
         "  hint: convert the tensor first: x.astype('float32')"),
        (lambda x, i: x[x > 0], "a mask cannot be an index: how many elements it leaves is not known before "
         "the program runs\n"
         "  hint: use gc.where(mask, x, 0), and divide sums by mask.sum() instead of by their number"),
        (lambda x, i: x[i, i], "an index holds two tensors\n"
         "  hint: use gc.gather(x, axis, index), or index one axis after the other"),
        (lambda x, i: x[np.array([True, False])], "a mask cannot be an index"),
        (lambda x, i: x["a"], "str cannot be an index\n"
         "  hint: use integers, slices, ..., None or a tensor of integers: gc.input(name, shape, 'int64')"),
    ],
)  # fmt: skip
def test_errors_tell_the_rule_the_numbers_and_the_fix(make: Any, error: str) -> None:
    x, i = input("x", (4, 6)), input("i", (BATCH, 3), "int64")
    with pytest.raises(GraphcError) as caught:
        make(x, i)
    assert f"{__file__}:" in str(caught.value)
    assert str(caught.value).partition(": ")[2].startswith(error)
