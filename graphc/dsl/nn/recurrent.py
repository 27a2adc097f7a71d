"""Recurrent layers, and the cells that are one step of them. Parameters are named and ordered as in torch.

    RNN    h' = tanh(W·x + b + U·h + d)                                              Elman 1990
    LSTM   i, f, g, o = W·x + b + U·h + d                                            Hochreiter, Schmidhuber 1997
           c' = σ(f)·c + σ(i)·tanh(g),   h' = σ(o)·tanh(c')                          forget gate: Gers et al. 2000
           h' = R·(σ(o)·tanh(c'))        with proj_size                              Sak, Senior, Beaufays 2014
    GRU    r, z, n = W·x + b,   r', z', n' = U·h + d                                 Cho et al. 2014
           h' = (1 - u)·m + u·h   with u = σ(z + z'), m = tanh(n + σ(r + r')·n')

The products W·x of all steps are one product in front of the loop over time. Parameters start in U(±1/√hidden_size), as
in torch; with `weight_init` the matrices start there ("orthogonal" suits those of long sequences) and biases at zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from math import sqrt
from typing import Any, ClassVar, NamedTuple

from graphc.dsl import functional, initialisers
from graphc.dsl.functional.regularisation import probability
from graphc.dsl.layers import Layer
from graphc.dsl.nn.arguments import Initial, count, fixed
from graphc.dsl.scan import scan
from graphc.dsl.scope import current
from graphc.dsl.tensor import Tensor, caller
from graphc.errors import GraphError, ShapeError
from graphc.ops.indexing import WHOLE, concat, sliced, stack
from graphc.types import Extent, TensorType

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]

Carry = Any
"""h, or (h, c) for an LSTM."""

NONLINEARITIES = {"tanh": functional.tanh, "relu": functional.relu}


class Weights(NamedTuple):
    """The parameters of one direction of one layer; biases and the projection are there or not."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    hr: Tensor | None = None


class _Recurrent(Layer, ABC):
    """What layers and cells share: their sizes and parameters. Subclasses define one step."""

    gates: ClassVar[int] = 1
    has_cell: ClassVar[bool] = False

    def __init__(self, sizes: tuple[int, ...], bias: bool, weight_init: Initial | None, name: str | None) -> None:
        kind = type(self).__name__
        if len(sizes) not in (1, 2):
            raise GraphError(
                f"{kind} takes hidden_size, or input_size and hidden_size; got {len(sizes)} sizes", location=caller()
            )
        self.name, self.bias, self.weight_init = name, bias, weight_init
        self.input_size = count(self, "input_size", sizes[0]) if len(sizes) == 2 else None
        self.hidden_size = count(self, "hidden_size", sizes[-1])
        self.proj_size = 0

    @property
    def output_size(self) -> int:
        """The number of features of h."""
        return self.proj_size or self.hidden_size

    def inputs(self, x: Tensor, w: Weights) -> Tensor:
        """What a step needs of x, for all steps at once."""
        both = w.bias_ih if w.bias_ih is None or w.bias_hh is None else w.bias_ih + w.bias_hh
        return functional.dense(x, w.ih, both)

    @abstractmethod
    def step(self, z: Tensor, carry: Carry, w: Weights) -> Carry:
        """The carry after a step."""

    def _weights(self, x: Tensor, suffix: str, features: int) -> Weights:
        init: Initial | None = self.weight_init
        bias_init: Initial = "zeros"
        if init is None:
            init = bias_init = initialisers.uniform(-1 / sqrt(self.hidden_size), 1 / sqrt(self.hidden_size))
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features), "weight_hh": (rows, self.output_size)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        made = {
            k.removeprefix("weight_"): self.parameter(k + suffix, s, init if len(s) > 1 else bias_init, x.dtype)
            for k, s in shapes.items()
        }
        return Weights(**made)

    def _features(self, x: Tensor, rank: int, layout: str) -> int:
        """The number of features of an input. Raises ShapeError."""
        features = fixed(self, x, -1, "features")
        if x.ndim != rank:
            raise ShapeError(
                f"expected an input {layout}, got {x.type}", location=caller(), layer=str(current.get()),
                hint="add an axis of one sample with x[None]" if x.ndim == rank - 1 else "",
            )  # fmt: skip
        if self.input_size not in (None, features):
            raise ShapeError(
                f"declared for {self.input_size} input features, but the input {x.shape} has {features}",
                location=caller(), layer=str(current.get()),
                hint=f"write {type(self).__name__}({self.hidden_size}), which takes the number from its input",
            )  # fmt: skip
        return features

    def _started(self, initial: Any, types: tuple[TensorType, ...]) -> tuple[Tensor | TensorType, ...]:
        """The given first states, or the types of zeros. Raises GraphError, ShapeError."""
        if initial is None:
            return types
        given = tuple(initial) if isinstance(initial, tuple | list) else (initial,)
        for name, state, wanted in zip("hc", given, types, strict=False):
            if not isinstance(state, Tensor) or state.type != wanted:
                got = state.type if isinstance(state, Tensor) else state.__class__.__name__
                raise ShapeError(
                    f"the first {name} must be {wanted}, got {got}", location=caller(), layer=str(current.get())
                )
        if len(given) != len(types):
            states = "(h, c)" if self.has_cell else "one tensor h"
            raise GraphError(f"{type(self).__name__} starts with {states}, got {len(given)} tensors", location=caller())
        return given

    def _state_types(self, x: Tensor, lead: tuple[Extent, ...]) -> tuple[TensorType, ...]:
        sizes = (self.output_size, self.hidden_size) if self.has_cell else (self.output_size,)
        return tuple(TensorType((*lead, size), x.dtype) for size in sizes)

    def _carry(self, states: tuple[Any, ...]) -> Carry:
        return states if self.has_cell else states[0]


