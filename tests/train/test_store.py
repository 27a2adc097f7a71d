"""Checkpoints in a directory: complete or not there, whatever kills the writer, damage that is noticed and named."""

import errno
import json
import os
import signal
import warnings

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.checkpoints import atomic
from graphc.train.checkpoints.store import checkpoints, read, read_one, write
from graphc.train.checkpoints.tree import decoded, encoded, text

STATE = {"epoch": 3, "best": float("inf"), "kept": {"w": np.arange(3.0)}, "history": [0.1, 1e-300, -0.0]}
ARRAYS = {"conv1.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "/steps": np.int64(7)}


def save(directory, epoch, **options):
    return write(directory, STATE | {"epoch": epoch}, ARRAYS, **options)


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def pairs(*numbers):
    return sorted(f"checkpoint-{n:06}.{suffix}" for n in numbers for suffix in ("json", "safetensors"))


def test_what_was_written_is_read_and_the_last_two_are_kept(tmp_path):
    for epoch in range(1, 5):
        path = save(tmp_path / "run", epoch)
    assert names(tmp_path / "run") == pairs(3, 4)
    found = read(tmp_path / "run")
    assert found.path == path
    assert (found.state["epoch"], found.state["best"], found.state["history"]) == (4, float("inf"), [0.1, 1e-300, -0.0])
    assert found.state["kept"]["w"].tolist() == [0, 1, 2]
    assert found.arrays.keys() == ARRAYS.keys()
    assert all(found.arrays[n].tobytes() == np.asarray(a).tobytes() for n, a in ARRAYS.items())
    assert read(path.with_name("checkpoint-000003.safetensors")).state["epoch"] == 3


def test_a_directory_without_checkpoints_has_none(tmp_path):
    assert read(tmp_path) is read(tmp_path / "absent") is None
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "checkpoint-000001.safetensors").write_bytes(b"killed before it was complete")
    assert read(tmp_path) is None
    save(tmp_path, 1)
    assert names(tmp_path) == [*pairs(1), "notes.txt"]
    with pytest.raises(DataError, match=r"notes\.txt is not a checkpoint"):
        read(tmp_path / "notes.txt")
    with pytest.raises(DataError, match=r"000009\.json cannot be read: No such file"):
        read(tmp_path / "checkpoint-000009.json")


def test_going_on_from_an_older_one_leaves_it_until_there_are_two_newer(tmp_path):
    for epoch in range(1, 4):
        save(tmp_path, epoch, keep=3)
    path = save(tmp_path, 4, origin=tmp_path / "checkpoint-000001.json")
    assert names(tmp_path) == pairs(1, 4)
    save(tmp_path, 5, origin=path)
    assert names(tmp_path) == pairs(4, 5)


def test_numbers_texts_and_arrays_come_back_with_the_same_bits():
    tree = {
        "floats": [0.1, 5e-324, 1.7976931348623157e308, -0.0, float("inf"), float("-inf"), float("nan"), 1 / 3],
        "others": [None, True, 2**70, "κ \u2028 {}", []], "numpy": [np.float32(0.1), np.int64(3), np.bool_(True)],
    }  # fmt: skip
    apart = {}
    back = decoded(json.loads(text(encoded(tree, "", apart))), apart)
    assert np.array(back["floats"]).tobytes() == np.array(tree["floats"]).tobytes()
    assert back["others"] == tree["others"]
    assert back["numpy"] == [float(np.float32(0.1)), 3, True]
    with pytest.raises(DataError, match="/callbacks/0 is set, which a checkpoint cannot hold"):
        encoded({"callbacks": [{1, 2}]}, "", apart)


# ---------------------------------------------------------------------------------------------------- damage


