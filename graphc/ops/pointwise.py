"""Lifting a function of scalars to tensors: every mix of tensors and numbers is an operator of its own.

    @pointwise()
    def add(a, b):
        return a + b

declares add(a, b) = a[...] + b[...], add_number(a) = a[...] + b and number_add(b) = a + b[...]. A number is
an exact constant of the formula. Applied to scalar expressions, `add` is the function itself, and so serves
inside the formulas of user-declared operators. Keyword-only parameters are options, by position or name as those of
any operator.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from itertools import product
from math import isfinite
from numbers import Real
from typing import Any

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import DTypeError, GraphcError
from graphc.ops.notation import Operand
from graphc.ops.operator import Operator, Sample, op


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python or numpy."""
    return isinstance(value, Real) or (getattr(value, "shape", None) == () and hasattr(value, "item"))


def number(value: Any) -> Expr:
    """A real number as an exact constant: integers as they are, others as the double that they are.

    Raises GraphcError for NaN and infinity.
    """
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, sp.Basic):
        return value
    if not isfinite(value):
        raise GraphcError(f"{value} cannot be a constant of a formula", hint="use a large finite number, such as 1e9")
    return sp.Integer(int(value)) if value == int(value) and abs(value) < 2**53 else sp.Float(float(value))


class Pointwise:
    """A function of scalars that can be applied to tensors, numbers and scalar expressions."""

    def __init__(
        self,
        function: Callable[..., Expr],
        samples: Iterable[Sample],
        in_formulas: Callable[..., Expr] | None = None,
        commutative: bool = False,
        always: Collection[str] = (),
        integers: bool = False,
    ) -> None:
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.operands, self.options = _parameters(function)
        self.commutative = commutative
        self._scalar = in_formulas or function
        tensors = {*always, *self.operands[:commutative]}
        either, masks = (self.operands, always) if integers else ((), ())
        self._forms = {
            mask: _form(function, self.operands, mask, tuple(samples), either, masks)
            for mask in product((True, False), repeat=len(self.operands))
            if any(mask) and all(t or n not in tensors for n, t in zip(self.operands, mask, strict=True))
        }

    def __repr__(self) -> str:
        return f"<pointwise {self.name}({', '.join(self.operands)})>"

    def form(self, *is_tensor: bool) -> Operator:
        """The operator whose other operands are numbers."""
        return self._forms[is_tensor]

    def __call__(self, *values: Any, **options: Any) -> Any:
        """Apply: to tensors a tensor, to scalar expressions a scalar expression. Raises DTypeError, GraphcError."""
        count = len(self.operands)
        unknown = [o for o in options if o not in self.options]
        if unknown or not count <= len(values) <= count + len(self.options):
            more = f" and the options {', '.join(self.options)}" if self.options else ""
            got = ", ".join([str(len(values)), *unknown])
            raise GraphcError(f"{self.name} takes the operands {', '.join(self.operands)}{more}; got {got}")
        values, options = values[:count], dict(zip(self.options, values[count:], strict=False)) | options
        mask = tuple(hasattr(v, "__graphc_apply__") for v in values)
        for name, value, tensor in zip(self.operands, values, mask, strict=True):
            if not tensor and not isinstance(value, sp.Basic) and not is_number(value):
                raise DTypeError(
                    f"{self.name}: {name} must be a tensor or a number, got {type(value).__name__}",
                    hint="feed arrays through gc.input, or hold them in a gc.Parameter",
                )
        if not any(mask):
            return self._scalar(*[v if isinstance(v, sp.Basic) else number(v) for v in values], **options)
        if self.commutative and not mask[0]:
            values, mask = values[::-1], mask[::-1]
        if mask not in self._forms:
            raise DTypeError(f"{self.name}: {self.operands[mask.index(False)]} must be a tensor, got a number")
        tensors = [v for v, tensor in zip(values, mask, strict=True) if tensor]
        numbers = {n: number(v) for n, v, tensor in zip(self.operands, values, mask, strict=True) if not tensor}
        return self._forms[mask](*tensors, **numbers, **options)


