"""Winograd: sums of products that slide one operand over another as four formulas with fewer multiplications.

The rewriting is exact mathematics; what is decided here is whether it pays and how much rounding it may cost.

    off     never
    auto    the fastest tile whose error stays within LIMIT times that of the best peers' direct convolutions
    fast    the fastest tile

docs/winograd.md holds the measurements behind the constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod, sqrt
from typing import Literal

from graphc.errors import GraphcError
from graphc.graph.analysis.recurrences import members
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Node, Value
from graphc.ops.correlation import Correlation, Tiled, correlation, tiled
from graphc.ops.cost import volume
from graphc.ops.formula import Axis, Constants, Formula
from graphc.ops.winograd import amplification
from graphc.passes import remark
from graphc.target import Target
from graphc.types import Batch, DType, Extent, TensorType

Policy = Literal["off", "auto", "fast"]
Shapes = tuple[tuple[str, tuple[Extent, ...]], ...]

TILES = (2, 3, 4)
WORTH = 1.2
"""The predicted gain from which the rewriting is worth its code."""
TYPICAL_BATCH = 64

ADD, TOUCH, FAR = 0.4, 0.5, 4.0
"""Prices in multiply-adds of one vector: an operation of a transform, a vector kept in cache, one that leaves it."""

LIMIT, MARGIN = 4.0, 1.25
"""Times the error of the best peer, and how far a prediction may be off."""
TRANSFORM, SUM, PEER_SUM = 0.3, 0.25, 0.22
"""Rounding in units of the last place: that of the transforms, and that of a sum of n products for each √n."""
PEER_CHANNELS, PEER_PARTS = 16, 12
"""Peers total blocks of 16 channels; their gradients of filters are as exact as sums over a twelfth of the terms."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a node is rewritten, with which tiles, and why; `error` is relative to the best peer's direct form."""

    taken: bool
    reason: str
    tiles: tuple[int, ...] = ()
    gain: float = 1.0
    error: float = 0.0


RECURRENT = Decision(False, "it runs one step of time after another")


def apply_winograd(graph: Graph, target: Target, policy: Policy = "auto", chain: int | None = None) -> Graph:
    """The graph with correlations computed by Winograd's method where `decide` takes it.

    Raises GraphcError for an unknown policy.
    """
    if policy not in ("off", "auto", "fast"):
        raise GraphcError(f'winograd is "{policy}"', hint='choose "off", "auto" or "fast"')
    if policy == "off":
        return graph
    builder = Builder(graph)
    builder.nodes = []
    recurrent = members(graph)
    for node in graph.nodes:
        decision = RECURRENT if node.output in recurrent else decide(node, target, policy, chain)
        if node.formula.reduction == "sum":
            remark(str(node.output), decision.reason)
        if decision.taken:
            builder.nodes += rewritten(node, decision.tiles, builder)
        else:
            builder.nodes.append(node)
    return graph.with_nodes(tuple(builder.nodes))


def decide(node: Node, target: Target, policy: Policy = "auto", chain: int | None = None) -> Decision:
    """Whether and how a node is computed by Winograd's method.

    The schedule adds up as many products as the root of their number, but at least `chain`, before it totals such
    sums; all of them for None. The shorter, the smaller the error, and so the larger the tiles that "auto" may use.
    """
    if policy == "off":
        return Decision(False, "it is off")
    return _decided(node.formula, _shapes(node), node.output.type.dtype, target, policy, chain)


@lru_cache(maxsize=4096)
def _decided(f: Formula, shapes: Shapes, dtype: DType, target: Target, policy: Policy, chain: int | None) -> Decision:
    """Equal layers are decided once."""
    if not dtype.is_float:
        return Decision(False, f"{dtype.value} has no fractions")
    found = correlation(f, dict(shapes))
    if isinstance(found, str):
        return Decision(False, found)
    lanes = target.lanes(dtype)
    thin = _thin(found, lanes)
    if thin:
        return Decision(False, thin)
    best = Decision(False, f"no tile has less than {LIMIT:g} times the error of a direct convolution", gain=0.0)
    direct = volume(f)(TYPICAL_BATCH) / lanes
    for tiles in product(*[TILES if p.taps > 1 else (1,) for p in found.pairs]):
        error = predicted_error(found, tiles, chain)
        if policy == "auto" and error * MARGIN > LIMIT:
            continue
        gain = direct / vector_operations(tiled(f, found, tiles), found, tiles, target, dtype)
        if gain > best.gain:
            best = Decision(gain >= WORTH, _reason(found, tiles, gain, error), tiles, gain, error)
    return best


def structure(node: Node) -> Correlation | str:
    """The correlation that a node computes, or why it is none."""
    return correlation(node.formula, dict(_shapes(node)))


def _shapes(node: Node) -> Shapes:
    return tuple((o, v.type.shape) for o, v in zip(node.formula.operands, node.inputs, strict=True))


