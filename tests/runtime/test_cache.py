"""Code that outlives its process: found when everything is the same, missed when anything differs, never wrong."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
from graphc import build
from graphc.codegen.target import host
from graphc.errors import InputError
from graphc.passes import History
from graphc.runtime.cache import Cache, cache_directory, compiler_digest, open_cache
from graphc.runtime.jit import compile_ir, object_key
from graphc.target import GENERIC
from tests.runtime.test_jit import SQUARE, call

KEY, OTHER = "0" * 64, "1" * 64


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kinds(directory) -> dict[str, int]:
    found = [file.suffix for file in directory.iterdir()]
    return {kind: found.count(kind) for kind in (".program", ".object")}


# ------------------------------------------------------------------------------------------------- the store


def test_what_was_kept_is_found_by_key_and_kind(tmp_path):
    cache = Cache(tmp_path / "new" / "place")
    assert cache.get(KEY, "object") is None
    cache.put(KEY, "object", b"code\nwith\0lines")
    assert cache.problem == ""
    assert cache.get(KEY, "object") == b"code\nwith\0lines"
    assert cache.get(KEY, "program") is None
    assert cache.get(OTHER, "object") is None
    cache.put(KEY, "object", b"newer")
    assert cache.get(KEY, "object") == b"newer"
    assert stat.S_IMODE((tmp_path / "new" / "place").stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", ["truncated", "empty", "bit", "header", "foreign", "renamed"])
def test_a_damaged_entry_is_missing_and_removed(tmp_path, damage):
    cache = Cache(tmp_path)
    cache.put(KEY, "object", bytes(range(256)))
    file = tmp_path / f"{KEY}.object"
    whole = bytearray(file.read_bytes())
    match damage:
        case "truncated":
            file.write_bytes(whole[:-1])
        case "empty":
            file.write_bytes(b"")
        case "bit":
            whole[-100] ^= 4
            file.write_bytes(whole)
        case "header":
            whole[20] ^= 1
            file.write_bytes(whole)
        case "foreign":
            file.write_bytes(b"\x7fELF" + bytes(500))
        case "renamed":
            cache.put(OTHER, "object", b"another program")
            os.replace(tmp_path / f"{OTHER}.object", file)
    assert cache.get(KEY, "object") is None
    assert not file.exists()


def test_the_least_recently_used_entries_go_first(tmp_path):
    cache = Cache(tmp_path, limit=3500)
    for k in range(3):
        cache.put(str(k) * 64, "object", bytes(1000))
        os.utime(tmp_path / f"{str(k) * 64}.object", (1000 + k, 1000 + k))
    assert cache.get("0" * 64, "object") is not None  # used: now the youngest
    cache.put("3" * 64, "object", bytes(1000))
    assert {e.path.name[0] for e in cache.entries()} == {"0", "2", "3"}
    assert cache.entries()[-1].path.name[0] == "2"
    assert sum(e.size for e in cache.entries()) <= 3500
    cache.put("4" * 64, "object", bytes(4000))  # larger than all that may be kept
    assert cache.get("4" * 64, "object") is None
    assert len(cache.entries()) == 3


def test_only_its_own_files_are_removed(tmp_path):
    (tmp_path / "thesis.object").write_text("mine")
    abandoned, fresh = tmp_path / ".graphc-abandoned", tmp_path / ".graphc-fresh"
    abandoned.write_text("")
    os.utime(abandoned, (1000, 1000))
    fresh.write_text("being written")
    cache = Cache(tmp_path)
    cache.put(KEY, "program", b"x")
    assert not abandoned.exists()
    assert fresh.exists()
    assert cache.clear() == 1
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.object"]


@pytest.mark.skipif(os.name == "nt", reason="directories have no modes")
def test_a_directory_that_others_may_write_to_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path))
    Cache(tmp_path).put(KEY, "object", b"code")
    assert open_cache().get(KEY, "object") == b"code"
    tmp_path.chmod(0o777)
    assert "others may write" in open_cache().problem
    assert open_cache().get(KEY, "object") is None
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert "belongs to another user" in open_cache().problem
    assert not open_cache().enabled


@pytest.mark.parametrize("kind", ["file", "below a file", "full"])
def test_where_nothing_can_be_written_it_goes_on_without(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    (tmp_path / "file").write_text("")
    place = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "cache", "full": tmp_path / "full"}[kind]
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(place))
    if kind == "full":

        def replace(source, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", replace)
    program = gc.compile_inference(line(), threads=1)
    assert program(x=np.ones((1, 3), np.float32)).shape == (1, 2)
    assert program.compiled.problem
    assert f"cache: {program.compiled.problem}" in program.explain()
    if kind == "full":
        assert "No space left" in program.compiled.problem
        assert list(place.iterdir()) == []


def test_the_environment_says_where_and_how_much(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    assert not open_cache().enabled
    assert open_cache().problem == ""
    monkeypatch.setenv("GRAPHC_CACHE", "1")
    monkeypatch.delenv("GRAPHC_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert open_cache().directory == cache_directory() == tmp_path / "graphc"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG specification
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory() == tmp_path / "home" / ".cache" / "graphc"
    monkeypatch.setenv("GRAPHC_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("GRAPHC_CACHE_MB", "3")
    assert (open_cache().directory, open_cache().limit) == (tmp_path / "own", 3 << 20)
    monkeypatch.setenv("GRAPHC_CACHE_MB", "lots")
    with pytest.raises(InputError, match="GRAPHC_CACHE_MB is 'lots'"):
        open_cache()


def test_readers_and_writers_at_the_same_time_see_whole_entries(tmp_path):
    content = {n: bytes([n]) * 50_000 for n in range(4)}
    seen = set()

    def write(n):
        for _ in range(20):
            Cache(tmp_path).put(KEY, "object", content[n])

    def read():
        for _ in range(60):
            seen.add(Cache(tmp_path).get(KEY, "object"))

    threads = [threading.Thread(target=write, args=(n,)) for n in content]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen - {None} <= set(content.values())
    assert Cache(tmp_path).get(KEY, "object") in content.values()
    assert len(list(tmp_path.iterdir())) == 1


# --------------------------------------------------------------------------------------------------- objects


def test_code_is_kept_by_its_text_and_processor(tmp_path):
    cache = Cache(tmp_path)
    cold = compile_ir(SQUARE, GENERIC, cache)
    warm = compile_ir(SQUARE, GENERIC, cache)
    assert list(warm.seconds) == ["load"]
    assert call(cold, "entry", -12) == call(warm, "entry", -12) == 144
    assert warm.llvm == SQUARE
    assert warm.assembly == cold.assembly
    assert "generate" in compile_ir(SQUARE.replace("mul", "add"), GENERIC, cache).seconds
    keys = {
        object_key(SQUARE, t)
        for t in (GENERIC, replace(GENERIC, cpu="core2"), replace(GENERIC, features="+sse4.2"), host())
    }
    assert len(keys) == 4


# -------------------------------------------------------------------------------------------------- programs


def line(units=2, x="x", slope=1.0):
    return gc.nn.Dense(units, "tanh", name="layer")(gc.input(x, (gc.BATCH, 3))) * slope


def training(optimizer=None, **options):
    loss = gc.mse_loss(line(**options), gc.input("target", (gc.BATCH, options.get("units", 2))))
    return gc.compile_training(loss, optimizer=optimizer, threads=1, seed=0)


def steps(program, count=3):
    generator = np.random.default_rng(0)
    x, target = generator.standard_normal((4, 3)), generator.standard_normal((4, 2))
    losses = [program.step(x=x, target=target)["loss"] for _ in range(count)]
    return losses, {name: p.value.tolist() for name, p in (program.parameters | program.state).items()}


def test_a_program_that_is_found_computes_the_same_bits(directory):
    cold, warm = training(gc.Adam(0.01)), training(gc.Adam(0.01))
    assert (cold.compiled.found, warm.compiled.found) == (False, True)
    assert cold.compiled.problem == warm.compiled.problem == ""
    assert steps(cold) == steps(warm)
    assert "the code was in the cache" in warm.explain()
    predict = [gc.compile_inference(line(), threads=1) for _ in range(2)]
    assert [p.compiled.found for p in predict] == [False, True]


def test_the_stages_of_a_found_program_are_those_of_the_first(directory):
    cold, warm = (gc.compile_training(network(), threads=1, seed=0) for _ in range(2))
    assert warm.compiled.found
    for record, again in zip(cold.stages.records, warm.stages.records, strict=True):
        assert (record.stage, str(record.after)) == (again.stage, str(again.after))
    for stage in ("math", "kernels", "vectors", "llvm", "asm"):
        assert warm.text(stage) == cold.text(stage)
    assert cold.compiled.executable.program == warm.compiled.executable.program


def network():
    images, labels = gc.input("images", (gc.BATCH, 1, 8, 8)), gc.input("labels", (gc.BATCH,), "int64")
    layers = (gc.nn.Conv2d(4, 3, activation="relu"), gc.nn.MaxPool2d(2), gc.nn.Flatten(), gc.nn.Dense(3))
    return gc.cross_entropy(gc.nn.Sequential(*layers)(images), labels)


class Plain(gc.Optimizer):
    """Gradient descent as somebody else would write it."""

    def __init__(self, rule):
        super().__init__(0.1)
        self.rule = rule

    def update(self, parameter, gradient, state, scalars):
        return self.rule(parameter, gradient, scalars["lr"]), {}


@gc.op
def downhill(W, G, lr):
    """W - η·G"""
    return W[...] - lr[()] * G[...]


@gc.op
def uphill(W, G, lr):
    """W + η·G"""
    return W[...] + lr[()] * G[...]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({}, {}, True),
        ({}, {"units": 3}, False),
        ({}, {"x": "pixels"}, False),
        ({}, {"slope": 1.0 + 2**-40}, False),
        ({"optimizer": gc.SGD(0.1)}, {"optimizer": gc.SGD(0.2)}, True),  # a number that every step is fed
        ({"optimizer": gc.SGD(0.1)}, {"optimizer": gc.Momentum(0.1)}, False),
        ({"optimizer": gc.Adam(betas=(0.9, 0.999))}, {"optimizer": gc.Adam(betas=(0.8, 0.999))}, False),
        ({"optimizer": Plain(downhill)}, {"optimizer": Plain(downhill)}, True),
        ({"optimizer": Plain(downhill)}, {"optimizer": Plain(uphill)}, False),
    ],
)
def test_a_program_is_found_only_if_nothing_differs(directory, first, second, same):
    training(**first)
    assert training(**second).compiled.found is same


def test_another_processor_or_compiler_finds_nothing(directory, monkeypatch):
    training()
    with monkeypatch.context() as patch:
        patch.setenv("GRAPHC_TARGET", "generic")
        assert not training().compiled.found
    with monkeypatch.context() as patch:
        patch.setattr(build, "compiler_digest", lambda: "another source")
        assert not training().compiled.found
    with monkeypatch.context() as patch:
        patch.setattr("sympy.__version__", "0.1")
        assert not training().compiled.found
    assert training().compiled.found


def test_a_change_of_the_source_is_another_compiler(tmp_path):
    (tmp_path / "a.py").write_text("x = 1")
    os.utime(tmp_path / "a.py", (1000, 1000))
    digest = compiler_digest.__wrapped__
    first = digest(tmp_path)
    (tmp_path / "a.py").write_text("x = 2")
    assert digest(tmp_path) == ""  # changed after it was imported: what runs is not what is read
    os.utime(tmp_path / "a.py", (1000, 1000))
    assert digest(tmp_path) not in ("", first)
    assert digest(tmp_path / "nothing") == ""


def test_programs_that_are_watched_run_their_passes(directory, monkeypatch, tmp_path):
    training()
    history = History()
    loss = gc.mse_loss(line(), gc.input("target", (gc.BATCH, 2)))
    watched = gc.compile_training(loss, threads=1, seed=0, observers=[history])
    assert not watched.compiled.found
    assert history["emit"]
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path / "dump"))
    assert not training().compiled.found
    assert len(list((tmp_path / "dump").iterdir())) > 10
    assert isinstance(gc.compile_training(loss, threads=1, stop_after="emit"), str)


@pytest.mark.parametrize("kind", ["program", "object"])
def test_damaged_programs_are_compiled_anew(directory, kind):
    expected = steps(training())
    for file in directory.glob(f"*.{kind}"):
        file.write_bytes(file.read_bytes()[:-7])
    again = training()
    assert not again.compiled.found
    assert steps(again) == expected
    assert training().compiled.found


def test_without_a_cache_nothing_is_written(directory, monkeypatch):
    monkeypatch.setenv("GRAPHC_CACHE", "0")
    assert [training().compiled.found for _ in range(2)] == [False, False]
    assert not directory.exists()


PROGRAM = """
import json, sys
from tests.runtime.test_cache import steps, training
program = training()
print(json.dumps([program.compiled.found, program.compiled.problem, steps(program)]))
"""


def test_processes_share_it(directory):
    """Several processes that start at once, each with its own order of hashes, then one that finds what they left."""

    def start(seed):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        return subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)

    together = [start(seed) for seed in (1, 2)]
    results = [json.loads(process.communicate()[0]) for process in together]
    results.append(json.loads(start(3).communicate()[0]))
    assert results[-1][0] is True
    assert all(problem == "" for _, problem, _ in results)
    assert results[0][2] == results[1][2] == results[2][2]
    assert kinds(directory)[".program"] == 1
