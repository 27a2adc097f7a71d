"""From tensors to graphs: order, names, places, golden text."""

from __future__ import annotations

import pytest

from graphc.dsl import functional as F
from graphc.dsl import nn
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import input
from graphc.dsl.trace import ordered, trace
from graphc.errors import GraphError
from graphc.graph.printer import graph_text
from graphc.models import lenet5, mlp, perceptron
from graphc.types import BATCH
from tests.conftest import Golden


def text(*outputs: object) -> str:
    """The graph without the lines of this file, which move."""
    lines = graph_text(trace(outputs).graph, formulas=True).splitlines()
    places = [line.partition("   # ") for line in lines]
    return "\n".join(f"{code}   # {place.partition('  ')[2]}".rstrip(" #") for code, _, place in places) + "\n"


def test_dense_layer(golden: Golden) -> None:
    x = input("x", (BATCH, 4))
    assert golden == text(nn.Dense(3, "relu", name="hidden")(x))


def test_lenet5(golden: Golden) -> None:
    model = lenet5()
    assert golden == text(model.loss, model.accuracy)


def test_tracing_twice_gives_the_same_text() -> None:
    first, second = lenet5((1, 8, 8)), lenet5((1, 8, 8))
    assert text(first.loss) == text(second.loss) == text(first.loss)


def test_what_is_not_asked_for_is_left_out() -> None:
    model = perceptron((4,), 3)
    assert list(trace([model.logits]).inputs) == ["images"]
    assert list(trace([model.loss]).inputs) == ["images", "labels"]


def test_values_inputs_parameters_and_outputs_are_found_by_what_the_user_holds() -> None:
    x, w = input("x", (BATCH, 4)), Parameter("w", (3, 4))
    y = F.dense(x, w)
    traced = trace({"y": y, "again": y, "x": x})
    graph = traced.graph
    assert traced.inputs == {"x": graph.inputs[0]}
    assert traced.parameters == {"w": w}
    assert traced.values[w] == graph.parameters[0]
    assert traced.outputs == {
        "y": graph.nodes[0].output,
        "again": graph.nodes[0].output,
        "x": graph.inputs[0],
    }
    assert graph.outputs == tuple(traced.outputs.values())


def test_one_application_is_one_call_and_shared_tensors_are_computed_once() -> None:
    x = input("x", (BATCH, 4))
    y = F.softmax(x)
    graph = trace([y * y + y]).graph
    assert [n.operator for n in graph.nodes] == ["softmax.max0", "softmax.sum0", "softmax", "multiply", "add"]
    assert [n.call for n in graph.nodes] == [0, 0, 0, 1, 2]


def test_long_chains_need_no_recursion() -> None:
    x = input("x", (2,))
    y = x
    for _ in range(3000):
        y = -y
    assert len(ordered([y])) == 3001


def test_inputs_of_one_name_are_one_input_if_their_types_agree() -> None:
    assert len(trace([input("x", (2,)) + input("x", (2,))]).graph.inputs) == 1
    with pytest.raises(GraphError, match=r"input x is declared as f32\[2\] and as f32\[1\]"):
        trace([input("x", (2,)) + input("x", (1,))])


def test_names_of_parameters_must_differ() -> None:
    with pytest.raises(GraphError, match="parameter w has the name of another parameter"):
        trace([Parameter("w", (2,)) + Parameter("w", (2,))])
    with pytest.raises(GraphError, match="parameter x has the name of an input"):
        trace([Parameter("x", (2,)) + input("x", (2,))])


def test_outputs_must_be_tensors() -> None:
    with pytest.raises(GraphError, match="output 0 must be a tensor, got float"):
        trace([1.0])
    with pytest.raises(GraphError, match="nothing to compute"):
        trace([])


def test_the_models_have_the_layers_that_their_names_promise() -> None:
    shapes = {name: p.shape for name, p in lenet5().network.named_parameters()}
    assert shapes == {
        "conv1.weight": (6, 1, 5, 5), "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,),
        "dense1.weight": (120, 400), "dense1.bias": (120,),
        "dense2.weight": (84, 120), "dense2.bias": (84,),
        "output.weight": (10, 84), "output.bias": (10,),
    }  # fmt: skip
    shapes = {name: p.shape for name, p in mlp().network.named_parameters()}
    assert [s for n, s in shapes.items() if n.endswith("weight")] == [(512, 784), (256, 512), (10, 256)]
    small = {name: p.shape for name, p in lenet5((1, 8, 8)).network.named_parameters()}
    assert small["conv2.weight"] == (32, 16, 3, 3)
    assert small["dense1.weight"] == (120, 512)
    assert mlp((64,), (32,), dtype="float64").loss.type.dtype.value == "float64"
