"""LaTeX of formulas, in the index notation of textbooks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.core.expr import Expr
from sympy.printing.latex import LatexPrinter, greek_letters_set

from graphc.ops.formula import Axis, Cond, Formula, Indexed, Where, denominator, replace

REDUCTIONS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}
FUNCTIONS = {
    "sigmoid": r"\sigma",
    "maximum": r"\max",
    "minimum": r"\min",
    "log": r"\log",
    "tanh": r"\tanh",
    "sin": r"\sin",
    "cos": r"\cos",
}
GREEK = greek_letters_set | {"lambda"}


def formula_latex(f: Formula, out: str = "Y", names: Mapping[str, str] | None = None) -> str:
    r"""`Y_{n,k} = \sum_{c<3} W_{k,c} X_{n,c}`; `names` maps tensors to LaTeX of one's own."""
    printer = _Printer(f.axes + f.over, names or {})
    left = _subscripted(printer.tensor(out), [name_latex(a.name) for a in f.axes])
    body = printer.operand(f.body)
    if f.reduction is not None:
        return f"{left} = {printer.reduction(f.reduction, f.over, f.conditions)} {body}"
    if f.conditions:
        return rf"{left} = \left[{printer.all_of(f.conditions)}\right] {body}"
    return f"{left} = {printer.doprint(f.body)}"


def with_named_parts(f: Formula) -> tuple[list[tuple[str, Expr]], Formula]:
    """Parts that occur several times as definitions u1, u2, ..., each in terms of those before it, and the formula in
    terms of all."""
    uses: dict[Expr, int] = {}
    order: list[Expr] = []

    def visit(e: Expr) -> None:
        uses[e] = uses.get(e, 0) + 1
        if uses[e] == 1 and e.args and not isinstance(e, Indexed):
            for a in e.args:
                visit(a)
            order.append(e)

    visit(f.body)
    names: dict[Expr, Expr] = {}
    definitions: list[tuple[str, Expr]] = []
    for e in order:
        if uses[e] > 1 and -e not in names and not isinstance(e, Cond):
            definitions.append((f"u{len(names) + 1}", replace(e, names)))
            names[e] = sp.Symbol(definitions[-1][0])
    return definitions, dataclasses.replace(f, body=replace(f.body, names))


def expression_latex(e: sp.Basic, names: Mapping[str, str] | None = None) -> str:
    """The LaTeX of one scalar expression or condition."""
    return str(_Printer((), names or {}).doprint(e))


def name_latex(name: str) -> str:
    """`y`, `r2` as r_{2}, `alpha` as \\alpha, and other words upright."""
    if name in GREEK:
        return f"\\{name}"
    if len(name) == 1:
        return name
    if match := re.fullmatch(r"([A-Za-z])(\d+)", name):
        return f"{match[1]}_{{{match[2]}}}"
    return rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"


def _subscripted(name: str, index: list[str]) -> str:
    if not index:
        return name
    # a second subscript needs a group of its own
    return (f"{{{name}}}" if "_" in name else name) + f"_{{{','.join(index)}}}"


