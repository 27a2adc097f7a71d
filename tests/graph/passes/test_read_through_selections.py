"""Selections disappear into the one pointwise formula that reads them."""

from __future__ import annotations

import graphc as gc
from graphc.graph.passes.read_through_selections import read_through_selections
from graphc.graph.verifier import verify
from tests.schedule.build import graph_of


def test_a_shortcut_is_added_where_it_is_read() -> None:
    x, h = gc.input("x", (gc.BATCH, 2, 4, 4)), gc.input("h", (gc.BATCH, 5, 2, 2))
    after = read_through_selections(graph_of(h + gc.subsample(x, 2, 5)))
    verify(after)
    (node,) = after.nodes
    assert {v.name for v in node.inputs} == {"x", "h"}


def test_it_stays_where_several_read_it_or_a_sum_does() -> None:
    x = gc.input("x", (gc.BATCH, 2, 4, 4))
    s = gc.subsample(x, 2, 5)
    for outputs in ((gc.tanh(s), gc.exp(s)), (s.sum((2, 3)),), (s,)):
        graph = graph_of(*outputs)
        assert read_through_selections(graph) is graph
