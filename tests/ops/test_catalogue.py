"""Every operator of the catalogue: values against numpy, and the sentences for arguments that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphc.errors import DTypeError, GraphcError, ShapeError
from graphc.ops import (
    OPERATORS,
    activations,
    competition,
    cross_entropies,
    elementwise,
    linear,
    losses,
    metrics,
    movement,
    reductions,
)
from graphc.ops.evaluate import evaluate
from graphc.ops.operator import Operator
from graphc.ops.pointwise import Pointwise, number
from graphc.types import BATCH, DType, TensorType

Array = np.ndarray


def compute(operator: Operator | Pointwise, *arrays: Any, **attributes: Any) -> Array:
    """The value of an operator on arrays, statement by statement."""
    if isinstance(operator, Pointwise):
        operator = operator.form(*[True] * len(arrays))
    missing = 0 if operator.variadic else len(operator.tensors) - len(arrays)
    operator = operator.form(tuple(a is not None for a in (*arrays, *[None] * missing)))
    given = [np.asarray(a) for a in arrays if a is not None]
    definition = operator.define(tuple(TensorType(a.shape, DType.of(a.dtype)) for a in given), attributes)
    values = dict(zip(operator.tensors, given, strict=True))
    for s in definition.statements:
        values[s.name] = evaluate(s.formula, values, dtype=s.type.dtype)
        assert values[s.name].shape == s.type.shape
    return values[s.name]


def draw(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).uniform(low, high, shape)


def logsumexp(x: Array, axis: int) -> Array:
    m = x.max(axis, keepdims=True)
    return np.log(np.exp(x - m).sum(axis, keepdims=True)) + m


# ------------------------------------------------------------------------------------ element by element

BINARY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
}

UNARY: dict[str, Callable[[Array], Array]] = {
    "negative": np.negative,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
}


@pytest.mark.parametrize("name", BINARY)
def test_binary_functions_broadcast_like_numpy(name: str) -> None:
    a, b = draw(2, 3, 4, low=0.5), draw(3, 1, low=0.5)
    a[0, :, 0] = b[:, 0]  # ties for the comparisons
    function = getattr(elementwise, name)
    np.testing.assert_allclose(compute(function.form(True, True), a, b), BINARY[name](a, b), rtol=1e-12)


@pytest.mark.parametrize("name", BINARY)
def test_a_number_may_stand_for_either_operand(name: str) -> None:
    a = draw(3, 4, low=0.5)
    a[0, 0] = 1.25
    function = getattr(elementwise, name)
    right = compute(function.form(True, False), a, b=number(1.25))
    np.testing.assert_allclose(right, BINARY[name](a, 1.25), rtol=1e-12)
    if not function.commutative:
        left = compute(function.form(False, True), a, a=number(1.25))
        np.testing.assert_allclose(left, BINARY[name](1.25, a), rtol=1e-12)


@pytest.mark.parametrize("name", UNARY)
def test_unary_functions(name: str) -> None:
    x = draw(3, 4, low=0.25 if name in ("log", "log1p", "sqrt") else -2.0)
    np.testing.assert_allclose(compute(getattr(elementwise, name).form(True), x), UNARY[name](x), rtol=1e-12)


def test_erf_at_known_values() -> None:
    got = compute(elementwise.erf.form(True), np.array([0.0, 0.5, 1.0, -1.0]))
    np.testing.assert_allclose(got, [0, 0.5204998778130465, 0.8427007929497149, -0.8427007929497149], rtol=1e-12)


def test_power_with_numbers() -> None:
    x = np.array([0.25, 4.0])
    assert compute(OPERATORS["power_number"], x, b=0.5).tolist() == [0.5, 2.0]
    assert compute(OPERATORS["power_number"], -x, b=2).tolist() == [0.0625, 16.0]
    assert compute(OPERATORS["power_number"], x, b=-1).tolist() == [4.0, 0.25]
    np.testing.assert_allclose(compute(OPERATORS["power_number"], x, b=0.3), x**0.3, rtol=1e-14)


def test_where_takes_any_nonzero_condition_and_numbers() -> None:
    c, a, b = np.array([0.0, 1.0, -3.0]), np.array([1.0, 2.0, 3.0]), np.array([7.0, 8.0, 9.0])
    assert compute(OPERATORS["where"], c, a, b).tolist() == [7, 2, 3]
    assert compute(OPERATORS["where_number"], c, a, b=0.5).tolist() == [0.5, 2, 3]
    assert compute(OPERATORS["where_condition_number_b"], c, b, a=-1).tolist() == [7, -1, -1]
    assert compute(OPERATORS["where_condition_number_number"], c, a=1, b=2).tolist() == [2, 1, 1]


def test_constants_are_exact_in_the_formula() -> None:
    (s,) = elementwise.multiply.form(True, False).define((TensorType((3,)),), {"b": number(0.1)}).statements
    assert float(s.formula.body.args[0]) == 0.1
    with pytest.raises(GraphcError, match="inf cannot be a constant"):
        number(float("inf"))


def test_nan_is_never_hidden() -> None:
    x = np.array([np.nan, -1.0, 1.0])
    for operator in (activations.relu, activations.relu6, elementwise.abs, elementwise.sign):
        assert np.isnan(compute(operator.form(True), x)).tolist() == [True, False, False]
    assert np.isnan(compute(activations.leaky_relu, x))[0]
    for operator in (elementwise.maximum, elementwise.minimum):
        assert np.isnan(compute(operator.form(True, True), x, np.zeros(3))).tolist() == [True, False, False]
    assert np.isnan(compute(losses.mse_loss, x, x))
    assert np.isnan(compute(competition.softmax, x[None])).all()


# ------------------------------------------------------------------------------------------- activations


def test_activations_at_known_values() -> None:
    x = np.array([-2.0, 0.0, 3.0, 8.0])
    assert compute(activations.identity.form(True), x).tolist() == x.tolist()
    assert compute(activations.relu.form(True), x).tolist() == [0, 0, 3, 8]
    assert compute(activations.relu6.form(True), x).tolist() == [0, 0, 3, 6]
    assert compute(activations.leaky_relu, x, negative_slope=0.5).tolist() == [-1, 0, 3, 8]
    np.testing.assert_allclose(compute(activations.elu, x, alpha=2.0), [2 * np.expm1(-2), 0, 3, 8])
    np.testing.assert_allclose(compute(activations.silu.form(True), x), x / (1 + np.exp(-x)))
    np.testing.assert_allclose(compute(activations.gelu.form(True), x[:3]), [-0.04550026, 0, 2.99595031], atol=1e-8)
    np.testing.assert_allclose(compute(activations.softplus, x, beta=2.0), np.log1p(np.exp(2 * x)) / 2)


def test_activations_survive_large_arguments_in_float32() -> None:
    x = np.array([-1000.0, 1000.0], np.float32)
    assert compute(elementwise.sigmoid.form(True), x).tolist() == [0, 1]
    assert compute(elementwise.log_sigmoid.form(True), x).tolist() == [-1000, 0]
    assert compute(activations.softplus, x).tolist() == [0, 1000]
    assert compute(competition.softmax, x).tolist() == [0, 1]
    assert compute(competition.log_softmax, x).tolist() == [-2000, 0]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_softmax_along_an_axis(axis: int, temperature: float) -> None:
    x = draw(2, 3, 4)
    logarithm = x / temperature - logsumexp(x / temperature, axis)
    options = {"axis": axis, "temperature": temperature}
    np.testing.assert_allclose(compute(competition.softmax, x, **options), np.exp(logarithm), rtol=1e-12)
    np.testing.assert_allclose(compute(competition.log_softmax, x, **options), logarithm, rtol=1e-12)


# -------------------------------------------------------------------------------------------- linear maps


def test_dense_has_any_number_of_leading_axes() -> None:
    w = draw(5, 4)
    for shape in ((4,), (3, 4), (2, 3, 4), (2, 1, 3, 4)):
        x = draw(*shape)
        np.testing.assert_allclose(compute(linear.dense, x, w), x @ w.T, rtol=1e-12)


def test_matmul_broadcasts_leading_axes() -> None:
    for a, b in (((3, 4), (4, 2)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5))):
        x, y = draw(*a), draw(*b)
        np.testing.assert_allclose(compute(linear.matmul, x, y), x @ y, rtol=1e-12)


def test_bias_is_added_along_its_axis() -> None:
    x, b = draw(2, 3, 4, 5), draw(3)
    np.testing.assert_allclose(compute(linear.bias, x, b, axis=1), x + b[:, None, None])
    np.testing.assert_allclose(compute(linear.bias, x[:, :, 0, 0], b), x[:, :, 0, 0] + b)


# ------------------------------------------------------------------------------- movement and reductions


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((2, 3, 4), (2, 12)),
        ((2, 12), (2, 3, 4)),
        ((4, 6), (8, 3)),
        ((6, 4), (4, 6)),
        ((2, 3, 4), (24,)),
        ((24,), (2, 1, 3, 4)),
        ((2, 1, 3), (2, 3)),
        ((1,), ()),
        ((5,), (5, 1, 1)),
        ((2, 3, 4, 5), (6, 20)),
    ],
)
def test_reshape(old: tuple[int, ...], new: tuple[int, ...]) -> None:
    x = np.arange(float(np.prod(old))).reshape(old)
    np.testing.assert_array_equal(compute(movement.reshape, x, shape=new), x.reshape(new))


def test_reshape_computes_one_extent_and_keeps_the_batch() -> None:
    type = TensorType((BATCH, 4, 6))
    for target, expected in (
        ((BATCH, -1), (BATCH, 24)),
        ((-1, 24), (BATCH, 24)),
        ((BATCH, 2, -1, 3), (BATCH, 2, 4, 3)),
        ((-1, 4, 6), (BATCH, 4, 6)),
    ):
        assert movement.reshape.define((type,), {"shape": target}).type.shape == expected


def test_axes_that_a_reshape_leaves_alone_are_read_bare() -> None:
    (s,) = movement.flatten.define((TensorType((BATCH, 3, 2, 2)),)).statements
    assert str(s.formula) == "out[n,i] = X[n, (i // 4), ((i // 2) % 2), (i % 2)]"
    (s,) = movement.reshape.define((TensorType((BATCH, 12)),), {"shape": (BATCH, 3, 2, 2)}).statements
    assert str(s.formula) == "out[n,c,y,x] = X[n, 4·c + x + 2·y]"
    (s,) = movement.reshape.define((TensorType((4, 6, 5)),), {"shape": (4, 2, 3, 5)}).statements
    assert str(s.formula) == "out[n,c,y,x] = X[n, 3·c + y, x]"


def test_flatten_and_permute() -> None:
    x = draw(2, 3, 4, 5)
    np.testing.assert_array_equal(compute(movement.flatten, x), x.reshape(2, 60))
    np.testing.assert_array_equal(compute(movement.flatten, x, start=2), x.reshape(2, 3, 20))
    np.testing.assert_array_equal(compute(movement.permute, x), x.T)
    np.testing.assert_array_equal(compute(movement.permute, x, order=(2, 0, -1, 1)), x.transpose(2, 0, 3, 1))


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,), ()])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_reductions(name: str, axis: Any, keepdims: bool) -> None:
    x = draw(2, 3, 4)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    got = compute(OPERATORS[name], x, axis=axis, keepdims=keepdims)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12)


# ------------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_single_elements(reduction: str) -> None:
    p, t = draw(3, 4, low=0.1, high=0.9), draw(3, 4, low=0.0, high=1.0, seed=1)
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    bce = -t * np.log(p) - (1 - t) * np.log(1 - p)
    for operator, prediction, expected in (
        (losses.mse_loss, p, (p - t) ** 2),
        (losses.l1_loss, p, np.abs(p - t)),
        (cross_entropies.binary_cross_entropy, p, bce),
        (cross_entropies.binary_cross_entropy_with_logits, np.log(p / (1 - p)), bce),
    ):
        np.testing.assert_allclose(compute(operator, prediction, t, reduction=reduction), reduce(expected), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 2, 2)])
def test_cross_entropies_agree_with_their_definition(reduction: str, shape: tuple[int, ...]) -> None:
    x = draw(*shape)
    labels = np.random.default_rng(2).integers(0, 3, (shape[0], *shape[2:]))
    dense = np.moveaxis(np.eye(3)[labels], -1, 1)
    logarithm = x - logsumexp(x, 1)
    reduce = {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction]
    expected = reduce(-(dense * logarithm).sum(1))
    for operator, scores, target in (
        (cross_entropies.cross_entropy, x, labels),
        (cross_entropies.cross_entropy_dense, x, dense),
        (cross_entropies.categorical_cross_entropy, np.exp(logarithm), labels),
        (cross_entropies.categorical_cross_entropy_dense, np.exp(logarithm), dense),
    ):
        np.testing.assert_allclose(compute(operator, scores, target, reduction=reduction), expected, rtol=1e-12)


def test_soft_labels() -> None:
    x, t = draw(4, 3), draw(4, 3, low=0.0, high=1.0, seed=3)
    expected = -(t * (x - logsumexp(x, 1))).sum(1).mean()
    np.testing.assert_allclose(compute(cross_entropies.cross_entropy_dense, x, t), expected, rtol=1e-12)


def test_losses_are_finite_where_the_prediction_is_certain_and_wrong() -> None:
    zero, one = np.zeros(1, np.float32), np.ones(1, np.float32)
    assert compute(cross_entropies.binary_cross_entropy, zero, one) == 100
    assert compute(cross_entropies.binary_cross_entropy, one, zero) == 100
    assert compute(cross_entropies.binary_cross_entropy, zero, zero) == 0
    assert compute(cross_entropies.binary_cross_entropy_with_logits, one * -1000, one) == 1000
    certain = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(
        compute(cross_entropies.categorical_cross_entropy, certain, np.array([1])), -np.log(1e-7), rtol=1e-6
    )
    assert compute(cross_entropies.cross_entropy, certain * 1000, np.array([1])) == 1000


def test_penalties() -> None:
    x = np.array([[1.0, -2.0], [0.0, 3.0]])
    assert compute(losses.l1_penalty, x) == 6
    assert compute(losses.l2_penalty, x) == 14


def test_accuracy_lets_the_first_of_equal_scores_win() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [np.nan, 1.0, 0.0], [0.0, 0.0, 5.0]])
    right = [1, 0, 1, 0, 2]  # right, the first of two, the second of two, not a number, right
    assert compute(metrics.accuracy, scores, np.array(right)) == pytest.approx(3 / 5)
    x, labels = draw(50, 7), np.random.default_rng(4).integers(0, 7, 50)
    assert compute(metrics.accuracy, x, labels) == pytest.approx(np.mean(x.argmax(1) == labels))


# ------------------------------------------------------------------------------------------------- errors

IMAGE = TensorType((BATCH, 3, 4, 9))
LABELS = TensorType((BATCH,), DType.INT64)


@pytest.mark.parametrize(
    ("operator", "types", "attributes", "error"),
    [
        (
            linear.dense, (TensorType((BATCH, 784)), TensorType((256, 512))), {},
            "dense: the input (N, 784) has 784 features, the weight (256, 512) needs 512\n"
            "  hint: use a weight of shape (256, 784) or an input (..., 512)",
        ),
        (
            linear.matmul, (TensorType((4, 3)), TensorType((5, 3))), {},
            "matmul: (4, 3) @ (5, 3): the inner extents are 3 and 5\n  hint: did you mean a @ b.T?",
        ),
        (
            elementwise.add.form(True, True), (TensorType((4, 3)), TensorType((4, 2))), {},
            "add: shapes (4, 3) and (4, 2) do not broadcast: axis -1 is 3 and 2",
        ),
        (
            movement.reshape, (IMAGE,), {"shape": (BATCH, 100)},
            "reshape: (N, 3, 4, 9) cannot become (N, 100): 108 elements against 100 in each sample\n"
            "  hint: leave one extent to be computed: -1",
        ),
        (
            movement.reshape, (TensorType((4, 6)),), {"shape": (5, -1)},
            "reshape: (4, 6) cannot become (5, -1): 5 does not divide the 24 elements",
        ),
        (
            movement.reshape, (IMAGE,), {"shape": (108,)},
            "reshape: (N, 3, 4, 9) cannot become (108,): the batch axis must be kept\n"
            "  hint: name it: (gc.BATCH, ...)",
        ),
        (
            movement.permute, (IMAGE,), {"order": (0, 1, 1, 2)},
            "permute: order (0, 1, 1, 2) must name each of the 4 axes of (N, 3, 4, 9) once\n"
            "  hint: for example (3, 2, 1, 0)",
        ),
        (
            reductions.sum, (TensorType((4, 3)),), {"axis": 2},
            "sum: axis 2 does not exist in a tensor with 2 axes\n  hint: use -2 to 1",
        ),
        (
            losses.mse_loss, (TensorType((BATCH, 1)), TensorType((BATCH,))), {},
            "mse_loss: prediction has shape (N, 1) but target has shape (N,)\n"
            "  hint: losses do not broadcast; reshape target to (N, 1)",
        ),
        (
            cross_entropies.cross_entropy, (TensorType((BATCH, 10)), TensorType((BATCH, 10), DType.INT32)), {},
            "cross_entropy: logits of shape (N, 10) need labels of shape (N,), got (N, 10)\n"
            "  hint: one probability for each class has a floating-point dtype: labels.astype('float32')",
        ),
        (
            metrics.accuracy, (TensorType((BATCH, 10)), TensorType((4,), DType.INT32)), {},
            "accuracy: scores (N, 10) need labels of shape (N,), got (4,)",
        ),
    ],
)  # fmt: skip
def test_shape_errors_tell_the_rule_the_numbers_and_the_fix(
    operator: Operator, types: tuple[TensorType, ...], attributes: dict[str, Any], error: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        operator.define(types, attributes)
    assert str(caught.value) == error


def test_other_errors() -> None:
    x = TensorType((BATCH, 10))
    with pytest.raises(DTypeError, match="labels must have an integer dtype, got float32"):
        cross_entropies.cross_entropy.define((x, TensorType((BATCH,))))
    with pytest.raises(DTypeError, match="operands mix float32 and float64"):
        losses.mse_loss.define((x, TensorType((BATCH, 10), DType.FLOAT64)))
    with pytest.raises(GraphcError, match='reduction must be "mean", "sum" or "none", got \'avg\''):
        losses.mse_loss.define((x, x), {"reduction": "avg"})
    with pytest.raises(GraphcError, match="softmax: the temperature must be positive, got 0"):
        competition.softmax.define((x,), {"temperature": 0})
