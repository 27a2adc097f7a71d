"""Steps that several passes share: exchanging values, and putting a producer into its consumer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from graphc.graph.analysis.recurrences import settled
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.compose import drop_idle_axes, inline, needs_guard, refusal, remap_of
from graphc.ops.formula import rename_operands, value_reads


def exchange(graph: Graph, replacements: Mapping[Value, Value]) -> Graph:
    """The graph with every read, output and update of a value going to its replacement."""
    if not replacements:
        return graph

    def final(v: Value) -> Value:
        while v in replacements:
            v = replacements[v]
        return v

    changed = replace(
        graph,
        nodes=tuple(rewire(n, {v: final(v) for v in n.inputs}) for n in graph.nodes),
        outputs=tuple(final(v) for v in graph.outputs),
        updates=tuple((old, final(new)) for old, new in graph.updates),
    )
    return settled(changed)


def rewire(node: Node, mapping: Mapping[Value, Value]) -> Node:
    """The node reading other values; operands that become one value are merged."""
    inputs = tuple(mapping.get(v, v) for v in node.inputs)
    if inputs == node.inputs:
        return node
    delayed = tuple(dict.fromkeys(mapping.get(v, v) for v in node.delayed))
    return merge_operands(replace(node, inputs=inputs, delayed=delayed))


def merge_operands(node: Node) -> Node:
    """The node with each value given once."""
    if len(set(node.inputs)) == len(node.inputs):
        return node
    first: dict[Value, str] = {}
    names = {o: first.setdefault(v, o) for o, v in zip(node.formula.operands, node.inputs, strict=True)}
    formula = rename_operands(node.formula, names)
    return node.stating(formula, {o: v for v, o in first.items()})


def why_not_inlined(consumer: Node, producer: Node) -> str | None:
    """Why the producer's formula cannot stand in the consumer's, or None."""
    if producer.delayed or producer.output in consumer.delayed:
        return f"{producer.output} is read at another time than it is computed"
    if producer.output.type.dtype != consumer.output.type.dtype:
        return f"{producer.output} is converted to {consumer.output.type.dtype.value} when it is read"
    if _cuts_fractions(producer):
        return f"{producer.output} is cut off to {producer.output.type.dtype.value}, which the formula does not say"
    reasons = (
        refusal(consumer.formula, o, producer.formula)
        for o, v in zip(consumer.formula.operands, consumer.inputs, strict=True)
        if v == producer.output
    )
    return next((r for r in reasons if r is not None), None)


def _cuts_fractions(node: Node) -> bool:
    """Whether integers are made of numbers, which no word of the formula does."""
    operands = dict(zip(node.formula.operands, node.inputs, strict=True))
    return not node.output.type.dtype.is_float and any(
        operands[read.name].type.dtype.is_float for read in value_reads(node.formula.body)
    )


def inlining_needs_guard(consumer: Node, producer: Node) -> bool:
    """Whether the consumer may read outside the producer's box, so that composing adds conditions."""
    shapes = {o: v.type.shape for o, v in zip(producer.formula.operands, producer.inputs, strict=True)}
    return any(
        needs_guard(consumer.formula, o, producer.formula, shapes)
        for o, v in zip(consumer.formula.operands, consumer.inputs, strict=True)
        if v == producer.output
    )


def inline_producer(consumer: Node, producer: Node, *, trusted: bool = False) -> Node:
    """The consumer with the producer's formula wherever it reads the producer's output.

    Raises LoweringError where `why_not_inlined` gives a reason; `trusted` is explained at ops.compose.inline.
    """
    consumer = merge_operands(consumer)
    operand_of = {v: o for o, v in zip(consumer.formula.operands, consumer.inputs, strict=True)}
    operand = operand_of.pop(producer.output)
    names: dict[str, str] = {}
    moved = remap_of(producer.formula) is not None
    for o, v in zip(producer.formula.operands, producer.inputs, strict=True):
        # what is merely moved keeps the name that the consumer gave it
        names[o] = operand_of.setdefault(v, fresh_name(operand if moved else o, operand_of.values()))
    shapes = {o: v.type.shape for o, v in zip(producer.formula.operands, producer.inputs, strict=True)}
    together = inline(consumer.formula, operand, producer.formula, names, shapes=shapes, trusted=trusted)
    formula = drop_idle_axes(together)
    return consumer.stating(formula, {o: v for v, o in operand_of.items()})


def fresh_name(name: str, taken: Collection[str]) -> str:
    """The name itself if it is free, otherwise with the first number that is."""
    candidate, k = name, 1
    while candidate in taken:
        k += 1
        candidate = f"{name}{k}"
    return candidate
