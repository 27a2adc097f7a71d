"""Random numbers in formulas: the generator against published numbers, its statistics, and the operators on it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from graphc.autodiff.partials import partials
from graphc.ops import random
from graphc.ops.cost import operations
from graphc.ops.evaluate import evaluate
from graphc.ops.formula import Random, Read, Where, formula, lt, tensor_symbol
from graphc.ops.operator import Operator
from graphc.ops.philox import philox, round_key, uniform
from graphc.ops.wellformed import malformed
from graphc.study.latex import formula_latex
from graphc.types import BATCH, DType, TensorType

F32, F64 = DType.FLOAT32, DType.FLOAT64
INT = TensorType((), DType.INT64)


def words(counter: tuple[int, ...], key: tuple[int, int]) -> list[int]:
    """Four words for a counter and a key, with the unlimited integers of Python."""
    return list(philox(counter, lambda number: round_key(key, number), lambda x: x))


# the answers that come with the library of the paper, Random123 (kat_vectors, "philox4x32 10")
@pytest.mark.parametrize(
    ("counter", "key", "wanted"),
    [
        ((0, 0, 0, 0), (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)  # fmt: skip
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], wanted: list[int]) -> None:
    assert words(counter, key) == wanted


def test_jax_counts_the_same_blocks() -> None:
    jax = pytest.importorskip("jax")
    state = np.zeros(4, np.uint32)
    philox_bits = jax.lax.RandomAlgorithm.RNG_PHILOX
    _, bits = jax.lax.rng_bit_generator(state, (64,), dtype=np.uint32, algorithm=philox_bits)
    blocks = np.asarray(bits).reshape(-1, 4)
    assert [words((k, 0, 0, 0), (0, 0)) for k in range(16)] == blocks.tolist()
    single = uniform(0, 0, np.arange(32), F32)
    np.testing.assert_array_equal(single, (2.0 * (blocks[:, ::2].ravel() >> 9) + 1) / 2**24)
    double = uniform(0, 0, np.arange(32), F64)
    wide = (blocks[:, ::2].astype(np.uint64) << 32 | blocks[:, 1::2]).ravel()
    np.testing.assert_array_equal(double, (2.0 * (wide >> 12) + 1) / 2**53)


@pytest.mark.parametrize("place", range(3))
def test_all_64_bits_of_key_step_and_index_count(place: int) -> None:
    given = [3, 5, 8]
    found = {float(uniform(*given, F64))}
    for bit in range(64):
        changed = list(given)
        changed[place] ^= -(1 << 63) if bit == 63 else 1 << bit
        found.add(float(uniform(*changed, F64)))
    assert len(found) == 65
    wanted = words((8 >> 1, 0, 5, 0), (3, 0))
    assert float(uniform(*given, F64)) == (2 * ((wanted[0] << 32 | wanted[1]) >> 12) + 1) / 2**53


def test_numbers_lie_strictly_inside_and_both_types_draw_the_same() -> None:
    single, double = (uniform(7, 1, np.arange(100_000), dtype) for dtype in (F32, F64))
    assert single.dtype == np.float32
    assert 0 < single.min() < 2e-4
    assert 1 - 2e-4 < single.max() < 1
    assert np.abs(single - double).max() < 2**-24
    assert set(np.unique(single * 2.0**24 % 2)) == {1.0}  # midpoints of cells, so 0 and 1 are never reached


def chi_square(counts: np.ndarray) -> float:
    """How many deviations the statistic for equal probabilities lies above its mean."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    return float(((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5


def numbers(key: int = 11, step: int = 0, start: int = 0) -> np.ndarray:
    return uniform(key, step, np.arange(start, start + 2**17), F32)


def test_numbers_are_uniform() -> None:
    u = numbers()
    counts, _ = np.histogram(u, 256, (0, 1))
    assert abs(chi_square(counts)) < 3.5
    assert abs(u.mean(dtype=np.float64) - 0.5) < 3.5 * (1 / 12 / u.size) ** 0.5
    lower_bits = (u * 2.0**24).astype(np.int64) >> 1 & 255
    assert abs(chi_square(np.bincount(lower_bits, minlength=256))) < 3.5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (numbers(), numbers(start=1)), (numbers(), numbers(start=64)), (numbers(), numbers(step=1)),
        (numbers(), numbers(key=12)), (numbers(key=12, step=1), numbers(key=11, step=2)),
    ],
    ids=["neighbours", "rows", "steps", "keys", "both"],
)  # fmt: skip
def test_numbers_are_independent(first: np.ndarray, second: np.ndarray) -> None:
    counts, _, _ = np.histogram2d(first, second, 16, [[0, 1], [0, 1]])
    assert abs(chi_square(counts)) < 3.5
    assert abs(np.corrcoef(first, second)[0, 1]) < 3.5 / first.size**0.5


# ---------------------------------------------------------------------------------------------- in formulas


