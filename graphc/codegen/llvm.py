"""A whole step as LLVM IR text: an internal function per kernel, an exported entry that calls them in order.

    kernel   void (ptr buffer, ..., i64 N, i64 thread, i64 threads)
    entry    void (ptr table, i64 N, i64 thread, i64 threads, ptr barrier)     table: all buffers, in order

The text is written directly: every instruction is one formatted line, which is several times faster than
building an object for each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.codegen.barrier import BARRIER, DECLARATIONS, LINE
from graphc.codegen.spelling import SCALAR, identifier
from graphc.codegen.statements import body, stored
from graphc.codegen.writer import Writer
from graphc.errors import GraphcError, LoweringError
from graphc.loops.expressions import Buffer
from graphc.loops.ir import Barrier, Call, Function, Guard, Step
from graphc.target import X86, Target

# Numbers below the smallest normal one count as zero inside a step: a dead unit's momentum decays through them, and
# the processor is dozens of times slower with them than with any other number.
FLUSH = (
    (
        "  %control = alloca i32",
        "  %flushing = alloca i32",
        "  call void @llvm.x86.sse.stmxcsr(ptr %control)",
        "  %control.was = load i32, ptr %control",
        "  %control.new = or i32 %control.was, 32832  ; flush to zero, denormals are zero",
        "  store i32 %control.new, ptr %flushing",
        "  call void @llvm.x86.sse.ldmxcsr(ptr %flushing)",
    )
    if X86
    else ()
)
RESTORE = ("  call void @llvm.x86.sse.ldmxcsr(ptr %control)",) if X86 else ()
CONTROL = ("declare void @llvm.x86.sse.stmxcsr(ptr)", "declare void @llvm.x86.sse.ldmxcsr(ptr)") if X86 else ()
CLOCK = "llvm.readcyclecounter" if X86 else "llvm.readsteadycounter"


def emit(step: Step, target: Target, times: str = "") -> str:
    """The LLVM IR of a step. Raises LoweringError for what is not in its final form yet.

    With `times`, the name of a buffer, every thread writes into its row of it what the processor's clock shows at the
    beginning of the step and after each item.
    """
    functions = {f.name: f for f in step.functions}
    calls: dict[str, list[Call]] = {name: [] for name in functions}
    for item in step.body:
        if isinstance(item, Call):
            if item.function not in functions:
                raise LoweringError(f"step {step.name} calls {item.function}, which it does not define")
            calls[item.function].append(item)
    declarations: dict[str, str] = {}
    parts = [_kernel(f, calls[f.name], target, declarations) for f in step.functions]
    parts.append(_entry(step, functions, times))
    header = f"; step {step.name} for {target.name}"
    clock = (f"declare i64 @{CLOCK}()",) if times else ()
    return "\n".join((header, *declarations.values(), *DECLARATIONS, *CONTROL, *clock, "", BARRIER, *parts))


def shared(function: Function, calls: Sequence[Call]) -> dict[str, tuple[str, ...]]:
    """For each buffer of a kernel, all of them that are the same memory in some call, itself included.

    Raises LoweringError when a call does not pass one buffer for each that the kernel has.
    """
    groups: dict[str, set[str]] = {b.name: {b.name} for b in function.buffers}
    for call in calls:
        if len(call.buffers) != len(function.buffers):
            raise LoweringError(
                f"kernel {function.name} has {len(function.buffers)} buffers but is called with {len(call.buffers)}"
            )
        passed: dict[str, str] = {}
        for actual, buffer in zip(call.buffers, function.buffers, strict=True):
            groups[buffer.name].add(first := passed.setdefault(actual, buffer.name))
            groups[first].add(buffer.name)
    return {name: tuple(sorted(members)) for name, members in _closed(groups).items()}


def _closed(groups: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Whoever shares memory with a member of my group in some call is in my group."""
    closed = {name: set(members) for name, members in groups.items()}
    for members in groups.values():
        union = set().union(*(closed[m] for m in members))
        for member in union:
            closed[member] = union
    return closed


def _kernel(function: Function, calls: Sequence[Call], target: Target, declarations: dict[str, str]) -> str:
    aliases = shared(function, calls)
    writer = Writer(function.buffers, aliases, target)
    try:
        body(writer, function.body)
    except GraphcError as error:
        raise error.at(None, function.scope or function.name) from None
    declarations |= writer.declarations
    written = stored(function.body)
    parameters = []
    for buffer in function.buffers:
        changing = written.intersection(aliases[buffer.name])
        # Memory that only this parameter reaches, or that nobody changes while the kernel runs.
        qualifier = "" if changing and len(aliases[buffer.name]) > 1 else " noalias"
        readonly = "" if changing else " readonly"
        parameters.append(f"ptr{qualifier}{readonly} {writer.pointers[buffer.name]}")
    legend = [f";   {writer.pointers[b.name]} = {b}" for b in function.buffers]
    entry = writer.scopes[0]
    return "\n".join(
        (
            f"; {function.scope or function.name}",
            *legend,
            f"define internal void @{identifier(function.name)}({', '.join(parameters)}"
            f"{', ' if parameters else ''}i64 %N, i64 %thread, i64 %threads) noinline nounwind alignstack(64) {{",
            "entry:",
            *writer.allocations,
            *entry.lines,
            "  ret void",
            "}",
            "",
        )
    )


