"""Each rule of the graph language is broken once; the error names the stage and what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphc.errors import VerificationError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.verifier import verify
from graphc.ops.formula import (
    Axis,
    Formula,
    Read,
    Reduce,
    formula,
    index_symbol,
    rename_operands,
    tensor_symbol,
)
from graphc.types import BATCH, DType, TensorType
from tests.strategies import add, dense, relu

ROW, OTHER = index_symbol("i"), index_symbol("j")
X = tensor_symbol("X")
VECTOR = TensorType((3,))


def network() -> Graph:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 4)))
    w = builder.parameter("w", TensorType((3, 4)))
    y = builder.apply(relu, (builder.apply(dense, (x, w)),))
    return builder.graph([y], [(w, builder.apply(add, (w, w)))])


def one_node(f: Formula, inputs: tuple[TensorType, ...], result: TensorType) -> Graph:
    builder = Builder()
    values = [builder.input(f"x{k}", t) for k, t in enumerate(inputs)]
    return builder.graph([builder.node("node", f, values, result)])


def refused(graph: Graph) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(graph, "some_pass")
    assert "after some_pass: " in str(caught.value)
    return str(caught.value)


def test_a_network_is_accepted() -> None:
    verify(network())


def test_two_assignments() -> None:
    graph = network()
    twice = replace(graph, nodes=(*graph.nodes, graph.nodes[0]))
    assert "%2 is assigned 2 times, expected once" in refused(twice)


def test_read_before_definition() -> None:
    graph = network()
    first, second, third = graph.nodes
    assert "operand %2 is read before it is defined" in refused(replace(graph, nodes=(second, first, third)))


def test_read_of_a_foreign_value() -> None:
    graph = network()
    foreign = Value(77, graph.nodes[1].inputs[0].type)
    node = replace(graph.nodes[1], inputs=(foreign,))
    assert "operand %77 is not defined in this graph" in refused(
        replace(graph, nodes=(graph.nodes[0], node, graph.nodes[2]))
    )


def test_undefined_output() -> None:
    assert "output %99 is not defined" in refused(replace(network(), outputs=(Value(99, VECTOR),)))


def test_updates() -> None:
    graph = network()
    (old, new), x, y = graph.updates[0], graph.inputs[0], graph.outputs[0]
    assert "%x is updated but is not a parameter" in refused(replace(graph, updates=((x, new),)))
    assert "%w is updated twice" in refused(replace(graph, updates=((old, new), (old, new))))
    assert "%w is f32[3,4], but its new value %3 is f32[N,3]" in refused(replace(graph, updates=((old, y),)))


def test_two_inputs_of_one_name() -> None:
    graph = network()
    assert "two inputs are named x" in refused(replace(graph, inputs=(*graph.inputs, Value(50, VECTOR, "x"))))


def test_number_of_operands() -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW))
    assert "the formula has 1 operands, the node 2" in refused(one_node(f, (VECTOR, VECTOR), VECTOR))


def test_rank_of_reads() -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW, ROW))
    assert "X is f32[3] but is read with 2 indices" in refused(one_node(f, (VECTOR,), VECTOR))


def test_shape_of_the_result() -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW))
    assert "the formula's shape is [3], the result's type f32[4]" in refused(one_node(f, (VECTOR,), TensorType((4,))))


def test_unbound_axis() -> None:
    f = formula([Axis(ROW, 3)], Read(X, OTHER))
    assert "j is not an axis of the formula" in refused(one_node(f, (VECTOR,), VECTOR))


def test_undeclared_operand() -> None:
    f = replace(rename_operands(formula([Axis(ROW, 3)], Read(X, ROW)), {"X": "Y"}), operands=("X",))
    assert "Y is read but is not an operand" in refused(one_node(f, (VECTOR,), VECTOR))


def test_axis_names_repeat() -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW), "sum", [Axis(ROW, 3)])
    assert "axis names repeat: i, i" in refused(one_node(f, (VECTOR,), VECTOR))


def test_reduction_inside_the_body() -> None:
    import sympy as sp

    inner = Reduce(sp.Symbol("sum"), Read(X, OTHER), sp.Tuple(sp.Tuple(OTHER, 3)))
    f = Formula((Axis(ROW, 3),), inner, "sum", (Axis(OTHER, 3),), (), ("X",))
    assert "a reduction inside the body" in refused(one_node(f, (VECTOR,), VECTOR))


def test_axes_without_a_reduction() -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW), None, [Axis(OTHER, 3)])
    assert "axes j are reduced, but by no reduction" in refused(one_node(f, (VECTOR,), VECTOR))


@pytest.mark.parametrize(
    ("types", "result", "message"),
    [
        ((DType.FLOAT32, DType.FLOAT64), DType.FLOAT32, "operands mix float32 and float64"),
        ((DType.FLOAT64, DType.FLOAT64), DType.FLOAT32, "operands are float64, the result is float32"),
    ],
)
def test_element_types(types: tuple[DType, DType], result: DType, message: str) -> None:
    f = formula([Axis(ROW, 3)], Read(X, ROW) + Read(tensor_symbol("Y"), ROW))
    graph = one_node(f, tuple(TensorType((3,), d) for d in types), TensorType((3,), result))
    assert message in refused(graph)


def test_integers_become_numbers_and_indices_but_floats_never_indices() -> None:
    labels = tensor_symbol("L")
    f = formula([Axis(ROW, 3)], Read(X, Read(labels, ROW)) * Read(labels, ROW), operands=("X", "L"))
    verify(one_node(f, (VECTOR, TensorType((3,), DType.INT64)), VECTOR))
    assert "L is float32 but is used as an index" in refused(one_node(f, (VECTOR, VECTOR), VECTOR))
