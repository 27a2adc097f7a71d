"""Measured steps: their parts add up, the program is as it was, and what is reported follows from what was measured."""

from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc.codegen.llvm import emit
from graphc.codegen.target import host
from graphc.errors import InputError, NonFiniteError
from graphc.schedule.roofline import CACHES, predictions
from graphc.study.machine import measured
from graphc.study.scopes import unit_name


@pytest.fixture(scope="module")
def profiled(network):
    """(profile, parameters and state before and after, steps counted before and after)."""
    network.step(**network.noise(8))
    holders = {**network.parameters, **network.state}
    before, steps = {n: p.value.copy() for n, p in holders.items()}, network.steps
    found = network.profile(repeats=3, **network.noise(8))
    return found, before, {n: p.value for n, p in holders.items()}, (steps, network.steps)


def test_every_unit_is_measured(network, profiled):
    found = profiled[0]
    units = network.compiled.program.units
    assert sorted(r.kernel for r in found.rows) == sorted(map(unit_name, units))
    assert all(r.seconds >= 0 for r in found.rows)
    assert [r.seconds for r in found.rows] == sorted((r.seconds for r in found.rows), reverse=True)


def test_the_parts_add_up_to_a_step(profiled):
    found = profiled[0]
    parts = sum(r.seconds for r in found.rows)
    assert found.waiting + found.clearing == pytest.approx(found.seconds - parts)
    assert found.clearing >= 0
    assert 0.5 * found.seconds < parts < 1.5 * found.seconds
    assert sum(found.layers.values()) == pytest.approx(parts)


def test_the_program_is_as_it_was(network, profiled):
    _, before, after, (steps, now) = profiled
    assert steps == now == network.steps
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_rates_follow_from_times_and_predictions(network, profiled):
    found = profiled[0]
    compiled = network.compiled
    costs = predictions(compiled.program, compiled.target, 8, found.machine)
    by_name = dict(zip(map(unit_name, compiled.program.units), costs, strict=True))
    for row in found.rows:
        cost = by_name[row.kernel]
        assert row.gflops == pytest.approx(cost.flops / row.seconds / 1e9)
        assert row.gbytes == pytest.approx(cost.bytes / row.seconds / 1e9)
        assert row.predicted == cost.seconds
    twice = replace(found.rows[0], threads=2)
    assert twice.predicted == found.rows[0].predicted / 2
    assert found.bytes == sum(c.bytes for c in costs)


def test_a_profile_is_printed(profiled):
    found = profiled[0]
    text = str(found)
    assert text.startswith("training, batch 8, 1 thread: ")
    for row in found.rows:
        assert row.strategy in text
    assert f"<pre>{text.splitlines()[0]}" in found._repr_html_()
    assert f"{len(found.rows) - 2} more: " in found.text(2)


def test_inference_on_several_threads_is_measured_too(line):
    program = gc.compile_inference(gc.Dense(5)(gc.input("x", (gc.BATCH, 7))), threads=2)
    x = program.noise(9)["x"]
    before = program(x=x)
    found = program.profile(x=x, repeats=2)
    assert (found.threads, found.batch) == (2, 9)
    np.testing.assert_array_equal(program(x=x), before)


def test_what_cannot_be_measured_says_so(line):
    training, _ = line
    arrays = training.noise(4)
    with pytest.raises(InputError):
        training.profile(x=arrays["x"])
    with pytest.raises(NonFiniteError, match="not finite"):
        training.profile(**{**arrays, "target": np.full_like(arrays["target"], np.inf)})


def test_noise_keeps_the_limits_of_labels(network):
    arrays = network.noise(10)
    assert arrays["images"].shape == (10, 1, 8, 8)
    assert arrays["labels"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_the_normal_step_has_no_clock(network):
    assert "counter" not in network.compiled.executable.native.llvm
    assert "counter" not in emit(network.compiled.step, network.compiled.target)


def test_the_machine_is_measured_once():
    machine = measured(host())
    assert machine is measured(host())
    assert list(machine.rates) == [*CACHES, "memory"]
    assert 1e8 < machine.clock < 1e11
    assert all(0 < rate < 1024 for rate in machine.rates.values())
