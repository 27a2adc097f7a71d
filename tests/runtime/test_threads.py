"""The team of threads, its barriers, and the number of threads."""

import ctypes
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc.codegen.llvm import emit
from graphc.codegen.target import host
from graphc.errors import InputError
from graphc.loops.expressions import Binary, Buffer, Const, Load, Splat
from graphc.loops.index import ZERO, constant, variable
from graphc.loops.ir import Barrier, Call, For, Function, Mode, Step, Store
from graphc.runtime import threads as threads_module
from graphc.runtime.jit import compile_ir
from graphc.runtime.threads import CAPACITY, Team, cores, cpu_quota, default_threads, shared_team
from graphc.types import BATCH, DType

F32, I64 = DType.FLOAT32, DType.INT64
i, j, N = variable("i"), variable("j"), variable("N")


class Program:
    """A compiled step with its arrays."""

    def __init__(self, step, arrays):
        self.native = compile_ir(emit(step, host()), host())
        self.entry = self.native.address(step.name)
        self.arrays = arrays
        self.table = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))

    def run(self, team, batch, threads):
        team.run(self.entry, ctypes.addressof(self.table), batch, threads)


def counting():
    """count[t * 8] += 1 for every thread t that takes part, with an iteration for each."""
    count = Buffer("count", I64, (BATCH, 8))
    bump = Store(count, (i, ZERO), Binary("add", Load(count, (i, ZERO)), Const(1, I64)))
    f = Function("count", (count,), (For("i", ZERO, N, (bump,), Mode.PARALLEL),))
    return Step("step", (count,), (f,), (Call("count", ("count",)),))


def passing(rounds):
    """Every round each thread reads its neighbour's value of the round before; barriers in between.

    A barrier that lets a thread through too early makes it read a value of another round.
    """
    a, b = Buffer("a", I64, (BATCH,)), Buffer("b", I64, (BATCH,))
    neighbour = N - 1 - i
    move = Store(b, (i,), Binary("add", Load(a, (neighbour,)), Const(1, I64)))
    f = Function("move", (a, b), (For("i", ZERO, N, (move,), Mode.PARALLEL),))
    body = (Call("move", ("a", "b")), Barrier(), Call("move", ("b", "a")), Barrier()) * rounds
    return Step("step", (a, b), (f,), body)


@pytest.fixture
def team():
    made = Team()
    yield made
    made.close()


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_every_thread_runs_its_share_once_and_run_returns_when_all_have(team, threads):
    program = Program(counting(), [np.zeros((threads, 8), np.int64)])
    for _ in range(200):
        program.run(team, threads, threads)
    np.testing.assert_array_equal(program.arrays[0][:, 0], 200)
    assert len(team) == threads


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_ten_thousand_barriers_let_nobody_through_early(team, threads):
    program = Program(passing(50), [np.zeros(threads, np.int64), np.zeros(threads, np.int64)])
    for _ in range(100 if threads <= 2 else 25):
        program.run(team, threads, threads)
    rounds = 10_000 if threads <= 2 else 2_500
    np.testing.assert_array_equal(program.arrays[0], rounds)
    np.testing.assert_array_equal(program.arrays[1], rounds - 1)


def test_no_wake_up_is_lost_whether_workers_watch_sleep_or_are_just_falling_asleep(team):
    program = Program(counting(), [np.zeros((3, 8), np.int64)])
    random = np.random.default_rng(0)
    watch = threads_module.WATCH_SECONDS
    for pause in random.uniform(0, 4 * watch, 1500):
        program.run(team, 3, 3)
        until = time.perf_counter() + pause
        while time.perf_counter() < until:
            pass
    for _ in range(20):
        program.run(team, 3, 3)
        time.sleep(0.005)
    np.testing.assert_array_equal(program.arrays[0][:, 0], 1520)


def test_idle_workers_use_no_processor_time(team):
    program = Program(counting(), [np.zeros((2, 8), np.int64)])
    program.run(team, 2, 2)
    time.sleep(0.02)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.1


def test_the_team_grows_and_may_be_used_in_part(team):
    program = Program(counting(), [np.zeros((4, 8), np.int64)])
    for threads in (2, 4, 3, 1, 2):
        program.run(team, threads, threads)
    assert len(team) == 4
    np.testing.assert_array_equal(program.arrays[0][:, 0], [5, 4, 2, 1])


def test_callers_take_turns(team):
    program = Program(counting(), [np.zeros((2, 8), np.int64)])

    def work():
        for _ in range(200):
            program.run(team, 2, 2)

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    np.testing.assert_array_equal(program.arrays[0][:, 0], 800)


