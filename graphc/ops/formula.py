"""The formula language: index notation as unevaluated sympy nodes, and the normal form that every stage handles.

    Formula   out[i, ...] = reduce_{r, ... | conditions} body
    body      scalar expression over Read, constants, scalar functions, Where(condition, a, b)
    Read      tensor[index, ...]   a total function: zero outside the tensor's box
    Table     matrix[index, ...]   exact constants, total like Read
    Random    a number in (0, 1) for a key, a step and an index; its derivative is zero
    index     affine in the axes, rational-affine under a divisibility condition, floor/mod, or an integer-valued Read
    condition e >= 0 | s divides e | a == b | a < b | a <= b      never differentiated

sympy supplies scalar algebra, hashing and printing; the nodes below are its own `Expr` subclasses that never
evaluate, because sympy's Sum, Indexed, Piecewise and KroneckerDelta are slow and in places wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import sympy as sp
from sympy.core.basic import Atom
from sympy.core.expr import Expr

from graphc.types import BATCH, Batch, Extent

N = sp.Symbol("N", integer=True, positive=True)
"""The batch extent as it appears inside formulas."""


# ------------------------------------------------------------------------------------------------ nodes


class FormulaNode(Expr):  # type: ignore[misc]
    """Base of the unevaluated nodes."""

    is_commutative = True

    def __new__(cls, *args: Any) -> FormulaNode:
        return Expr.__new__(cls, *[a if isinstance(a, sp.Basic) else sp.sympify(a) for a in args])


class Indexed(FormulaNode):
    """An element of what the first argument names, at the index that the others are; zero outside its box."""

    is_real = True

    @property
    def name(self) -> str:
        """The tensor's name inside the formula."""
        return str(self.args[0].name)

    @property
    def index(self) -> tuple[Expr, ...]:
        """One index expression for each axis."""
        return tuple(self.args[1:])


class Read(Indexed):
    """`Read(name, *index)`: the element of a tensor."""


class Constants(Atom):  # type: ignore[misc]
    """`Constants(name, rows)`: an exact matrix as one leaf, which no rewriting looks into."""

    __slots__ = ("name", "rows")

    def __new__(cls, name: str, rows: Iterable[Iterable[Any]]) -> Constants:
        self: Constants = Atom.__new__(cls)
        self.name, self.rows = name, tuple(tuple(Fraction(str(v)) for v in row) for row in rows)
        return self

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.rows[0])

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.name, self.rows

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.name, self.rows


class Table(Indexed):
    """`Table(constants, i, j)`: the element of an exact matrix; its derivative is zero."""

    @property
    def constants(self) -> Constants:
        return self.args[0]


class Random(FormulaNode):
    """`Random(key, step, index)`: a uniform number in (0, 1), the same for the same 64-bit integers and otherwise
    independent; indices 2·i and 2·i + 1 take one computation. Its derivative is zero."""

    is_real = True


class Reduce(FormulaNode):
    """`Reduce(kind, body, ((axis, extent), ...), *conditions)`; kind is one of sum, max, min."""

    is_real = True

    @property
    def kind(self) -> str:
        return str(self.args[0].name)

    @property
    def body(self) -> Expr:
        return self.args[1]

    @property
    def over(self) -> tuple[Axis, ...]:
        return tuple(Axis(t[0], extent_of(t[1])) for t in self.args[2])

    @property
    def conditions(self) -> tuple[Cond, ...]:
        return tuple(self.args[3:])


class Where(FormulaNode):
    """`Where(condition, a, b)`: the only conditional; differentiated branch by branch."""

    is_real = True


class Cond(FormulaNode):
    """`Cond(kind, ...)`: ge(e) is e >= 0, divides(s, e), eq(a, b), lt(a, b), le(a, b)."""

    @property
    def kind(self) -> str:
        return str(self.args[0].name)


class FloorDiv(FormulaNode):
    """Integer quotient of an index expression, rounded down."""

    is_integer = True


class Mod(FormulaNode):
    """Non-negative remainder of an index expression."""

    is_integer = True