# ------------------------------------------------------------------------------------------------------ one step


class _Elman(_Recurrent):
    nonlinearity: str

    def _choose(self, nonlinearity: str) -> None:
        if nonlinearity not in NONLINEARITIES:
            raise GraphError(
                f'{type(self).__name__}: there is no nonlinearity "{nonlinearity}"', location=caller(),
                hint=f"choose one of {', '.join(NONLINEARITIES)}",
            )  # fmt: skip
        self.nonlinearity = nonlinearity

    def step(self, z: Tensor, carry: Carry, w: Weights) -> Carry:
        return NONLINEARITIES[self.nonlinearity](z + functional.dense(carry, w.hh))


class _LongShortTerm(_Recurrent):
    gates = 4
    has_cell = True

    def step(self, z: Tensor, carry: Carry, w: Weights) -> Carry:
        h, c = carry
        i, f, g, o = _parts(z + functional.dense(h, w.hh), 4)
        c = functional.sigmoid(f) * c + functional.sigmoid(i) * functional.tanh(g)
        h = functional.sigmoid(o) * functional.tanh(c)
        return (h if w.hr is None else functional.dense(h, w.hr)), c


class _GatedUnit(_Recurrent):
    gates = 3

    def inputs(self, x: Tensor, w: Weights) -> Tensor:
        return functional.dense(x, w.ih, w.bias_ih)

    def step(self, z: Tensor, carry: Carry, w: Weights) -> Carry:
        r, u, n = _parts(z, 3)
        own_r, own_u, own_n = _parts(functional.dense(carry, w.hh, w.bias_hh), 3)
        update = functional.sigmoid(u + own_u)
        new = functional.tanh(n + functional.sigmoid(r + own_r) * own_n)
        return new + update * (carry - new)


def _parts(z: Tensor, number: int) -> Iterator[Tensor]:
    """The gates, which lie one behind the other in the last axis."""
    size = int(z.shape[-1]) // number  # type: ignore[arg-type]
    return (sliced(z, index=(WHOLE, (k * size, (k + 1) * size, None))) for k in range(number))


# ---------------------------------------------------------------------------------------------------- the layers


