"""What surrounds a step in native code, as LLVM IR: minibatches gathered by index, numbers fed, results kept.

The driver has the signature of a step, so a team runs it like one: every thread goes through all steps of a segment,
and nobody returns to Python, or to sleep, in between. Its table is a job, a row of words:

    for k in 0..STEPS:
        rows = min(BATCH, SAMPLES - k*BATCH)
        every thread: copy its share of the rows of each input from where they are to where the step reads them
        thread 0:     copy row k of the numbers to where the step reads them; keep the results that a step overwrites
        barrier, and stop here if the loss before was not finite
        every thread: the step
        barrier
        thread 0:     keep the results; k + 1 steps are done if the loss is finite

Between the first barrier and the second only the step touches memory, and after the second only the driver.
"""

from __future__ import annotations

from graphc.codegen.barrier import BARRIER, DECLARATIONS

(ENTRY, TABLE, STEPS, BATCH, SAMPLES, NUMBERS, FEED, FEED_BYTES, INPUTS, INPUT_LIST, EARLY, RESULTS, RESULT_LIST,
 LOSS, LOSS_BYTES, GOING, DONE, WORDS) = range(18)  # fmt: skip
"""The words of a job. NUMBERS is where the step reads, FEED what is copied there; EARLY results precede the step."""

SOURCE, ORDER, DESTINATION, ROW_BYTES, INPUT_WORDS = range(5)
"""The words of an input: row ORDER[k*BATCH + r] of SOURCE becomes row r of DESTINATION."""

SLOT, KEPT, RESULT_BYTES, RESULT_WORDS = range(4)
"""The words of a result: what entry SLOT of the table points to becomes element k of KEPT."""


def _word(name: str, base: str, word: int, kind: str = "i64") -> str:
    return f"""%{name}.place = getelementptr i64, ptr %{base}, i64 {word}
  %{name} = load {kind}, ptr %{name}.place, align 8"""


def _record(name: str, base: str, index: str, words: int) -> str:
    return f"""%{name}.first = mul i64 {index}, {words}
  %{name} = getelementptr i64, ptr %{base}, i64 %{name}.first"""


def _share(name: str, thread: str) -> str:
    """rows·thread // threads, the first row of a thread."""
    return f"""%{name}.rows = mul i64 %rows, {thread}
  %{name} = udiv i64 %{name}.rows, %threads"""


def _loop(name: str, before: str, start: str, stop: str, body: str) -> str:
    """Blocks up to `name`.end: the body, which begins in block `name`.body, for %name in start..stop."""
    return f"""br label %{name}.head
{name}.head:
  %{name} = phi i64 [ {start}, %{before} ], [ %{name}.up, %{name}.next ]
  %{name}.more = icmp slt i64 %{name}, {stop}
  br i1 %{name}.more, label %{name}.body, label %{name}.end
{name}.body:
  {body}
  br label %{name}.next
{name}.next:
  %{name}.up = add i64 %{name}, 1
  br label %{name}.head
{name}.end:"""


def _copy(to: str, source: str, bytes: str) -> str:
    return f"call void @llvm.memcpy.p0.p0.i64(ptr %{to}, ptr %{source}, i64 %{bytes}, i1 false)"


def _inside(bits: int) -> str:
    largest = (1 << (bits - 1)) - 1
    return f"""\
; whether 0 <= x < %limit for all of %count numbers: as numbers without a sign, negative ones are too large
define i32 @inside{bits}(ptr %numbers, i64 %count, i64 %limit) nounwind {{
entry:
  %least = call i64 @llvm.smin.i64(i64 %limit, i64 {largest})
  br label %look
look:
  %n = phi i64 [ 0, %entry ], [ %n.up, %next ]
  %more = icmp slt i64 %n, %count
  br i1 %more, label %compare, label %end
compare:
  %place = getelementptr i{bits}, ptr %numbers, i64 %n
  %x = load i{bits}, ptr %place, align 1
  %wide = {"zext i32 %x to i64" if bits == 32 else "add i64 %x, 0"}
  %fits = icmp ult i64 %wide, %least
  br i1 %fits, label %next, label %end
next:
  %n.up = add i64 %n, 1
  br label %look
end:
  %answer = phi i32 [ 1, %look ], [ 0, %compare ]
  ret i32 %answer
}}
"""


_ROW = f"""%at = add i64 %first, %row
  %at.place = getelementptr i64, ptr %order, i64 %at
  %from = load i64, ptr %at.place, align 8
  %from.bytes = mul i64 %from, %bytes
  %to.bytes = mul i64 %row, %bytes
  %from.place = getelementptr i8, ptr %source, i64 %from.bytes
  %to.place = getelementptr i8, ptr %destination, i64 %to.bytes
  {_copy("to.place", "from.place", "bytes")}"""

_INPUT = f"""{_record("input", "list", "%i", INPUT_WORDS)}
  {_word("source", "input", SOURCE, "ptr")}
  {_word("order", "input", ORDER, "ptr")}
  {_word("destination", "input", DESTINATION, "ptr")}
  {_word("bytes", "input", ROW_BYTES)}
  {_loop("row", "i.body", "%low", "%high", _ROW)}"""

