"""The catalogue of operators as a page: formulas, derived adjoints, shapes, options, sources.

    python -m graphc.study.catalogue          writes docs/operators.md
    graphc operators conv2d                   prints one entry

Everything is taken from the registry; formulas and adjoints are those of each operator's first sample.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Application, applied
from graphc.errors import InputError
from graphc.ops.operator import OPERATORS, Operator, Sample, Statement
from graphc.study.latex import expression_latex, formula_latex, name_latex, with_named_parts
from graphc.types import DType, TensorType

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"

LONGEST = 600
"""Characters of a formula from which on its repeated parts get names."""

INTRODUCTION = """\
# Operators

Every operator of the catalogue: what it computes, and the adjoints that were derived from its formula. This page is
made from the registry by `python -m graphc.study.catalogue`; nothing on it is written by hand, and no operator comes
with a derivative of its own.

The formulas are those of one small application, whose shapes are given. $\\bar Y$ is the cotangent of the result, that
is the derivative of the loss by it, and $\\bar X$ that of the operand $X$. $T^{(1)}, T^{(2)}, \\dots$ are values in
between, and $P$ is the position of the first maximum or minimum; $u_1, u_2, \\dots$ are parts of the formula that
follows them, where it is long. A tensor is zero outside of its box. Operands in brackets may be left out; options may
be given by position or by name.
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An operator, and its forms that take numbers in place of tensors."""

    operator: Operator
    forms: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the operator."""
        return self.operator.name

    @property
    def module(self) -> str:
        """The module that declares it: "convolution"."""
        return str(_declared(self.operator).__module__)

    @property
    def summary(self) -> str:
        """The first line of its description."""
        return (inspect.getdoc(self.operator) or "").split("\n")[0]

    @property
    def signature(self) -> str:
        """`conv2d(X, W, [bias], stride=1, padding=0)`"""
        operator = self.operator
        tensors = [f"[{n}]" if n in operator.optional else n for n in operator.tensors]
        tensors += [f"*{operator.variadic}"] if operator.variadic else []
        options = [f"{n}={_shown(default)}" for n, default in operator.attributes.items()]
        return f"{operator.name}({', '.join([*tensors, *options])})"


def entries() -> tuple[Entry, ...]:
    """Every operator, in order of declaration."""
    families: dict[object, list[Operator]] = {}
    for operator in OPERATORS.values():
        families.setdefault(_declared(operator), []).append(operator)
    return tuple(Entry(first, tuple(o.name for o in others)) for first, *others in families.values())


def find(name: str) -> Entry:
    """The entry of an operator or of one of its forms. Raises InputError for another name."""
    for entry in entries():
        if name == entry.name or name in entry.forms:
            return entry
    near = sorted((e.name for e in entries() if name in e.name or e.name in name), key=len)
    raise InputError(f"there is no operator {name}", hint=f"did you mean {', '.join(near[:4])}?" if near else "")


def listing() -> str:
    """One line for each operator: its name and what it computes."""
    found = entries()
    width = max(len(e.name) for e in found)
    return "\n".join(f"{e.name:<{width}}  {e.summary}" for e in found)


