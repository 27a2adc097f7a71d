from __future__ import annotations

from dataclasses import replace

from graphc.graph.passes import eliminate_dead_code
from graphc.types import BATCH
from tests.graph.passes.build import after, build
from tests.strategies import add, hyperbolic, relu, softmax


def test_unused_nodes_go(golden) -> None:
    def body(b, x):
        kept = b.apply(relu, (x,))
        b.apply(softmax, (b.apply(hyperbolic, (kept,)),))
        return [b.apply(add, (kept, x))]

    assert after(eliminate_dead_code, build(body, (BATCH, 4))) == golden


def test_what_an_update_needs_is_alive() -> None:
    graph = build(lambda b, x: [b.apply(relu, (x,)), b.apply(hyperbolic, (x,))], (3,))
    first, second = graph.outputs
    trained = replace(graph, inputs=(), parameters=graph.inputs, outputs=(first,), updates=((graph.inputs[0], second),))
    assert eliminate_dead_code(trained) is trained
    untrained = eliminate_dead_code(replace(trained, updates=()))
    assert [n.output for n in untrained.nodes] == [first]
