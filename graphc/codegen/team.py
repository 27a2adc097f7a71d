"""The native half of a team of threads, as LLVM IR: the workers' loop and the call that hands them a job.

Every worker owns a word that says what it is doing, and every change of it is atomic:

    WATCHING    looks at its word again and again         -> ASLEEP by the worker, when its patience is over
    ASLEEP      waits for its lock, or is about to        -> JOB or LEAVE by the caller, who releases the lock
    JOB         has a job to run                          -> WATCHING by the worker, when it has run
    LEAVE       is told to end

The worker falls asleep by comparing and exchanging WATCHING for ASLEEP, the caller exchanges whatever it
finds for JOB. Exactly one of the two sees the other's value: either the worker finds JOB instead of WATCHING
and stays awake, or the caller finds ASLEEP and releases the lock, once per sleep. So no wake-up is lost and
none is superfluous.

The lock is one of the interpreter's own (PyThread_acquire_lock, PyThread_release_lock), reached by its
address: they need no interpreter lock, so neither sleeping nor waking touches Python, on any operating
system.
"""

from __future__ import annotations

from graphc.codegen import barrier
from graphc.codegen.barrier import LINE, PAUSE

WATCHING, ASLEEP, JOB, LEAVE = range(4)

# Byte offsets in the team's memory, and in a worker's own.
PENDING = 0
ENTRY, TABLE, BATCH, THREADS = (LINE + 8 * k for k in range(4))
ACQUIRE, RELEASE, SPINS = (2 * LINE + 8 * k for k in range(3))
MEETING = 3 * LINE
WORKERS = MEETING + barrier.BYTES
STATE, OWNED, LOCK = 0, 4, 8
WORKER_BYTES = 2 * LINE


def _at(name: str, base: str, offset: int | str) -> str:
    return f"%{name} = getelementptr i8, ptr %{base}, i64 {offset}"


def _worker_of(name: str, index: str) -> str:
    """The memory of a worker: number 1 comes first."""
    return f"""%{name}.before = sub i64 {index}, 1
  %{name}.offset = mul i64 %{name}.before, {WORKER_BYTES}
  {_at(f"{name}.first", "team", WORKERS)}
  {_at(name, f"{name}.first", f"%{name}.offset")}"""


