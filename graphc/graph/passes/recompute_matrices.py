"""Matrices again: the backward part computes large products of small operands anew instead of keeping them.

    s = x·y,  p = f(s),  o = p·v;  far away  dp = do·v,  ds = g(p, dp),  dx = ds·y,  dy = dsᵀ·x,  dv = pᵀ·do
    ->   p again for what reads its rows, and transposed, as dsᵀ, for what sums over them

All of it is then computed row by row, and `form_rows` stores no matrix (Dao et al.: FlashAttention, 2022): for a
sequence it would be the square of its length. The price is the product once more in either order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from graphc.graph.analysis.mincut import backward_nodes
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.formula import Formula, Read, reads
from graphc.ops.formula import replace as substitute
from graphc.ops.structure import accesses, product, reads_identity
from graphc.passes import remark
from graphc.types import Batch

LARGE = 1 << 19
"""Bytes of a sample from which a matrix counts: smaller ones stay in the second cache anyway."""


def recompute_matrices(graph: Graph) -> Graph:
    """The graph whose backward part keeps no large matrix of the forward part, and reads none across its rows."""
    later = {node.output for node in backward_nodes(graph)}
    matrices = _matrices(graph, later)
    kept = {v for node in graph.nodes if node.output in later for v in node.inputs if v in matrices} - later
    if not kept:
        return graph
    again = _Again(graph, matrices, later)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.output in later and not matrices.keys().isdisjoint(node.inputs):
            across = any(not _by_rows(node, v) for v in node.inputs if v in matrices)
            node = again.reading(node, across)
            nodes += again.waiting
            again.waiting.clear()
        nodes.append(node)
    for v in kept:
        remark(str(v), "computed again in the backward part, row by row")
    return graph.with_nodes(tuple(nodes))


def _matrices(graph: Graph, later: set[Value]) -> dict[Value, Node]:
    """Large products of smaller operands, and what is made of them in place, if the forward part reads rows alone."""
    found: dict[Value, Node] = {}
    readers = graph.consumers()
    for node in graph.nodes:
        v = node.output
        if not _large(v) or v in graph.results or node.delayed:
            continue
        own = [u for u in node.inputs if u in found]
        pointwise = node.formula.is_pointwise and bool(own) and all(_in_place(node, u) for u in own)
        multiplied = _multiplied(node) and not own
        if (pointwise or multiplied) and all(_by_rows(r, v) for r in readers[v] if r.output not in later):
            found[v] = node
    return found


def _multiplied(node: Node) -> bool:
    """Whether a node multiplies two operands of each sample that are smaller than the result."""
    outer = {a.name for a in node.formula.axes[:-2]}
    if product(node.formula) is None or not outer or not all(outer <= a.axes for a in accesses(node.formula)):
        return False
    return all(2 * v.type.per_sample()[0] <= node.output.type.per_sample()[0] for v in node.inputs)


def _large(v: Value) -> bool:
    """Whether a value is a matrix of many bytes for each sample."""
    size, _ = v.type.per_sample()
    square = v.type.rank >= 2 and not any(isinstance(e, Batch) for e in v.type.shape[-2:])
    return square and v.type.dtype.is_float and size * v.type.dtype.bytes >= LARGE


def _in_place(node: Node, v: Value) -> bool:
    names = [o for o, u in zip(node.formula.operands, node.inputs, strict=True) if u == v]
    return all(reads_identity(node.formula, o) for o in names)


def _by_rows(node: Node, v: Value) -> bool:
    """Whether a node reads a value in the places of its own first axes, whole rows at a time."""
    names = {o for o, u in zip(node.formula.operands, node.inputs, strict=True) if u == v}
    own = tuple(a.name for a in node.formula.axes[: v.type.rank - 1])
    rows = [a.bare[:-1] for a in accesses(node.formula) if a.operand in names]
    return len(own) == v.type.rank - 1 and all(r == own for r in rows)


@dataclass(slots=True)
class _Again:
    """Copies of matrices as they are asked for; `waiting` are those whose nodes have no place yet."""

    graph: Graph
    matrices: dict[Value, Node]
    later: set[Value]
    waiting: list[Node] = field(default_factory=list)
    copies: dict[tuple[Value, bool], Value] = field(default_factory=dict)

    def reading(self, node: Node, across: bool) -> Node:
        """A node reading copies: its own rows, or with `across` transposed ones."""
        mine = {u: self._copy(u, across) for u in node.inputs if u in self.matrices}
        names = {o for o, u in zip(node.formula.operands, node.inputs, strict=True) if u in mine}
        f = _turned(node.formula, names) if across else node.formula
        return replace(node, formula=f, inputs=tuple(mine.get(u, u) for u in node.inputs))

    def _copy(self, v: Value, across: bool) -> Value:
        if v in self.later and not across:
            return v
        if (v, across) not in self.copies:
            node = self.reading(self.matrices[v], across)
            number = len(self.copies)
            type, f = v.type, node.formula
            if across:
                *outer, rows, columns = f.axes
                f = replace(f, axes=(*outer, columns, rows))
                type = replace(type, shape=(*type.shape[:-2], *type.shape[:-3:-1]))
            copy = Value(self.graph.next_id() + number, type)
            call = self.graph.next_call() + number
            self.waiting.append(replace(node, formula=f, output=copy, origin=v.id, call=call))
            self.copies[v, across] = copy
        return self.copies[v, across]


def _turned(f: Formula, names: set[str]) -> Formula:
    """The formula reading transposed matrices."""
    mine = [r for r in reads(f) if r.name in names]
    turned = {r: Read(r.args[0], *r.index[:-2], r.index[-1], r.index[-2]) for r in mine}
    return replace(
        f, body=substitute(f.body, turned), conditions=tuple(substitute(c, turned) for c in f.conditions)
    )  # fmt: skip
