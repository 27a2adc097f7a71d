"""The derivation of one adjoint as numbered steps of text: chain rule, reads, deltas, bounds, result."""

from __future__ import annotations

from graphc.autodiff.adjoint import Application, adjoint, cotangent_name
from graphc.autodiff.conditions import drop_implied
from graphc.autodiff.eliminate import eliminate
from graphc.autodiff.partials import partials
from graphc.ops.formula import Axis, Formula, Read, index_symbol, tensor_symbol, value_reads
from graphc.ops.operator import Statement
from graphc.ops.stability import stabilise
from graphc.ops.text import expression_text, formula_text


def derivation(application: Application, operand: str) -> str:
    """How the cotangent of an operand follows from the formulas of an application, step by step.

    Raises DerivativeError for an integer operand.
    """
    last = application.statements[-1]
    result = adjoint(application, ((last.name, None),), (operand,))
    lines = [formula_text(s.formula, s.name) for s in application.statements]
    number = 0
    active = _active(application, operand)
    for s in reversed(application.statements):
        if s.name not in active:
            continue
        for read in value_reads(stabilise(s.formula.body)):
            if read.name == operand or read.name in active:
                for title, text in _steps(application, s, read):
                    number += 1
                    lines.append(f"{number:2} {title:<13} {text}")
    title = "normalised"
    for s in result.statements:
        lines.append(f"{number + 1:2} {title:<13} {formula_text(s.formula, s.name)}")
        title = ""
    if result.results[0][1] is None:
        lines.append(f"{number + 1:2} {title:<13} {cotangent_name(operand)} = 0")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _active(application: Application, operand: str) -> frozenset[str]:
    """The statements whose value depends on an operand."""
    active: set[str] = set()
    for s in application.statements:
        if any(r.name == operand or r.name in active for r in value_reads(s.formula.body)):
            active.add(s.name)
    return frozenset(active)


def _steps(application: Application, s: Statement, read: Read) -> list[tuple[str, str]]:
    """The steps from one read of a statement to what it contributes."""
    f, types = s.formula, application.types
    cotangent = cotangent_name(s.name)
    seed = Read(tensor_symbol(cotangent), *[a.symbol for a in f.axes])
    types[cotangent] = s.type
    axes = tuple(a.name for a in f.axes)
    found = eliminate(read, types[read.name].shape, f.axes, f.over, f.conditions)
    target = f"{cotangent_name(read.name)}[{', '.join(a.name for a in found.axes)}]" if found else ""
    deltas = " ".join(
        f"δ({a.name}, {expression_text(i)})" for a, i in zip(_primed(found.axes), read.index, strict=True)
    ) if found else ""  # fmt: skip
    partial = dict(partials(stabilise(f.body)))[read] if read in dict(partials(stabilise(f.body))) else None
    if found is None or partial is None:
        return [(f"read {expression_text(read)}", "is never inside its box, or has derivative zero: nothing")]
    summed = ", ".join(a.name for a in (*f.axes, *f.over))
    sigma = f"Σ_{{{summed}}} " if summed else ""
    at = f"[{', '.join(axes)}]" if axes else ""
    steps = [
        ("chain rule", f"{cotangent_name(read.name)} += {sigma}{cotangent}{at} · ∂{s.name}{at}/∂{read.name}"),
        (f"read {read.name}", f"∂/∂{expression_text(read)} = {expression_text(partial)}   under {deltas or 'no index'}"),
    ]
    if f.reduction in ("max", "min"):
        steps.append(("first only", f"only where the reduced axes stand at the first {f.reduction}imum"))
    kept = {a.symbol for a in found.axes}
    solved = [f"{a} := {a}'" for a in (x.name for x in found.axes) if a in summed.split(", ")]
    solved += [f"{symbol} := {expression_text(e)}" for symbol, e in found.solved]
    left = [a.name for a in found.over]
    steps.append(("solve deltas", ", ".join(solved) or "none can be solved"))
    if left:
        steps[-1] = (steps[-1][0], f"{steps[-1][1]}   sum remains over {', '.join(left)}")
    body = found.substitute(dict(partials(stabilise(f.body), seed))[read])
    conditions = drop_implied(found.conditions, body, types, found.extents)
    dropped = [c for c in found.conditions if c not in conditions]
    bounds = [f"{expression_text(c)} needed" for c in conditions]
    bounds += [f"{expression_text(c)} implied by a read that is zero outside" for c in dropped]
    steps.append(("bounds", "; ".join(bounds) or "no condition"))
    contribution = Formula(found.axes, body, "sum" if found.over else None, found.over, conditions)
    steps.append(("contributes", formula_text(contribution, target.split("[")[0])))
    assert kept
    return steps


def _primed(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    return tuple(Axis(index_symbol(a.name + "'"), a.extent) for a in axes)
