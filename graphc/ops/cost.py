"""How much work a formula is: counted from its equation, as polynomials in the batch size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import sympy as sp
from sympy.core.expr import Expr

from graphc.ops.formula import Cond, Formula, Random, Read, Table, Where
from graphc.ops.scattering import scattering
from graphc.ops.separable import Separable, separable
from graphc.ops.stacking import stack_axis
from graphc.types import Batch, Extent, TensorType


@dataclass(frozen=True, slots=True)
class Polynomial:
    """Σ_k coefficients[k] · N^k, without trailing zeros."""

    coefficients: tuple[int, ...] = ()

    def __call__(self, batch: int) -> int:
        """The value at one batch size."""
        return sum(c * batch**k for k, c in enumerate(self.coefficients))

    def __add__(self, other: Polynomial) -> Polynomial:
        size = max(len(self.coefficients), len(other.coefficients))
        a, b = (p.coefficients + (0,) * (size - len(p.coefficients)) for p in (self, other))
        return polynomial(x + y for x, y in zip(a, b, strict=True))

    def __mul__(self, k: int) -> Polynomial:
        return polynomial(c * k for c in self.coefficients)

    __rmul__ = __mul__

    @property
    def fixed(self) -> int:
        """The part that does not depend on the batch."""
        return self.coefficients[0] if self.coefficients else 0

    @property
    def per_sample(self) -> int:
        """The factor of N."""
        return self.coefficients[1] if len(self.coefficients) > 1 else 0

    def __str__(self) -> str:
        powers = ["", "·N", *(f"·N^{k}" for k in range(2, len(self.coefficients)))]
        terms = [f"{c}{p}" for c, p in zip(self.coefficients, powers, strict=False) if c]
        return " + ".join(reversed(terms)) or "0"


def polynomial(coefficients: Iterable[int]) -> Polynomial:
    """A polynomial with trailing zeros removed."""
    kept = list(coefficients)
    while kept and kept[-1] == 0:
        kept.pop()
    return Polynomial(tuple(kept))


def count(extents: Iterable[Extent]) -> Polynomial:
    """The product of extents: how many elements a box has."""
    size, power = 1, 0
    for extent in extents:
        if isinstance(extent, Batch):
            power += 1
        else:
            size *= extent
    return polynomial((0,) * power + (size,))


def bytes_of(type: TensorType) -> Polynomial:
    """Bytes of a dense tensor."""
    return count(type.shape) * type.dtype.bytes


@dataclass(frozen=True, slots=True)
class Operations:
    """Scalar operations of one evaluation of a body; equal subexpressions count once, indices not at all."""

    additions: int = 0
    multiplications: int = 0
    divisions: int = 0
    comparisons: int = 0
    transcendentals: int = 0

    @property
    def total(self) -> int:
        """All operations, each counted as one."""
        return self.additions + self.multiplications + self.divisions + self.comparisons + self.transcendentals

    @property
    def cycles(self) -> int:
        """A rough price: divisions, roots and transcendental functions cost several plain operations."""
        plain = self.additions + self.multiplications + self.comparisons
        return plain + 5 * self.divisions + 15 * self.transcendentals


@lru_cache(maxsize=16384)
def operations(body: Expr) -> Operations:
    """The operations of a scalar expression."""
    return _counted(_scalar_nodes(body))


@lru_cache(maxsize=16384)
def price(body: Expr) -> int:
    """`cycles` of what depends on values: arithmetic of indices alone is done by loops and constants."""
    return _counted([e for e in _scalar_nodes(body) if e.has(Read, Table)]).cycles


def _counted(nodes: Iterable[Expr]) -> Operations:
    found = {"additions": 0, "multiplications": 0, "divisions": 0, "comparisons": 0, "transcendentals": 0}
    for node in nodes:
        if node.is_Add:
            found["additions"] += len(node.args) - 1
        elif node.is_Mul:
            factors = [a for a in node.args if a is not sp.S.NegativeOne]
            divisors = sum(_is_reciprocal(a) for a in factors)
            found["multiplications"] += max(len(factors) - divisors - 1, 0)
        elif node.is_Pow and not isinstance(node, sp.exp):
            _count_power(node.exp, found)
        elif isinstance(node, (Where, Cond)) or node.func.__name__ in ("maximum", "minimum"):
            found["comparisons"] += 1
        elif isinstance(node, Random):
            found["transcendentals"] += 7  # ten rounds of wide multiplications take as long
        elif node.args:
            found["transcendentals"] += 1
    return Operations(**found)


def _is_reciprocal(e: Expr) -> bool:
    return bool(e.is_Pow and not isinstance(e, sp.exp) and e.exp.is_Rational and e.exp < 0)


def _count_power(exponent: Expr, found: dict[str, int]) -> None:
    """x^k by repeated squaring, x^(1/2) as a root, other powers as a transcendental function."""
    if exponent.is_Rational and exponent < 0:
        found["divisions"] += 1
        exponent = -exponent
    if exponent.is_Integer:
        k = int(exponent)
        found["multiplications"] += k.bit_length() + k.bit_count() - 2
    elif exponent.is_Rational and exponent.q == 2:
        found["divisions"] += 1
        found["multiplications"] += int(exponent.p) // 2
    else:
        found["transcendentals"] += 1


def _scalar_nodes(body: Expr) -> list[Expr]:
    """The distinct nodes that are computed with scalars: what lies inside an index is left out."""
    found: dict[Expr, None] = {}

    def visit(e: Expr) -> None:
        if e in found:
            return
        found[e] = None
        if isinstance(e, (Read, Table, Random)):
            return
        if isinstance(e, Cond) and e.kind in ("ge", "divides"):
            return
        for a in e.args if not isinstance(e, Cond) else e.args[1:]:
            visit(a)

    visit(body)
    return [e for e in found if not isinstance(e, (Read, Table))]


@dataclass(frozen=True, slots=True)
class Cost:
    """Work and traffic: operations in all, transcendental ones among them, bytes read and written once each.

    Conditions and reads outside a tensor's box count as if they were inside: an upper bound.
    """

    flops: Polynomial = Polynomial()
    transcendentals: Polynomial = Polynomial()
    read: Polynomial = Polynomial()
    written: Polynomial = Polynomial()

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.transcendentals + other.transcendentals,
            self.read + other.read,
            self.written + other.written,
        )

    @property
    def bytes(self) -> Polynomial:
        """Bytes read and written."""
        return self.read + self.written

    def intensity(self, batch: int) -> float:
        """Operations for each byte moved: the horizontal axis of a roofline."""
        return self.flops(batch) / max(self.bytes(batch), 1)


def volume(f: Formula) -> Polynomial:
    """How many times the body is evaluated."""
    return count(a.extent for a in (*f.axes, *f.over))


def formula_cost(f: Formula, operands: Iterable[TensorType], result: TensorType) -> Cost:
    """The cost of one formula; a reduction adds one operation for each element that it takes in."""
    each = operations(f.body)
    accumulate = 0 if f.reduction is None else 1
    evaluations = volume(f)
    read = Polynomial()
    for type in operands:
        read += bytes_of(type)
    return Cost(
        evaluations * (each.total + accumulate),
        evaluations * each.transcendentals,
        read,
        bytes_of(result),
    )


def evaluations(f: Formula) -> Polynomial:
    """How many times the body is evaluated where conditions that divide leave terms out, or name the result of each."""
    form = scattering(f)
    if form is not None:
        return count(a.extent for a in (*f.axes, *f.over) if a.name not in form.named)
    kept = prod(int(c.args[1]) for c in f.conditions if c.kind == "divides")
    return polynomial(c // kept for c in volume(f).coefficients)


def work(f: Formula) -> Polynomial:
    """The operations that a formula takes as it is compiled: constant matrices are applied one after the other, and of
    stacked sums each is computed alone."""
    form = separable(f)
    if form is not None:
        return _transforms(f, form) * (2 * _nonzeros(form))
    counter = stack_axis(f)
    bodies = _alternatives(f.body) if counter else []
    if counter is None or len(bodies) != counter.extent:
        return evaluations(f) * (operations(f.body).total + (f.reduction is not None))
    each = count(a.extent for a in (*f.axes, *f.over) if a != counter)
    return each * sum(operations(body).total + 1 for body in bodies)


def _alternatives(body: Expr) -> list[Expr]:
    """The branches of nested conditionals, first the first."""
    branches = []
    while isinstance(body, Where):
        branches.append(body.args[1])
        body = body.args[2]
    return [*branches, body]


def _transforms(f: Formula, form: Separable) -> Polynomial:
    """How many times the matrices are applied: for each tile, and for each position along the axes beside it."""
    tiled = form.tiled
    return count(
        -(-a.extent // tiled[a.name]) if a.name in tiled and isinstance(a.extent, int) else a.extent
        for a in f.axes
        if a.name not in form.unrolled
    )


def _nonzeros(form: Separable) -> int:
    """Multiply-adds of all matrices on one tile, each along its own axis of what the matrices before it made."""
    rows, columns = [len(x.matrix) for x in form.factors], [len(x.matrix[0]) for x in form.factors]
    return sum(
        sum(v != 0 for row in x.matrix for v in row) * prod(rows[:k]) * prod(columns[k + 1 :])
        for k, x in enumerate(form.factors)
    )
