"""What the compiler made of a model, and why: one report to read from top to bottom."""

from __future__ import annotations

from graphc.graph.analysis.mincut import backward_nodes, store_or_recompute
from graphc.loops.ir import Barrier
from graphc.ops.cost import Polynomial
from graphc.ops.separable import separable
from graphc.schedule.buffers import TYPICAL_BATCH, memory_bytes
from graphc.schedule.fuse import value_name
from graphc.schedule.program import Kernel, Memory
from graphc.schedule.roofline import (
    NOMINAL,
    Machine,
    Prediction,
    kernel_flops,
    least_traffic,
    predictions,
    traffic,
)
from graphc.schedule.strategy import in_parts, is_contraction, is_copy
from graphc.study.compiled import Compiled
from graphc.study.machine import measured as machine_at_hand
from graphc.study.math import forward_values
from graphc.study.scopes import applied, layer_of, unit_name
from graphc.study.slowpaths import parallel_pieces, slow_paths
from graphc.study.tables import bytes_text, each_sample, number_text, table, time_text

GROUPS = {
    "trace": ("trace",),
    "differentiate": ("differentiate", "update"),
    "schedule": ("fuse", "form_chains", "split_reductions", "stack_sums", "plan_layouts", "assign_buffers"),
    "loops": ("lower", "vectorise", "unroll", "expand_transcendentals"),
    "emit": ("emit",),
}
"""Stages by what they work on; all others rewrite graphs."""


def explain(compiled: Compiled, threads: int, measured: bool = False) -> str:
    """Target, compile time, kernels, what else was considered, slow paths, layouts, memory, traffic, remarks.

    Times are predicted for a nominal core, or with `measured` for the core at hand.
    """
    machine = machine_at_hand(compiled.target) if measured else NOMINAL
    costs = predictions(compiled.program, compiled.target, TYPICAL_BATCH, machine)
    sections = (
        summary(compiled, threads),
        _time(compiled),
        _kernels(compiled, costs, machine),
        _structure(compiled),
        _refused(compiled, costs),
        _slow(compiled),
        _layouts(compiled),
        _memory(compiled),
        _traffic(compiled),
        _stored(compiled),
        _remarks(compiled),
    )
    return "\n\n".join(text for text in sections if text) + "\n"


# -------------------------------------------------------------------------------------------------- summary


def summary(compiled: Compiled, threads: int) -> str:
    """A program in a few lines: what it takes and gives, for which processor, how much work it is."""
    target, step, program = compiled.target, compiled.step, compiled.program
    graph = compiled.graph
    inputs = ", ".join(f"{v.name} {v.type}" for v in graph.inputs)
    results = ", ".join(str(v.type) for v in graph.outputs)
    learnt = len({old for old, _ in graph.updates})
    state = f", {learnt} tensors updated" if learnt else ""
    dtypes = dict.fromkeys(m.value.type.dtype for m in program.memories if m.value.type.dtype.is_float)
    lanes = ", ".join(f"{target.lanes(d)} lanes of {d.value}" for d in dtypes)
    units = len(program.units)
    barriers = sum(isinstance(item, Barrier) for item in step.body)
    rows = [
        ("path", f"{compiled.path}, one native call{state}"),
        ("inputs", inputs or "none"),
        ("outputs", results),
        ("target", f"{target.name}: {lanes}, {target.registers} vector registers"),
        ("threads", f"{threads}" + ("" if threads > 1 else ", no thread is woken")),
        ("kernels", f"{units}, compiled as {len(step.functions)} distinct functions"),
        (
            "barriers",
            f"{barriers} in each call" + ("" if threads > 1 else ", which cost nothing with one thread"),
        ),
        ("work", _work(compiled)),
    ]
    return "\n".join(f"{name:<9} {text}" for name, text in rows)


