"""Plain-text form of formulas: one line, index notation, deterministic."""

from __future__ import annotations

import re
from typing import Any

import sympy as sp
from sympy.printing.str import StrPrinter

from graphc.ops.formula import Axis, Cond, Formula

SYMBOLS = {"sum": "Σ", "max": "max", "min": "min", "prod": "Π"}


class _Printer(StrPrinter):  # type: ignore[misc]
    def _print_Read(self, e: Any) -> str:
        return f"{e.name}[{', '.join(self._print(i) for i in e.index)}]" if e.index else str(e.name)

    _print_Table = _print_Read

    def _print_Random(self, e: Any) -> str:
        return f"random({', '.join(map(self._print, e.args))})"

    def _print_Where(self, e: Any) -> str:
        return f"({self._print(e.args[0])} ? {self._print(e.args[1])} : {self._print(e.args[2])})"

    def _print_Cond(self, e: Cond) -> str:
        a = [self._print(x) for x in e.args[1:]]
        match e.kind:
            case "ge":
                return f"{a[0]} >= 0"
            case "divides":
                return f"{a[0]} | {a[1]}"
            case "eq":
                return f"{a[0]} == {a[1]}"
            case "lt":
                return f"{a[0]} < {a[1]}"
            case _:
                return f"{a[0]} <= {a[1]}"

    def _print_FloorDiv(self, e: Any) -> str:
        return f"({self._print(e.args[0])} // {e.args[1]})"

    def _print_Mod(self, e: Any) -> str:
        return f"({self._print(e.args[0])} % {e.args[1]})"

    def _print_Reduce(self, e: Any) -> str:
        return f"{_reduction(e.kind, e.over, e.conditions)}({self._print(e.body)})"

    def _print_Float(self, e: Any) -> str:
        return f"{float(e):.9g}"

    def _print_Mul(self, e: Any) -> str:
        return re.sub(r"(?<!\*)\*(?!\*)", "·", super()._print_Mul(e))

    def _print_Pow(self, e: Any, rational: bool = False) -> str:
        if e.exp == -1:
            return f"1/{self.parenthesize(e.base, 50)}"
        return str(super()._print_Pow(e, rational=rational))


_printer = _Printer({"order": None})


def expression_text(e: sp.Basic) -> str:
    """One scalar expression or condition as text."""
    return str(_printer.doprint(e))


def _axes(axes: tuple[Axis, ...]) -> str:
    return ", ".join(f"{a.name}<{a.extent}" for a in axes)


def _reduction(kind: str, over: tuple[Axis, ...], conditions: tuple[Cond, ...]) -> str:
    given = " | " + ", ".join(map(expression_text, conditions)) if conditions else ""
    return f"{SYMBOLS[kind]}_{{{_axes(over)}{given}}} "


def formula_text(f: Formula, out: str = "out", *, extents: bool = False) -> str:
    """`out[n,k] = Σ_{c<3} X[n, c]·W[k, c]`."""
    axes = _axes(f.axes).replace(" ", "") if extents else ",".join(a.name for a in f.axes)
    left = f"{out}[{axes}]" if f.axes else out
    if f.reduction is not None:
        head = _reduction(f.reduction, f.over, f.conditions)
    else:
        head = "[" + ", ".join(map(expression_text, f.conditions)) + "] " if f.conditions else ""
    return f"{left} = {head}{expression_text(f.body)}"
