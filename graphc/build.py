"""From a traced graph to code in memory: through the passes, or from the cache of earlier compilations.

The cache holds, for each program, how it is called and which code it has, and that code under the digest of its
LLVM IR. A program is looked up by everything that its passes work on: the graph, the passes with what they captured,
the processor, and the compiler's own source. What is found needs no pass to run; its stages are derived again when
somebody wants to read them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Any

from graphc.graph.ir import Graph
from graphc.loops.ir import Step
from graphc.ops.fingerprint import UnidentifiedError, fingerprint
from graphc.passes import History, Named, Observer, last, run
from graphc.runtime.cache import Cache, compiler_digest, open_cache
from graphc.runtime.executable import Executable
from graphc.runtime.jit import Native, compile_ir, load_object
from graphc.runtime.plain import from_text, interface, to_text
from graphc.schedule.program import Program
from graphc.study.compiled import Compiled
from graphc.study.dump import dump_from_environment
from graphc.target import Target

Verify = Callable[[Any, str], None]
Interface = tuple[Program, Step]


def build(
    path: str,
    graph: Graph,
    passes: Sequence[Named],
    verify: Verify,
    target: Target,
    start: float,
    observers: Sequence[Observer] = (),
) -> Compiled:
    """The program that the passes make of a graph. `start` is when compilation began, of the clock `perf_counter`.

    While somebody observes the passes, they run; otherwise code of an earlier compilation is used if there is any.
    """
    traced = perf_counter() - start
    dumps = dump_from_environment(path)
    kept = open_cache()
    key = "" if dumps or observers else program_key(kept, path, graph, passes, target)

    @cache
    def stages() -> History:
        history = History()
        told: tuple[Observer, ...] = (history, *dumps)
        for observer in told:
            observer.after("trace", None, graph, traced, ())
        with _without_collection():
            run(passes, graph, verify, (*told, *observers))
        return history

    found = _found(kept, key, target, lambda: str(stages()["emit"]))
    if found is None:
        text = str(stages()["emit"])
        native = compile_ir(text, target, kept)
        called = interface(last(stages(), Program), last(stages(), Step))
        if key:
            _keep(kept, key, (native.key, *called))
    else:
        native, called = found
    for dump in dumps:
        dump.write("native", "s", native.assembly)
    executable = Executable(*called, native)
    seconds = perf_counter() - start
    return Compiled(path, stages, executable, target, seconds, found is not None, kept.problem)


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for cyclic garbage: programs have no cycles, and searching them takes a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def program_key(kept: Cache, path: str, graph: Graph, passes: Sequence[Named], target: Target) -> str:
    """Under what a program is kept; empty when it cannot be."""
    if not kept.enabled:
        return ""
    compiler = compiler_digest()
    if not compiler:
        kept.problem = "this program was not looked up: the compiler's source has changed since it was imported"
        return ""
    try:
        done = [(p.name, p.same(graph)) if p.same else p for p in passes]
        return fingerprint(compiler, path, graph, done, target)
    except UnidentifiedError as error:
        kept.problem = f"this program was not looked up: {error}"
        return ""


def _keep(kept: Cache, key: str, entry: tuple[Any, ...]) -> None:
    try:
        kept.put(key, "program", to_text(entry).encode())
    except TypeError as error:
        kept.problem = f"this program was not kept: {error}"


def _found(kept: Cache, key: str, target: Target, llvm: Callable[[], str]) -> tuple[Native, Interface] | None:
    """The code of an earlier compilation and how it is called; None if the cache lacks either."""
    entry = kept.get(key, "program") if key else None
    if entry is None:
        return None
    code, program, step = from_text(entry)
    native = load_object(code, target, kept, llvm)
    return None if native is None else (native, (program, step))