class _Sequence(_Recurrent):
    """Several layers, one or both directions of time."""

    def __init__(
        self, *sizes: int, num_layers: int = 1, bias: bool = True, batch_first: bool = True, dropout: float = 0.0,
        bidirectional: bool = False, weight_init: Initial | None = None, name: str | None = None,
    ) -> None:  # fmt: skip
        if len(sizes) == 3:
            *sizes, num_layers = sizes  # type: ignore[assignment]
        super().__init__(tuple(sizes), bias, weight_init, name)
        self.num_layers, self.batch_first = count(self, "num_layers", num_layers), batch_first
        self.dropout, self.bidirectional = probability(type(self).__name__, dropout), bidirectional

    def forward(self, x: Tensor, initial: Any = None, lengths: Tensor | None = None) -> tuple[Tensor, Carry]:
        """(h of the last layer at all times, the last carry of each layer and direction).

        `initial` is h, or (h, c), of shape [layers·directions, n, features]; with `lengths`, one integer for each
        sample, what lies beyond is neither read nor written, as for packed sequences of torch.
        """
        layout = "[n, time, features]" if self.batch_first else "[time, n, features]"
        self._features(x, 3, layout)
        x = x if self.batch_first else x.transpose(1, 0, 2)
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        number = self.num_layers * len(suffixes)
        types = self._state_types(x, (number, x.shape[0]))
        starts = self._started(initial, types)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = functional.dropout(x, self.dropout)
            results = []
            for suffix in suffixes:
                start = tuple(_one(s, len(finals)) for s in starts)
                y, last = self._run(x, f"_l{layer}{suffix}", start, bool(suffix), lengths)
                results.append(y)
                finals.append(last)
            x = concat(results, axis=-1) if len(results) > 1 else results[0]
        states = tuple(stack(states, axis=0) for states in zip(*finals, strict=True))
        return x if self.batch_first else x.transpose(1, 0, 2), self._carry(states)

    def _run(
        self, x: Tensor, suffix: str, start: tuple[Tensor | TensorType, ...], reverse: bool, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer in one direction."""
        w = self._weights(x, suffix, int(x.shape[-1]))  # type: ignore[arg-type]

        def step(states: tuple[Tensor, ...], z: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
            carry = self.step(z, self._carry(states), w)
            states = carry if self.has_cell else (carry,)
            return states, states[0]

        y, last = scan(step, start, self.inputs(x, w), reverse=reverse, lengths=lengths)
        return y, last


def _one(states: Tensor | TensorType, k: int) -> Tensor | TensorType:
    """The state of one layer and direction."""
    if isinstance(states, TensorType):
        return TensorType(states.shape[1:], states.dtype)
    return sliced(states, index=(k,))


class RNN(_Sequence, _Elman):
    """h' = tanh(W·x + b + U·h + d) along x [n, time, features]; returns (h at all times, last h).

    RNN(hidden_size), RNN(input_size, hidden_size) or RNN(input_size, hidden_size, num_layers). The batch comes first
    unless batch_first=False, which is torch's default; `nonlinearity` is "tanh" or "relu".
    """

    def __init__(self, *sizes: int, nonlinearity: str = "tanh", **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._choose(nonlinearity)


class LSTM(_Sequence, _LongShortTerm):
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c') along x [n, time, features]; returns (h at all times, (h, c)).

    LSTM(hidden_size), LSTM(input_size, hidden_size) or LSTM(input_size, hidden_size, num_layers). The batch comes first
    unless batch_first=False, which is torch's default; with `proj_size` h is projected to so many features.
    """

    def __init__(self, *sizes: int, proj_size: int = 0, **options: Any) -> None:
        super().__init__(*sizes, **options)
        if proj_size and not 0 < proj_size < self.hidden_size:
            raise ShapeError(
                f"LSTM: proj_size must be smaller than hidden_size={self.hidden_size}, got {proj_size}",
                location=caller(), hint="proj_size=0 leaves h as it is",
            )  # fmt: skip
        self.proj_size = proj_size


class GRU(_Sequence, _GatedUnit):
    """h' = (1 - u)·m + u·h along x [n, time, features]; returns (h at all times, last h).

    GRU(hidden_size), GRU(input_size, hidden_size) or GRU(input_size, hidden_size, num_layers). The batch comes first
    unless batch_first=False, which is torch's default.
    """


class _Cell(_Recurrent):
    """One step as a layer of its own, for loops that are written out or for gc.scan."""

    def __init__(
        self, *sizes: int, bias: bool = True, weight_init: Initial | None = None, name: str | None = None
    ) -> None:
        super().__init__(sizes, bias, weight_init, name)

    def forward(self, x: Tensor, initial: Any = None) -> Carry:
        """The new h, or (h, c), for x [n, features] and the h, or (h, c), before; zeros by default."""
        w = self._weights(x, "", self._features(x, 2, "[n, features]"))
        types = self._state_types(x, x.shape[:1])
        states = (
            s if isinstance(s, Tensor) else functional.zeros(s.shape, s.dtype) for s in self._started(initial, types)
        )
        return self.step(self.inputs(x, w), self._carry(tuple(states)), w)


class RNNCell(_Cell, _Elman):
    """h' = tanh(W·x + b + U·h + d): RNNCell(hidden_size) or RNNCell(input_size, hidden_size)."""

    def __init__(self, *sizes: int, nonlinearity: str = "tanh", **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._choose(nonlinearity)


class LSTMCell(_Cell, _LongShortTerm):
    """(h', c') of an LSTM: LSTMCell(hidden_size) or LSTMCell(input_size, hidden_size)."""


class GRUCell(_Cell, _GatedUnit):
    """h' of a GRU: GRUCell(hidden_size) or GRUCell(input_size, hidden_size)."""
