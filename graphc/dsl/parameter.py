"""Parameters: named tensors whose values persist between runs, in any physical layout native code wants."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.dsl import initialisers
from graphc.dsl.initialisers import Initialiser
from graphc.dsl.scope import Scope
from graphc.dsl.tensor import Tensor, as_dtype, caller
from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.types import DType, Extent, Location, TensorType

Array = npt.NDArray[Any]
Convert = Callable[[Array], Array]


class Seed:
    """The seed from which parameters are drawn unless another is given."""

    value = 0


def seed(number: int) -> None:
    """Set the seed of all parameters that have no value yet."""
    Seed.value = int(number)


def generator_for(number: int, name: str) -> np.random.Generator:
    """A random generator that depends on the seed and on the name alone, not on the order of use."""
    words = np.frombuffer(blake2b(name.encode(), digest_size=16).digest(), "<u4")
    sequence = np.random.SeedSequence([number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF, *map(int, words)])
    return np.random.Generator(np.random.Philox(sequence))


class Changes:
    """Numbers the changes of all parameters, of a value or of who changes it: who has seen `last` finds nothing new."""

    last = 0
    numbers = count(1)


class Clock:
    """The steps of a program. What it trains ages with its clock, so a step costs the same for any number of them."""

    __slots__ = ("ticks",)

    def __init__(self) -> None:
        self.ticks = 0

    def advance(self, ticks: int) -> int:
        """So many steps have been taken; returns the number of the change."""
        self.ticks += ticks
        Changes.last = number = next(Changes.numbers)
        return number


@dataclass(slots=True)
class Form:
    """One physical copy of a value and the version that it holds."""

    array: Array
    decode: Convert
    version: int


class Storage:
    """A value in several forms; those that are not up to date are made so when they are asked for.

    With a clock, the form `current` is the value, whatever native code makes of it at each tick.
    """

    __slots__ = ("_clock", "_settled", "_since", "current", "forms", "logical", "logical_version")

    def __init__(self) -> None:
        self.logical: Array | None = None
        self.logical_version = self._settled = self._since = 0
        self._clock: Clock | None = None
        self.current: Hashable = None
        self.forms: dict[Hashable, Form] = {}

    @property
    def version(self) -> int:
        """How often the value has changed."""
        return self._settled if self._clock is None else self._settled + self._clock.ticks - self._since

    def read(self) -> Array:
        """The value in its logical layout, decoded from the current form if that is newer. Read-only."""
        if self.logical_version != self.version:
            form = self.forms[self.current]
            decoded = np.array(form.decode(form.array), dtype=form.array.dtype, order="C")
            self.logical, self.logical_version = decoded, self.version
            decoded.flags.writeable = False
        assert self.logical is not None
        return self.logical

    def write(self, value: Array) -> None:
        """A new value, given in its logical layout."""
        value.flags.writeable = False
        self._settle()
        self._settled += 1
        self.logical, self.logical_version = value, self._settled
        Changes.last = next(Changes.numbers)

    def form(self, key: Hashable, encode: Convert, decode: Convert) -> Array:
        """The up-to-date physical array of a form. It stays the same array as long as its shape does."""
        form, version = self.forms.get(key), self.version
        if form is not None and (form.version == version or (self._clock is not None and key == self.current)):
            return form.array
        encoded = encode(self.read())
        if form is None or form.array.shape != encoded.shape or form.array.dtype != encoded.dtype:
            if np.shares_memory(encoded, self.read()) or not encoded.flags.writeable:
                encoded = encoded.copy()
            self.forms[key] = form = Form(encoded, decode, version)
        else:
            np.copyto(form.array, encoded)
            form.decode, form.version = decode, version
        return form.array

    def follow(self, key: Hashable, clock: Clock) -> None:
        """From now on native code changes the array of an up-to-date form at each tick of a clock."""
        if self._clock is clock and self.current == key:
            return
        self._settle()
        Changes.last = next(Changes.numbers)
        self._clock, self._since, self.current = clock, clock.ticks, key

    def _settle(self) -> None:
        """Leave the clock, at the version that it has brought."""
        version = self.version
        if self._clock is not None:
            self.forms[self.current].version = version
        self._settled, self._clock = version, None


class Parameter(Tensor):
    """A leaf with a dotted name and a value that is drawn when it is first needed.

    `trainable` may be assigned; programs that are compiled from then on train it or leave it as it is.
    """

    __slots__ = ("_storage", "initialiser", "label", "learns", "trainable")

    label: str
    initialiser: Initialiser
    trainable: bool
    learns: bool
    """Whether it was made to be trained, frozen or not."""
    _storage: Storage

    def __init__(
        self,
        name: str,
        shape: Iterable[Extent] | TensorType,
        initialiser: str | float | Initialiser = "zeros",
        dtype: npt.DTypeLike | DType = "float32",
        *,
        trainable: bool = True,
        location: Location | None = None,
        place: Scope | None = None,
    ) -> None:
        location = location or caller()
        if not isinstance(shape, TensorType):
            shape = TensorType(tuple(shape), as_dtype(dtype, f"parameter {name}"))
        if not all(isinstance(e, int) and e > 0 for e in shape.shape):
            raise ShapeError(
                f"parameter {name}: extents must be positive integers, got {shape.shape}",
                location=location,
                hint="a parameter cannot depend on the batch size",
            )
        super().__init__(shape, location=location, place=Scope() if place is None else place)
        self._set(
            label=name,
            initialiser=initialisers.initialiser(initialiser),
            trainable=trainable,
            learns=trainable,
            _storage=Storage(),
        )

    def __setattr__(self, name: str, value: Any) -> None:  # type: ignore[override]
        if name not in ("value", "trainable"):
            super().__setattr__(name, value)
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<parameter {self.name}: {self.type}>"

    @property
    def name(self) -> str:
        """The dotted name: "features.conv1.weight"."""
        return ".".join(part for part in (self.place.joined("."), self.label) if part)

    def freeze(self) -> None:
        """From now on it is not trained."""
        self.trainable = False

    def unfreeze(self) -> None:
        """Trained again, if it was made to be."""
        self.trainable = self.learns

    @property
    def is_frozen(self) -> bool:
        """Whether it was made to be trained and is not."""
        return self.learns and not self.trainable

    @property
    def version(self) -> int:
        """How often the value has changed; 0 before it has one."""
        return self._storage.version

    @property
    def value(self) -> Array:
        """The value in its logical layout, drawn if there is none yet. Read-only: assign to change it."""
        self.initialise()
        return self._storage.read()

    @value.setter
    def value(self, new: npt.ArrayLike) -> None:
        """Copies. Raises ShapeError, DTypeError."""
        array = np.asarray(new)
        if array.shape != self.shape:
            raise ShapeError(f"parameter {self.name} has shape {self.shape}, got a value of shape {array.shape}")
        if not np.can_cast(array.dtype, np.dtype(self.dtype.numpy), "same_kind"):
            raise DTypeError(f"parameter {self.name} is {self.dtype.value}, got a value of dtype {array.dtype}")
        self._storage.write(np.array(array, dtype=self.dtype.numpy, order="C"))

    def initialise(self, seed: int | None = None) -> None:
        """Draw the initial value from (seed, name), unless there is a value already."""
        if self.version == 0:
            self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Draw the initial value anew. Raises ShapeError if the initialiser gives another shape."""
        generator = generator_for(Seed.value if seed is None else seed, self.name)
        self.value = self.initialiser(self.type.concrete(1), generator)

    def forget(self) -> None:
        """No value any longer: the initial one is drawn when it is needed, as if there had been none."""
        self._set(_storage=Storage())
        Changes.last = next(Changes.numbers)

    def form(self, key: Hashable, encode: Convert, decode: Convert) -> Array:
        """The value as native code holds it: `encode(value)`, up to date, in an array of its own.

        The same array is returned, with its content refreshed, as long as encode gives the same shape.
        """
        self.initialise()
        return self._storage.form(key, encode, decode)

    def follow(self, key: Hashable, clock: Clock) -> None:
        """Declare that each tick of a clock changes the array of this form, which is the value. Raises GraphError."""
        if key not in self._storage.forms:
            raise GraphError(f"parameter {self.name} has no form {key!r}", hint="ask for it with form() first")
        self._storage.follow(key, clock)