class _Printer(LatexPrinter):  # type: ignore[misc]
    """sympy's printer taught the nodes of the formula language; index sums follow the order of the axes."""

    def __init__(self, axes: tuple[Axis, ...], names: Mapping[str, str]) -> None:
        super().__init__({"order": None})
        self.position = {a.symbol: k for k, a in enumerate(axes)}
        self.names = names

    def tensor(self, name: str) -> str:
        """The symbol of a tensor."""
        return self.names.get(name) or name_latex(name)

    def operand(self, e: Expr) -> str:
        """An expression as the operand of a reduction."""
        text = self.doprint(e)
        return rf"\left({text}\right)" if isinstance(e, sp.Add) else str(text)

    def reduction(self, kind: str, over: tuple[Axis, ...], conditions: tuple[Cond, ...]) -> str:
        r"""`\sum_{c<3,\,r<5 \mid r \ge 1}`"""
        axes = r",\,".join(f"{name_latex(a.name)}<{a.extent}" for a in over)
        given = rf" \,\mid\, {self.all_of(conditions)}" if conditions else ""
        return f"{REDUCTIONS[kind]}_{{{axes}{given}}}"

    def all_of(self, conditions: tuple[Cond, ...]) -> str:
        """Conditions in a row."""
        return r",\,".join(self._print(c) for c in conditions)

    def index(self, e: Expr) -> str:
        """An index: the terms in the order of the axes, the constant last, over a common denominator."""
        below = denominator(e)
        terms = sorted((e * below).expand().as_coefficients_dict().items(), key=self._rank)
        text = ""
        for atom, k in terms:
            size = abs(k)
            shown = str(size) if atom is sp.S.One else ("" if size == 1 else str(size)) + self._print(atom)
            text += ("-" if k < 0 else "+" if text else "") + shown
        text = text or "0"
        return rf"\frac{{{text}}}{{{below}}}" if below != 1 else text

    def _rank(self, term: tuple[Expr, Expr]) -> tuple[int, str]:
        atom, _ = term
        if atom is sp.S.One:
            return len(self.position) + 1, ""
        return self.position.get(atom, len(self.position)), str(atom)

    def _print_Symbol(self, e: Any, style: str = "plain") -> str:
        return name_latex(e.name)

    def _print_Read(self, e: Any) -> str:
        return _subscripted(self.tensor(e.name), [self.index(i) for i in e.index])

    def _print_Table(self, e: Any) -> str:
        """The letter upright, its size above: several tables of one kind may stand side by side."""
        letter, _, size = e.name.partition("(")
        shown = rf"\mathrm{{{letter}}}" + (rf"^{{({size}}}" if size else "")
        return f"{shown}_{{{','.join(self.index(i) for i in e.index)}}}"

    def _print_Random(self, e: Any) -> str:
        key, step, index = e.args
        return rf"u_{{{self._print(key)},{self._print(step)}}}\left({self.index(index)}\right)"

    def _print_FloorDiv(self, e: Any) -> str:
        a, b = map(self.index, e.args)
        return rf"\lfloor {a} / {b} \rfloor" if e.args[0].is_Symbol else rf"\lfloor ({a}) / {b} \rfloor"

    def _print_Mod(self, e: Any) -> str:
        a, b = map(self.index, e.args)
        return rf"({a} \bmod {b})" if e.args[0].is_Symbol else rf"(({a}) \bmod {b})"

    def _print_Cond(self, e: Any) -> str:
        a = [self.index(x) if x.is_integer or x.is_rational else self._print(x) for x in e.args[1:]]
        match e.kind:
            case "ge":
                return rf"{a[0]} \ge 0"
            case "divides":
                return rf"{a[0]} \mid {a[1]}"
            case "eq":
                return f"{a[0]} = {a[1]}"
            case "lt":
                return f"{a[0]} < {a[1]}"
            case _:
                return rf"{a[0]} \le {a[1]}"

    def _print_Where(self, e: Any) -> str:
        rows = []
        while isinstance(e, Where):
            rows.append(rf"{self._print(e.args[1])} & \text{{if }} {self._print(e.args[0])}")
            e = e.args[2]
        rows.append(rf"{self._print(e)} & \text{{otherwise}}")
        return r"\begin{cases} " + r" \\ ".join(rows) + r" \end{cases}"

    def _print_Reduce(self, e: Any) -> str:
        return f"{self.reduction(e.kind, e.over, e.conditions)} {self.operand(e.body)}"

    def _print_Float(self, e: Any) -> str:
        mantissa, _, power = f"{float(e):.9g}".partition("e")
        return rf"{mantissa} \cdot 10^{{{int(power)}}}" if power else mantissa

    def _print_Function(self, e: Any, exp: str | None = None) -> str:
        name = e.func.__name__
        shown = FUNCTIONS.get(name, rf"\operatorname{{{name.replace('_', chr(92) + '_')}}}")
        power = f"^{{{exp}}}" if exp is not None else ""
        return rf"{shown}{power}\left({', '.join(map(self._print, e.args))}\right)"

    _print_log = _print_erf = _print_sin = _print_cos = _print_Function