GE, DIVIDES, EQ, LT, LE = (sp.Symbol(k) for k in ("ge", "divides", "eq", "lt", "le"))


def ge(e: Any) -> Cond:
    """e >= 0"""
    return Cond(GE, e)


def divides(divisor: Any, e: Any) -> Cond:
    """divisor | e"""
    return Cond(DIVIDES, divisor, e)


def eq(a: Any, b: Any) -> Cond:
    """a == b"""
    return Cond(EQ, a, b)


def lt(a: Any, b: Any) -> Cond:
    """a < b"""
    return Cond(LT, a, b)


def le(a: Any, b: Any) -> Cond:
    """a <= b"""
    return Cond(LE, a, b)


def where(condition: Cond, a: Any, b: Any) -> Expr:
    """Where(condition, a, b), folded when both branches agree."""
    a, b = sp.sympify(a), sp.sympify(b)
    return a if a == b else Where(condition, a, b)


# -------------------------------------------------------------------------------------------- normal form


class Axis(NamedTuple):
    """An index variable and the number of values that it takes, counted from zero."""

    symbol: sp.Symbol
    extent: Extent

    @property
    def name(self) -> str:
        return str(self.symbol.name)


def index_symbol(name: str) -> sp.Symbol:
    """The symbol of an axis. Being integer, it can never be mistaken for the name of a tensor."""
    return sp.Symbol(name, integer=True)


def tensor_symbol(name: str) -> sp.Symbol:
    """The symbol that names a tensor inside a Read."""
    return sp.Symbol(name)


def size_of(extent: Extent) -> Expr:
    """An extent as a sympy expression."""
    return N if isinstance(extent, Batch) else sp.Integer(extent)


def extent_of(size: Expr) -> Extent:
    """A sympy expression back as an extent."""
    return BATCH if size == N else int(size)


@dataclass(frozen=True, slots=True)
class Formula:
    """out[axes] = reduction over `over`, where all `conditions` hold, of `body`.

    `operands` names the tensors that are read, in the order of the inputs of the node that holds the formula.
    Without a reduction the value is zero where a condition fails.
    """

    axes: tuple[Axis, ...]
    body: Expr
    reduction: str | None = None
    over: tuple[Axis, ...] = ()
    conditions: tuple[Cond, ...] = ()
    operands: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[Extent, ...]:
        """The shape of the result."""
        return tuple(a.extent for a in self.axes)

    @property
    def is_pointwise(self) -> bool:
        """Whether every element of the result is computed without a loop of its own."""
        return self.reduction is None

    def __str__(self) -> str:
        from graphc.ops.text import formula_text

        return formula_text(self)


def formula(
    axes: Iterable[Axis],
    body: Any,
    reduction: str | None = None,
    over: Iterable[Axis] = (),
    conditions: Iterable[Cond] = (),
    operands: Iterable[str] | None = None,
) -> Formula:
    """A Formula whose operands, unless given, are the names that it reads in order of first appearance."""
    body, conditions = sp.sympify(body), tuple(conditions)
    if operands is None:
        operands = dict.fromkeys(r.name for e in (body, *conditions) for r in all_reads(e))
    return Formula(tuple(axes), body, reduction, tuple(over), conditions, tuple(operands))


# ------------------------------------------------------------------------------------------------ queries


def walk(e: Expr) -> Iterator[Expr]:
    """Every distinct node of an expression, parents before children, in a deterministic order."""
    seen: set[Expr] = set()
    stack = [e]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        stack.extend(reversed(node.args))


@lru_cache(maxsize=65536)
def all_reads(e: Expr) -> tuple[Read, ...]:
    """Every Read in an expression, those in index positions and conditions included."""
    return tuple(node for node in walk(e) if isinstance(node, Read))


@lru_cache(maxsize=65536)
def value_reads(e: Expr) -> tuple[Read, ...]:
    """The Reads whose value can be differentiated: not those inside an index or a condition."""
    found: dict[Read, None] = {}

    def visit(node: Expr) -> None:
        if isinstance(node, Read):
            found.setdefault(node)
        elif not isinstance(node, (Cond, Random, Table)):
            for a in node.args:
                visit(a)

    visit(e)
    return tuple(found)


