"""The page of operators is made from the registry, is fresh, and says what the registry says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphc.errors import InputError
from graphc.ops import OPERATORS
from graphc.study import catalogue


def test_the_page_is_fresh(request: pytest.FixtureRequest) -> None:
    text = catalogue.page()
    if request.config.getoption("--update-golden"):
        catalogue.write()
    assert catalogue.PAGE.read_text("utf-8") == text, "python -m graphc.study.catalogue writes it anew"


def test_every_operator_has_one_place() -> None:
    places = [name for entry in catalogue.entries() for name in (entry.name, *entry.forms)]
    assert sorted(places) == sorted(OPERATORS)


def test_an_entry_shows_formula_adjoints_shapes_options_and_source() -> None:
    text = catalogue.entry_text(catalogue.find("matmul"))
    assert text.startswith("### matmul\n\n`matmul(A, B)`\n")
    assert r"\sum_{" in text
    assert r"\bar{A}" in text
    assert r"\bar{B}" in text
    assert text.count("```math") == 2
    assert "[Source](../graphc/ops/linear.py)" in catalogue.PAGE.read_text("utf-8")


def test_a_form_with_a_number_is_found_under_its_operator() -> None:
    entry = catalogue.find("number_divide")
    assert entry.name == "divide"
    assert "`divide_number`, `number_divide`" in catalogue.entry_text(entry)


def test_operators_without_a_derivative_say_so() -> None:
    assert "The derivative by `a`, `b` is zero." in catalogue.entry_text(catalogue.find("less"))


def test_a_name_that_is_unknown_is_refused_with_those_near() -> None:
    with pytest.raises(InputError, match=r"there is no operator softma\n  hint: did you mean softmax, log_softmax"):
        catalogue.find("softma")


def test_the_page_does_not_depend_on_the_seed_of_hashes() -> None:
    code = "import sys; from graphc.study.catalogue import *; print(*[entry_text(find(n)) for n in sys.argv[1:]])"
    names = ("softmax", "batch_norm", "max_pool2d", "cross_entropy", "gelu")
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(texts) == 1
    assert r"\bar{" in texts.pop()


def test_a_long_formula_is_shown_after_its_parts() -> None:
    text = catalogue.entry_text(catalogue.find("complete_box_iou_loss"))
    assert "u_{1} &= " in text
    assert len(text) < 40_000