def write() -> None:
    """Write docs/operators.md."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """docs/operators.md"""
    modules: dict[str, list[Entry]] = {}
    for entry in entries():
        modules.setdefault(entry.module, []).append(entry)
    ordered = sorted(modules.items())
    contents = [f"- [{_title(m)}](#{_anchor(_title(m))}): {', '.join(f'`{e.name}`' for e in es)}" for m, es in ordered]
    parts = [INTRODUCTION, "\n".join(contents) + "\n"]
    for module, declared in ordered:
        source = module.replace(".", "/")
        parts.append(f"## {_title(module)}\n\n{_summary(module)} [Source](../{source}.py).\n")
        parts += [entry_text(entry) for entry in declared]
    return "\n".join(parts)


def entry_text(entry: Entry) -> str:
    """One entry: signature, description, shapes, formula, adjoints."""
    operator = entry.operator
    lines = [f"### {entry.name}\n", f"`{entry.signature}`\n", f"{_description(operator)}\n"]
    if entry.forms:
        lines.append(f"With numbers in place of tensors: {', '.join(f'`{f}`' for f in entry.forms)}.\n")
    sample = operator.samples[0]
    found = application(operator, sample)
    lines.append(f"{_shapes(found, sample)}\n")
    lines.append(_math(found.statements, _names(found)))
    wanted = tuple(n for n, t in found.operands if t.dtype.is_float)
    result = found.statements[-1]
    if not wanted or not result.type.dtype.is_float:
        lines.append("The result has no derivative.\n" if wanted else "No operand has a derivative.\n")
        return "\n".join(lines)
    derived = adjoint(found, ((result.name, None),), wanted)
    zero = [n for n, statement in derived.results if statement is None]
    if derived.statements:
        lines.append(_math(derived.statements, _names(found, derived.statements)))
    if zero:
        lines.append(f"The derivative by {', '.join(f'`{n}`' for n in zero)} is zero.\n")
    return "\n".join(lines)


def application(operator: Operator, sample: Sample) -> Application:
    """An operator on tensors as those of a sample."""
    form = operator.form(tuple(t is not None for t in sample.tensors))
    types = tuple(_type(t) for t in sample.tensors if t is not None)
    return applied(form.define(types, dict(sample.attributes)), zip(form.tensors, types, strict=True))


# ---------------------------------------------------------------------------------------------------- pieces


def _type(tensor: tuple[Any, ...]) -> TensorType:
    match tensor:
        case ("int", int(), tuple() as shape):
            return TensorType(shape, DType.INT64)
        case shape:
            return TensorType(tuple(shape))


def _declared(operator: Operator) -> object:
    """The function that the user reads: one for all forms of a pointwise function."""
    return getattr(operator.function, "__wrapped__", operator.function)


def _shown(default: object) -> str:
    return default.value if isinstance(default, DType) else repr(default)


def _description(operator: Operator) -> str:
    """The docstring as Markdown that shows it as it was written."""
    paragraphs = (inspect.getdoc(operator) or "").split("\n\n")
    return "\n\n".join(re.sub(r"([*_<>|])", r"\\\1", p) for p in paragraphs)


def _shapes(found: Application, sample: Sample) -> str:
    operands = ", ".join(f"`{n}` {_shape(t)}" for n, t in found.operands)
    options = ", ".join(f"`{n}={_shown(v)}`" for n, v in sample.attributes.items())
    return f"{operands} to {_shape(found.statements[-1].type)}{f' with {options}' if options else ''}:"


def _shape(type: TensorType) -> str:
    sort = "" if type.dtype.is_float else "integers "
    return f"{sort}[{', '.join(map(str, type.shape))}]" if type.shape else f"{sort}scalar".strip()


def _math(statements: tuple[Statement, ...], names: Mapping[str, str]) -> str:
    lines = [line for s in statements for line in _lines(s, names)]
    if len(lines) > 1:
        rows = " \\\\\n".join(line.replace(" = ", " &= ", 1) for line in lines)
        lines = [f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"]
    return f"```math\n{lines[0]}\n```\n"


def _lines(s: Statement, names: Mapping[str, str]) -> list[str]:
    """The formula of a statement; a long one after its parts."""
    line = formula_latex(s.formula, s.name, names)
    if len(line) <= LONGEST:
        return [line]
    parts, rest = with_named_parts(s.formula)
    shown = [f"{name_latex(name)} = {expression_latex(e, names)}" for name, e in parts]
    return [*shown, formula_latex(rest, s.name, names)]


def _names(found: Application, derived: Iterable[Statement] = ()) -> dict[str, str]:
    """LaTeX of values in between, of cotangents (with a bar) and of the positions of extrema (P)."""
    between = {s.name: f"T^{{({k})}}" for k, s in enumerate(found.statements[:-1], 1)}
    known = found.types.keys()
    mentioned = {n for s in derived for n in (s.name, *s.formula.operands)} - known
    return between | {n: _derived(n, between) for n in sorted(mentioned)}


def _derived(name: str, between: Mapping[str, str]) -> str:
    """`d_X` as \\bar{X}, one of its terms `d_X.1` as \\bar{X}^{[1]}, `first_Y` as P."""
    kind, _, rest = name.partition("_")
    own, _, part = rest.partition(".")
    latex = between.get(own) or _upright(own)
    if kind == "first":
        return "P" if own == "Y" else f"P^{{{latex}}}"
    letter, _, index = latex.partition("^")
    above = index.strip("{}") + (f"[{part}]" if part else "")
    return rf"\bar{{{letter}}}" + (f"^{{{above}}}" if above else "")


def _upright(name: str) -> str:
    return name if len(name) == 1 else rf"\mathrm{{{name.replace('_', chr(92) + '_')}}}"


def _summary(module: str) -> str:
    return (inspect.getdoc(import_module(module)) or "").split("\n\n")[0].replace("\n", " ")


def _title(module: str) -> str:
    """`graphc.ops.normalisation` as "Normalisation"."""
    return module.rpartition(".")[2].replace("_", " ").capitalize()


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


if __name__ == "__main__":
    write()
