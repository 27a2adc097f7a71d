"""The errors that the documentation names hold for compiled functions, on all processors alike."""

import math
import re
from dataclasses import replace
from pathlib import Path

import mpmath
import numpy as np
import pytest

from graphc.dsl.tensor import input
from graphc.errors import InputError
from graphc.pipeline import compile_inference
from graphc.study import accuracy
from graphc.study.accuracy import SUBJECTS, Row, report, sample, sweep

PAGE = Path(__file__).parents[2] / "docs" / "vector_mathematics.md"
TABLE = PAGE.read_text("utf-8").partition("## At the ends")[0]
ROW = re.compile(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|", re.MULTILINE)
DOCUMENTED = {name: (float(single), float(double)) for name, single, double in ROW.findall(TABLE)}


def test_every_function_is_documented():
    assert DOCUMENTED.keys() == SUBJECTS.keys()


@pytest.mark.parametrize("name", SUBJECTS)
def test_float32_is_as_documented(name):
    row = sweep(name, stride=20_011)
    assert row.checked > 200_000
    assert 0 < row.ulp <= DOCUMENTED[name][0], row
    assert not row.wrong, row


@pytest.mark.parametrize("name", SUBJECTS)
def test_float64_is_as_documented(name):
    row = sample(name, count=300)
    assert row.checked > 250
    assert 0 < row.ulp <= DOCUMENTED[name][1], row


@pytest.mark.parametrize("target", ["avx2", "generic"])
def test_the_same_bits_on_every_processor(target, monkeypatch):
    (x,) = accuracy._patterns(400_009, 0, 400_009 * accuracy.BLOCK)
    tensor = input("x", (len(x),))
    outputs = {name: subject.apply(tensor) for name, subject in SUBJECTS.items()}
    here = compile_inference(outputs, threads=1)(x=x)
    monkeypatch.setenv("GRAPHC_TARGET", target)
    there = compile_inference(outputs, threads=1)(x=x)
    for name in SUBJECTS:
        np.testing.assert_array_equal(there[name], here[name], err_msg=name)


def test_a_wrong_function_is_found(monkeypatch):
    wrong = {
        "off": replace(SUBJECTS["exp"], double=lambda x: np.exp(x) * (1 + 2.0**-21)),
        "sign": replace(SUBJECTS["tanh"], double=lambda x: -np.tanh(x)),
        "ends": replace(SUBJECTS["log"], double=lambda x: np.log(np.abs(x))),
    }
    monkeypatch.setattr(accuracy, "SUBJECTS", wrong)
    assert 4 < sweep("off", 400_009).ulp < 9
    assert sweep("sign", 400_009).wrong > 10_000
    ends = sweep("ends", 400_009)
    assert 5_000 < ends.wrong < 6_000
    assert ends.example < 0


def test_references_agree_with_many_digits():
    x = np.array([-5.0, -1.25, -0.03, -1e-5, 1e-5, 0.3, 0.9999, 1.5, 3.999, 6.5])
    with mpmath.workdps(40):
        for name, subject in SUBJECTS.items():
            inside = x[x > (-1 if name == "log1p" else 0)] if name in ("log", "log1p", "sqrt", "rsqrt") else x
            exact = [float(subject.precise(mpmath.mpf(v))) for v in inside.tolist()]
            np.testing.assert_allclose(subject.double(inside), exact, rtol=2e-15, err_msg=name)


def test_rows_are_joined():
    rows = Row("f", 5, 0.5, 2.0), Row("f", 6, 0.75, 3.0, 1, 2, -1.0)
    assert rows[0].joined(rows[1]) == rows[1].joined(rows[0]) == Row("f", 11, 0.75, 3.0, 1, 2, -1.0)
    assert "0.750 ulp" in report([rows[1]])
    assert "2 such as -1.0" in report([rows[1]])
    assert math.isnan(Row("f").example)


def test_unknown_function():
    with pytest.raises(InputError, match="choose among exp"):
        sweep("gamma")
