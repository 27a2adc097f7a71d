"""Random numbers in compiled training: one for each element, layer, step and seed, whatever runs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import graphc as gc
from graphc.dsl.chance import STEP, drawing
from graphc.ops.formula import Where, lt
from graphc.ops.philox import uniform
from graphc.ops.random import drawn, drawn_normal
from graphc.study.check import check_gradients, in_float64
from graphc.train.checkpoints.arrays import read_arrays, write_arrays

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(96, 12)).astype(np.float32)
Y = GENERATOR.integers(0, 3, 96)


def network(p: float = 0.4) -> gc.Tensor:
    x, y = gc.input("x", (gc.BATCH, 12)), gc.input("y", (gc.BATCH,), "int64")
    layers = gc.Sequential(gc.Dropout(0.2), gc.Dense(30, "relu"), gc.Dropout(p), gc.Dense(3), name="net")
    return gc.cross_entropy(layers(x), y)


def program(threads: int = 1, seed: int | None = 5, **options: object) -> gc.pipeline.TrainingProgram:
    return gc.compile_training(network(**options), optimizer=gc.SGD(0.1), threads=threads, seed=seed)


def losses(training: gc.pipeline.TrainingProgram, count: int = 6) -> list[float]:
    return [training.step(x=X[k * 16 : k * 16 + 16], y=Y[k * 16 : k * 16 + 16])["loss"] for k in range(count)]


def values(training: gc.pipeline.TrainingProgram) -> dict[str, np.ndarray]:
    return {name: np.array(p.value) for name, p in training.parameters.items()}


def probe(
    *layers: Callable[[gc.Tensor], gc.Tensor], shape: tuple = (40,), batch: int = 8, **options
) -> list[np.ndarray]:
    """What layers make of ones in a training step."""
    x = gc.input("x", (gc.BATCH, *shape))
    found = gc.compile_gradients([layer(x) for layer in layers], cotangents=[x for _ in layers], wrt=[x], **options)
    return [np.array(y) for y in found(x=np.ones((batch, *shape), np.float32))[0]]


# ---------------------------------------------------------------------------------------- reproducible


def test_same_seed_same_training_other_seed_other_masks() -> None:
    first, second, other = losses(program()), losses(program()), losses(program(seed=6))
    assert first == second
    assert first[0] != other[0]


def test_seeds_of_programs_and_of_parameters_are_one() -> None:
    gc.seed(5)
    try:
        assert losses(program(seed=None)) == losses(program(seed=5))
    finally:
        gc.seed(0)


def test_any_number_of_threads_draws_the_same() -> None:
    one, three = program(1), program(3)
    assert losses(one) == losses(three)
    for (name, a), b in zip(values(one).items(), values(three).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_an_epoch_is_a_sequence_of_steps() -> None:
    one, other = program(), program(2)
    stepwise = [*losses(one), *losses(one)]
    both = [*other.epoch({"x": X, "y": Y}, 16)["loss"], *other.epoch({"x": X, "y": Y}, 16)["loss"]]
    assert stepwise == both
    assert one.parameters["step"].value == other.parameters["step"].value == 12


def test_other_batches_draw_the_same_for_the_same_rows() -> None:
    (small,), (large,) = probe(gc.Dropout(0.5), batch=3), probe(gc.Dropout(0.5), batch=8)
    np.testing.assert_array_equal(small, large[:3])


def test_a_saved_program_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole = program()
    expected = [*losses(whole), *losses(whole)]
    first = program()
    begun = losses(first)
    write_arrays(tmp_path / "state.npz", first.state_dict())
    resumed = program(seed=99)
    resumed.load_state_dict(read_arrays(tmp_path / "state.npz"))
    assert begun + losses(resumed) == expected
    for (name, a), b in zip(values(whole).items(), values(resumed).values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_step_whose_loss_is_not_finite_does_not_count() -> None:
    training = program()
    with pytest.raises(gc.errors.NonFiniteError):
        training.step(x=np.full((4, 12), 3e38, np.float32), y=Y[:4])
    assert training.parameters["step"].value == 0
    assert losses(training) == losses(program())


def test_float64_drops_what_float32_drops() -> None:
    x = gc.input("x", (gc.BATCH, 50))
    y = gc.dropout(x, 0.3, training=True)
    single, double = gc.compile_inference(y), gc.compile_inference(in_float64(y))
    ones = np.ones((20, 50))
    np.testing.assert_allclose(single(x=ones), double(x=ones), rtol=1e-7)
    assert double(x=ones).dtype == np.float64
    assert 0.2 < (double(x=ones) == 0).mean() < 0.4


# ------------------------------------------------------------------------------------------ independent


def masks(count: int = 4) -> list[np.ndarray]:
    """What two layers dropped in several steps: weights of ones, from which the rate takes the gradient."""
    x = gc.input("x", (gc.BATCH, 4000))
    a, b = (gc.Parameter(n, (4000,), "zeros") for n in "ab")
    loss = (gc.dropout(x, 0.5) * a).sum() + (gc.dropout(x, 0.5) * b).sum()
    training = gc.compile_training(loss, optimizer=gc.SGD(1.0), threads=1, seed=1)
    found, before = [], {"a": 0, "b": 0}
    for _ in range(count):
        training.step(x=np.ones((1, 4000), np.float32))
        for name in "ab":
            now = np.array(training.parameters[name].value)
            found.append((before[name] - now) / 2)
            before[name] = now
    return found


def test_layers_and_steps_are_independent_and_masks_are_right() -> None:
    found = masks()
    for k, m in enumerate(found):
        assert set(np.unique(m)) == {0, 1}
        assert abs(m.mean() - 0.5) < 3.5 * (0.25 / m.size) ** 0.5
        for other in found[:k]:
            assert abs((m == other).mean() - 0.5) < 3.5 * (0.25 / m.size) ** 0.5


def test_the_key_and_the_step_decide_the_mask() -> None:
    x = gc.input("x", (gc.BATCH, 20))
    found = gc.compile_inference(gc.dropout(x, 0.25, training=True))
    key, step = found.parameters["key"], found.parameters["step"]
    for number in (0, 7):
        step.value = np.int64(number)
        wanted = uniform(key.value, number, np.arange(60).reshape(3, 20), gc.DType.FLOAT32)
        np.testing.assert_array_equal(found(x=np.ones((3, 20))) == 0, wanted < 0.25)
    assert STEP.version == 0  # it stands for the steps of programs and never takes a value itself


def test_keys_are_named_by_their_layers_and_do_not_depend_on_others() -> None:
    shorter, longer = program(), gc.compile_training(gc.gaussian_noise(network()), optimizer=gc.SGD(0.1), seed=5)
    names = [n for n, p in shorter.parameters.items() if not p.dtype.is_float]
    assert names == ["net.0.key", "step", "net.2.key"]
    for name in names:
        assert shorter.parameters[name].value == longer.parameters[name].value
    assert "key" in longer.parameters


def test_a_layer_that_is_called_again_draws_again() -> None:
    shared = gc.Dropout(0.5)
    a, b = probe(shared, shared)
    assert (a != b).any()
    x = gc.input("step", (gc.BATCH, 40))
    loss = (shared(x) + shared(x) + gc.Dense(1)(shared(x))).sum()
    names = list(gc.compile_training(loss, threads=1).parameters)
    assert [n for n in names if "key" in n or "step" in n] == ["dropout.key", "step'", "dropout.key_1", "dropout.key_2"]


# ----------------------------------------------------------------------------------------------- compiled


def test_the_backward_part_draws_again_and_keeps_no_mask() -> None:
    training = program()
    kernels = training.text("kernels")
    assert kernels.count("random(net.2.key, step") == 2
    assert kernels.count("step + 1") == 1
    chance = {name for name, p in training.parameters.items() if not p.dtype.is_float}
    stages = [s for kernel in training.stages["fuse"].kernels for s in kernel.stages]
    drawn = [s for s in stages if "random(" in str(s.formula)]
    assert len(drawn) == 3  # of the inputs nothing is differentiated
    assert all(set(s.formula.operands) - chance for s in drawn)  # no mask is a value of its own


def test_drawing_does_not_join_a_sum() -> None:
    kernels = [k.stages for k in program().stages["fuse"].kernels]
    assert [k for k in kernels if k[0].formula.reduction and any("random(" in str(s.formula) for s in k)] == []


def test_inference_holds_no_random_numbers() -> None:
    x = gc.input("x", (gc.BATCH, 12))
    layers = [
        gc.Dropout(0.2), gc.AlphaDropout(0.1), gc.GaussianNoise(0.3), gc.GaussianDropout(0.1), gc.StochasticDepth(0.5),
        gc.DropPath(0.5, "batch"), gc.drop_connect(gc.Dense(4, name="d"), 0.5),
    ]  # fmt: skip
    predict = gc.compile_inference(gc.Sequential(*layers)(x))
    assert list(predict.parameters) == ["d.weight", "d.bias"]
    assert "random" not in predict.text("graph")
    d = predict.parameters
    np.testing.assert_allclose(predict(x=X), X @ d["d.weight"].value.T + d["d.bias"].value, rtol=1e-4, atol=1e-5)


def test_without_a_probability_nothing_is_built() -> None:
    x = gc.input("x", (gc.BATCH, 3, 4, 4))
    for layer in (gc.Dropout(0), gc.Dropout2d(0), gc.AlphaDropout(0.0), gc.DropPath(), gc.GaussianNoise(0)):
        assert layer(x) is x
    assert gc.dropout(x, 0.5, training=False) is x


# ---------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    "layer",
    [
        gc.Dropout(0.4), gc.Dropout1d(0.4), gc.AlphaDropout(0.3), gc.FeatureAlphaDropout(0.3), gc.GaussianNoise(0.5),
        gc.GaussianDropout(0.3), gc.DropPath(0.5), gc.DropPath(0.5, "batch"),
    ],
    ids=["dropout", "channels", "alpha", "alpha channels", "noise", "gaussian", "rows", "batch"],
)  # fmt: skip
def test_gradients_with_the_mask_of_one_step(layer: gc.Layer) -> None:
    x = gc.input("x", (gc.BATCH, 3, 5), "float64")
    w = gc.Parameter("w", (3, 5), "normal", "float64")
    loss = gc.tanh(layer(x * w) * 1.5).sum()
    given = {"x": GENERATOR.normal(size=(4, 3, 5))}
    report = check_gradients(loss, given, parameters=[w, x])
    assert report.ok, report


def test_dropped_connections_train_like_weights_times_a_mask() -> None:
    x = gc.input("x", (gc.BATCH, 6), "float64")
    dense = gc.drop_connect(gc.Dense(5, name="dense"), 0.5)
    report = check_gradients(gc.tanh(dense(x)).sum(), {"x": GENERATOR.normal(size=(4, 6))})
    assert report.ok, report
    y = gc.compile_gradients([dense(x)], cotangents=[dense(x)], wrt=[x]).program
    rows = y(x=np.eye(6))[0] - dense.parameters()[1].value
    assert {0.0, 2.0} >= set(np.unique((rows / dense.parameters()[0].value.T).round(9)))


@gc.op(integer="KEY STEP")
def sampled_connections(X, W, KEY, STEP):
    """A dense layer whose connections are drawn anew for each sample, and the largest of noisy results."""
    n, o, i = gc.axes("n o i")
    x, w = X[n, i], W[o, i]
    kept = Where(lt(drawn(KEY, STEP, (n, o, i)), 0.5), 0, 2 * x * w)
    return gc.Max(gc.Sum(kept, over=i) + drawn_normal(KEY, STEP, (n, o)), over=o)


def test_formulas_of_users_may_draw_anywhere() -> None:
    x = gc.input("x", (gc.BATCH, 7), "float64")
    w = gc.Parameter("w", (5, 7), "normal", "float64")
    loss = gc.tanh(drawing(sampled_connections, x, w)).sum()
    report = check_gradients(loss, {"x": GENERATOR.normal(size=(4, 7))}, parameters=[w, x])
    assert report.ok, report


# ---------------------------------------------------------------------------------------- random tensors


def test_random_tensors() -> None:
    tensors = {
        "u": gc.random.uniform(100, 64, low=-1, high=3), "n": gc.random.normal((100, 64), mean=2, std=0.5),
        "b": gc.random.bernoulli(100, 64, p=0.2), "d": gc.random.normal(100, 64, dtype="float64"),
    }  # fmt: skip
    found = gc.compile_inference(tensors)()
    count = 6400
    assert -1 < found["u"].min() < found["u"].max() < 3
    assert abs(found["u"].mean() - 1) < 3.5 * (16 / 12 / count) ** 0.5
    assert abs(found["n"].mean() - 2) < 3.5 * 0.5 / count**0.5
    assert abs(found["n"].std() - 0.5) < 0.02
    assert set(np.unique(found["b"])) == {0, 1}
    assert abs(found["b"].mean() - 0.2) < 3.5 * (0.16 / count) ** 0.5
    assert found["d"].dtype == np.float64
    assert abs(np.corrcoef(found["d"].ravel(), found["n"].ravel())[0, 1]) < 0.05


def test_normal_numbers_of_both_types_are_the_same_numbers() -> None:
    z = gc.random.normal(4, 1000)
    single, double = gc.compile_inference(z)(), gc.compile_inference(in_float64(z))()
    np.testing.assert_allclose(single, double, rtol=1e-3, atol=1e-3)
    found = gc.compile_inference(z)
    k = found.parameters["key"].value
    u, v = (uniform(k, 0, 2 * np.arange(4000) + part, gc.DType.FLOAT64) for part in (0, 1))
    wanted = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    np.testing.assert_allclose(double.ravel(), wanted, rtol=1e-13, atol=1e-14)


def test_a_reparameterised_sample_of_the_size_of_the_batch() -> None:
    x = gc.input("x", (gc.BATCH, 5))
    noisy = gc.compile_inference(x + gc.random.normal(gc.BATCH, 5))
    assert noisy(x=np.zeros((7, 5))).std() > 0.5


# ------------------------------------------------------------------------------------ labels and penalties


def test_smooth_labels_give_the_loss_of_torch() -> None:
    torch = pytest.importorskip("torch")
    scores, y = gc.input("scores", (gc.BATCH, 3), "float64"), gc.input("y", (gc.BATCH,), "int64")
    soft = gc.smooth_labels(y, 3, 0.1, dtype="float64")
    loss = gc.compile_inference([gc.cross_entropy(scores, soft), gc.smooth_labels(soft, smoothing=0.5)])
    logits = GENERATOR.normal(size=(10, 3))
    got, twice = loss(scores=logits, y=Y[:10])
    wanted = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(Y[:10]), label_smoothing=0.1)
    assert float(got) == pytest.approx(wanted.item(), rel=1e-12)
    np.testing.assert_allclose(twice, (np.eye(3)[Y[:10]] * 0.9 + 0.1 / 3) / 2 + 1 / 6, rtol=1e-12)


def test_elastic_net_penalty() -> None:
    x = gc.input("x", (gc.BATCH, 12))
    penalty = gc.compile_inference(gc.elastic_net_penalty(x, l1=0.1, l2=0.5))
    np.testing.assert_allclose(penalty(x=X), 0.1 * np.abs(X).sum() + 0.5 * np.square(X).sum(), rtol=1e-5)


# ------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: gc.Dropout(1.5), r"Dropout: .* expected 0 <= p < 1, got 1\.5"),
        (lambda x: gc.Dropout(25), r"got 25.*\n?.*25 % is p=0\.25"),
        (lambda x: gc.dropout(x, 1), r"dropout: .*got 1.*\n?.*nothing would be left"),
        (lambda x: gc.dropout(x, -0.1), "expected 0 <= p < 1"),
        (lambda x: gc.Dropout(float("nan")), "got nan"),
        (lambda x: gc.drop_connect(gc.Dense(2), 2.0), "drop_connect: "),
        (lambda x: gc.Dropout2d(0.5)(x), r"dropout2d drops whole channels .* 4 axes, got \(N, 3, 5\).*\n?.*dropout1d"),
        (lambda x: gc.DropPath(0.5, "rows")(x), 'mode is "row" or "batch", got \'rows\''),
        (lambda x: gc.gaussian_noise(x, -1.0), "standard deviation std >= 0, got -1"),
        (lambda x: gc.smooth_labels(x, 7), r"last axis of the probabilities \(N, 3, 5\).*classes=7"),
        (lambda x: gc.smooth_labels(gc.input("y", (gc.BATCH,), "int64")), r"smooth_labels\(labels, classes=10\)"),
        (lambda x: gc.smooth_labels(x, 5, 1.5), "expected 0 <= smoothing <= 1, got 1.5"),
        (lambda x: gc.random.uniform(3, low=1, high=1), "expected low < high"),
        (lambda x: gc.random.normal(3, std=-1), "std >= 0, got -1"),
        (lambda x: gc.random.bernoulli(3, p=1.2), r"0 <= p <= 1, got 1\.2"),
        (lambda x: gc.random.normal(3, dtype="int64"), "numbers are drawn in floating-point, got dtype int64"),
        (lambda x: gc.random.normal(0), "extent 0"),
    ],
)
def test_arguments_that_do_not_fit(make: Callable[[gc.Tensor], object], message: str) -> None:
    with pytest.raises(gc.GraphcError, match=message):
        make(gc.input("x", (gc.BATCH, 3, 5)))
