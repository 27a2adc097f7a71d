"""What is to be done to samples before a network sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.train.data.gathered import Mixing, Step


@dataclass(frozen=True, slots=True, eq=False)
class Augmented:
    """Samples and the steps that change them: what `augmented` returns and `fit` takes."""

    data: Any
    steps: tuple[Step | Mixing, ...]
    on: tuple[str, ...] = ()
    workers: int = 1


def augmented(data: Any, *steps: Step | Mixing, on: str | tuple[str, ...] = (), workers: int = 1) -> Augmented:
    """`data` as `fit` takes it (a pair of arrays for x and y), each sample changed by all steps in their order.

    A step is of graphc.augment, a fitted Normalisation, or any function of (samples [n, ...], draws). They apply to
    the first array, or to those that `on` names, with the same decisions for each. Nothing is done before a minibatch
    needs it; then `workers` threads in the background do it, a few minibatches ahead.
    """
    return Augmented(data, steps, (on,) if isinstance(on, str) else tuple(on), workers)