def _parameters(function: Callable[..., Expr]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of the operands, and the options with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    options = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return tuple(p.name for p in parameters if p.name not in options), options


def _form(
    function: Callable[..., Expr], names: tuple[str, ...], mask: tuple[bool, ...], samples: tuple[Sample, ...],
    either: Collection[str], masks: Collection[str],
) -> Operator:  # fmt: skip
    """The operator in which the operands outside of the mask are constants."""

    def statement(*tensors: Operand, **numbers: Any) -> Expr:
        reads = iter(tensors)
        values = [next(reads)[...] if tensor else number(numbers[n]) for n, tensor in zip(names, mask, strict=True)]
        computed = [t for t in tensors if t.name not in masks]
        fraction = next((v for v in values if v.is_Number and not v.is_Integer), None)
        if fraction is not None and computed and not computed[0].type.dtype.is_float:
            raise DTypeError(
                f"{function.__name__}: {float(fraction)} is no integer, but {computed[0].name} is "
                f"{computed[0].type.dtype.value}",
                hint="convert the tensor first: x.astype('float32')",
            )
        return function(*values, **{o: numbers[o] for o in options})

    kinds, options = inspect.Parameter, _parameters(function)[1]
    tensors = [kinds(n, kinds.POSITIONAL_OR_KEYWORD) for n, t in zip(names, mask, strict=True) if t]
    numbers = [kinds(n, kinds.KEYWORD_ONLY, default=0) for n, t in zip(names, mask, strict=True) if not t]
    own = [kinds(o, kinds.KEYWORD_ONLY, default=d) for o, d in options.items()]
    statement.__signature__ = inspect.Signature([*tensors, *numbers, *own])  # type: ignore[attr-defined]
    statement.__name__, statement.__doc__ = _form_name(function.__name__, names, mask), function.__doc__
    statement.__wrapped__ = function  # type: ignore[attr-defined]
    chosen = [
        Sample(
            tuple(shape for shape, t in zip(s.tensors, mask, strict=True) if t),
            {n: 0.75 + k for k, (n, t) in enumerate(zip(names, mask, strict=True)) if not t} | s.attributes,
            s.domain,
        )
        for s in (samples if all(mask) else samples[:1])
    ]
    given = [n for n, t in zip(names, mask, strict=True) if t]
    return op(
        samples=chosen, register=True,
        either=" ".join(n for n in given if n in either), integer=" ".join(n for n in given if n in masks),
    )(statement)  # fmt: skip


def _form_name(name: str, operands: tuple[str, ...], mask: tuple[bool, ...]) -> str:
    """add, add_number, number_add; with more operands, each by its name."""
    if all(mask):
        return name
    if all(mask[:-1]):
        return f"{name}_number"
    if all(mask[1:]):
        return f"number_{name}"
    return "_".join([name, *(o if t else "number" for o, t in zip(operands, mask, strict=True))])


def pointwise(
    *shapes: tuple[tuple[int, ...], ...],
    domain: tuple[float, float] = (-2.0, 2.0),
    in_formulas: Callable[..., Expr] | None = None,
    commutative: bool = False,
    always: Collection[str] = (),
    integers: bool = False,
    variants: Iterable[dict[str, Any]] = (),
) -> Callable[[Callable[..., Expr]], Pointwise]:
    """Declare a pointwise function. `shapes` are the operands' shapes in samples, with defaults.

    `variants` are options of further samples. `in_formulas` is what the name stands for inside formulas where that
    differs, as for comparisons. A commutative function takes its number second; operands named in `always` are never
    numbers. With `integers` it applies to integer tensors too, and those in `always` are masks, of whatever type.
    """

    def declare(function: Callable[..., Expr]) -> Pointwise:
        count = len(_parameters(function)[0])
        chosen = shapes or (((3, 4),) * count, *([((2, 3, 4), (4,))] if count == 2 else []))
        samples = [Sample(s, domain=domain) for s in chosen]
        samples += [Sample(chosen[0], options, domain) for options in variants]
        return Pointwise(function, samples, in_formulas, commutative, always, integers)

    return declare
