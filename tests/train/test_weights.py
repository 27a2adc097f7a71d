"""Weights in files: what comes back, from whom, in which part, and what is said when it does not fit."""

import io
import pickle
import zipfile

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.chance import Key
from graphc.errors import DataError
from graphc.train.checkpoints.arrays import packed, read_arrays, write_arrays
from graphc.train.checkpoints.weights import extras, load, save, weights_of

GENERATOR = np.random.default_rng(0)


def parameters(scale: float = 1.0, names: tuple[str, ...] = ("conv1.weight", "fc.weight", "fc.bias")) -> dict:
    found = {}
    for k, (name, shape) in enumerate(zip(names, ((2, 3), (4, 2), (4,)), strict=True)):
        found[name] = gc.Parameter(name, shape)
        found[name].value = scale * (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + k)
    return found


def values(held: dict) -> dict:
    return {name: p.value.tolist() for name, p in held.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_what_was_saved_comes_back_with_its_extras(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save(path, parameters(2.5), **{"input.mean": [0.3, 0.4]})
    fresh = parameters(0)
    assert load(path, fresh).taken == ("conv1.weight", "fc.weight", "fc.bias")
    assert values(fresh) == values(parameters(2.5))
    assert {name: a.tolist() for name, a in extras(path).items()} == {"input.mean": [0.3, 0.4]}
    save(path, parameters(3))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    load(path, fresh)
    assert values(fresh) == values(parameters(3))


def test_the_file_is_read_by_the_library_and_by_torch(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    save(tmp_path / "weights.safetensors", parameters(1.5))
    found = safetensors.load_file(tmp_path / "weights.safetensors")
    assert {name: t.tolist() for name, t in found.items()} == values(parameters(1.5))
    torch = pytest.importorskip("torch")
    halves = {name: torch.tensor(p.value).to(torch.bfloat16) for name, p in parameters(0.1).items()}
    safetensors.save_file(halves, tmp_path / "half.safetensors")
    load(tmp_path / "half.safetensors", held := parameters(0))
    assert values(held) == {name: t.float().tolist() for name, t in halves.items()}


@pytest.mark.parametrize(
    "array",
    [np.float64(0.1), np.arange(6).reshape(2, 3).T, np.zeros((0, 3), np.float32), np.array([True, False])],
    ids=["scalar", "transposed", "empty", "bool"],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_any_array_comes_back(tmp_path, array, suffix):
    write_arrays(tmp_path / f"a{suffix}", {"a/b.c": array})
    ((name, back),) = read_arrays(tmp_path / f"a{suffix}").items()
    assert name == "a/b.c"
    assert (back.dtype, back.shape) == (np.asarray(array).dtype, np.shape(array))
    np.testing.assert_array_equal(back, array)


# ---------------------------------------------------------------------------------------------- what does not fit


def test_all_that_does_not_fit_is_named_and_nothing_is_changed(tmp_path):
    held = parameters(1)
    state = {"conv1.weight": np.zeros((2, 5)), "fc.bias": np.zeros(4, "complex64"), "head.bias": [1.0]}
    np.savez(tmp_path / "other.npz", **state)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "other.npz", held)
    assert caught.value.message == (
        f"{tmp_path}/other.npz does not fit: missing: fc.weight; unexpected: head.bias; "
        "conv1.weight: expected (2, 3), got (2, 5); fc.bias: expected float32, got complex64"
    )
    assert values(held) == values(parameters(1))


def test_renaming_is_suggested_and_works(tmp_path):
    save(tmp_path / "w.npz", parameters(2, ("module.conv1.weight", "module.fc.weight", "module.fc.bias")))
    held = parameters(1)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "w.npz", held)
    assert caught.value.hint == "rename={'module': ''}"
    load(tmp_path / "w.npz", held, rename={"module": ""})
    assert values(held) == values(parameters(2))


def test_a_part_is_taken_by_patterns_and_other_names(tmp_path):
    path = tmp_path / "w.safetensors"
    save(path, parameters(2, ("backbone.weight", "fc.weight", "fc.bias")))
    held = parameters(1)
    with pytest.raises(DataError, match=r"only: no name in .*w\.safetensors fits 'conv1\.\*'"):
        load(path, held, only="conv1.*")
    found = load(path, held, only=["conv1.*", "fc.bias"], rename={"backbone": "conv1"})
    assert found.taken == ("conv1.weight", "fc.bias")
    assert held["fc.weight"].value.tolist() == parameters(1)["fc.weight"].value.tolist()
    assert held["fc.bias"].value.tolist() == parameters(2)["fc.bias"].value.tolist()
    with pytest.raises(DataError, match="no name in the model fits 'head"):
        load(path, held, only="head*")
    with pytest.raises(DataError, match=r"no name in .* begins with 'back'"):
        load(path, held, rename={"back": "x"})
    with pytest.raises(DataError, match=r"gives two arrays of .* the name fc\.weight"):
        load(path, held, rename=lambda name: "fc.weight")
    found = load(path, held, strict=False)
    assert (found.missing, found.unexpected) == (("conv1.weight",), ("backbone.weight",))


def test_no_code_in_a_file_is_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code of the file was run",))

    np.savez(tmp_path / "objects.npz", a=np.array([Trap()], dtype=object))
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps({"a": Trap()}))
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Trap()}))
    for name, message in (("objects.npz", "not a file of arrays"), ("weights.pkl", "pickle"), ("weights.pt", "pickle")):
        with pytest.raises(DataError, match=message):
            read_arrays(tmp_path / name)