def _work(compiled: Compiled) -> str:
    flops = sum((kernel_flops(k) for k in compiled.program.kernels), Polynomial())
    memories = {m.name: m for m in compiled.program.memories}
    moved = sum((traffic(unit, memories) for unit in compiled.program.units), Polynomial())
    fixed = f" and {number_text(flops.fixed)} in every call" if flops.fixed else ""
    intensity = flops(TYPICAL_BATCH) / max(moved(TYPICAL_BATCH), 1)
    return (
        f"{number_text(flops.per_sample)} operations per sample{fixed}; "
        f"{intensity:.1f} for each byte moved at batch {TYPICAL_BATCH}"
    )


def _time(compiled: Compiled) -> str:
    """Seconds by group of stages; the rest is verification and the drawing of initial values."""
    if compiled.found:
        return f"compiled in {compiled.seconds:.2f} s: the code was in the cache"
    group_of = {stage: group for group, stages in GROUPS.items() for stage in stages}
    seconds = dict.fromkeys(("trace", "graph passes", "differentiate", "schedule", "loops", "emit"), 0.0)
    for record in compiled.stages.records:
        seconds[group_of.get(record.stage, "graph passes")] += record.seconds
    seconds |= {f"llvm {stage}": t for stage, t in compiled.executable.native.seconds.items()}
    seconds["verify and others"] = max(0.0, compiled.seconds - sum(seconds.values()))
    rows = [(name, f"{t:.3f} s", f"{t / compiled.seconds:4.0%}") for name, t in seconds.items() if t > 0]
    return f"compiled in {compiled.seconds:.2f} s\n" + table(rows, "lrr")


# -------------------------------------------------------------------------------------------------- kernels


def _kernels(compiled: Compiled, costs: tuple[Prediction, ...], machine: Machine) -> str:
    whole = sum(cost.seconds for cost in costs)
    memories = {m.name: m for m in compiled.program.memories}
    head = "kernel", "layer", "computes", "strategy", "lanes", "pieces", "operations", "bytes"
    rows = [(*head, "predicted", "bound by", "roofline", "share")]
    lowered = {f.name: f for f in compiled.stages["lower"].functions}
    for (unit, call), cost in zip(compiled.units, costs, strict=True):
        pieces = " or ".join(dict.fromkeys(map(str, parallel_pieces(lowered[call.function])))) or "1"
        flops = sum((kernel_flops(k) for k in unit), Polynomial())
        rows.append(
            (
                unit_name(unit), layer_of(unit) or "-", ", then ".join(_computes(compiled, k) for k in unit),
                cost.strategy, ", ".join(dict.fromkeys(map(_lanes, unit))), pieces, each_sample(flops),
                each_sample(traffic(unit, memories)), time_text(cost.seconds), cost.bound, f"{cost.roofline:.0%}",
                f"{cost.seconds / whole:.1%}",
            )
        )  # fmt: skip
    return f"kernels\n{table(rows, 'llllllrrrlrr')}\n{_legend(machine, whole)}"


def _legend(machine: Machine, whole: float) -> str:
    core = "a nominal core" if machine is NOMINAL else "this core"
    time = time_text(whole)
    rates = ", ".join(f"{rate:.3g} from {name}" for name, rate in machine.rates.items())
    return (
        f"  operations and bytes: N counts samples; the rest at batch {TYPICAL_BATCH}, {time} in all, for {core}\n"
        f"  of {machine.clock / 1e9:.3g} GHz that moves in a cycle so many bytes: {rates};\n"
        f"  roofline: the part of the predicted time that a core without idle lanes and idle issue slots would need"
    )


def _computes(compiled: Compiled, kernel: Kernel) -> str:
    """The operators that were fused."""
    if _is_copy(kernel):
        return f"copy of {kernel.reads[0]}"
    operators = {n.output: n.operator for n in compiled.graph.nodes}
    names = [operators[s.value] for s in kernel.stages if s.value in operators]
    return " + ".join(names) or "partial sums"


def _lanes(kernel: Kernel) -> str:
    if kernel.lane is None:
        return "-"
    return f"{kernel.lane} (reduced)" if kernel.lane_reduces else kernel.lane


