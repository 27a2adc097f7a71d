"""Formulas and their adjoints in exact arithmetic, the adjoint against sympy's derivative of the evaluated formula.

Where only rational functions occur, both sides are rational numbers and equal; elsewhere they agree in 40 digits, or
in 14 where constants of the formula are doubles.
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Application, applied, cotangent_name
from graphc.ops import OPERATORS
from graphc.ops.formula import Random, walk
from graphc.ops.operator import Sample
from graphc.types import DType, TensorType
from tests.exact import Exact, Tensors, evaluations
from tests.registry import varies_as_constant

LIMIT = 150
"""Evaluations of a body beyond which a sample is too large for this."""


def application(name: str, sample: Sample) -> Application:
    """An operator on the tensors of a sample."""
    operator = OPERATORS[name].form(tuple(t is not None for t in sample.tensors))
    shapes = [t for t in sample.tensors if t is not None]
    types = tuple(
        TensorType(tuple(t[2]), DType.INT64) if t and t[0] == "int" else TensorType(tuple(t), DType.FLOAT64)
        for t in shapes
    )
    return applied(operator.define(types, dict(sample.attributes)), zip(operator.tensors, types, strict=True))


def fits(found: Application) -> bool:
    formulas = [s.formula for s in found.statements]
    counter_based = any(isinstance(e, Random) for f in formulas for e in walk(f.body))
    estimated = any(map(varies_as_constant, found.statements))
    return not counter_based and not estimated and sum(map(evaluations, formulas)) <= LIMIT


@pytest.mark.parametrize("name", OPERATORS)
def test_adjoints_are_exact(name: str) -> None:
    candidates = [(application(name, sample), sample) for sample in OPERATORS[name].samples]
    found, sample = next(((a, s) for a, s in candidates if fits(a)), (None, None))
    if found is None or not found.statements[-1].type.dtype.is_float:
        pytest.skip("too large, random, of integers, or with a part that counts as a constant")
    random = np.random.default_rng(sum(map(ord, name)))
    tensors, point, numbers = draw(found, sample, random)
    symbolic, plain = Exact(point), Exact()
    for s in found.statements:
        tensors[s.name] = symbolic.formula(s.formula, tensors)
        numbers[s.name] = plain.formula(s.formula, numbers)
    result = found.statements[-1].name
    assert all(agree(symbolic.number(a), b) for a, b in zip(tensors[result].flat, numbers[result].flat, strict=True))
    cotangent = rationals(tensors[result].shape, (-2, 2), random)
    numbers[cotangent_name(result)] = cotangent
    loss = sp.Add(*[c * y for c, y in zip(cotangent.flat, tensors[result].flat, strict=True)])
    # decimal constants, such as 1e-5, are doubles that sympy multiplies as doubles
    digits = 14 if any(s.formula.body.has(sp.Float) for s in found.statements) else 40
    wanted = tuple(n for n, t in found.operands if t.dtype.is_float)
    derived = adjoint(found, ((result, None),), wanted)
    for s in derived.statements:
        numbers[s.name] = plain.formula(s.formula, numbers)
    for operand, statement in derived.results:
        for k, symbol in enumerate(tensors[operand].flat):
            expected = symbolic.number(sp.diff(loss, symbol))
            got = sp.S.Zero if statement is None else numbers[statement].flat[k]
            assert agree(expected, got, digits), f"d_{operand}[{k}] is {got}, expected {expected}"


def draw(found: Application, sample: Sample, random: np.random.Generator) -> tuple[Tensors, dict, Tensors]:
    """Operands as symbols, the numbers that these stand for, and operands as numbers."""
    tensors, numbers, point = {}, {}, {}
    for (name, type), tensor in zip(found.operands, (t for t in sample.tensors if t is not None), strict=True):
        if not type.dtype.is_float:
            drawn = random.integers(0, tensor[1], type.shape)
            tensors[name] = numbers[name] = np.vectorize(sp.Integer, otypes=[object])(drawn)
            continue
        numbers[name] = rationals(type.shape, sample.domain, random)
        symbols = [sp.Symbol(f"{name}_{k}", real=True) for k in range(numbers[name].size)]
        tensors[name] = np.array(symbols, object).reshape(type.shape)
        point |= dict(zip(symbols, numbers[name].flat, strict=True))
    return tensors, point, numbers


def rationals(shape: tuple[int, ...], domain: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Different rational numbers in a range."""
    size = int(np.prod(shape))
    steps = 4 * size + 1
    low, high = (sp.Rational(str(d)) for d in domain)
    chosen = random.permutation(np.arange(1, steps))[:size]
    drawn = [low + (high - low) * sp.Rational(int(c), steps) for c in chosen]
    return np.array(drawn, object).reshape(shape)


def agree(a: sp.Expr, b: sp.Expr, digits: int = 40) -> bool:
    """Equal rational numbers, or so many equal digits."""
    if a.is_Rational and b.is_Rational and digits == 40:
        return bool(a == b)
    a, b = a.evalf(60), b.evalf(60)
    return bool(abs(a - b) <= sp.Float(f"1e-{digits}", 60) * (1 + abs(a)))
