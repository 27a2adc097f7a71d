"""Lifting a function of scalars to tensors: every mix of tensors and numbers is an operator of its own.

    @pointwise()
    def add(a, b):
        return a + b

declares add(a, b) = a[...] + b[...], add_number(a) = a[...] + b and number_add(b) = a + b[...]. A number is
an exact constant of the formula. Applied to scalar expressions, `add` is the function itself, and so serves
inside the formulas of user-declared operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
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
        always: Iterable[str] = (),
    ) -> None:
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.operands = tuple(inspect.signature(function).parameters)
        self.commutative = commutative
        self._scalar = in_formulas or function
        tensors = {*always, *self.operands[:commutative]}
        self._forms = {
            mask: _form(function, self.operands, mask, tuple(samples))
            for mask in product((True, False), repeat=len(self.operands))
            if any(mask) and all(t or n not in tensors for n, t in zip(self.operands, mask, strict=True))
        }

    def __repr__(self) -> str:
        return f"<pointwise {self.name}({', '.join(self.operands)})>"

    def form(self, *is_tensor: bool) -> Operator:
        """The operator whose other operands are numbers."""
        return self._forms[is_tensor]

    def __call__(self, *values: Any) -> Any:
        """Apply: to tensors a tensor, to scalar expressions a scalar expression. Raises DTypeError."""
        if len(values) != len(self.operands):
            raise GraphcError(f"{self.name} takes the operands {', '.join(self.operands)}; got {len(values)}")
        mask = tuple(hasattr(v, "__graphc_apply__") for v in values)
        for name, value, tensor in zip(self.operands, values, mask, strict=True):
            if not tensor and not isinstance(value, sp.Basic) and not is_number(value):
                raise DTypeError(
                    f"{self.name}: {name} must be a tensor or a number, got {type(value).__name__}",
                    hint="feed arrays through gc.input, or hold them in a gc.Parameter",
                )
        if not any(mask):
            return self._scalar(*[v if isinstance(v, sp.Basic) else number(v) for v in values])
        if self.commutative and not mask[0]:
            values, mask = values[::-1], mask[::-1]
        if mask not in self._forms:
            raise DTypeError(f"{self.name}: {self.operands[mask.index(False)]} must be a tensor, got a number")
        tensors = [v for v, tensor in zip(values, mask, strict=True) if tensor]
        numbers = {n: number(v) for n, v, tensor in zip(self.operands, values, mask, strict=True) if not tensor}
        return self._forms[mask](*tensors, **numbers)


def _form(
    function: Callable[..., Expr], names: tuple[str, ...], mask: tuple[bool, ...], samples: tuple[Sample, ...]
) -> Operator:
    """The operator in which the operands outside of the mask are constants."""

    def statement(*tensors: Operand, **numbers: Any) -> Expr:
        reads = iter(tensors)
        values = [next(reads)[...] if tensor else number(numbers[n]) for n, tensor in zip(names, mask, strict=True)]
        return function(*values)

    kinds = inspect.Parameter
    tensors = [kinds(n, kinds.POSITIONAL_OR_KEYWORD) for n, t in zip(names, mask, strict=True) if t]
    numbers = [kinds(n, kinds.KEYWORD_ONLY, default=0) for n, t in zip(names, mask, strict=True) if not t]
    statement.__signature__ = inspect.Signature([*tensors, *numbers])  # type: ignore[attr-defined]
    statement.__name__, statement.__doc__ = _form_name(function.__name__, names, mask), function.__doc__
    chosen = [
        Sample(
            tuple(shape for shape, t in zip(s.tensors, mask, strict=True) if t),
            {n: 0.75 + k for k, (n, t) in enumerate(zip(names, mask, strict=True)) if not t},
            s.domain,
        )
        for s in (samples if all(mask) else samples[:1])
    ]
    return op(samples=chosen, register=True)(statement)


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
    always: Iterable[str] = (),
) -> Callable[[Callable[..., Expr]], Pointwise]:
    """Declare a pointwise function. `shapes` are the operands' shapes in samples, with defaults.

    `in_formulas` is what the name stands for inside formulas where that differs, as for comparisons. A
    commutative function takes its number second; operands named in `always` are never numbers.
    """

    def declare(function: Callable[..., Expr]) -> Pointwise:
        count = len(inspect.signature(function).parameters)
        chosen = shapes or (((3, 4),) * count, *([((2, 3, 4), (4,))] if count == 2 else []))
        samples = [Sample(s, domain=domain) for s in chosen]
        return Pointwise(function, samples, in_formulas, commutative, always)

    return declare
