"""Parameters: values, physical forms, seeds, initialisers."""

from __future__ import annotations

import numpy as np
import pytest

from graphc.dsl import initialisers, parameter
from graphc.dsl.initialisers import fans, initialiser
from graphc.dsl.parameter import Changes, Clock, Parameter
from graphc.errors import DTypeError, GraphcError, GraphError, ShapeError
from graphc.types import BATCH


def transposed(p: Parameter, calls: list[str] | None = None) -> np.ndarray:
    calls = [] if calls is None else calls

    def encode(a: np.ndarray) -> np.ndarray:
        calls.append("encode")
        return np.ascontiguousarray(a.T)

    def decode(a: np.ndarray) -> np.ndarray:
        calls.append("decode")
        return a.T

    return p.form("transposed", encode, decode)


def written(p: Parameter, key: str) -> None:
    """Native code has changed the array of a form."""
    clock = Clock()
    p.follow(key, clock)
    clock.advance(1)


def test_the_value_is_copied_cast_and_read_only() -> None:
    p = Parameter("w", (2, 3))
    given = np.arange(6.0).reshape(2, 3)
    p.value = given
    given[:] = -1
    assert p.value.dtype == np.float32
    assert p.value.tolist() == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="read-only"):
        p.value[0, 0] = 7
    p.value = [[1, 2, 3], [4, 5, 6]]
    assert p.value[1, 2] == 6


def test_a_value_must_fit() -> None:
    p = Parameter("layer.w", (2, 3))
    with pytest.raises(ShapeError, match=r"parameter layer.w has shape \(2, 3\), got a value of shape \(3, 2\)"):
        p.value = np.zeros((3, 2))
    with pytest.raises(DTypeError, match=r"parameter layer\.w is float32, got a value of dtype complex128"):
        p.value = np.zeros((2, 3), complex)
    with pytest.raises(GraphError, match="a tensor is immutable"):
        p.initialiser = "zeros"
    with pytest.raises(ShapeError, match="a parameter cannot depend on the batch size"):
        Parameter("w", (BATCH, 3))


def test_native_code_owns_a_form() -> None:
    p, calls = Parameter("w", (2, 3)), list[str]()
    p.value = np.arange(6).reshape(2, 3)
    native = transposed(p, calls)
    assert native.tolist() == [[0, 3], [1, 4], [2, 5]]
    native += 10
    assert p.value[0, 0] == 0, "not declared as written yet"
    version = p.version
    written(p, "transposed")
    assert p.version == version + 1
    assert calls == ["encode"], "the value is decoded only when it is read"
    assert p.value.tolist() == [[10, 11, 12], [13, 14, 15]]
    assert p.value is p.value
    assert calls == ["encode", "decode"]


def test_the_array_of_a_form_stays_the_same() -> None:
    p, calls = Parameter("w", (2, 3), "ones"), list[str]()
    native = transposed(p, calls)
    assert transposed(p, calls) is native
    assert calls == ["encode"]
    p.value = np.full((2, 3), 5.0)
    assert transposed(p, calls) is native
    assert (native == 5).all()
    assert calls == ["encode", "encode"]


def test_forms_follow_each_other() -> None:
    p = Parameter("w", (2, 3))
    p.value = np.zeros((2, 3))
    native = transposed(p)
    padded = p.form("padded", lambda a: np.pad(a, ((0, 0), (0, 1))), lambda a: a[:, :3])
    native[:] = [[1, 4], [2, 5], [3, 6]]
    written(p, "transposed")
    same = p.form("padded", lambda a: np.pad(a, ((0, 0), (0, 1))), lambda a: a[:, :3])
    assert same is padded
    assert padded.tolist() == [[1, 2, 3, 0], [4, 5, 6, 0]]
    padded[0, 0] = 9
    written(p, "padded")
    assert transposed(p)[0, 0] == 9
    assert p.value.tolist() == [[9, 2, 3], [4, 5, 6]]


def test_a_form_never_shares_memory_with_the_value() -> None:
    p = Parameter("w", (2, 3), "ones")
    native = p.form("plain", lambda a: a, lambda a: a)
    native[:] = 3
    assert (p.value == 1).all()
    written(p, "plain")
    value = p.value
    native[:] = 4
    assert (value == 3).all()


