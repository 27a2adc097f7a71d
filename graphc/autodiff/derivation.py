"""The derivation of an adjoint as numbered steps of text: chain rule, reads, deltas, bounds, result."""

from __future__ import annotations

from collections.abc import Iterator

from sympy.core.expr import Expr

from graphc.autodiff.adjoint import adjoint
from graphc.autodiff.application import Application, cotangent_name
from graphc.autodiff.conditions import drop_implied
from graphc.autodiff.eliminate import Elimination, eliminate
from graphc.autodiff.partials import partials
from graphc.ops.formula import Read, formula, tensor_symbol, value_reads
from graphc.ops.operator import Statement
from graphc.ops.stability import stabilise
from graphc.ops.text import expression_text, formula_text

Step = tuple[str, str]


def derivation(application: Application, operand: str) -> str:
    """How the cotangent of an operand follows from the formulas of an application, step by step.

    Raises DerivativeError for an integer operand.
    """
    result = adjoint(application, ((application.statements[-1].name, None),), (operand,))
    steps: list[Step] = []
    active = _active(application, operand)
    for s in reversed(application.statements):
        if s.name in active:
            for read, partial in partials(stabilise(s.formula.body)):
                if read.name == operand or read.name in active:
                    steps += _steps(application, s, read, partial)
    steps += [("normalised", formula_text(s.formula, s.name)) for s in result.statements]
    if dict(result.results)[operand] is None:
        steps.append(("normalised", f"{cotangent_name(operand)} = 0"))
    forward = [formula_text(s.formula, s.name) for s in application.statements]
    width = max(len(title) for title, _ in steps)
    numbered = [f"{k:2} {title:<{width}}  {text}" for k, (title, text) in enumerate(steps, 1)]
    return "\n".join([*forward, *numbered]) + "\n"


def _active(application: Application, operand: str) -> frozenset[str]:
    """The statements whose value depends on an operand."""
    active: set[str] = set()
    for s in application.statements:
        if any(r.name == operand or r.name in active for r in value_reads(s.formula.body)):
            active.add(s.name)
    return frozenset(active)


def _element(name: str, index: Iterator[str]) -> str:
    """name[i, j], or the bare name of a scalar."""
    inside = ", ".join(index)
    return f"{name}[{inside}]" if inside else name


def _steps(application: Application, s: Statement, read: Read, partial: Expr) -> Iterator[Step]:
    """The steps from one read of a statement to what it adds to a cotangent."""
    f = s.formula
    types = application.types | {cotangent_name(s.name): s.type}
    found = eliminate(read, types[read.name].shape, f.axes, f.over, f.conditions)
    target, source = cotangent_name(read.name), cotangent_name(s.name)
    if found is None:
        yield f"read {read.name}", f"{expression_text(read)} never lies inside the tensor: nothing is added"
        return
    places = _element(target, (f"{a.name}'" for a in found.axes))
    element = _element(s.name, (a.name for a in f.axes))
    loops = ",".join(a.name for a in (*f.axes, *f.over))
    sigma = f"Σ_{{{loops}}} " if loops else ""
    wanted = _element(read.name, (f"{a.name}'" for a in found.axes))
    yield (
        "chain rule",
        f"{places} += {sigma}{_element(source, (a.name for a in f.axes))} · ∂{element}/∂{wanted}",
    )
    deltas = " ".join(f"δ({a.name}', {expression_text(i)})" for a, i in zip(found.axes, read.index, strict=True))
    derivative = f"{_factor(partial)}{deltas}" if deltas else expression_text(partial)
    yield f"read {read.name}", f"∂{element}/∂{wanted} = {derivative}"
    if f.reduction in ("max", "min"):
        yield (
            "first",
            f"only where the reduced axes stand at the first element that reaches the {f.reduction}imum",
        )
    yield "solve deltas", _solved(found, read)
    seed = Read(tensor_symbol(source), *[a.symbol for a in f.axes])
    body = found.substitute(dict(partials(stabilise(f.body), seed))[read])
    kept = drop_implied(found.conditions, body, types, found.extents)
    bounds = [expression_text(c) for c in kept]
    bounds += [f"({expression_text(c)}: a factor is zero outside)" for c in found.conditions if c not in kept]
    yield "bounds", ", ".join(bounds) or "none"
    contribution = formula(found.axes, body, "sum" if found.over else None, found.over, kept)
    yield "adds", formula_text(contribution, target)


def _factor(e: Expr) -> str:
    """An expression as the left factor of a product, nothing for 1."""
    if e == 1:
        return ""
    return f"({expression_text(e)}) · " if e.is_Add else f"{expression_text(e)} · "


def _solved(found: Elimination, read: Read) -> str:
    """What every axis was solved to, and the loops that remain."""
    bare = [f"{i} := {a.name}'" for a, i in zip(found.axes, read.index, strict=True) if i == a.symbol]
    texts = bare + [f"{symbol} := {expression_text(e)}" for symbol, e in found.solved]
    loops = ", ".join(a.name for a in found.over)
    return (", ".join(texts) or "nothing to solve") + (f"; loops over {loops} remain" if loops else "")
