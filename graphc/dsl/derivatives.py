"""Derivatives as tensors: they can be printed, compiled, and differentiated again inside of a loss.

    slope = gc.gradient(critic(x).sum(), x)
    penalty = ((gc.norm(slope, axis=1) - 1) ** 2).mean()

The derivation happens on the graph of formulas, when it is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from graphc.autodiff import backward
from graphc.autodiff.jacobian import jacobian as rows_of
from graphc.dsl.expansion import Expansion
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import DerivativeError, GraphcError, GraphError, ShapeError
from graphc.graph.builder import Builder
from graphc.graph.ir import Graph, Value
from graphc.graph.passes.stabilise_composites import stabilise_composites
from graphc.types import Batch, TensorType

__all__ = ["gradient", "hessian", "hessian_vector_product", "jacobian", "jvp", "vjp"]

OneOrMore: TypeAlias = "Tensor | Sequence[Tensor]"
Like = TypeVar("Like", Tensor, Sequence[Tensor])
"""One tensor for one tensor, a tuple for several."""

Derivation: TypeAlias = Callable[..., tuple[Graph, tuple[Value, ...]]]
"""From a graph and groups of its values to a longer graph and the results."""


def gradient(loss: Tensor, wrt: Like) -> Like:
    """∂loss/∂w, with the shape of w: a tensor for one w, a tuple for several.

    `wrt` are inputs, parameters or tensors between them and the loss; where the loss does not depend on one, its
    gradient is zero. Raises DerivativeError for a loss that is not a scalar and for integers.
    """
    targets = _several(wrt, "wrt")
    if loss.shape:
        raise DerivativeError(
            f"the loss has shape {loss.shape}, expected a scalar", location=caller(),
            hint="reduce it with .mean() or .sum(), or pull a cotangent back with gc.vjp",
        )  # fmt: skip
    return _like(wrt, _derived(lambda g, y, ws: backward.gradients(g, y[0], ws), _types(targets), (loss,), targets))


def vjp(outputs: OneOrMore, wrt: Like, cotangents: OneOrMore) -> Like:
    """Σ_y v_y · ∂y/∂w, with the shape of w, for cotangents v with the shapes of the outputs.

    Raises ShapeError where cotangents do not fit, DerivativeError for integers.
    """
    y, w = _several(outputs, "outputs"), _several(wrt, "wrt")
    v = _fitting(cotangents, "cotangent", y, "output")
    return _like(wrt, _derived(lambda g, y, v, w: backward.vjp(g, zip(y, v, strict=True), w), _types(w), y, v, w))


def jvp(outputs: Like, wrt: OneOrMore, tangents: OneOrMore) -> Like:
    """Σ_w ∂y/∂w · t_w, with the shape of y, for tangents t with the shapes of `wrt`.

    Raises ShapeError where tangents do not fit, DerivativeError for integers.
    """
    y, w = _several(outputs, "outputs"), _several(wrt, "wrt")
    t = _fitting(tangents, "tangent", w, "wrt")
    return _like(outputs, _derived(lambda g, y, w, t: backward.jvp(g, y, zip(w, t, strict=True)), _types(y), y, w, t))


def hessian_vector_product(loss: Tensor, wrt: Like, vectors: OneOrMore) -> Like:
    """Σ_u ∂²loss/∂w∂u · v_u, with the shape of w, for vectors v with the shapes of `wrt`; no Hessian is formed.

    Raises DerivativeError for a loss that is not a scalar and for integers, ShapeError where vectors do not fit.
    """
    targets = _several(wrt, "wrt")
    return vjp(gradient(loss, targets), wrt, _fitting(vectors, "vector", targets, "wrt"))


def jacobian(outputs: OneOrMore, wrt: OneOrMore) -> Any:
    """∂y[o]/∂w[i] with the shape o + i; a tuple over several `wrt`, in a tuple over several outputs.

    All rows are computed side by side, so the memory is that of one gradient times the size of y: for small outputs.
    Raises DerivativeError for an output with a batch axis and for integers.
    """
    return _like(outputs, [_like(wrt, _rows(y, _several(wrt, "wrt"))) for y in _several(outputs, "outputs")])


def hessian(loss: Tensor, wrt: OneOrMore) -> Any:
    """∂²loss/∂w[i]∂u[j] with the shape i + j; for several `wrt` a tuple over w of tuples over u. For small ones.

    Raises DerivativeError for a loss that is not a scalar, for integers and for `wrt` with a batch axis.
    """
    return jacobian(_like(wrt, gradient(loss, _several(wrt, "wrt"))), wrt)


# ---------------------------------------------------------------------------------------------------- pieces


class _Derivative(Expansion):
    """What a derivation appends to the graph, from the values of its groups of tensors."""

    def __init__(self, derive: Derivation, types: Iterable[TensorType], groups: Sequence[Sequence[Tensor]]) -> None:
        super().__init__([t for group in groups for t in group], types)
        self.derive, self.sizes, self.location = derive, tuple(map(len, groups)), caller()

    def expand(self, builder: Builder, values: Mapping[Tensor, Value]) -> tuple[Value, ...]:
        """The derived nodes. Logarithms of exponentials are made stable first, as they are for a whole loss."""
        stable = stabilise_composites(builder.graph(builder.graph(()).values))
        operands = iter(values[t] for t in self.operands)
        groups = [tuple(islice(operands, size)) for size in self.sizes]
        try:
            extended, results = self.derive(stable, *groups)
        except GraphcError as error:
            raise error.at(self.location) from None
        builder.extend(extended)
        return results


def _derived(derive: Derivation, types: Iterable[TensorType], *groups: Sequence[Tensor]) -> tuple[Tensor, ...]:
    for t in (t for group in groups for t in group):
        if not t.dtype.is_float:
            raise DerivativeError(
                f"{t!r} holds integers, which have no derivative", location=caller(),
                hint="ask for derivatives of and with respect to floating-point tensors",
            )  # fmt: skip
    return _Derivative(derive, types, groups).parts


def _rows(y: Tensor, wrt: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if any(isinstance(e, Batch) for e in y.shape):
        raise DerivativeError(
            f"the Jacobian of an output of shape {y.shape} would have the batch twice", location=caller(),
            hint="declare the inputs with a fixed number of samples, or sum the output over the batch",
        )  # fmt: skip
    types = [TensorType((*y.shape, *w.shape), y.dtype) for w in wrt]
    return _derived(lambda graph, y, ws: rows_of(graph, y[0], ws), types, (y,), wrt)


def _types(tensors: Iterable[Tensor]) -> list[TensorType]:
    return [t.type for t in tensors]


def _several(tensors: OneOrMore, what: str) -> tuple[Tensor, ...]:
    given = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    for t in given:
        if not isinstance(t, Tensor):
            raise GraphError(f"{what} must be tensors, got {type(t).__name__}", location=caller())
    if not given:
        raise GraphError(f"{what} is empty: name at least one tensor", location=caller())
    return given


def _like(asked: OneOrMore, results: Sequence[Any]) -> Any:
    return results[0] if isinstance(asked, Tensor) else tuple(results)


def _fitting(given: OneOrMore, what: str, targets: tuple[Tensor, ...], whose: str) -> tuple[Tensor, ...]:
    vectors = _several(given, f"{what}s")
    if len(vectors) != len(targets):
        raise ShapeError(f"got {len(vectors)} {what}s for {len(targets)} {whose}", location=caller())
    for k, (v, t) in enumerate(zip(vectors, targets, strict=True)):
        if v.type != t.type:
            raise ShapeError(
                f"{what} {k} is {v.type}, expected {t.type} like its {whose}", location=caller(),
                hint=f"a {what} has the shape and the dtype of what it belongs to",
            )  # fmt: skip
    return vectors