_RESULT = f"""{_record("result", "list", "%r", RESULT_WORDS)}
  {_word("slot", "result", SLOT)}
  {_word("kept", "result", KEPT, "ptr")}
  {_word("bytes", "result", RESULT_BYTES)}
  %held.place = getelementptr ptr, ptr %table, i64 %slot
  %held = load ptr, ptr %held.place, align 8
  %k.bytes = mul i64 %k, %bytes
  %to = getelementptr i8, ptr %kept, i64 %k.bytes
  {_copy("to", "held", "bytes")}"""

_PREPARE = f"""%fed = mul i64 %k, %feed.bytes
  %fed.place = getelementptr i8, ptr %feed, i64 %fed
  {_copy("numbers", "fed.place", "feed.bytes")}
  call void @keep(ptr %job, i64 0, i64 %early, i64 %k)"""

_CONCLUDE = f"""call void @keep(ptr %job, i64 %early, i64 %results, i64 %k)
  %done = add i64 %k, 1
  {_word("loss", "job", LOSS, "ptr")}
  {_word("loss.bytes", "job", LOSS_BYTES)}
  %single = icmp eq i64 %loss.bytes, 4
  br i1 %single, label %float, label %double
float:
  %f.place = getelementptr float, ptr %loss, i64 %k
  %f = load float, ptr %f.place, align 4
  %f.zero = fsub float %f, %f
  %f.finite = fcmp oeq float %f.zero, 0.0
  br label %judge
double:
  %d.place = getelementptr double, ptr %loss, i64 %k
  %d = load double, ptr %d.place, align 8
  %d.zero = fsub double %d, %d
  %d.finite = fcmp oeq double %d.zero, 0.0
  br label %judge
judge:
  %finite = phi i1 [ %f.finite, %float ], [ %d.finite, %double ]
  %going.now = zext i1 %finite to i64
  %done.now = select i1 %finite, i64 %done, i64 %k
  store i64 %going.now, ptr %going.place, align 8
  store i64 %done.now, ptr %done.place, align 8"""

_STEP = f"""%first = mul i64 %k, %batch
  %left = sub i64 %samples, %first
  %rows = call i64 @llvm.smin.i64(i64 %left, i64 %batch)
  call void @gather(ptr %job, i64 %first, i64 %rows, i64 %thread, i64 %threads)
  br i1 %leads, label %prepare, label %ready
prepare:
  {_PREPARE}
  br label %ready
ready:
  call void @graphc.barrier(ptr %barrier, i64 %threads)
  %going = load i64, ptr %going.place, align 8
  %goes = icmp ne i64 %going, 0
  br i1 %goes, label %run, label %k.end
run:
  call void %entry.step(ptr %table, i64 %rows, i64 %thread, i64 %threads, ptr %barrier)
  call void @graphc.barrier(ptr %barrier, i64 %threads)
  br i1 %leads, label %conclude, label %k.next
conclude:
  {_CONCLUDE}"""

DRIVER = f"""\
{chr(10).join(DECLARATIONS)}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)

{BARRIER}
{_inside(32)}
{_inside(64)}
; this thread's share of %rows rows of every input, from row %first of the order on
define internal void @gather(ptr %job, i64 %first, i64 %rows, i64 %thread, i64 %threads) noinline nounwind {{
entry:
  {_word("inputs", "job", INPUTS)}
  {_word("list", "job", INPUT_LIST, "ptr")}
  %following = add i64 %thread, 1
  {_share("low", "%thread")}
  {_share("high", "%following")}
  {_loop("i", "entry", "0", "%inputs", _INPUT)}
  ret void
}}

; results number %begin up to %stop of step %k
define internal void @keep(ptr %job, i64 %begin, i64 %stop, i64 %k) noinline nounwind {{
entry:
  {_word("table", "job", TABLE, "ptr")}
  {_word("list", "job", RESULT_LIST, "ptr")}
  {_loop("r", "entry", "%begin", "%stop", _RESULT)}
  ret void
}}

; the steps of a job; the second argument, a batch size for steps, means nothing here
define void @drive(ptr %job, i64 %N, i64 %thread, i64 %threads, ptr %barrier) nounwind {{
entry:
  {_word("entry.step", "job", ENTRY, "ptr")}
  {_word("table", "job", TABLE, "ptr")}
  {_word("steps", "job", STEPS)}
  {_word("batch", "job", BATCH)}
  {_word("samples", "job", SAMPLES)}
  {_word("numbers", "job", NUMBERS, "ptr")}
  {_word("feed", "job", FEED, "ptr")}
  {_word("feed.bytes", "job", FEED_BYTES)}
  {_word("early", "job", EARLY)}
  {_word("results", "job", RESULTS)}
  %going.place = getelementptr i64, ptr %job, i64 {GOING}
  %done.place = getelementptr i64, ptr %job, i64 {DONE}
  %leads = icmp eq i64 %thread, 0
  {_loop("k", "entry", "0", "%steps", _STEP)}
  ret void
}}
"""