TEAM = f"""\
{chr(10).join(barrier.DECLARATIONS)}

; the life of worker number %me
define void @serve(ptr %team, i64 %me) nounwind {{
entry:
  {_worker_of("worker", "%me")}
  {_at("owned", "worker", OWNED)}
  {_at("lock.place", "worker", LOCK)}
  {_at("acquire.place", "team", ACQUIRE)}
  {_at("spins.place", "team", SPINS)}
  {_at("entry.place", "team", ENTRY)}
  {_at("table.place", "team", TABLE)}
  {_at("batch.place", "team", BATCH)}
  {_at("threads.place", "team", THREADS)}
  {_at("meeting", "team", MEETING)}
  %lock = load ptr, ptr %lock.place
  %acquire = load ptr, ptr %acquire.place
  %spins = load i64, ptr %spins.place
  %owner = cmpxchg ptr %owned, i32 0, i32 1 acq_rel monotonic, align 4
  %mine = extractvalue {{ i32, i1 }} %owner, 1
  br i1 %mine, label %watch, label %end
watch:
  br label %look
look:
  %n = phi i64 [ 0, %watch ], [ %n.next, %pause ]
  %state = load atomic i32, ptr %worker acquire, align 4
  switch i32 %state, label %spin [ i32 {JOB}, label %run
                                   i32 {LEAVE}, label %end ]
spin:
  %tired = icmp uge i64 %n, %spins
  br i1 %tired, label %tire, label %pause
pause:
  {PAUSE}
  %n.next = add i64 %n, 1
  br label %look
tire:
  %exchange = cmpxchg ptr %worker, i32 {WATCHING}, i32 {ASLEEP} acq_rel acquire, align 4
  %asleep = extractvalue {{ i32, i1 }} %exchange, 1
  br i1 %asleep, label %sleep, label %watch
sleep:
  %ignored = call i32 %acquire(ptr %lock, i32 1)
  br label %watch
run:
  %job = load ptr, ptr %entry.place
  %table = load ptr, ptr %table.place
  %batch = load i64, ptr %batch.place
  %threads = load i64, ptr %threads.place
  call void %job(ptr %table, i64 %batch, i64 %me, i64 %threads, ptr %meeting)
  store atomic i32 {WATCHING}, ptr %worker monotonic, align 4
  %left = atomicrmw sub ptr %team, i32 1 acq_rel, align 4
  br label %watch
end:
  ret void
}}

; hand a state to worker number %index, waking it where it sleeps
define internal void @tell(ptr %team, i64 %index, i32 %state) noinline {{
  {_worker_of("worker", "%index")}
  %old = atomicrmw xchg ptr %worker, i32 %state acq_rel, align 4
  %asleep = icmp eq i32 %old, {ASLEEP}
  br i1 %asleep, label %wake, label %end
wake:
  {_at("lock.place", "worker", LOCK)}
  {_at("release.place", "team", RELEASE)}
  %lock = load ptr, ptr %lock.place
  %release = load ptr, ptr %release.place
  call void %release(ptr %lock)
  br label %end
end:
  ret void
}}

; tell workers 1 to %count to leave
define void @dismiss(ptr %team, i64 %count) nounwind {{
entry:
  br label %next
next:
  %index = phi i64 [ 1, %entry ], [ %index.next, %one ]
  %more = icmp sle i64 %index, %count
  br i1 %more, label %one, label %end
one:
  call void @tell(ptr %team, i64 %index, i32 {LEAVE})
  %index.next = add i64 %index, 1
  br label %next
end:
  ret void
}}

; run a step on %threads threads, this one being number 0; returns when all have finished
define void @run(ptr %team, ptr %step, ptr %table, i64 %batch, i64 %threads) nounwind {{
entry:
  {_at("meeting", "team", MEETING)}
  {_at("yield", "meeting", barrier.YIELD)}
  %alone = icmp sle i64 %threads, 1
  br i1 %alone, label %solo, label %post
solo:
  call void %step(ptr %table, i64 %batch, i64 0, i64 1, ptr %meeting)
  ret void
post:
  {_at("entry.place", "team", ENTRY)}
  {_at("table.place", "team", TABLE)}
  {_at("batch.place", "team", BATCH)}
  {_at("threads.place", "team", THREADS)}
  store ptr %step, ptr %entry.place
  store ptr %table, ptr %table.place
  store i64 %batch, ptr %batch.place
  store i64 %threads, ptr %threads.place
  %all = trunc i64 %threads to i32
  %others = sub i32 %all, 1
  store atomic i32 %others, ptr %team release, align 4
  br label %next
next:
  %index = phi i64 [ 1, %post ], [ %index.next, %next ]
  call void @tell(ptr %team, i64 %index, i32 {JOB})
  %index.next = add i64 %index, 1
  %more = icmp slt i64 %index.next, %threads
  br i1 %more, label %next, label %own
own:
  call void %step(ptr %table, i64 %batch, i64 0, i64 %threads, ptr %meeting)
  br label %spin.start
spin.start:
  br label %spin
{
    barrier.spin('''%pending = load atomic i32, ptr %team acquire, align 4
  %done = icmp eq i32 %pending, 0''')
}
  ret void
}}

; so many pauses, to learn how long one takes
define void @pauses(i64 %count) nounwind {{
entry:
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %next ]
  {PAUSE}
  %n.next = add i64 %n, 1
  %more = icmp slt i64 %n.next, %count
  br i1 %more, label %next, label %end
end:
  ret void
}}
"""
