"""The text form of a program: kernels with their formulas, what was fused, laid out, chosen, and why."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ops.text import formula_text
from graphc.schedule.program import Kernel, Memory, Program, Walk


def memory_text(memory: Memory) -> str:
    """`t5: f32[N,6,28,28] as [N,28,28,8] order 0231, slot 3`"""
    slot = f", slot {memory.slot}" if memory.slot >= 0 else ""
    slot += f" in stretches {memory.life[0]} to {memory.life[1]}" if memory.life else ""
    layout = memory.layout.text(memory.value.type)
    return f"{memory.name}: {memory.value.type} {memory.role} as {layout}{slot}"


def kernel_text(kernel: Kernel) -> str:
    """The stages of one kernel, its lane axis, its remarks."""
    lane = f"lanes along {kernel.lane}" if kernel.lane else "one lane"
    if kernel.lane_reduces:
        lane += " (reduced)"
    split = f", {kernel.axes[0].extent} parts over {kernel.split}" if kernel.split else ""
    chain = f", in {kernel.chain.name}" if kernel.chain else ""
    head = f"kernel {kernel.name}  {kernel.scope or '-'}  {lane}{split}{chain}"
    targets = dict(kernel.stores)
    lines = [head]
    for stage in kernel.stages:
        stored = targets.get(stage.name)
        note = "" if stored is None else "   stored" if stored == stage.name else f"   stored in {stored}"
        lines.append(f"  {formula_text(stage.formula, stage.name)}{note}")
    lines += [f"  # {remark}" for remark in kernel.remarks]
    return "\n".join(lines)


def _unit_text(unit: Sequence[Kernel]) -> str:
    """A kernel; or all kernels of a chain, with what they walk over."""
    chain = unit[0].chain
    if chain is None:
        return kernel_text(unit[0])
    parts = f", summed in {chain.parts} parts" if chain.parts else ""
    how = "step by step" if chain.recurs else "block by block"
    walks = ", ".join(map(walk_text, chain.walks))
    lines = [f"{chain.name}: {len(unit)} kernel{'s' * (len(unit) > 1)} together, {how}: {walks}{parts}"]
    return "\n".join([*lines, *(f"  {line}" for k in unit for line in kernel_text(k).splitlines())])


def walk_text(walk: Walk) -> str:
    """`16 of n`, `t upwards`, `t downwards`"""
    match walk.direction:
        case 0:
            return f"{walk.block} of {walk.axis}"
        case direction:
            return f"{walk.axis} {'upwards' if direction > 0 else 'downwards'}"


def program_text(program: Program) -> str:
    """All memories, then all kernels in order."""
    lines = [memory_text(m) for m in program.memories]
    lines += ["", *map(_unit_text, program.units)]
    if program.guard:
        lines.append(f"guard {program.guard}: no parameter changes unless it is finite")
    lines.append("return " + ", ".join(program.outputs))
    return "\n".join(lines) + "\n"
