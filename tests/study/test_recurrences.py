"""What the study of a program says about its recurrences."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.parameter import Parameter
from graphc.errors import NonFiniteError


def test_stages_of_a_recurrent_program() -> None:
    x = gc.input("x", (gc.BATCH, 4, 3))
    _, h = gc.RNN(5, name="rnn")(x)
    training = gc.compile_training((h * h).sum(), threads=1)
    mathematics = training.text("math", "rnn")
    assert "previous" in mathematics
    assert "∂L/∂rnn.weight_hh_l0" in mathematics
    derivations = training.text("derivatives", "rnn")
    assert "not learnt" not in derivations  # the state before a step depends on the weights, by way of earlier steps
    assert "·d_" in derivations
    first, second = (line for line in training.text("graph").splitlines() if "delayed" in line)
    assert first.split("=")[1].startswith(" previous(delayed %")
    assert second.split("=")[1].startswith(" adjoint previous/H(delayed %")


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_value_that_is_not_finite_is_the_first_in_time(reverse: bool) -> None:
    """e^(h·w) + x overflows at the fourth step; the state before the fifth stands before it in the graph."""
    x = gc.input("x", (gc.BATCH, 9, 3))
    w = Parameter("w", (3,), "ones")
    ys, _ = gc.scan(lambda h, x: (gc.exp(h * w) + x,) * 2, 0, x, reverse=reverse)
    training = gc.compile_training(ys.sum(), threads=1)
    with pytest.raises(NonFiniteError, match="exp is the first output that is not finite: inf at"):
        training.step(x=np.ones((2, 9, 3), np.float32))
