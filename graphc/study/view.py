"""Every stage of a compilation as text, for the whole program or for one layer.

    math  latex  derivatives        formulas                the final graph
    graph  kernels                  Graph, Program          before lowering
    loops  vectors                  Loop IR                 as lowered; as emitted, in lanes and registers
    llvm  asm                       LLVM IR, machine code

and the name of any pass: what it made.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphc.errors import GraphError
from graphc.graph.ir import Graph
from graphc.graph.printer import graph_text
from graphc.loops.ir import Call, Step
from graphc.loops.printer import function_text, step_text
from graphc.schedule.printer import kernel_text, program_text
from graphc.schedule.program import Program
from graphc.study.compiled import Compiled
from graphc.study.math import derivatives_text, latex_text, math_text
from graphc.study.scopes import applied, check_scope, functions_of, matches, part_of_graph, part_of_program

Stage = Callable[[Compiled, str | None], str]


def stage_text(compiled: Compiled, stage: str, scope: str | None = None) -> str:
    """One stage as text. `scope` chooses a layer by its path, with the layers inside of it.

    Raises GraphError for a stage or a layer that does not exist.
    """
    show = STAGES.get(stage)
    if show is not None:
        return show(compiled, scope)
    passes = list(dict.fromkeys(r.stage for r in compiled.stages.records))
    if stage not in passes:
        raise GraphError(f"there is no stage {stage}", hint=f"stages: {', '.join(STAGES)}; passes: {', '.join(passes)}")
    return _pass_text(compiled, compiled.stages[stage], scope)


def _pass_text(compiled: Compiled, ir: Any, scope: str | None) -> str:
    """What a pass made, in the language of its result."""
    match ir:
        case Graph():
            # a part without results ends without a return
            return graph_text(part_of_graph(ir, scope), formulas=True).removesuffix("return \n")
        case Program():
            return program_text(part_of_program(ir, scope)).removesuffix("return \n")
        case Step():
            return str(ir) if scope is None else _functions(ir, scope)
        case str():
            return ir if scope is None else _llvm(compiled, scope)
        case _:  # kernels that are not laid out yet
            check_scope(scope, (k.scope for k in ir.kernels))
            return "\n".join(kernel_text(k) for k in ir.kernels if matches(k.scope, scope)) + "\n"


def _graph(compiled: Compiled, scope: str | None) -> str:
    return _pass_text(compiled, compiled.graph, scope)


def _kernels(compiled: Compiled, scope: str | None) -> str:
    return _pass_text(compiled, compiled.program, scope)


def _loops(compiled: Compiled, scope: str | None) -> str:
    """Tiles with their VECTOR and UNROLL loops still in place."""
    return _functions(compiled.stages["lower"], scope)


def _vectors(compiled: Compiled, scope: str | None) -> str:
    """Lanes, registers and polynomials, as they are emitted."""
    return _functions(compiled.step, scope)


def _functions(step: Step, scope: str | None) -> str:
    """Functions over the buffers of their first call; without a scope, the order of all calls before them."""
    parts = []
    if scope is None:
        parts.append(step_text(replace(step, functions=())))
    for function, (first, *others) in functions_of(step, scope):
        also = "".join(f"# also {_call(c)}\n" for c in others)
        parts.append(also + function_text(applied(function, first)))
    return "\n".join(parts)


def _call(call: Call) -> str:
    return f"{call.scope or '-'}: {call.function}({', '.join(call.buffers)})"


def _llvm(compiled: Compiled, scope: str | None) -> str:
    """The emitted text; of a layer, its functions and the comments above them."""
    text = compiled.executable.native.llvm
    if scope is None:
        return text
    parts = []
    for function, calls in functions_of(compiled.step, scope):
        # the comment lines above, the definition, everything up to its closing brace
        pattern = rf'^(?:;.*\n)*define .*@"?{re.escape(function.name)}"?\((?:.*\n)*?\}}\n'
        found = re.search(pattern, text, re.MULTILINE)
        assert found is not None
        parts.append("".join(f"; {_call(c)}\n" for c in calls) + found.group())
    return "\n".join(parts)


def _asm(compiled: Compiled, scope: str | None) -> str:
    """The machine code of the whole, or of a layer's functions."""
    native = compiled.executable.native
    if scope is None:
        return native.assembly
    return "\n".join(
        "".join(f"# {_call(c)}\n" for c in calls) + native.assembly_of(function.name)
        for function, calls in functions_of(compiled.step, scope)
    )


STAGES: dict[str, Stage] = {
    "math": math_text,
    "latex": latex_text,
    "derivatives": derivatives_text,
    "graph": _graph,
    "kernels": _kernels,
    "loops": _loops,
    "vectors": _vectors,
    "llvm": _llvm,
    "asm": _asm,
}
