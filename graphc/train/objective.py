"""What a model is trained for: a loss by name, by function or by tensor, several of them with weights, and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from graphc.dsl import functional
from graphc.dsl.tensor import Input, Tensor, input
from graphc.dsl.trace import ordered
from graphc.errors import GraphcError
from graphc.models.classifier import Classifier
from graphc.train.metrics.metric import Measured, statistics_of
from graphc.train.metrics.names import named as metric_named
from graphc.types import BATCH

Array = npt.NDArray[Any]
Loss: TypeAlias = "Tensor | str | Callable[[Any, Any], Tensor]"

BY_CLASS: dict[str, Callable[..., Any]] = {
    "cross_entropy": functional.cross_entropy,
    "categorical_cross_entropy": functional.categorical_cross_entropy,
    "focal": functional.focal_loss,
    "nll": functional.nll_loss,
    "multi_margin": functional.multi_margin_loss,
}
"""Losses of scores [n, classes, ...] and class numbers [n, ...]; they take weights of the classes."""

BY_ELEMENT: dict[str, Callable[..., Any]] = {
    "mse": functional.mse_loss,
    "mae": functional.mae_loss,
    "huber": functional.huber_loss,
    "smooth_l1": functional.smooth_l1_loss,
    "log_cosh": functional.log_cosh_loss,
    "binary_cross_entropy": functional.binary_cross_entropy,
    "binary_cross_entropy_with_logits": functional.binary_cross_entropy_with_logits,
    "poisson_nll": functional.poisson_nll_loss,
    "kl_div": functional.kl_div,
    "hinge": functional.hinge_loss,
    "squared_hinge": functional.squared_hinge_loss,
}
"""Losses of outputs and targets of the same shape."""


class Classified(Protocol):
    """The tensors of a classifying network, as `graphc.models` makes them."""

    @property
    def images(self) -> Any: ...
    @property
    def labels(self) -> Any: ...
    @property
    def logits(self) -> Any: ...
    @property
    def loss(self) -> Any: ...
    @property
    def accuracy(self) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """The loss, what is reported besides, and how the loss is made when classes have weights."""

    loss: Any
    metrics: Mapping[str, Measured] = field(default_factory=dict)
    targets: tuple[Input, ...] = ()
    """The inputs that were declared for the targets."""
    weighted: Callable[[Tensor], Tensor] | None = None
    """The loss as a function of the weights of the classes; None if it cannot have any."""
    classes: int = 0
    dtype: str = "float32"


def objective(
    outputs: Any, loss: Any, metrics: Any, y: str | Input | None = None, weights: Mapping[str, float] | None = None
) -> Objective:
    """The objective of outputs: one loss, or for outputs by name a dict of losses, whose weighted sum it is.

    Parts of the sum are reported as "NAME_loss". Metrics are a dict of tensors and Metrics, or names; for several
    outputs a dict may hold names for each. Raises GraphcError for names that do not go together.
    """
    if isinstance(loss, Mapping):
        found = _several(outputs, loss, weights or {})
    elif weights:
        raise GraphcError("loss_weights needs a dict of losses", hint='loss={"class": ..., "box": ...}')
    else:
        found = _single(outputs, loss, y)
    return replace(found, metrics={**found.metrics, **_metrics(outputs, metrics, found, y)})


def _single(outputs: Any, loss: Any, y: str | Input | None) -> Objective:
    """The objective of one loss. A target that is not there yet is declared."""
    if isinstance(loss, str):
        function, by_class = _named(loss), loss in BY_CLASS
    elif callable(loss):
        function, by_class = loss, False
    else:
        return Objective(loss)
    made: tuple[Input, ...] = ()
    if isinstance(y, Input):
        target = y
    else:
        if not isinstance(outputs, Tensor):
            kind = type(outputs).__name__
            raise GraphcError(f"a loss of {kind} needs its target", hint="y=gc.input(...), or a dict of losses")
        target = _target(y or ("labels" if by_class else "targets"), outputs, by_class)
        made = (target,)
    weighted, classes = None, 0
    if by_class:
        weighted, classes = (lambda w: function(outputs, target, w)), outputs.shape[1]
    return Objective(function(outputs, target), {}, made, weighted, classes, outputs.dtype.value)


def of_classifier(given: Classified) -> Objective:
    """The objective of a classifier. Classes can have weights where its loss is known to be the cross-entropy."""
    metrics, logits = {"accuracy": given.accuracy}, given.logits
    if not isinstance(given, Classifier):
        return Objective(given.loss, metrics)

    def weighted(weight: Tensor) -> Tensor:
        return functional.cross_entropy(logits, given.labels, weight)

    return Objective(given.loss, metrics, (), weighted, logits.shape[1], logits.dtype.value)


def _several(outputs: Any, losses: Mapping[str, Loss], weights: Mapping[str, float]) -> Objective:
    """The weighted sum of losses of outputs by name."""
    if not isinstance(outputs, Mapping):
        raise GraphcError("a dict of losses needs a dict of outputs", hint='outputs={"class": ..., "box": ...}')
    for what, given in (("loss", losses), ("loss_weights", weights)):
        known = outputs if what == "loss" else losses
        if unknown := [name for name in given if name not in known]:
            raise GraphcError(f"{what} names {unknown[0]!r}, but there are {', '.join(known)}")
    parts = {name: _single(outputs[name], loss, name) for name, loss in losses.items()}
    terms = [part.loss * weights[name] if name in weights else part.loss for name, part in parts.items()]
    total = sum(terms[1:], terms[0])
    made = tuple(target for part in parts.values() for target in part.targets)
    return Objective(total, {f"{name}_loss": part.loss for name, part in parts.items()}, made)


def _named(name: str) -> Callable[..., Any]:
    known = {**BY_CLASS, **BY_ELEMENT}
    if name not in known:
        near = get_close_matches(name, known, 1)
        raise GraphcError(
            f"there is no loss named {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else f"the names are {', '.join(known)}; or give a function",
        )
    return known[name]


def _target(name: str, outputs: Tensor, by_class: bool) -> Input:
    """The input for the targets of outputs: class numbers, or elements of the same shape."""
    if outputs.shape[:1] != (BATCH,) or (by_class and len(outputs.shape) < 2):
        expected = "[n, classes, ...]" if by_class else "[n, ...]"
        raise GraphcError(f"a loss by name needs outputs {expected}, got shape {outputs.shape}")
    if by_class:
        return input(name, (BATCH, *outputs.shape[2:]), "int64")
    return input(name, outputs.shape, outputs.dtype)


def _metrics(outputs: Any, metrics: Any, found: Objective, y: str | Input | None) -> dict[str, Measured]:
    """Metrics as they are, and those of names."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        return {name: _metric(name, outputs, y, found) for name in _listed(metrics)}
    result: dict[str, Measured] = {}
    for name, metric in metrics.items():
        if isinstance(metric, str | list | tuple):  # the names of metrics of one output
            if not isinstance(outputs, Mapping) or name not in outputs:
                raise GraphcError(f"metrics name {name!r}, which is no output", hint='metrics=["accuracy"]')
            result |= {f"{name}_{each}": _metric(each, outputs[name], name, found) for each in _listed(metric)}
        else:
            result[name] = metric
    return result


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