def _is_copy(kernel: Kernel) -> bool:
    """Whether the scheduler put the kernel in to rearrange a value."""
    return any(remark.startswith("copy ") for remark in kernel.remarks)


def _structure(compiled: Compiled) -> str:
    """The kernels by what limits them: contractions reuse what they load, the others wait for memory."""
    kernels = compiled.program.kernels
    plain = [k for k in kernels if not is_contraction(k)]
    flops = sum((kernel_flops(k) for k in kernels), Polynomial())(TYPICAL_BATCH)
    rest = sum((kernel_flops(k) for k in plain), Polynomial())(TYPICAL_BATCH)
    lines = [f"{len(kernels) - len(plain)} kernels are contractions with {1 - rest / max(flops, 1):.1%} of the work"]
    for kind in ("pointwise", "reduction", "transform", "copy"):
        names = [k.name for k in plain if _kind(k) == kind]
        if names:
            lines.append(f"  {kind + ':':<10} {', '.join(names)}")
    return "\n".join([lines[0] + ("; the others are" if plain else ""), *lines[1:]])


def _kind(kernel: Kernel) -> str:
    first = kernel.stages[0].formula
    if separable(first) is not None:
        return "transform"
    if first.reduction is not None:
        return "reduction"
    return "copy" if is_copy(kernel) else "pointwise"


def _refused(compiled: Compiled, costs: tuple[Prediction, ...]) -> str:
    """What was said of each sum of products before it was scheduled, and tiles that were not chosen."""
    said = {remark.subject: remark.text for remark in compiled.stages.remarks if remark.stage == "apply_winograd"}
    readers = {name: kernel for kernel in compiled.program.kernels for name in kernel.reads}
    units: dict[str, list[str]] = {}
    for (unit, _), cost in zip(compiled.units, costs, strict=True):
        if not any(map(is_contraction, unit)):
            continue
        end = unit[-1]
        if in_parts(end):  # the sum that was spoken of is the total of the parts
            end = readers.get(end.writes[0], end)
        value = str(end.stages[0].value)
        for text in (*([said[value]] if value in said else []), *cost.refused):
            units.setdefault(text, []).append(unit_name(unit))
    lines = [f"  {text}: {', '.join(names)}" for text, names in units.items()]
    return "\n".join(["considered for sums of products, and why it was taken or not", *lines]) if lines else ""


def _traffic(compiled: Compiled) -> str:
    """What a step moves, and what it has to."""
    program = compiled.program
    memories = {m.name: m for m in program.memories}
    moved = sum((traffic(unit, memories) for unit in program.units), Polynomial())
    least = least_traffic(program)
    times = moved(TYPICAL_BATCH) / max(least(TYPICAL_BATCH), 1)
    return (
        f"traffic: {each_sample(moved)} bytes read and written by the kernels, {bytes_text(moved(TYPICAL_BATCH))} at "
        f"batch {TYPICAL_BATCH}\n"
        f"  {times:.1f} times {each_sample(least)} of inputs, parameters and outputs, which every order moves"
    )


def _slow(compiled: Compiled) -> str:
    lowered = {f.name: f for f in compiled.stages["lower"].functions}
    vectorised = {f.name: f for f in compiled.stages["vectorise"].functions}
    lines = []
    for unit, call in compiled.units:
        before, after = (applied(functions[call.function], call) for functions in (lowered, vectorised))
        lines += [f"  {unit_name(unit):<4} {layer_of(unit) or '-'}: {text}" for text in slow_paths(before, after)]
    return "\n".join(["slow paths" if lines else "slow paths: none, every access moves whole vectors", *lines])


# --------------------------------------------------------------------------------------------------- memory


