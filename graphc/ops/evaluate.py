"""What a formula means, by numpy: the reference against which all later stages are checked.

    dense         every element of the grid axes × over is computed, conditions masked, then reduced
    contraction   Σ a·b·...: each factor is computed on the grid of its own axes, numpy's einsum does the rest

Indices are exact rational arithmetic on int64 arrays: a read whose index is not an integer is a read outside
the box, hence zero. Values are computed in the dtype asked for; sums are accumulated in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import erf, erfc, lcm, prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import GraphError, LoweringError, ShapeError
from graphc.ops.formula import Cond, FloorDiv, Formula, Mod, N, Random, Read, Table, Where, all_reads, free_symbols
from graphc.ops.philox import uniform
from graphc.ops.scalars import ScalarFunction
from graphc.types import Batch, DType

Array = npt.NDArray[Any]

BLOCK = 1 << 22
"""Elements of the largest array that is formed at once."""


def evaluate(
    f: Formula,
    arrays: Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike],
    batch: int = 1,
    dtype: DType | npt.DTypeLike = np.float64,
    at: Mapping[str, int] = {},
) -> Array:
    """The value of a formula, of shape `f.shape` with N = batch; `arrays` by name or in operand order.

    `at` fixes axes of the result, by name, at one value each; their extent in what is returned is 1.
    Raises GraphError for a missing array, ShapeError for one of another rank than it is read with.
    """
    result = np.dtype(DType.of(dtype).numpy)
    compute = result if result.kind == "f" else np.dtype(np.float64)
    tensors = _tensors(f, arrays, compute)
    extents = {a.symbol: batch if isinstance(a.extent, Batch) else a.extent for a in (*f.axes, *f.over)}
    ranges = {s: (at[s.name], at[s.name] + 1) if s.name in at else (0, e) for s, e in extents.items()}
    with np.errstate(all="ignore"):
        if not ranges:
            return _as(_block(f, _Evaluator({}, tensors, batch, compute)), result)
        return _as(_blocks(f, ranges, tensors, batch, compute), result)


def _as(value: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "i":
        limits = np.iinfo(dtype)
        value = np.clip(value, limits.min, limits.max)
    return np.asarray(value).astype(dtype)


def _tensors(
    f: Formula, arrays: Mapping[str, npt.ArrayLike] | Sequence[npt.ArrayLike], compute: np.dtype[Any]
) -> dict[str, Array]:
    if not isinstance(arrays, Mapping):
        if len(arrays) != len(f.operands):
            raise GraphError(f"the formula reads {len(f.operands)} tensors {f.operands}, got {len(arrays)}")
        arrays = dict(zip(f.operands, arrays, strict=True))
    tensors: dict[str, Array] = {}
    for read in dict.fromkeys(r for e in (f.body, *f.conditions) for r in all_reads(e)):
        if read.name not in arrays:
            raise GraphError(f"no array for {read.name}", hint=f"given are {', '.join(arrays) or 'none'}")
        array = np.asarray(arrays[read.name])
        tensors[read.name] = array.astype(compute if array.dtype.kind == "f" else np.int64, copy=False)
        if array.ndim != len(read.index):
            raise ShapeError(f"{read.name} is read with {len(read.index)} indices, but has shape {array.shape}")
    return tensors


# ------------------------------------------------------------------------------------------------ the grid

IDENTITY = {"sum": 0.0, "max": -np.inf, "min": np.inf, "prod": 1.0}
COMBINE = {"sum": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply}


def _blocks(
    f: Formula, ranges: dict[sp.Symbol, tuple[int, int]], tensors: dict[str, Array], batch: int,
    compute: np.dtype[Any],
) -> Array:  # fmt: skip
    """The blocks along one axis, written side by side or, where it is reduced, combined.

    That axis is the longest of the largest array that is formed.
    """
    extents = {s: stop - start for s, (start, stop) in ranges.items()}
    shape = tuple(extents[a.symbol] for a in f.axes)
    accumulator = np.dtype(np.float64) if f.reduction in ("sum", "prod") else compute
    out = np.full(shape, IDENTITY[f.reduction or "sum"], accumulator)
    formed = [tuple(extents)]
    if _is_contraction(f):
        parts = (*f.body.args, *f.conditions)
        formed = [tuple(s for s in extents if s in free_symbols(p)) for p in parts]
    size, largest = max(((prod(extents[s] for s in own), own) for own in formed), key=lambda t: t[0])
    longest = max(largest or extents, key=lambda s: extents[s])
    position = next((k for k, a in enumerate(f.axes) if a.symbol == longest), None)
    for start, stop in _ranges(extents[longest], size):
        first = ranges[longest][0]
        grid = _ogrid(ranges | {longest: (first + start, first + stop)})
        block = _block(f, _Evaluator(grid, tensors, batch, compute))
        if position is None:
            out = COMBINE[f.reduction or "sum"](out, block)
        else:
            out[(slice(None),) * position + (slice(start, stop),)] = block
    return out


def _ranges(extent: int, size: int) -> Iterator[tuple[int, int]]:
    step = max(1, extent * BLOCK // max(size, 1))
    for start in range(0, extent, step):
        yield start, min(start + step, extent)


def _ogrid(ranges: dict[sp.Symbol, tuple[int, int]]) -> dict[sp.Symbol, Array]:
    rank = len(ranges)
    return {
        s: np.arange(*r, dtype=np.int64).reshape((1,) * k + (-1,) + (1,) * (rank - k - 1))
        for k, (s, r) in enumerate(ranges.items())
    }


def _is_contraction(f: Formula) -> bool:
    return f.reduction == "sum" and isinstance(f.body, sp.Mul)


def _block(f: Formula, at: _Evaluator) -> Array:
    shape = np.broadcast_shapes(*[i.shape for i in at.grid.values()])
    kept = len(f.axes)
    masks = [at.holds(c) for c in f.conditions]
    if _is_contraction(f):
        factors = [at.value(a) for a in f.body.args]
        if not masks or all(np.isfinite(v).all() for v in factors):
            return _contract([*factors, *masks], shape, kept)
    value = np.broadcast_to(at.value(f.body), shape)
    if masks:
        mask = np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*masks)), shape)
        value = np.where(mask, value, at.compute.type(IDENTITY[f.reduction or "sum"]))
    over = tuple(range(kept, len(shape)))
    match f.reduction:
        case None:
            return value
        case "sum":
            return np.asarray(np.sum(value, axis=over, dtype=np.float64))
        case "prod":
            return np.asarray(np.prod(value, axis=over, dtype=np.float64))
        case "max":
            return np.asarray(np.max(value, axis=over, initial=-np.inf))
        case "min":
            return np.asarray(np.min(value, axis=over, initial=np.inf))
        case other:
            raise LoweringError(f"reduction {other} is not known", hint="use sum, prod, max or min")


def _contract(factors: list[Array], shape: tuple[int, ...], kept: int) -> Array:
    """Σ over the axes from `kept` on of the product of arrays that broadcast to `shape`."""
    operands: list[Any] = []
    covered: set[int] = set()
    for v in factors:
        labels = [k for k in range(v.ndim) if v.shape[k] != 1]
        covered |= set(labels)
        operands += [v.reshape([v.shape[k] for k in labels]).astype(np.float64), labels]
    for k, extent in enumerate(shape):
        if k not in covered:
            operands += [np.ones(extent), [k]]
    return np.asarray(np.einsum(*operands, list(range(kept)), optimize=True))


# --------------------------------------------------------------------------------------------- expressions


class _Ratio(NamedTuple):
    """An exact index: numerator / denominator."""

    numerator: Any
    denominator: int

    def integral(self) -> tuple[Any, Any]:
        """(the integer, whether it is one)"""
        if self.denominator == 1:
            return self.numerator, True
        return self.numerator // self.denominator, self.numerator % self.denominator == 0


class _Evaluator:
    """Values of expressions on a grid: arrays with an axis for each grid symbol (length 1 where constant)."""

    def __init__(
        self, grid: dict[sp.Symbol, Array], tensors: dict[str, Array], batch: int, compute: np.dtype[Any]
    ) -> None:
        self.grid, self.tensors, self.batch, self.compute = grid, tensors, batch, compute
        self._values: dict[Expr, Array] = {}
        self._indices: dict[Expr, _Ratio] = {}

    # values

    def value(self, e: Expr) -> Array:
        """A scalar expression in the dtype of the computation."""
        if e not in self._values:
            self._values[e] = np.asarray(self._value(e), self.compute)
        return self._values[e]

    def _value(self, e: Expr) -> Any:
        match e:
            case sp.Symbol() | FloorDiv() | Mod():
                numerator, denominator = self.index(e)
                return numerator / denominator if denominator != 1 else numerator
            case sp.Number() | sp.NumberSymbol():
                return float(e)
            case Read():
                return self.read(e)
            case Table():
                return self.elements(np.array(e.constants.rows, self.compute), e.index)
            case Random():
                key, step, index = (self.index(a).numerator for a in e.args)
                return uniform(key, step, index, DType.of(self.compute))
            case Where():
                condition, a, b = e.args
                return np.where(self.holds(condition), self.value(a), self.value(b))
            case sp.Add():
                total = self.value(e.args[0])
                for a in e.args[1:]:
                    total = total + self.value(a)
                return total
            case sp.Mul():
                product = self.value(e.args[0])
                for a in e.args[1:]:
                    product = product * self.value(a)
                return product
            case sp.Pow():
                return self._power(e.base, e.exp)
            case sp.Function():
                return self._function(e)
        raise LoweringError(f"{type(e).__name__} has no value: {e}")

    def _power(self, base: Expr, exponent: Expr) -> Any:
        x = self.value(base)
        if exponent.is_Integer:
            power = x ** abs(int(exponent))
            return power if exponent > 0 else 1 / power
        if exponent in (sp.S.Half, -sp.S.Half):
            root = np.sqrt(x)
            return root if exponent > 0 else 1 / root
        return np.power(x, self.value(exponent))

    def _function(self, e: Expr) -> Any:
        name = e.func.__name__
        if name in FUNCTIONS:
            return FUNCTIONS[name](*[self.value(a) for a in e.args])
        if isinstance(e, ScalarFunction):
            return self.value(e.expansion(*e.args))
        raise LoweringError(
            f"the scalar function {name} is not known",
            hint="declare its formula with scalar_function(name, formula)",
        )

    def read(self, e: Read) -> Array:
        """The elements of a tensor, zero outside its box."""
        return self.elements(self.tensors[e.name], e.index)

    def elements(self, tensor: Array, index: tuple[Expr, ...]) -> Array:
        """The elements of an array, zero outside it."""
        inside: Any = True
        position = []
        for i, extent in zip(index, tensor.shape, strict=True):
            k, whole = self.index(i).integral()
            inside = inside & whole & (k >= 0) & (k < extent)
            position.append(np.clip(k, 0, max(extent - 1, 0)))
        if 0 in tensor.shape:
            return np.zeros(np.broadcast_shapes(*map(np.shape, position)), tensor.dtype)
        found = np.asarray(tensor[tuple(position)])
        return found if np.all(inside) else np.where(inside, found, tensor.dtype.type(0))

    # conditions

    def holds(self, c: Cond) -> Array:
        """Where a condition is true."""
        match c.kind, c.args[1:]:
            case "ge", (e,):
                return np.asarray(self.index(e).numerator >= 0 if self._is_index(e) else self.value(e) >= 0)
            case "divides", (divisor, e):
                (n, d), (m, _) = self.index(e), self.index(divisor)
                return np.asarray(n % (d * m) == 0)
            case ("eq" | "lt" | "le") as kind, (a, b):
                compare = {"eq": np.equal, "lt": np.less, "le": np.less_equal}[kind]
                if self._is_index(a) and self._is_index(b):
                    (n, d), (m, s) = self.index(a), self.index(b)
                    return np.asarray(compare(n * s, m * d))
                return np.asarray(compare(self.value(a), self.value(b)))
        raise LoweringError(f"condition {c.kind} is not known: {c}", hint="use ge, divides, eq, lt or le")

    def _is_index(self, e: Expr) -> bool:
        match e:
            case Read():
                return self.tensors[e.name].dtype.kind == "i"
            case sp.Symbol() | sp.Rational() | FloorDiv() | Mod():
                return True
            case sp.Add() | sp.Mul():
                return all(self._is_index(a) for a in e.args)
        return False

    # indices

    def index(self, e: Expr) -> _Ratio:
        """An index expression, exactly."""
        if e not in self._indices:
            self._indices[e] = self._index(e)
        return self._indices[e]

    def _index(self, e: Expr) -> _Ratio:
        match e:
            case sp.Rational():
                return _Ratio(int(e.p), int(e.q))
            case sp.Symbol():
                if e != N and e not in self.grid:
                    raise GraphError(f"{e} is not an axis of the formula")
                return _Ratio(self.batch if e == N else self.grid[e], 1)
            case Read():
                found = self.read(e)
                if found.dtype.kind == "f":
                    # what is not an integer lies outside every box
                    found = np.where(found == np.rint(found), np.clip(found, -(2.0**40), 2.0**40), -(2.0**40))
                return _Ratio(found.astype(np.int64), 1)
            case sp.Add():
                parts = [self.index(a) for a in e.args]
                denominator = lcm(*[p.denominator for p in parts])
                return _Ratio(sum(p.numerator * (denominator // p.denominator) for p in parts), denominator)
            case sp.Mul():
                parts = [self.index(a) for a in e.args]
                return _Ratio(prod(p.numerator for p in parts), prod(p.denominator for p in parts))
            case FloorDiv():
                (n, d), (m, s) = self.index(e.args[0]), self.index(e.args[1])
                return _Ratio(n * s // (d * m), 1)
            case Mod():
                (n, d), (m, s) = self.index(e.args[0]), self.index(e.args[1])
                return _Ratio(n * s % (d * m), d * s)
            case Where():
                (n, d), (m, s) = self.index(e.args[1]), self.index(e.args[2])
                return _Ratio(np.where(self.holds(e.args[0]), n * s, m * d), d * s)
            case sp.Function() if e.func.__name__ in ("maximum", "minimum"):
                (n, d), (m, s) = self.index(e.args[0]), self.index(e.args[1])
                return _Ratio(FUNCTIONS[e.func.__name__](n * s, m * d), d * s)
        raise LoweringError(f"{e} is not an index expression")


# ------------------------------------------------------------------------------------------------ functions


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, x.dtype.type(1)) / (1 + e))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of one number for arrays."""
    return lambda x: np.fromiter(map(function, x.ravel().tolist()), x.dtype, x.size).reshape(x.shape)


FUNCTIONS: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": _each(erf),
    "erfc": _each(erfc),
    "normal_cdf": _each(lambda x: erfc(-x / sqrt(2)) / 2),
    "atan": np.arctan,
    "floor": np.floor,
    "rint": np.rint,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sin": np.sin,
    "cos": np.cos,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "Abs": np.abs,
    "sign": np.sign,
}
"""numpy's implementation of the scalar functions, by name. All propagate NaN."""
