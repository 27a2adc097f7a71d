"""Recurrences by hand: what is found in a cycle, in which order it stands, and what no cycle may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphc.errors import GraphError
from graphc.graph.analysis.recurrences import Recurrence, recurrences, settled, units
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.ops.formula import Axis, Read, eq, formula, index_symbol, tensor_symbol, where
from graphc.ops.scalars import tanh
from graphc.types import BATCH, DType, TensorType

STEPS, WIDTH = 6, 5
n, t, k, j = map(index_symbol, "ntkj")
N_, T_, K_, J_ = Axis(n, BATCH), Axis(t, STEPS), Axis(k, WIDTH), Axis(j, WIDTH)
AXES = (N_, T_, K_)
STATE = TensorType((BATCH, STEPS, WIDTH), DType.FLOAT64)


def read(name: str, *index: object) -> Read:
    return Read(tensor_symbol(name), *index)


def recurrent(reverse: bool = False, started: bool = True) -> tuple[Graph, dict[str, Value]]:
    """H[n,t,k] = tanh(X[n,t,k] + Σ_j P[n,t,j]·U[k,j]) with P the state of the step before, H0 before the first."""
    builder = Builder()
    x = builder.input("x", STATE)
    start = builder.input("start", TensorType((BATCH, WIDTH), DType.FLOAT64))
    u = builder.parameter("u", TensorType((WIDTH, WIDTH), DType.FLOAT64))
    state = builder.value(STATE)  # stands for H until it is defined
    before = read("H", n, t + 1 if reverse else t - 1, k)
    first = eq(t, STEPS - 1 if reverse else 0)
    body = where(first, read("S", n, k), before) if started else before
    given = [start, state] if started else [state]
    p = builder.node("before", formula(AXES, body), given, STATE, delayed=[state])
    total = formula(AXES, read("P", n, t, j) * read("U", k, j), "sum", [J_], operands=("P", "U"))
    z = builder.node("product", total, [p, u], STATE)
    h = builder.node("state", formula(AXES, tanh(read("X", n, t, k) + read("Z", n, t, k))), [x, z], STATE)
    at_the_end = formula([N_, K_], read("H", n, 0 if reverse else STEPS - 1, k))
    last = builder.node("last", at_the_end, [h], TensorType((BATCH, WIDTH), DType.FLOAT64))
    builder.nodes[0] = replace(builder.nodes[0], inputs=(*given[:-1], h), delayed=(h,))
    return builder.graph([h, last]), {"x": x, "start": start, "u": u, "p": p, "z": z, "h": h, "last": last}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_a_cycle_is_found(reverse: bool, started: bool) -> None:
    graph, v = recurrent(reverse, started)
    (found,) = recurrences(graph)
    assert isinstance(found, Recurrence)
    assert [node.output for node in found.nodes] == [v["p"], v["z"], v["h"]]
    assert (found.steps, found.reverse) == (STEPS, reverse)
    assert found.axis_of == {v["p"]: 1, v["z"]: 1, v["h"]: 1}
    assert {found.time(node) for node in found.nodes} == {"t"}
    assert [len(unit) for unit in units(graph)] == [3, 1]
    assert settled(graph) is graph


def test_what_stands_between_members_moves_behind_them() -> None:
    graph, _ = recurrent()
    p, z, h, last = graph.nodes
    copy = replace(z, output=Value(90, STATE), call=9)
    scattered = replace(graph, nodes=(p, z, copy, h, last), outputs=(*graph.outputs, copy.output))
    assert settled(scattered).nodes == (p, z, h, copy, last)


def test_a_cycle_that_is_cut_is_none() -> None:
    graph, v = recurrent()
    p, z, h, last = graph.nodes
    h = replace(h, formula=formula(AXES, read("X", n, t, k)), inputs=(v["x"],))
    cut = settled(replace(graph, nodes=(p, z, h, last)))
    assert recurrences(cut) == ()
    assert [node.output for node in cut.nodes] == [v["h"], v["p"], v["z"], v["last"]]
    assert not any(node.delayed for node in cut.nodes)


def test_time_must_be_one_axis() -> None:
    graph, v = recurrent()
    p, z, h, last = graph.nodes
    twice = replace(h, formula=formula(AXES, read("X", n, t, k) + read("Z", n, t - 1, k)))
    with pytest.raises(GraphError, match=r"no axis is the time of the cycle .* reads Z at t-1"):
        recurrences(replace(graph, nodes=(p, z, twice, last)))
    frozen = replace(h, formula=formula(AXES, read("X", n, t, k) + read("Z", n, 0, k)))
    with pytest.raises(GraphError, match="reads Z at a time of its own"):
        recurrences(replace(graph, nodes=(p, z, frozen, last)))
    ahead = replace(p, formula=formula(AXES, read("H", n, t, k)), inputs=(v["h"],))
    with pytest.raises(GraphError, match=f"{p.output} reads {h.output} at no earlier time"):
        recurrences(replace(graph, nodes=(ahead, z, h, last)))
    with pytest.raises(GraphError, match="a cycle without a delay"):
        recurrences(replace(graph, nodes=(replace(p, delayed=()), z, h, replace(last, delayed=(v["h"],)))))


def test_another_shifted_axis_is_not_mistaken_for_time() -> None:
    """A cellular automaton: both neighbours, one step earlier."""
    builder = Builder()
    cells = TensorType((WIDTH, STEPS), DType.FLOAT64)
    x, h = builder.input("x", cells), builder.value(cells)
    near = formula([K_, T_], read("H", k - 1, t - 1) + read("H", k + 1, t - 1))
    near = builder.node("near", near, [h], cells, delayed=[h])
    grown = formula([K_, T_], read("Y", k, t) + read("X", k, t))
    builder.node("cell", grown, [near, x], cells)
    cell = replace(builder.nodes[-1], output=h)
    (found,) = recurrences(replace(builder.graph([h]), nodes=(builder.nodes[0], cell)))
    assert found.axis_of == {near: 1, h: 1}