def _metric(name: str, outputs: Any, y: str | Input | None, found: Objective) -> Measured:
    """The metric of a name, for the target that is called y, or for the only one."""
    if isinstance(y, Input):
        return metric_named(name, outputs, y)
    inputs = {t.name: t for t in (*found.targets, *inputs_of([found.loss]))}
    of_outputs = {t.name for t in inputs_of([outputs])}
    targets = [t for n, t in inputs.items() if (n == y if y is not None else n not in of_outputs)]
    if len(targets) != 1 or not isinstance(outputs, Tensor):
        raise GraphcError(
            f"which target is metric {name!r} for? The loss reads {', '.join(inputs)}",
            hint="give the metric itself: metrics={'" + name + "': gc.metrics." + name + "(outputs, y)}",
        )
    return metric_named(name, outputs, targets[0])


def inputs_of(tensors: Iterable[Any]) -> list[Input]:
    """The inputs that tensors depend on; tensors in dicts and lists count too."""
    return [t for t in ordered(_flat(tensors)) if isinstance(t, Input)]


def _flat(tensors: Iterable[Any]) -> Iterable[Tensor]:
    for tensor in tensors:
        match tensor:
            case Tensor():
                yield tensor
            case Mapping():
                yield from _flat(tensor.values())
            case list() | tuple():
                yield from _flat(tensor)


def flat(outputs: Any, loss: Any, metrics: Mapping[str, Measured]) -> list[Tensor]:
    """Every tensor of a model."""
    return [*_flat([outputs, loss]), *_flat([statistics_of(metrics)])]


def weights_of_classes(given: Any, found: Objective, labels: Array | None) -> Array:
    """A weight for each class; "balanced" counts the labels.

    Raises GraphcError for classes that there are not, and for negative weights.
    """
    count, dtype = found.classes, np.dtype(found.dtype)
    if isinstance(given, str):
        if given != "balanced" or labels is None:
            raise GraphcError(f'class_weight is {given!r}, expected weights, or "balanced" for arrays')
        sizes = np.bincount(np.ravel(labels), minlength=count)
        return (sizes.sum() / (count * np.maximum(sizes, 1))).astype(dtype)
    if isinstance(given, Mapping):
        if unknown := [c for c in given if not (isinstance(c, int | np.integer) and 0 <= c < count)]:
            raise GraphcError(f"class_weight has a class {unknown[0]!r}, expected 0..{count - 1}")
        weights = np.array([given.get(c, 1.0) for c in range(count)], dtype)
    else:
        weights = np.asarray(given, dtype)
    if weights.shape != (count,):
        raise GraphcError(f"class_weight has shape {weights.shape}, expected one weight for each of {count} classes")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise GraphcError(f"class_weight must be finite and not negative, one above 0, got {weights}")
    return weights