def compute(
    operator: Operator, *x: np.ndarray, key: int = 5, step: int = 2, dtype: DType = F64, **options
) -> np.ndarray:
    types = (*(TensorType((BATCH, *a.shape[1:]), dtype) for a in x), INT, INT)
    (statement,) = operator.define(types, options).statements
    assert malformed(statement.formula) is None
    return evaluate(statement.formula, [*x, key, step], len(x[0]) if x else 1, dtype)


def test_elements_are_numbered_along_the_last_axis_first_and_the_batch_last() -> None:
    key, step = (Read(tensor_symbol(name)) for name in ("KEY", "STEP"))
    (statement,) = random.uniform.define((INT, INT), {"shape": (2, BATCH, 3)}).statements
    i0, i1, i2 = (a.symbol for a in statement.formula.axes)
    assert statement.formula.body == Random(key, step, 8 * i1 + 4 * i0 + i2)  # rows of 3 take 4 numbers
    small, large = (evaluate(statement.formula, [5, 2], batch) for batch in (2, 5))
    np.testing.assert_array_equal(small, large[:, :2])


def test_the_derivative_is_zero_but_for_what_is_kept() -> None:
    key, step, x = (Read(tensor_symbol(name)) for name in ("KEY", "STEP", "X"))
    u = Random(key, step, 3)
    assert partials(u * x) == ((x, u),)
    assert partials(Where(lt(u, 0.5), 0, 2 * x)) == ((x, Where(lt(u, 0.5), 0, 2)),)
    assert partials(u) == ()


def test_text_latex_and_price() -> None:
    u = Random(Read(tensor_symbol("key")), Read(tensor_symbol("step")), 3)
    f = formula((), u)
    assert str(f) == "out = random(key, step, 3)"
    assert formula_latex(f) == r"Y = u_{\mathrm{key},\mathrm{step}}\left(3\right)"
    assert f.operands == ("key", "step")
    assert operations(u).cycles > 3 * operations(Where(lt(u, 1), 2, 3)).comparisons


X = np.random.default_rng(0).normal(size=(64, 3, 10, 10)) + 4


def test_dropout_keeps_the_mean() -> None:
    y = compute(random.dropout, X, p=0.3)
    dropped = y == 0
    assert abs(dropped.mean() - 0.3) < 3.5 * (0.21 / X.size) ** 0.5
    np.testing.assert_allclose(y[~dropped], X[~dropped] / 0.7)
    np.testing.assert_array_equal(dropped, uniform(5, 2, np.arange(X.size), F64).reshape(X.shape) < 0.3)


@pytest.mark.parametrize(
    ("axes", "index"),
    [((0, 1), 4 * np.arange(64)[:, None] + np.arange(3)), ((0,), np.arange(64)), ((), np.array(0))],
    ids=["channels", "samples", "batch"],
)
def test_elements_can_be_dropped_together(axes: tuple[int, ...], index: np.ndarray) -> None:
    dropped = compute(random.dropout, X, p=0.4, axes=axes) == 0
    rest = tuple(a for a in range(4) if a not in axes)
    np.testing.assert_array_equal(dropped.all(rest), dropped.any(rest))
    together = uniform(5, 2, index, F64) < 0.4
    np.testing.assert_array_equal(dropped.all(rest), together)


def test_alpha_dropout_keeps_mean_and_variance() -> None:
    z = np.random.default_rng(1).normal(size=(400, 3, 10, 10))
    y = compute(random.alpha_dropout, z, p=0.3)
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    peer = torch.nn.functional.alpha_dropout(torch.from_numpy(z), 0.3, training=True).numpy()

    def parts(result: np.ndarray) -> tuple[float, ...]:
        """What dropped elements are, and the slope and the offset of the others."""
        values, counts = np.unique(result, return_counts=True)
        kept = result != values[counts.argmax()]
        return values[counts.argmax()], *np.polyfit(z[kept], result[kept], 1)

    np.testing.assert_allclose(parts(y), parts(peer), atol=1e-9)


def test_noise_is_normal() -> None:
    z = compute(random.gaussian_noise, X, std=0.5) - X
    assert abs(z.mean()) < 3.5 * 0.5 / X.size**0.5
    assert abs(z.var() - 0.25) < 3.5 * 0.25 * (2 / X.size) ** 0.5
    scipy_stats = pytest.importorskip("scipy.stats")
    assert scipy_stats.kstest(z.ravel() / 0.5, "norm").pvalue > 1e-3
    ratio = compute(random.gaussian_dropout, X, p=0.2) / X
    assert abs(ratio.mean() - 1) < 3.5 * 0.5 / X.size**0.5
    assert abs(ratio.var() - 0.25) < 3.5 * 0.25 * (2 / X.size) ** 0.5
    for a, b in pairwise([z[0], z[1], z[2]]):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.25


def test_normal_numbers_are_box_muller() -> None:
    (statement,) = random.normal.define((INT, INT), {"shape": (1000,), "mean": 3.0, "std": 2.0}).statements
    i = np.arange(1000)
    u, v = uniform(5, 2, 2 * i, F64), uniform(5, 2, 2 * i + 1, F64)
    wanted = 3 + 2 * np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    np.testing.assert_allclose(evaluate(statement.formula, [5, 2]), wanted, rtol=1e-13, atol=1e-13)
