"""Log-sum-exp: a plain sum of exponentials is shifted by its largest exponent, so that it cannot overflow."""

from __future__ import annotations

from dataclasses import replace

from graphc.graph.ir import Graph, Node, Value
from graphc.graph.passes.eliminate_dead_code import eliminate_dead_code
from graphc.graph.rewriting import fresh_name, inline_producer, merge_operands, why_not_inlined
from graphc.ops.stable_composition import (
    exponent_of_sum,
    has_exponential,
    operands_beside_exponentials,
    reading_shifted,
    shifted_sum,
)
from graphc.passes import remark


def shift_exponential_sums(graph: Graph) -> Graph:
    """s = Σ exp(u) becomes exp(m)·Σ exp(u - m), m = max u, with exp(m) absorbed by every reader.

    log(s) becomes m + log(s'), exp(u)/s becomes exp(u - m)/s'. A sum that is a result of the graph, that is
    shifted already, or of which one reader has no use for a shift, stays as it is.
    """
    for node in graph.nodes:
        shifted = _shift(graph, node) if node.formula.reduction == "sum" else None
        if shifted is not None:
            remark(str(node.output), "the sum of exponentials was shifted by the largest exponent")
            graph = shifted
    return graph


def _shift(graph: Graph, original: Node) -> Graph | None:
    """The graph with one sum shifted, or None where it is no sum of exponentials or must stay."""
    if original.output in graph.results:
        return None
    producers = graph.producers()
    total = _sum_of_exponentials(original, producers)
    if total is None:
        return None
    values = dict(zip(total.formula.operands, total.inputs, strict=True))
    if any(v in producers and producers[v].formula.reduction == "max" for v in values.values()):
        return None
    largest = Value(graph.next_id(), total.output.type)
    name = fresh_name("largest", total.formula.operands)
    top, rest = shifted_sum(total.formula, name)
    rewritten: dict[Value, Node] = {}
    for consumer in graph.consumers()[total.output]:
        reader = _reader(consumer, total.output, largest, producers)
        if reader is None:
            remark(str(total.output), f"not shifted: {consumer.output} reads the sum itself")
            return None
        rewritten[consumer.output] = reader
    values[name] = largest
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.output == total.output:
            operator = f"{total.operator}.largest"
            nodes.append(replace(total, operator=operator, output=largest).stating(top, values))
            nodes.append(total.stating(rest, values))
        else:
            nodes.append(rewritten.get(node.output, node))
    return eliminate_dead_code(graph.with_nodes(tuple(nodes)))


def _sum_of_exponentials(node: Node, producers: dict[Value, Node]) -> Node | None:
    """The node as Σ exp(u), the node that exponentiates taken in; None if it is no such sum."""
    if exponent_of_sum(node.formula) is not None:
        return node
    for v in dict.fromkeys(node.inputs):
        if v not in producers or not has_exponential(producers[v].formula):
            continue
        if why_not_inlined(node, producers[v]) is None:
            together = inline_producer(node, producers[v], trusted=True)
            if exponent_of_sum(together.formula) is not None:
                return together
    return None


def _reader(consumer: Node, total: Value, largest: Value, producers: dict[Value, Node]) -> Node | None:
    """A consumer reading the shifted sum and the shift, exponentials beside it taken in if need be."""
    if total in consumer.delayed:
        return None
    consumer = merge_operands(consumer)
    for candidate in (consumer, _with_exponentials(consumer, total, producers)):
        name = fresh_name("largest", candidate.formula.operands)
        values = dict(zip(candidate.formula.operands, candidate.inputs, strict=True)) | {name: largest}
        operand = next(o for o, v in values.items() if v == total)
        formula = reading_shifted(candidate.formula, operand, name)
        if formula is not None:
            return candidate.stating(formula, values)
    return None


def _with_exponentials(consumer: Node, total: Value, producers: dict[Value, Node]) -> Node:
    """The consumer with the pointwise nodes taken in that exponentiate and that it reads beside the sum."""
    values = dict(zip(consumer.formula.operands, consumer.inputs, strict=True))
    for operand in operands_beside_exponentials(consumer.formula):
        producer = producers.get(values[operand])
        if producer is None or producer.output == total or not has_exponential(producer.formula):
            continue
        if producer.output in consumer.inputs and why_not_inlined(consumer, producer) is None:
            consumer = inline_producer(consumer, producer, trusted=True)
    return consumer
