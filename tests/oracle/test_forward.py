"""Values of the catalogue against those of another framework."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dsl.trace import trace
from graphc.graph.interpreter import interpret
from graphc.types import DType
from tests.oracle.cases import CASES, PENDING, Case, build, tolerances
from tests.oracle.load import INDEX, group
from tests.test_training import STEPPERS


def run(case: Case) -> list[np.ndarray]:
    traced = trace(case.outputs)
    inputs = {name: case.arrays[f"in.{name}"] for name in traced.inputs}
    parameters = {name: p.value for name, p in traced.parameters.items()}
    return list(interpret(traced.graph, inputs, parameters).outputs)


def test_every_case_of_the_index_is_built() -> None:
    assert {m["name"] for m in INDEX if m["kind"] not in ("optim", "train")} == set(CASES)
    assert {m["name"] for m in INDEX if m["kind"] == "optim"} == {f"optim_{n}" for n in STEPPERS}


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", [n for n in CASES if n not in PENDING])
def test_forward(name: str, dtype: DType) -> None:
    case = build(name, dtype)
    expected = group(case.arrays, "out.")
    got = run(case)
    assert len(got) == len(expected)
    for k, y in enumerate(got):
        assert y.dtype == np.dtype(dtype.value)
        np.testing.assert_allclose(y, expected[str(k)], **tolerances(name, dtype))


@pytest.mark.parametrize("name", ["linear", "fn_minmax_where", "loss_ce"])
def test_the_weighted_sum_is_the_sum_over_outputs_and_cotangents(name: str) -> None:
    case = build(name)
    total = trace([case.weighted_sum])
    inputs = {key: case.arrays[f"in.{key}"] for key in total.inputs}
    parameters = {key: p.value for key, p in total.parameters.items()}
    (got,) = interpret(total.graph, inputs, parameters).outputs
    expected = sum(float((case.arrays[f"out.{k}"] * case.arrays[f"cot.{k}"]).sum()) for k in range(len(case.outputs)))
    np.testing.assert_allclose(got, expected, rtol=1e-12)
