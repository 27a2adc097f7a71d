import io
from types import SimpleNamespace

import numpy as np
import pytest

from graphc.errors import DataError
from graphc.train.checkpoint import load, save


def parameters(scale=1.0):
    return {
        "conv1.weight": SimpleNamespace(value=scale * np.arange(6, dtype=np.float32).reshape(2, 3)),
        "fc.bias": SimpleNamespace(value=np.float32([scale, -scale])),
    }


def test_what_was_saved_comes_back_with_its_extras(tmp_path):
    path = tmp_path / "weights.npz"
    save(path, parameters(2.5), normalisation=[0.3, 0.4])
    fresh = parameters(0)
    extras = load(path, fresh)
    for name, parameter in parameters(2.5).items():
        np.testing.assert_array_equal(fresh[name].value, parameter.value)
        assert fresh[name].value.dtype == np.float32
    assert list(extras) == ["normalisation"]
    assert extras["normalisation"].tolist() == [0.3, 0.4]


def test_saving_again_replaces_the_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "weights.npz"
    save(path, parameters(1))
    save(path, parameters(2))
    load(path, fresh := parameters(0))
    assert fresh["fc.bias"].value.tolist() == [2, -2]
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("fc.bias"), "lacks fc.bias"),
        (
            lambda p: setattr(p["fc.bias"], "value", np.zeros(3)),
            r"fc\.bias has shape \(3,\), the model's has \(2,\)",
        ),
    ],
)
def test_another_model_is_refused_and_nothing_changed(tmp_path, change, message):
    other = parameters(2)
    change(other)
    save(tmp_path / "other.npz", other)
    mine = parameters(1)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "other.npz", mine)
    np.testing.assert_array_equal(mine["conv1.weight"].value, parameters(1)["conv1.weight"].value)


SINGLE = io.BytesIO()
np.save(SINGLE, np.zeros(3))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"text", SINGLE.getvalue()])
def test_any_other_file_is_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match="is not a file of arrays"):
        load(tmp_path / "file", parameters())


def test_a_missing_file_and_a_missing_directory_are_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.npz cannot be read: No such file"):
        load(tmp_path / "absent.npz", parameters())
    with pytest.raises(DataError, match=r"weights\.npz cannot be written: No such file"):
        save(tmp_path / "absent" / "weights.npz", parameters())


def test_an_extra_must_not_hide_a_parameter(tmp_path):
    with pytest.raises(DataError, match="bias names a parameter and an extra"):
        save(tmp_path / "weights.npz", {"bias": parameters()["fc.bias"]}, bias=[1])
