"""The parameters of a model in a file, under their dotted names.

Names with a slash belong to no model: "conv1.weight/velocity" is the state of an optimiser, which the files of
checkpoints hold besides, and "extra/input.mean" something that whoever saved wanted to keep with the weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy.typing as npt

from graphc.dsl.chance import Key, Step
from graphc.dsl.parameter import Parameter
from graphc.dsl.scope import settle
from graphc.dsl.state import Array, Patterns, Rename, Taken, take, values_of
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import ordered
from graphc.train.checkpoints.arrays import read_arrays, write_arrays

EXTRA = "extra/"


def weights_of(tensors: Iterable[Tensor]) -> dict[str, Parameter]:
    """The parameters that tensors depend on, running averages included, keys of random numbers not."""
    order = ordered(tensors)
    settle(t.place.root for t in order)
    return {t.name: t for t in order if isinstance(t, Parameter) and not isinstance(t, Key | Step)}


def save(path: str | Path, parameters: Mapping[str, Parameter], **extras: npt.ArrayLike) -> None:
    """Write all parameters, and extras such as the normalisation of the inputs, in one move.

    The name decides between .safetensors and .npz. Raises DataError if the file cannot be written; an older one is
    as it was then.
    """
    write_arrays(Path(path), {**values_of(parameters), **{EXTRA + name: a for name, a in extras.items()}})


def load(
    path: str | Path, parameters: Mapping[str, Parameter], *, strict: bool = True, only: Patterns = None,
    rename: Rename | None = None,
) -> Taken:  # fmt: skip
    """Set parameters to what a file holds, see `graphc.dsl.state.take`.

    Raises DataError, before anything is changed, if the file cannot be read or does not fit.
    """
    path = Path(path)
    arrays = {name: array for name, array in read_arrays(path).items() if "/" not in name}
    return take(parameters, arrays, strict=strict, only=only, rename=rename, what=str(path))


def extras(path: str | Path) -> dict[str, Array]:
    """What was saved besides the parameters. Raises DataError."""
    arrays = read_arrays(Path(path))
    return {name.removeprefix(EXTRA): array for name, array in arrays.items() if name.startswith(EXTRA)}
