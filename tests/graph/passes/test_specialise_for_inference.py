from __future__ import annotations

import numpy as np

from graphc.graph.builder import Builder
from graphc.graph.interpreter import interpret
from graphc.graph.passes import specialise_for_inference
from graphc.types import BATCH, TensorType
from tests.graph.passes.build import after
from tests.strategies import add, dense, multiply, relu, row_mean, scaled


def test_only_the_outputs_are_left(golden) -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 4)))
    target = builder.input("target", TensorType((BATCH, 3)))
    w = builder.parameter("w", TensorType((3, 4)))
    velocity = builder.parameter("velocity", TensorType((3, 4)))
    y = builder.apply(relu, (builder.apply(dense, (x, w)),))
    builder.apply(row_mean, (builder.apply(multiply, (y, target)),))
    new = builder.apply(add, (w, builder.apply(scaled, (velocity,))))
    graph = builder.graph([y], [(w, new)])
    inference = specialise_for_inference(graph)
    arrays = {"x": np.ones((2, 4), np.float32), "w": np.eye(3, 4, dtype=np.float32)}
    whole = interpret(
        graph,
        {"x": arrays["x"], "target": np.zeros((2, 3))},
        {"w": arrays["w"], "velocity": np.zeros((3, 4))},
    )
    alone = interpret(inference, {"x": arrays["x"]}, {"w": arrays["w"]})
    np.testing.assert_array_equal(alone.outputs[0], whole.outputs[0])
    assert alone.updates == {}
    assert after(specialise_for_inference, graph) == golden
