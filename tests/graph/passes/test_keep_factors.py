"""Costly factors of adjoints are computed in the forward part, where that keeps no more values."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc as gc
from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.ir import Graph
from graphc.graph.passes.keep_factors import keep_factors


def graph(activation: Any) -> Graph:
    hidden = gc.Dense(8, activation, name="hidden")(gc.input("x", (gc.BATCH, 5)))
    loss = (gc.Dense(3, name="output")(hidden) ** 2).mean()
    built: Graph = gc.compile_training(loss, stop_after="hoist_invariants")
    return built


def functions(g: Graph) -> tuple[int, int]:
    """How many nodes with exp or erf the forward and the backward part hold."""
    later = {n.output for n in backward_nodes(g)}
    costly = [n for n in g.nodes if any(f in str(n.formula) for f in ("exp", "erf", "normal_cdf"))]
    return sum(n.output not in later for n in costly), sum(n.output in later for n in costly)


def test_the_slope_of_gelu_takes_the_place_of_its_argument() -> None:
    before = graph("gelu")
    after = keep_factors(before)
    assert functions(before) == (1, 1)
    assert functions(after) == (2, 0)
    (slope,) = [n for n in after.nodes if n.output not in {m.output for m in before.nodes}]
    (argument,) = slope.inputs
    later = {n.output for n in backward_nodes(after)}
    assert not any(argument in n.inputs for n in after.nodes if n.output in later)


def test_what_costs_little_is_left_alone() -> None:
    before = graph("relu")
    assert keep_factors(before) is before


def test_the_gradient_stays_what_it_was() -> None:
    layer = gc.Dense(4, "gelu", name="layer")
    x = gc.input("x", (gc.BATCH, 3), "float64")
    loss = (layer(x) ** 2).mean()
    report = gc.check_gradients(loss, {"x": np.random.default_rng(0).standard_normal((5, 3))})
    assert report.ok, report