def _thin(found: Correlation, lanes: int) -> str | None:
    """Transforms need vectors of channels, where a direct form may lay its vectors along the window."""
    channels = found.free if found.gradient else found.shared
    for name, axes in (("channels", channels), ("features", found.features)):
        size = max((a.extent for a in axes if isinstance(a.extent, int)), default=1)  # lanes run along one axis
        if size < lanes:
            return f"{size} {name} are less than a vector of {lanes}"
    return None


def _reason(found: Correlation, tiles: Sequence[int], gain: float, error: float) -> str:
    def sides(sizes: Sequence[int]) -> str:
        return "x".join(map(str, sizes))

    taps = [p.taps for p in found.pairs]
    outputs, filters = (taps, tiles) if found.gradient else (tiles, taps)
    enough = "" if gain >= WORTH else f", less than the {WORTH} that are worth it"
    return (
        f"F({sides(outputs)}, {sides(filters)}) has {error:.1f} times the error of a direct convolution "
        f"and 1/{gain:.2f} of its operations{enough}"
    )


# ------------------------------------------------------------------------------------------------- accuracy


def predicted_error(found: Correlation, tiles: Sequence[int], chain: int | None = None) -> float:
    """The largest error of a result, relative to that of the most exact direct convolution of the peers.

    The largest of many errors lies between what the mean and what the worst output of a tile let expect.
    """
    each = [amplification(t.outputs, t.taps) for t in found.transforms(tiles)]
    largest = sqrt(prod(e.mean * e.worst for e in each))
    taps = prod(p.taps for p in found.pairs)
    terms = _size(found.shared)
    if found.gradient:
        positions = terms * _size([p.long for p in found.pairs])
        terms *= prod(-(-_size([p.long]) // m) for p, m in zip(found.pairs, tiles, strict=True))
        peers = max(1, positions // PEER_PARTS)
    else:
        peers = min(terms, PEER_CHANNELS) * taps
    run = terms if chain is None else max(chain, sqrt(terms))
    added = terms if run >= terms else run + terms / run
    return largest * (TRANSFORM + SUM * sqrt(added)) / (PEER_SUM * sqrt(peers))


# ----------------------------------------------------------------------------------------------------- work


def vector_operations(formulas: Tiled, found: Correlation, tiles: Sequence[int], target: Target, dtype: DType) -> float:
    """Multiply-adds of whole vectors that the four formulas take, transforms and their memory traffic included.

    The schedule keeps what belongs to a tile in cache. The transformed filter, or the gradient of one before it is
    transformed, is held as a whole.
    """
    transforms, lanes = found.transforms(tiles), target.lanes(dtype)
    size = prod(t.size for t in transforms)

    def transform(f: Formula, lane: Sequence[Axis], tables: Sequence[Constants], whole: bool = False) -> float:
        """One transform of the values of `f` apart from the tile's own axes, each written and read once."""
        axes = f.axes[len(tiles) :]
        far = whole and size * _size(axes) * dtype.bytes > target.l2
        vectors = _size(axes) // _size(lane) * _vectors(lane, lanes)
        return vectors * (ADD * separable_operations(tables) + 2 * size * (FAR if far else TOUCH))

    channels = found.free if found.gradient else found.shared
    product = _size((*formulas.product.axes, *formulas.product.over)) // _size(found.features)
    return (
        product * _vectors(found.features, lanes)
        + transform(formulas.data, channels, [t.B for t in transforms])
        + transform(formulas.filter, found.features, [t.G for t in transforms], not found.gradient)
        + transform(formulas.product, found.features, [t.A for t in transforms], found.gradient)
    )


def separable_operations(tables: Sequence[Constants]) -> int:
    """Multiply-adds of tables applied one axis after the other, zeros left out."""
    rows, columns = [t.shape[0] for t in tables], [t.shape[1] for t in tables]
    return sum(
        sum(v != 0 for row in t.rows for v in row) * prod(rows[:k]) * prod(columns[k + 1 :])
        for k, t in enumerate(tables)
    )


def _size(axes: Sequence[Axis]) -> int:
    return prod(TYPICAL_BATCH if isinstance(a.extent, Batch) else a.extent for a in axes)


def _vectors(axes: Sequence[Axis], lanes: int) -> int:
    return -(-_size(axes) // lanes)


# ------------------------------------------------------------------------------------------------ rewriting


def rewritten(node: Node, tiles: Sequence[int], builder: Builder) -> list[Node]:
    """The four nodes in place of one that is a correlation; the last has the node's output."""
    found = structure(node)
    assert isinstance(found, Correlation)
    formulas = tiled(node.formula, found, tiles)
    values = dict(zip(node.formula.operands, node.inputs, strict=True))
    nodes: list[Node] = []

    def add(name: str, f: Formula, output: Value | None = None) -> Value:
        output = output or builder.value(TensorType(f.shape, node.output.type.dtype))
        inputs = tuple(values[o] for o in f.operands)
        nodes.append(replace(node, operator=f"winograd.{name}", formula=f, inputs=inputs, output=output))
        return output

    values = {"U": add("filter", formulas.filter), "V": add("data", formulas.data)}
    values = {"M": add("product", formulas.product)}
    add("result", formulas.result, node.output)
    return nodes
