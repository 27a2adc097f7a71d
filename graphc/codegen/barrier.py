"""A barrier out of atomic operations: all threads wait until the last one has arrived.

The memory holds, on cache lines of their own, the number of threads that have arrived, the number of the
current round, and the address of a function that gives the processor to another thread (or null). All of it
starts as zero. The last thread to arrive resets the count and starts the next round; the others wait for the
round to change. The count is reset before the round changes, so nobody can arrive at the next barrier too
early.
"""

from __future__ import annotations

from graphc.target import X86

LINE = 64
ROUND, YIELD, BYTES = LINE, 2 * LINE, 3 * LINE
"""Offsets of the round and of the yielding function, and the size of a barrier; the count stands at 0."""

PATIENCE = 1 << 11
"""Pauses before the processor is offered to another thread: threads may outnumber processors."""

PAUSE = "call void @llvm.x86.sse2.pause()" if X86 else "call void @llvm.aarch64.hint(i32 1)"
DECLARATIONS = ("declare void @llvm.x86.sse2.pause()" if X86 else "declare void @llvm.aarch64.hint(i32)",)


def spin(check: str) -> str:
    """Blocks from `spin` to `end`: repeat the instructions `check`, which define i1 %done, until it is true.

    Uses ptr %yield, the address of the yielding function's address.
    """
    return f"""\
spin:
  %paused = phi i32 [ 0, %spin.start ], [ %paused.next, %idle ]
  {check}
  br i1 %done, label %end, label %pause
pause:
  {PAUSE}
  %paused.next = add i32 %paused, 1
  %tired = icmp ugt i32 %paused.next, {PATIENCE}
  br i1 %tired, label %rest, label %idle
rest:
  %give.way = load ptr, ptr %yield
  %none = icmp eq ptr %give.way, null
  br i1 %none, label %idle, label %give
give:
  %ignored = call i32 %give.way()
  br label %idle
idle:
  br label %spin
end:"""


BARRIER = f"""\
; all of %threads threads wait here for each other
define internal void @graphc.barrier(ptr %barrier, i64 %threads) noinline {{
entry:
  %alone = icmp eq i64 %threads, 1
  br i1 %alone, label %end, label %arrive
arrive:
  %round = getelementptr i8, ptr %barrier, i64 {ROUND}
  %yield = getelementptr i8, ptr %barrier, i64 {YIELD}
  %current = load atomic i32, ptr %round monotonic, align 4
  %before = atomicrmw add ptr %barrier, i32 1 acq_rel, align 4
  %arrived = add i32 %before, 1
  %all = trunc i64 %threads to i32
  %complete = icmp eq i32 %arrived, %all
  br i1 %complete, label %open, label %spin.start
open:
  store atomic i32 0, ptr %barrier monotonic, align 4
  %next = add i32 %current, 1
  store atomic i32 %next, ptr %round release, align 4
  br label %end
spin.start:
  br label %spin
{
    spin('''%now = load atomic i32, ptr %round acquire, align 4
  %done = icmp ne i32 %now, %current''')
}
  ret void
}}
"""
