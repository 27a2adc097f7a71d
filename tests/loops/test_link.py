"""Linking: equal kernels once, barriers where data crosses threads, the guard in front of the first update."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

import graphc as gc
from graphc.codegen.target import host
from graphc.loops import link as link_module
from graphc.loops.ir import Barrier, Call, Function, Guard, Step
from graphc.loops.link import canonical, link
from graphc.loops.lower import lower
from graphc.loops.rewrite import all_bound_names
from graphc.schedule.program import Kernel, Program
from tests.schedule.build import training_stage


def network() -> tuple[Program, Step]:
    return training_stage("assign_buffers"), training_stage("lower")


def test_every_kernel_is_called_once_in_order() -> None:
    program, step = network()
    calls = [item for item in step.body if isinstance(item, Call)]
    assert len(calls) == len(program.kernels)
    for call, kernel in zip(calls, program.kernels, strict=True):
        assert set(call.buffers) == {*kernel.reads, *kernel.writes}
        assert call.scope == kernel.scope


def test_threads_meet_between_a_store_and_what_it_touches() -> None:
    """Without a barrier no kernel reads or writes memory that another one writes, in the same slot or by name."""
    program, step = network()
    slot = {m.name: f"slot {m.slot}" if m.slot >= 0 else m.name for m in program.memories}
    kernels = iter(program.kernels)
    read: set[str] = set()
    written: set[str] = set()
    stretches = 1
    for item in step.body:
        if isinstance(item, Barrier | Guard):
            read, written, stretches = set(), set(), stretches + 1
            continue
        kernel = next(kernels)
        reads, writes = {slot[n] for n in kernel.reads}, {slot[n] for n in kernel.writes}
        assert not reads & written, kernel.name
        assert not writes & (read | written), kernel.name
        read |= reads
        written |= writes
    assert 1 < stretches < 2 * len(program.kernels)


def test_the_loss_is_checked_before_any_parameter_changes() -> None:
    program, step = network()
    parameters = {m.name for m in program.memories if m.role == "parameter"}
    guard = next(k for k, item in enumerate(step.body) if isinstance(item, Guard))
    assert isinstance(step.body[guard - 1], Barrier)
    assert step.body[guard] == Guard(program.outputs[0])
    before = [item for item in step.body[:guard] if isinstance(item, Call)]
    for call, kernel in zip(before, program.kernels, strict=False):
        assert not parameters & set(kernel.writes)
        assert call.scope == kernel.scope
    assert sum(isinstance(item, Guard) for item in step.body) == 1


def test_equal_kernels_are_one_function() -> None:
    _, step = network()
    names = [f.name for f in step.functions]
    assert len(set(names)) == len(names)
    bodies = [(f.buffers, f.body) for f in step.functions]
    assert all(a != b for k, a in enumerate(bodies) for b in bodies[:k])
    # the same copy or update of equally shaped tensors under other names
    function = step.functions[0]
    renamed = canonical(canonical(function, "other"), function.name)
    assert (renamed.buffers, renamed.body) == (function.buffers, function.body)


def test_kernels_that_differ_in_names_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [gc.nn.Dense(4, "relu", name=name) for name in ("one", "two", "three", "four")]
    y = gc.nn.Sequential(*layers)(gc.input("x", (gc.BATCH, 4)))
    program = gc.compile_training((y * y).mean(), stop_after="assign_buffers")
    memories = {m.name: m for m in program.memories}
    lowered: list[str] = []

    def one(unit: Sequence[Kernel]) -> Function:
        lowered.append(unit[0].name)
        return lower(unit[0], memories, host())

    shared = link(program, one)
    once = len(lowered)
    assert once == len(shared.functions) < len(program.kernels)
    counts = iter(range(len(program.kernels)))
    anonymous = link_module._anonymous
    monkeypatch.setattr(link_module, "_anonymous", lambda unit, m: (next(counts), anonymous(unit, m)[1]))
    assert link(program, one) == shared
    assert len(lowered) == once + len(program.kernels)


def test_buffers_never_take_the_name_of_a_variable() -> None:
    x = gc.input("x", (gc.BATCH, 3, 2, 5))
    step = gc.compile_inference(gc.dense(x, gc.Parameter("w", (4, 5))), stop_after="lower")
    (function,) = step.functions
    bound = set(all_bound_names(function.body))
    assert {"b1", "b2"} <= bound
    assert not bound & {b.name for b in function.buffers}