def _layouts(compiled: Compiled) -> str:
    program = compiled.program
    memories = {m.name: m for m in program.memories}
    lines = []
    for k, kernel in enumerate(program.kernels):
        if not _is_copy(kernel):
            continue
        memory = memories[kernel.writes[0]]
        reader = next(r.name for r in program.kernels[k + 1 :] if memory.name in r.reads)
        why = "needs a border of zeros" if memory.name.endswith(".halo") else "needs other elements along its lanes"
        lines.append(
            f"  {memory.name} {memory.layout.text(memory.value.type)}: copied in {kernel.name} because {reader} {why}"
        )
    for memory in program.memories:
        if memory.layout.has_halo and not any(memory.name in k.writes for k in program.kernels if _is_copy(k)):
            lines.append(f"  {memory.name} {memory.layout.text(memory.value.type)}: kept with a border of zeros")
    idle = [(m, *_padding(m)) for m in program.memories]
    padded = [f"{m.name} {used}→{held}" for m, used, held in idle if held > used]
    if padded:
        lines.append(f"  padded to whole vectors: {', '.join(padded)}")
    return "\n".join(["layouts" if lines else "layouts: all dense", *lines])


def _padding(memory: Memory) -> tuple[int, int]:
    """(elements along the innermost axis, border included; elements held)."""
    layout, shape = memory.layout, memory.value.type.shape
    if not layout.order or not layout.last:
        return 0, 0
    last = layout.order[-1]
    extent = shape[last]
    return (extent + sum(layout.halo[last]) if isinstance(extent, int) else 0), layout.last


def _memory(compiled: Compiled) -> str:
    memories = [m for m in compiled.program.memories if m.role == "temporary"]
    parameters = [m for m in compiled.program.memories if m.role == "parameter"]
    slots = {m.slot for m in memories}
    rows = [("batch", "arena", "without reuse")]
    for batch in (1, TYPICAL_BATCH):
        apart = sum(memory_bytes(m, batch) for m in memories)
        rows.append((str(batch), bytes_text(compiled.executable.arena_bytes(batch)), bytes_text(apart)))
    held = sum(memory_bytes(m, 1) for m in parameters)
    head = f"memory: {len(memories)} temporaries in {len(slots)} slots; {bytes_text(held)} of parameters and state"
    return head + "\n" + table(rows, "rrr")


def _stored(compiled: Compiled) -> str:
    """The forward values that the backward part reads; what it computes again is not among them."""
    graph = compiled.graph
    backward = backward_nodes(graph)
    if not backward:
        return ""
    decisions = store_or_recompute(graph, TYPICAL_BATCH)
    forward = forward_values(graph)
    needed = dict.fromkeys(v for n in backward for v in n.inputs if v in forward)
    memories = {m.name: m for m in compiled.program.memories}
    kept = [memories[value_name(v)] for v in needed if value_name(v) in memories]
    per_sample = sum(memory_bytes(m, 2) - memory_bytes(m, 1) for m in kept)
    names = ", ".join(f"{m.name} {bytes_text(memory_bytes(m, 2) - memory_bytes(m, 1))}" for m in kept)
    lines = [
        f"stored for the backward part: {len(kept)} values, {bytes_text(per_sample)} per sample",
        f"  {names}",
    ]
    cheaper = [d for d in decisions if not d.stored and d.value in needed]
    if cheaper:
        saved = sum(d.bytes for d in cheaper) // TYPICAL_BATCH
        lines.append(f"  by a minimum cut, recomputing these would save {bytes_text(saved)} per sample:")
        lines += [f"    {value_name(d.value)}: {d.reason}" for d in cheaper]
    return "\n".join(lines)


def _remarks(compiled: Compiled) -> str:
    lines = [f"  {remark}" for remark in compiled.stages.remarks if remark.stage != "apply_winograd"]
    lines += [f"  {text}" for text in compiled.program.remarks]
    lines += [f"  cache: {compiled.problem}"] if compiled.problem else []
    for kernel in compiled.program.kernels:
        lines += [f"  {kernel.name}: {text}" for text in kernel.remarks if not text.startswith("copy ")]
    return "\n".join(["remarks", *dict.fromkeys(lines)]) if lines else ""