def reads(f: Formula) -> tuple[Read, ...]:
    """Every distinct Read of a formula, conditions included."""
    return tuple(dict.fromkeys(r for e in (f.body, *f.conditions) for r in all_reads(e)))


@lru_cache(maxsize=65536)
def free_symbols(e: Expr) -> frozenset[sp.Symbol]:
    """The index symbols (and N) in an expression; tensor names do not count."""
    return frozenset(s for s in e.free_symbols if s.is_integer)


@lru_cache(maxsize=65536)
def affine(e: Expr) -> tuple[dict[sp.Symbol, sp.Rational], Expr] | None:
    """({symbol: coefficient}, constant) of an index expression, or None if it is not affine in its symbols.

    The constant may contain N; coefficients are rational (fractions appear under divisibility conditions).
    """
    coefficients: dict[sp.Symbol, sp.Rational] = {}
    constant: Expr = sp.S.Zero
    for term, k in e.as_coefficients_dict().items():
        if term is sp.S.One:
            constant += k
        elif term is N:
            constant += k * N
        elif term.is_Symbol:
            coefficients[term] = k
        else:
            return None
    return coefficients, constant


def denominator(e: Expr) -> int:
    """The least common denominator of an index expression's coefficients."""
    return int(sp.ilcm(1, *[k.q for k in e.as_coefficients_dict().values() if k.is_Rational]))


# ---------------------------------------------------------------------------------------------- rewriting


def replace(e: Expr, mapping: Mapping[Expr, Expr]) -> Expr:
    """Simultaneous structural replacement, sharing whatever does not change."""
    memo: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if node in mapping:
            return mapping[node]
        if not node.args:
            return node
        if node not in memo:
            args = [visit(a) for a in node.args]
            same = all(a is b for a, b in zip(args, node.args, strict=True))
            memo[node] = node if same else node.func(*args)
        return memo[node]

    return visit(e) if mapping else e


def rename_axes(f: Formula, names: Mapping[str, str]) -> Formula:
    """The same formula with other names for its axes."""
    m = {a.symbol: index_symbol(names[a.name]) for a in (*f.axes, *f.over) if a.name in names}

    def rename(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        return tuple(Axis(m.get(a.symbol, a.symbol), a.extent) for a in axes)

    return Formula(
        rename(f.axes), replace(f.body, m), f.reduction, rename(f.over),
        tuple(replace(c, m) for c in f.conditions), f.operands,
    )  # fmt: skip


def rename_operands(f: Formula, names: Mapping[str, str]) -> Formula:
    """The same formula with other names for its tensors; operands that become one are merged."""
    m = {tensor_symbol(old): tensor_symbol(new) for old, new in names.items() if old != new}
    operands = tuple(dict.fromkeys(names.get(o, o) for o in f.operands))
    return Formula(
        f.axes, replace(f.body, m), f.reduction, f.over,
        tuple(replace(c, m) for c in f.conditions), operands,
    )  # fmt: skip


@lru_cache(maxsize=16384)
def canonical(f: Formula) -> Formula:
    """The formula with structural names: axes i0.., reduced axes r0.., operands x0... Equal iff alpha-equal."""
    names = {a.name: f"i{k}" for k, a in enumerate(f.axes)} | {a.name: f"r{k}" for k, a in enumerate(f.over)}
    # two steps, so that a name that is both old and new is not captured
    away = rename_axes(f, {old: f"~{k}" for k, old in enumerate(names)})
    back = rename_axes(away, {f"~{k}": new for k, new in enumerate(names.values())})
    away = rename_operands(back, {o: f"~{k}" for k, o in enumerate(back.operands)})
    return rename_operands(away, {f"~{k}": f"x{k}" for k in range(len(back.operands))})


def alpha_equal(f: Formula, g: Formula) -> bool:
    """Whether two formulas differ only in the names of axes and operands."""
    return canonical(f) == canonical(g)
