"""Native values and every gradient of the catalogue against those of another framework."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.pipeline import compile_inference
from graphc.study.gradients import compile_gradients
from graphc.types import DType
from tests.oracle.cases import CASES, PENDING, build, tolerances
from tests.oracle.load import group


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT32], ids=["f64", "f32"])
@pytest.mark.parametrize("name", [n for n in CASES if n not in PENDING])
def test_values_and_gradients(name: str, dtype: DType) -> None:
    case = build(name, dtype)
    expected = {
        **{k: g for k, g in group(case.arrays, "grad.in.").items() if case.inputs[k].dtype.is_float},
        **group(case.arrays, "grad.param."),
    }
    leaves = {**case.inputs, **case.parameters}
    program = compile_gradients(case.weighted_sum, wrt=[leaves[k] for k in expected], threads=2)
    inputs = {k: case.arrays[f"in.{k}"] for k in case.inputs}
    _, found = program(**inputs)
    outputs = compile_inference(case.outputs)(**inputs)
    allowed = tolerances(name, dtype)
    for k in range(len(case.outputs)):
        np.testing.assert_allclose(outputs[k], case.arrays[f"out.{k}"], **allowed)
    for (k, gradient), got in zip(expected.items(), found.values(), strict=True):
        assert got.dtype == np.dtype(dtype.value)
        scale = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(
            got, gradient, rtol=allowed["rtol"], atol=allowed["atol"] * scale, err_msg=f"gradient of {k}"
        )