def test_results_do_not_depend_on_the_number_of_threads(team):
    x, y = Buffer("x", F32, (BATCH, 64)), Buffer("y", F32, (BATCH, 64))
    scaled = Binary("mul", Load(x, (i, j), 8), Splat(Load(x, (i, constant(5))), 8))
    inner = For("j", ZERO, constant(64), (Store(y, (i, j), scaled),), step=8)
    f = Function("scale", (x, y), (For("i", ZERO, N, (inner,), Mode.PARALLEL),))
    step = Step("s", (x, y), (f,), (Call("scale", ("x", "y")), Barrier(), Call("scale", ("y", "x"))))
    start = np.random.default_rng(0).standard_normal((37, 64)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        program = Program(step, [start.copy(), np.zeros_like(start)])
        program.run(team, 37, threads)
        results.append(program.arrays[0])
    once = start * start[:, 5:6]
    np.testing.assert_array_equal(results[0], once * once[:, 5:6])
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize("threads", [0, -1, CAPACITY + 1])
def test_an_impossible_number_of_threads_is_refused(team, threads):
    with pytest.raises(InputError, match=f"threads is {threads}, expected a number from 1 to {CAPACITY}"):
        team.run(0, 0, 0, threads)
    assert len(team) == 1


def test_a_closed_team_still_computes_on_the_callers_thread():
    others = set(threading.enumerate())
    team = Team()
    program = Program(counting(), [np.zeros((2, 8), np.int64)])
    program.run(team, 2, 2)
    team.close()
    assert len(team) == 1
    program.run(team, 2, 2)
    np.testing.assert_array_equal(program.arrays[0][:, 0], 2)
    assert set(threading.enumerate()) <= others


def test_there_is_one_team_per_process():
    assert shared_team() is shared_team()


# ------------------------------------------------------------------------------------------------- processes

SCRIPT = """
import ctypes, os, signal, sys, threading, time
import numpy as np
sys.path.insert(0, {tests!r})
from test_threads import Program, counting, passing
from graphc.runtime.threads import shared_team
program = Program(counting(), [np.zeros((3, 8), np.int64)])
team = shared_team()
program.run(team, 3, 3)
"""


def python(body):
    """The output of a fresh interpreter; a crash or a hang fails the test."""
    here = Path(__file__).parent
    script = SCRIPT.format(tests=str(here)) + textwrap.dedent(body)
    env = {**os.environ, "PYTHONPATH": str(Path(graphc.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


@pytest.mark.parametrize("moment", ["program.run(team, 3, 3)", "time.sleep(0.01)", "team.close()"])
def test_the_interpreter_ends_cleanly_while_workers_watch_sleep_or_are_gone(moment):
    assert python(f"{moment}\nprint(program.arrays[0][2, 0] >= 1)") == "True\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_a_team_of_its_own():
    body = """
    child = os.fork()
    for _ in range(50):
        program.run(team, 3, 3)
    if child == 0:
        print(program.arrays[0][:, 0].tolist(), len(team), flush=True)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    print(program.arrays[0][:, 0].tolist(), len(team))
    """
    assert python(body) == "[51, 51, 51] 3\n[51, 51, 51] 3\n"


@pytest.mark.skipif(not hasattr(os, "kill") or os.name == "nt", reason="no signals on this system")
def test_an_interrupt_leaves_the_team_usable():
    body = """
    armed, interrupted = False, 0

    def interrupt(*_):
        global armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    timer = threading.Thread(
        target=lambda: [(time.sleep(0.003), os.kill(os.getpid(), signal.SIGINT)) for _ in range(40)]
    )
    timer.start()
    while timer.is_alive():
        try:
            armed = True
            while timer.is_alive():
                program.run(team, 3, 3)
        except KeyboardInterrupt:
            interrupted += 1
    armed = False
    program.run(team, 3, 3)
    counts = program.arrays[0][:, 0]
    print(interrupted > 20, (counts == counts[0]).all())
    """
    assert python(body) == "True True\n"


# ------------------------------------------------------------------------------------------ number of threads


def test_the_environment_sets_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("GRAPHC_NUM_THREADS", "3")
    assert default_threads() == 3
    for wrong in ("0", "-1", "two", "1.5", "1000"):
        monkeypatch.setenv("GRAPHC_NUM_THREADS", wrong)
        with pytest.raises(InputError, match=f"GRAPHC_NUM_THREADS is '{wrong}', expected a number"):
            default_threads()


def test_affinity_and_quota_limit_the_number_of_threads(monkeypatch):
    monkeypatch.delenv("GRAPHC_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads_module, "_affinity", lambda: frozenset(range(6)))
    monkeypatch.setattr(threads_module, "cores", len)
    for quota, expected in [(None, 6), (2.5, 2), (0.5, 1), (16.0, 6)]:
        monkeypatch.setattr(threads_module, "cpu_quota", lambda quota=quota: quota)
        assert default_threads() == expected


def test_two_processors_of_one_core_count_once(tmp_path):
    for processor, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{processor}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert cores(range(4), tmp_path) == 2
    assert cores([0, 2], tmp_path) == 1
    assert cores([0, 1], tmp_path) == 2
    assert cores([7, 8, 9], tmp_path) == 3


def test_the_tightest_quota_of_all_enclosing_groups_counts(tmp_path):
    membership = tmp_path / "membership"
    membership.write_text("0::/outer/inner\n")
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    assert cpu_quota(tmp_path, membership) is None
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path, membership) is None
    (tmp_path / "outer" / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota(tmp_path, membership) == 1.5
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota(tmp_path, membership) == 0.5
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path, tmp_path / "missing") is None