@pytest.fixture
def two(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    return tmp_path


def refused(directory, message):
    """The newest is damaged: the error says so, and that the one before it can be used."""
    with pytest.raises(DataError, match=message) as caught:
        read(directory)
    older = directory / "checkpoint-000001.json"
    assert caught.value.hint == f"{older} is intact: resume={str(older)!r}"
    assert read(older).state["epoch"] == 1


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_every_flipped_bit_and_every_cut_is_noticed(two, suffix):
    path = two / f"checkpoint-000002.{suffix}"
    content = path.read_bytes()
    whole = text(json.loads((two / "checkpoint-000002.json").read_bytes()))
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            read_one(path.with_suffix(".json"))
        except DataError:
            continue
        # a blank that became another blank
        assert suffix == "json"
        assert text(json.loads(path.read_bytes())) == whole
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refused(two, "damaged")


def test_other_files_other_versions_and_lost_files_are_told_apart(two):
    path, tensors = two / "checkpoint-000002.json", two / "checkpoint-000002.safetensors"
    content, arrays = path.read_bytes(), tensors.read_bytes()
    for other, message in (
        (b"{}", "is damaged, or not a checkpoint"),
        (b"[" * 100_000, "is damaged, or not a checkpoint"),
        (b"\xff\xfe", "is damaged, or not a checkpoint"),
        (content.replace(b'"graphc training"', b'"another program"'), "its format is 'another program', expected"),
        (content.replace(b'"version": 1', b'"version": 2'), "has version 2 of the format, expected 1"),
        ((two / "checkpoint-000001.json").read_bytes(), r"belongs to checkpoint-000001\.safetensors: it was renamed"),
    ):
        path.write_bytes(other)
        with pytest.raises(DataError, match=message):
            read(two)
    path.write_bytes(content)
    tensors.write_bytes(arrays + b"0")
    refused(two, f"it has {len(arrays) + 1} bytes, expected {len(arrays)}")
    tensors.write_bytes((two / "checkpoint-000001.safetensors").read_bytes()[:-1] + b"\x01")
    refused(two, r"do not have the checksum in checkpoint-000002\.json")
    tensors.unlink()
    refused(two, r"checkpoint-000002\.safetensors cannot be read: No such file")
    (two / "checkpoint-000001.json").unlink()
    with pytest.raises(DataError) as caught:
        read(two)
    assert caught.value.hint == ""


# ------------------------------------------------------------------------------------------ kills and full disks

CALLS = ("fsync", "replace", "unlink", "remove")
"""What a save asks of the system after the content is written."""


def dies_at(call, directory):
    """Save in a process of its own, which is killed instead of the n-th such call; whether it came so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the child calls nothing but what follows
        child = os.fork()
    if child == 0:
        left = [call]

        def deadly(original):
            def wrapper(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

            return wrapper

        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            save(directory, 3)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_inside_of_a_save_at_every_point(tmp_path):
    call, epochs = 0, []
    while True:
        directory = tmp_path / str(call)
        save(directory, 1)
        save(directory, 2)
        killed = dies_at(call, directory)
        found = read(directory)
        epochs.append(found.state["epoch"])
        assert all(read_one(path) for path in checkpoints(directory))
        save(directory, 4)
        assert read(directory).state["epoch"] == 4
        assert not [name for name in names(directory) if name.endswith(atomic.UNFINISHED)]
        assert len(names(directory)) == 4
        if not killed:
            break
        call += 1
    assert call >= 8
    assert epochs == sorted(epochs)
    assert epochs.count(2) >= 4
    assert epochs.count(3) >= 3


@pytest.mark.parametrize("call", range(6))
def test_a_full_disk_leaves_what_was_there(two, monkeypatch, call):
    left = [call]

    def full(original):
        def wrapper(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **options)

        return wrapper

    with monkeypatch.context() as patched:
        for name in ("fsync", "replace"):
            patched.setattr(os, name, full(getattr(os, name)))
        with pytest.raises(DataError, match=r"000003\.\w+ cannot be written: No space left on device") as caught:
            save(two, 3)
    assert caught.value.hint == f"{two / 'checkpoint-000002.json'} is as it was"
    assert read(two).state["epoch"] in (2, 3)
    assert not [name for name in names(two) if name.endswith(atomic.UNFINISHED)]
    save(two, 4)
    assert read(two).state["epoch"] == 4
    assert len(names(two)) == 4


def test_a_limit_of_the_system_on_files_is_reported_too(two):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.raises(DataError, match=r"checkpoint-000003\.safetensors cannot be written: File too large"):
            save(two, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read(two).state["epoch"] == 2
    assert names(two) == pairs(1, 2)


def test_what_a_live_process_is_writing_is_left_alone(tmp_path):
    (tmp_path / f".checkpoint-000005.json.{os.getppid()}.part").write_bytes(b"live")
    (tmp_path / f".checkpoint-000005.json.{os.getpid()}.part").write_bytes(b"of one before with this number")
    (tmp_path / ".checkpoint-000005.json.99999999.part").write_bytes(b"dead")
    (tmp_path / ".notes.99999999.part").write_bytes(b"not a checkpoint's")
    save(tmp_path, 1)
    left = [name for name in names(tmp_path) if name.startswith(".")]
    assert left == sorted([f".checkpoint-000005.json.{os.getppid()}.part", ".notes.99999999.part"])