def _guard(step: Step, position: int, number: int) -> list[str]:
    """The step ends unless the first element of a buffer is finite: x - x is zero only for finite x."""
    scalar = SCALAR[step.buffers[position].dtype]
    return [
        f"  %g{number}.x = load {scalar}, ptr %b{position}",
        f"  %g{number}.d = fsub {scalar} %g{number}.x, %g{number}.x",
        f"  %g{number}.ok = fcmp oeq {scalar} %g{number}.d, 0.0",
        f"  br i1 %g{number}.ok, label %finite{number}, label %stop{number}",
        f"stop{number}:",
        *RESTORE,
        "  ret void",
        f"finite{number}:",
    ]


def _buffers(item: Call | Barrier | Guard) -> tuple[str, ...]:
    """The buffers of the program that an item of a step touches."""
    match item:
        case Call():
            return item.buffers
        case Guard(name):
            return (name,)
    return ()


def private_bytes(buffer: Buffer) -> int:
    """The distance between two threads' copies of a private buffer: whole lines, and one more."""
    size = buffer.dtype.bytes
    for extent in buffer.shape:
        assert isinstance(extent, int)
        size *= extent
    return -(-size // LINE) * LINE + LINE


def row_of_times(step: Step) -> int:
    """How many numbers a thread's row of times has: whole lines."""
    return -(-8 * (len(step.body) + 1) // LINE) * LINE // 8


def _time(number: int) -> list[str]:
    """The clock's number of this moment into the row of this thread."""
    return [
        f"  %clock{number} = call i64 @{CLOCK}()",
        f"  %moment{number} = getelementptr i64, ptr %times, i64 {number}",
        f"  store i64 %clock{number}, ptr %moment{number}",
    ]


def _entry(step: Step, functions: Mapping[str, Function], times: str = "") -> str:
    place = {b.name: k for k, b in enumerate(step.buffers)}
    lines = []
    used = dict.fromkeys((*(name for item in step.body for name in _buffers(item)), *([times] if times else [])))
    for name in used:
        if name not in place:
            raise LoweringError(f"step {step.name} passes buffer {name}, which it does not have")
        lines.append(f"  %p{place[name]} = getelementptr ptr, ptr %table, i64 {place[name]}")
        own = "a" if name in step.private else "b"
        lines.append(f"  %{own}{place[name]} = load ptr, ptr %p{place[name]}, align 8")
        if name in step.private:
            lines.append(f"  %o{place[name]} = mul i64 %thread, {private_bytes(step.buffers[place[name]])}")
            lines.append(f"  %b{place[name]} = getelementptr i8, ptr %a{place[name]}, i64 %o{place[name]}")
    if times:
        lines.append(f"  %row = mul i64 %thread, {row_of_times(step)}")
        lines.append(f"  %times = getelementptr i64, ptr %b{place[times]}, i64 %row")
        lines += _time(0)
    for number, item in enumerate(step.body, 1):
        match item:
            case Call(name, buffers, scope):
                for passed, buffer in zip(buffers, functions[name].buffers, strict=True):
                    if step.buffers[place[passed]].dtype is not buffer.dtype:
                        given = step.buffers[place[passed]]
                        raise LoweringError(f"kernel {name} expects {buffer}, but is called with {given}")
                arguments = "".join(f"ptr %b{place[b]}, " for b in buffers)
                note = f"  ; {scope}" if scope else ""
                lines.append(f"  call void @{identifier(name)}({arguments}i64 %N, i64 %thread, i64 %threads){note}")
            case Barrier():
                lines.append("  call void @graphc.barrier(ptr %barrier, i64 %threads)")
            case Guard(name):
                lines += _guard(step, place[name], len(lines))
        if times:
            lines += _time(number)
    return "\n".join(
        (
            f"; the whole step; the table holds {', '.join(map(str, step.buffers))}",
            f"define void @{identifier(step.name)}"
            "(ptr %table, i64 %N, i64 %thread, i64 %threads, ptr %barrier) nounwind {",
            "entry:",
            *FLUSH,
            *lines,
            *RESTORE,
            "  ret void",
            "}",
            "",
        )
    )