def test_a_value_ages_with_the_clock_that_it_follows_until_someone_else_changes_it() -> None:
    p, clock = Parameter("w", (2, 3), "ones"), Clock()
    native = transposed(p)
    p.follow("transposed", clock)
    before, kept = p.version, p.value
    for ticks in (1, 5):
        native += 1
        clock.advance(ticks)
    assert p.version == before + 6
    assert (p.value == 3).all()
    assert (kept == 1).all()
    assert transposed(p) is native, "the current form is not made anew"
    padded = p.form("padded", lambda a: np.pad(a, ((0, 0), (0, 1))), lambda a: a[:, :3])
    assert (padded[:, :3] == 3).all()
    p.value = np.zeros((2, 3))
    clock.advance(10)
    assert p.version == before + 7
    assert (transposed(p) == 0).all()
    written(p, "padded")
    assert p.version == before + 8


def test_every_change_has_a_number_of_its_own() -> None:
    p, clock, seen = Parameter("w", (2,), "ones"), Clock(), {Changes.last}
    p.initialise()
    seen.add(Changes.last)
    p.value = [1, 2]
    seen.add(Changes.last)
    seen.add(clock.advance(3))
    assert len(seen) == 4
    assert Changes.last == max(seen)


def test_only_a_form_that_was_asked_for_can_be_written() -> None:
    with pytest.raises(GraphError, match="parameter w has no form 'gpu'"):
        Parameter("w", (2,)).follow("gpu", Clock())


# -------------------------------------------------------------------------------------- initial values


def test_the_initial_value_depends_on_seed_and_name_alone() -> None:
    a, b = Parameter("a", (50,), "normal"), Parameter("b", (50,), "normal")
    a.initialise(1)
    b.initialise(1)
    again = Parameter("a", (50,), "normal")
    again.initialise(1)
    assert (a.value == again.value).all()
    assert not np.isclose(a.value, b.value).any()
    other = Parameter("a", (50,), "normal")
    other.initialise(2)
    assert not np.isclose(a.value, other.value).any()
    wide = Parameter("a", (50,), "normal", "float64")
    wide.initialise(1)
    np.testing.assert_array_equal(wide.value.astype(np.float32), a.value)


def test_values_are_drawn_once_and_lazily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameter.Seed, "value", 0)
    p = Parameter("w", (4,), "normal")
    assert p.version == 0
    parameter.seed(7)
    first = p.value
    assert p.version == 1
    p.initialise(8)
    assert (p.value == first).all()
    expected = Parameter("w", (4,), "normal")
    expected.initialise(7)
    assert (first == expected.value).all()
    p.reset(8)
    assert not (p.value == first).any()
    assert p.version == 2


def test_the_drawing_never_changes_between_versions() -> None:
    p = Parameter("features.conv1.weight", (3,), initialisers.normal(), "float64")
    p.initialise(42)
    np.testing.assert_allclose(p.value, [0.26907272191346354, -1.5799490685899507, 1.5267992146100997], rtol=1e-12)


def test_fans() -> None:
    assert fans((256, 784)) == (784, 256)
    assert fans((16, 6, 5, 5)) == (150, 400)
    assert fans((7,)) == (7, 7)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("he", (2 / 150) ** 0.5),
        ("kaiming_uniform", (2 / 150) ** 0.5),
        ("glorot_normal", (2 / 550) ** 0.5),
        ("xavier", (2 / 550) ** 0.5),
        ("lecun", (1 / 150) ** 0.5),
    ],
)
def test_scaled_initialisers_have_the_variance_of_their_paper(name: str, deviation: float) -> None:
    w = initialiser(name)((16, 6, 5, 5), np.random.default_rng(0))
    assert w.std() == pytest.approx(deviation, rel=0.05)
    assert abs(w.mean()) < deviation / 10
    if "uniform" in name or name == "xavier":
        assert abs(w).max() <= 3**0.5 * deviation
    else:
        assert abs(w).max() > 2.5 * deviation


def test_plain_initialisers() -> None:
    generator = np.random.default_rng(0)
    assert initialiser("zeros")((2,), generator).tolist() == [0, 0]
    assert initialiser("ones")((2,), generator).tolist() == [1, 1]
    assert initialiser(0.25)((2,), generator).tolist() == [0.25, 0.25]
    assert initialisers.constant(3)((1,), generator).tolist() == [3]
    u = initialisers.uniform(2, 3)((1000,), generator)
    assert 2 <= u.min() < 2.01
    assert 2.99 < u.max() < 3
    n = initialisers.normal(5, 0.1)((1000,), generator)
    assert n.mean() == pytest.approx(5, abs=0.02)
    assert n.std() == pytest.approx(0.1, rel=0.1)
    with pytest.raises(GraphcError, match='there is no initialiser "hee"'):
        initialiser("hee")
