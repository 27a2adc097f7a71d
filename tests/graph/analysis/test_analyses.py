"""Topology, liveness, cost and the store-or-recompute cut on graphs small enough to work out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy as sp

from graphc.errors import GraphError
from graphc.graph.analysis.cost import cost
from graphc.graph.analysis.liveness import Interval, liveness
from graphc.graph.analysis.mincut import backward_nodes, store_or_recompute
from graphc.graph.analysis.topology import ancestors, descendants, longest_path, topology
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.ops.cost import Polynomial, bytes_of, operations
from graphc.ops.operator import op
from graphc.ops.scalars import tanh
from graphc.types import BATCH, TensorType
from tests.strategies import add, conv, dense, hyperbolic, logistic, multiply, relu, row_mean, softmax, spread


@op
def five_functions(X):
    x = X[...]
    return sp.exp(x) + sp.sin(x) + sp.cos(x) + sp.erf(x) + tanh(x)


def diamond() -> tuple[Graph, dict[str, Value]]:
    """x -> a -> b, x -> c, b + c -> d; e is dead."""
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 4)))
    a = builder.apply(relu, (x,))
    b = builder.apply(hyperbolic, (a,))
    c = builder.apply(logistic, (x,))
    d = builder.apply(add, (b, c))
    e = builder.apply(relu, (c,))
    return builder.graph([d]), {"x": x, "a": a, "b": b, "c": c, "d": d, "e": e}


def test_levels_and_order() -> None:
    graph, v = diamond()
    found = topology(graph)
    assert found.order == tuple(graph.values)
    assert found.level == {v["x"]: 0, v["a"]: 1, v["b"]: 2, v["c"]: 1, v["d"]: 3, v["e"]: 2}
    assert found.depth == 3


def test_reachability() -> None:
    graph, v = diamond()
    assert ancestors(graph, [v["b"]]) == {v["b"], v["a"], v["x"]}
    assert descendants(graph, [v["c"]]) == {v["c"], v["d"], v["e"]}


def test_longest_path_follows_the_weights() -> None:
    graph, v = diamond()
    assert [n.output for n in longest_path(graph, lambda n: 1)] == [v["a"], v["b"], v["d"]]
    heavy = longest_path(graph, lambda n: {v["c"]: 10, v["d"]: 2}.get(n.output, 1))
    assert [n.output for n in heavy] == [v["c"], v["d"]]


def test_a_cycle_is_named() -> None:
    graph, v = diamond()
    first = replace(graph.nodes[0], inputs=(v["d"],))
    with pytest.raises(GraphError, match="the graph has a cycle: "):
        topology(replace(graph, nodes=(first, *graph.nodes[1:])))


def test_live_intervals_and_peak() -> None:
    graph, v = diamond()
    found = liveness(graph)
    assert found.intervals == {
        v["x"]: Interval(-1, 2),
        v["a"]: Interval(0, 1),
        v["b"]: Interval(1, 3),
        v["c"]: Interval(2, 4),
        v["d"]: Interval(3, 5),
        v["e"]: Interval(4, 4),
    }
    assert found.alive(3) == (v["b"], v["c"], v["d"])
    # b, c and d are alive together: three tensors of 10·4 single-precision numbers
    assert found.peak_bytes(10) == 3 * 10 * 4 * 4
    assert max(found.bytes_at(k, 10) for k in range(5)) == found.peak_bytes(10)
    assert found.intervals[v["a"]].overlaps(found.intervals[v["b"]])
    assert not found.intervals[v["a"]].overlaps(found.intervals[v["c"]])


def test_cost_of_a_dense_layer() -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 20)))
    w = builder.parameter("w", TensorType((10, 20)))
    graph = builder.graph([builder.apply(dense, (x, w), scope="head")])
    found = cost(graph)
    assert found.total.flops == Polynomial((0, 2 * 10 * 20))
    assert found.total.read == Polynomial((10 * 20 * 4, 20 * 4))
    assert found.total.written == Polynomial((0, 10 * 4))
    assert found.total.bytes(3) == 3 * 30 * 4 + 800
    assert found.total.intensity(1) == pytest.approx(400 / (30 * 4 + 800))
    assert str(found.total.read) == "80·N + 800"
    assert found.scope("head") == found.total
    assert found.scope("body").flops == Polynomial()
    assert found.critical_path == graph.nodes


def test_cost_of_a_convolution() -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 1, 28, 28)))
    w = builder.parameter("w", TensorType((6, 1, 5, 5)))
    graph = builder.graph([builder.apply(conv, (x, w), {"padding": 2})])
    assert cost(graph).total.flops == Polynomial((0, 2 * 117_600))


def test_operations_are_counted_once() -> None:
    definition = softmax.define((TensorType((BATCH, 5)),))
    largest, total, result = (operations(s.formula.body) for s in definition.statements)
    assert largest.total == 0
    assert (total.additions, total.multiplications, total.transcendentals) == (1, 0, 1)
    assert (result.additions, result.divisions, result.multiplications) == (1, 1, 0)
    assert bytes_of(TensorType((BATCH, 2, BATCH))) == Polynomial((0, 0, 8))


def training_graph() -> tuple[Graph, dict[str, Value]]:
    """dense -> relu -> tanh -> result; the backward part reads the values of dense and of tanh."""
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 64)))
    w = builder.parameter("w", TensorType((64, 64)))
    d = builder.apply(dense, (x, w))
    r = builder.apply(relu, (d,))
    t = builder.apply(hyperbolic, (r,))
    g = builder.apply(multiply, (t, d), origin=t.id)
    updated = builder.apply(multiply, (w, w))
    later = builder.apply(add, (g, g))
    return builder.graph([later], [(w, updated)]), {"d": d, "r": r, "t": t, "g": g, "later": later}


def test_what_depends_on_an_adjoint_is_backward() -> None:
    graph, v = training_graph()
    assert [n.output for n in backward_nodes(graph)] == [v["g"], v["later"]]


def test_cheap_values_are_recomputed_from_a_stored_reduction() -> None:
    graph, v = training_graph()
    decisions = {d.value: d for d in store_or_recompute(graph, batch=8)}
    assert decisions[v["d"]].stored
    assert decisions[v["d"]].reason == "a reduction (sum) is never recomputed"
    assert not decisions[v["r"]].stored
    assert not decisions[v["t"]].stored
    assert decisions[v["d"]].bytes == 8 * 64 * 4
    assert list(decisions) == [v["d"], v["r"], v["t"]]


def test_the_user_has_the_last_word() -> None:
    graph, v = training_graph()
    kept = {d.value: d for d in store_or_recompute(graph, 8, {v["t"]: True})}
    assert {value: d.stored for value, d in kept.items()} == {v["d"]: True, v["t"]: True}
    assert kept[v["t"]].reason == "asked for"
    with pytest.raises(GraphError, match="cannot be recomputed: it is a reduction"):
        store_or_recompute(graph, 8, {v["d"]: False})


def test_the_cheapest_place_to_cut_is_found() -> None:
    """With relu and tanh of a sum needed, relu is stored: storing the sum would cost relu as well."""
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 64)))
    d = builder.apply(dense, (x, builder.parameter("w", TensorType((64, 64)))))
    r = builder.apply(relu, (d,))
    t = builder.apply(hyperbolic, (r,))
    graph = builder.graph([builder.apply(multiply, (t, r), origin=t.id)])
    first, second = store_or_recompute(graph, 8)
    assert (first.value, first.stored, second.value, second.stored) == (r, True, t, False)
    assert first.reason == f"to recompute it, {d} would have to be stored instead"


def test_a_wide_value_is_recomputed_from_a_narrow_one() -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 64)))
    s = builder.apply(row_mean, (x,))
    wide = builder.apply(spread, (s,), {"width": 64})
    t = builder.apply(hyperbolic, (wide,))
    graph = builder.graph([builder.apply(multiply, (t, t), origin=t.id)])
    decisions = {found.value: found.stored for found in store_or_recompute(graph, 8)}
    assert decisions[t] is False
    assert sum(decisions.values()) == 1
    assert decisions.get(s) or decisions.get(graph.nodes[0].output)


def test_expensive_values_are_stored() -> None:
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 64)))
    chain = x
    for _ in range(6):
        chain = builder.apply(hyperbolic, (chain,))
    graph = builder.graph([builder.apply(multiply, (chain, chain), origin=chain.id)])
    decisions = store_or_recompute(graph, batch=8)
    assert [(d.value, d.stored) for d in decisions] == [(chain, True)]
    assert decisions[0].reason.startswith("to recompute it, ")


def test_work_is_weighed_against_memory() -> None:
    """The value before is there anyway, and still the expensive one after it is stored."""
    builder = Builder()
    x = builder.input("x", TensorType((BATCH, 64)))
    before = builder.apply(dense, (x, builder.parameter("w", TensorType((64, 64)))))
    after = builder.apply(five_functions, (before,))
    graph = builder.graph([builder.apply(multiply, (after, before), origin=after.id)])
    first, second = store_or_recompute(graph, 8)
    assert (first.value, first.stored, second.value, second.stored) == (before, True, after, True)
    assert second.reason == "9 operations for each element cost more than 4 bytes"