SINGLE = io.BytesIO()
np.save(SINGLE, np.zeros(3))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"text" * 9, SINGLE.getvalue(), b"\xff" * 8 + b"{}"])
def test_any_other_file_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match="is not a file of arrays"):
        load(tmp_path / "file", parameters())


def test_any_cut_of_a_file_is_noticed(tmp_path):
    content = packed({name: p.value for name, p in parameters().items()})
    for length in range(len(content)):
        (tmp_path / "cut.safetensors").write_bytes(content[:length])
        with pytest.raises(DataError, match="is not a file of arrays"):
            read_arrays(tmp_path / "cut.safetensors")


def test_places_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.npz cannot be read: No such file"):
        load(tmp_path / "absent.npz", parameters())
    with pytest.raises(DataError, match=r"weights\.npz cannot be written: No such file"):
        save(tmp_path / "absent" / "weights.npz", parameters())
    with pytest.raises(DataError, match=r"weights\.pt must end in \.safetensors or \.npz"):
        save(tmp_path / "weights.pt", parameters())


# -------------------------------------------------------------------------------------------------- of a model


def test_the_weights_of_tensors_have_running_averages_but_no_keys():
    x = gc.input("x", (gc.BATCH, 3))
    net = gc.Sequential(gc.Dense(4), gc.BatchNorm1d(), gc.Dropout(0.5), gc.Dense(2), name="net")
    found = weights_of([net(x)])
    assert {n for n in found if "running" in n} == {"net.1.running_mean", "net.1.running_var"}
    assert not any(isinstance(p, Key) for p in found.values())
    assert set(found) == {f"net.{name}" for name, _ in net.named_parameters() if not name.endswith("key")}


def test_a_program_goes_on_bit_for_bit_from_its_state():
    x, y = gc.input("x", (gc.BATCH, 4)), gc.input("y", (gc.BATCH,), "int64")

    def program(name: str) -> object:
        net = gc.Sequential(gc.Dense(6, "relu"), gc.BatchNorm1d(), gc.Dropout(0.5), gc.Dense(3), name="net")
        return gc.compile_training(gc.cross_entropy(net(x), y), optimizer=gc.Adam(0.01), threads=1, seed=3)

    data = {"x": GENERATOR.normal(size=(40, 4)).astype(np.float32), "y": GENERATOR.integers(0, 3, 40)}
    whole, first, second = (program(n) for n in "abc")
    losses = [whole.epoch(data, 8) for _ in range(2)][1]["loss"]
    first.epoch(data, 8)
    state = first.state_dict()
    second.load_state_dict(state)
    assert second.steps == 5
    assert second.epoch(data, 8)["loss"].tolist() == losses.tolist()
    mine, theirs = whole.state_dict(), second.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(a.tobytes() == theirs[n].tobytes() for n, a in mine.items())
    state["net.0.weight"] = state["net.0.weight"].astype(np.float64)
    del state["/steps"]
    with pytest.raises(DataError, match=r"missing: /steps; net\.0\.weight: expected float32, got float64"):
        second.load_state_dict(state)
