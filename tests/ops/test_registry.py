"""Every sample of every registered operator: its values natively, its derivatives against differences and each other.

    J·t from differentiating the adjoint once more   =  differences of the values along t
    ⟨c, J·t⟩ = ⟨Jᵀ·c, t⟩                                so Jᵀ·c is right where J·t is
    Σ c·∂²y/∂w∂u·t_u                                 =  differences of Jᵀ·c along t

An operator enters these tests by being declared.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from graphc.graph.interpreter import interpret
from graphc.ops import OPERATORS
from graphc.types import DType
from tests.native import Native
from tests.registry import IDS, SAMPLES, case

FIRST = "formulas that are so long are compiled for the first sample only"

NO_LOGITS = ("poisson_nll_loss", "complete_box_iou_loss")
"""Losses that are an exponential of the prediction, or the shape of a box, which an empty box does not have."""

FEW = [(name, k) for name, k in SAMPLES if k < 2]

LOSSES = [(name, k) for name, k in SAMPLES if "reduction" in OPERATORS[name].attributes and name not in NO_LOGITS]

Array = np.ndarray


def test_every_operator_says_what_it_computes_and_has_a_sample() -> None:
    assert [name for name, o in OPERATORS.items() if not o.samples or not o.function.__doc__] == []


def assert_close(got: Array, expected: Array, tolerance: float, what: str) -> None:
    """Relative to the largest element; a difference that could not be taken is NaN in `expected`."""
    smooth = ~np.isnan(expected)
    assert np.count_nonzero(~smooth) <= expected.size // 3, f"{what}: kinks everywhere"
    scale = max(1.0, float(np.abs(expected[smooth]).max(initial=0.0)))
    np.testing.assert_allclose(got[smooth], expected[smooth], rtol=tolerance, atol=tolerance * scale, err_msg=what)


@pytest.mark.parametrize("name", OPERATORS)
def test_native_in_float64(name: str) -> None:
    """Values and gradients are those of the interpreter."""
    known = case(name, 0)
    got, expected = Native(known.first)(known.feed(known.first)), known.run(known.first)
    for value, a, b in zip(known.first.outputs, got, expected, strict=True):
        assert np.isfinite(b).all()
        assert_close(a, b, 1e-12 if a.dtype == np.float64 else 2e-5, str(value))


@cache
def native_in_float32(name: str, k: int) -> Native:
    return Native(case(name, k, DType.FLOAT32).first)


@pytest.mark.parametrize(("name", "k"), SAMPLES, ids=IDS)
def test_native_in_float32(name: str, k: int) -> None:
    """Values and gradients are those of the interpreter in float64, from the same numbers."""
    narrow, wide = case(name, k, DType.FLOAT32), case(name, k)
    if wide.is_long and k:
        pytest.skip(FIRST)
    given = narrow.feed(narrow.first)
    given = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in given.items()}
    got, expected = native_in_float32(name, k)(given), interpret(wide.first, given).outputs
    for value, a, b in zip(narrow.first.outputs, got, expected, strict=True):
        assert a.dtype == value.type.dtype.numpy
        assert_close(a, b, 2e-5, str(value))


@pytest.mark.parametrize(("name", "k"), LOSSES, ids=[f"{name}-{k}" for name, k in LOSSES])
def test_losses_and_their_gradients_are_finite_for_extreme_predictions(name: str, k: int) -> None:
    """±10,000 in the first operand; 0 and 1 where it is a probability."""
    narrow, sample = case(name, k, DType.FLOAT32), OPERATORS[name].samples[k]
    if narrow.is_long and k:
        pytest.skip(FIRST)
    prediction = narrow.graph.inputs[0]
    ends = (0.0, 1.0) if 0 <= sample.domain[0] < sample.domain[1] <= 1 else (-1e4, -10.0, 0.0, 10.0, 1e4)
    for seed in range(3):
        extreme = np.random.default_rng(seed).choice(ends, prediction.type.shape)
        given = narrow.feed(narrow.first) | {prediction.name: extreme}
        for value, result in zip(narrow.first.outputs, native_in_float32(name, k)(given), strict=True):
            assert np.isfinite(result).all(), f"{value} for {extreme.tolist()}"


@pytest.mark.parametrize(("name", "k"), SAMPLES, ids=IDS)
def test_first_derivatives(name: str, k: int) -> None:
    known = case(name, k)
    if not known.wrt:
        pytest.skip("integers have no derivative")
    (pushed,) = known.run(known.pushed)
    if not known.holds_constants:
        assert_close(pushed, known.slopes()[0], 1e-6, "J·t against differences")
    pulled = known.run(known.first)[1:]
    forward = float(np.vdot(known.directions["c"], pushed))
    terms = [np.asarray(g * t) for g, t in zip(pulled, known.tangents.values(), strict=True)]
    backward, size = sum(float(x.sum()) for x in terms), sum(float(np.abs(x).sum()) for x in terms)
    assert abs(forward - backward) <= 1e-12 * max(size, 1e-3), (forward, backward)


@pytest.mark.parametrize(("name", "k"), FEW, ids=[f"{name}-{k}" for name, k in FEW])
def test_second_derivatives(name: str, k: int) -> None:
    known = case(name, k)
    if not known.wrt or known.holds_constants:
        pytest.skip("there is no derivative, or it is not that of the values")
    if known.is_long and k:
        pytest.skip(FIRST)
    for value, bend, slope in zip(known.wrt, known.run(known.second), known.slopes()[1:], strict=True):
        assert_close(bend, slope, 2e-6, f"by {value.name}")
