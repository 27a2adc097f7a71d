import itertools

import numpy as np
import pytest

from graphc.errors import DataError, GraphcError
from graphc.train.data import Arrays, augmented, one_hot
from graphc.train.data.augment import (
    Affine,
    Brightness,
    Contrast,
    CutMix,
    Cutout,
    Elastic,
    Flip,
    Mixup,
    Noise,
    RandomCrop,
    RandomErasing,
    Rotate,
)
from graphc.train.data.draws import Draws
from graphc.train.data.warp import sampled
from graphc.train.sources import source_of

IMAGES = np.random.default_rng(0).random((40, 2, 6, 8), np.float32)
LABELS = np.arange(40) % 5

STEPS = [
    Flip(),
    Flip("vertical", p=0.3),
    RandomCrop(2),
    RandomCrop(size=(4, 5)),
    Rotate(20),
    Affine(15, (0.1, 0.2), (0.8, 1.2), 10),
    Elastic(4, 1.5),
    Noise(0.1),
    Cutout(3),
    RandomErasing(),
    Brightness(),
    Contrast(),
    Mixup(0.4, 5),
    CutMix(1.0, 5),
]


def draws(seed=0, count=40):
    return Draws(seed, 1, 0, np.arange(count))


def epoch(source, batch_size, *, number=1, start=0, shuffle=True):
    blocks = [b.arrays for b in source.blocks(batch_size, seed=7, epoch=number, start=start, shuffle=shuffle)]
    return {name: np.concatenate([b[name] for b in blocks]) for name in blocks[0]}


@pytest.mark.parametrize("step", STEPS, ids=lambda s: repr(s))
def test_every_sample_changes_the_same_whatever_the_batch_the_threads_and_the_start(step, monkeypatch):
    source = source_of(augmented((IMAGES, LABELS), step))
    whole = epoch(source, 8)
    assert whole["x"].dtype == np.float32
    assert epoch(source, 8, number=2)["x"].tobytes() != whole["x"].tobytes()
    monkeypatch.setattr("graphc.train.data.gathered.BLOCK_BYTES", 1)
    monkeypatch.setattr("graphc.train.data.gathered.CHUNK_BYTES", 1500)
    other = epoch(source_of(augmented((IMAGES, LABELS), step, workers=3)), 3)
    rest = epoch(source, 6, start=12)
    for name, array in whole.items():
        np.testing.assert_array_equal(other[name], array)
        np.testing.assert_array_equal(rest[name], array[12:])


@pytest.mark.parametrize("step", STEPS, ids=lambda s: repr(s))
def test_no_step_changes_what_it_is_given(step):
    images, labels = IMAGES.copy(), LABELS.copy()
    epoch(source_of(augmented((images, labels), step)), 8)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize(("direction", "axis"), [("horizontal", 3), ("vertical", 2)])
def test_a_flip_mirrors_some_images_and_leaves_the_others(direction, axis):
    result, mirrored = Flip(direction)(IMAGES, draws()), np.flip(IMAGES, axis)
    flipped = [np.array_equal(r, m) for r, m in zip(result, mirrored, strict=True)]
    kept = [np.array_equal(r, x) for r, x in zip(result, IMAGES, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    assert 8 < sum(flipped) < 32
    np.testing.assert_array_equal(Flip(direction, p=1)(IMAGES, draws()), mirrored)
    np.testing.assert_array_equal(Flip(direction, p=0)(IMAGES, draws()), IMAGES)


def test_a_crop_is_a_window_of_the_bordered_image_anywhere():
    image = np.arange(1, 13, dtype=np.float32).reshape(1, 1, 3, 4)
    result = RandomCrop(1, fill=-1)(image.repeat(500, 0), draws(count=500))
    bordered = np.pad(image[0], ((0, 0), (1, 1), (1, 1)), constant_values=-1)
    windows = {bordered[:, a : a + 3, b : b + 4].tobytes() for a, b in itertools.product(range(3), repeat=2)}
    assert {r.tobytes() for r in result} == windows
    small = RandomCrop(size=(2, 3))(image.repeat(100, 0), draws(count=100))
    assert {r.tobytes() for r in small} == {
        image[0, :, a : a + 2, b : b + 3].tobytes() for a, b in itertools.product(range(2), repeat=2)
    }


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotations_by_right_angles_move_pixels_counter_clockwise(degrees, turns):
    square = IMAGES[:, :, :, :6]
    result = Rotate((degrees, degrees))(square, draws())
    np.testing.assert_allclose(result, np.rot90(square, turns, (2, 3)), atol=1e-5)


def test_an_affine_map_moves_scales_and_shears():
    identity = Affine()(IMAGES, draws())
    np.testing.assert_array_equal(identity, IMAGES)
    grown = Affine(scale=(3, 3))(np.pad(IMAGES[:, :, :1, :2], ((0, 0), (0, 0), (1, 1), (0, 0))), draws())
    assert grown[:, :, 1, 0].any()
    point = np.zeros((1, 1, 5, 5), np.float32)
    point[0, 0, 1, 2] = 1  # one above the middle
    sheared = Affine(shear=(45, 45))(point, draws(count=1))
    assert np.argwhere(sheared[0, 0] > 0.99).tolist() == [[1, 1]]
    moved = Affine(translate=(0.2, 0))(point.repeat(300, 0), draws(count=300))[:, 0, :, 2]
    assert (moved[:, :3].sum(1) > 0.99).all()
    centre = (moved * np.arange(5)).sum(1)
    assert 0 <= centre.min() < 0.1
    assert 1.9 < centre.max() <= 2


def test_bilinear_samples_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    generator = np.random.default_rng(1)
    rows, columns = generator.uniform(-2, 8, (4, 5, 7)), generator.uniform(-2, 10, (4, 5, 7))
    result = sampled(IMAGES[:4], rows, columns, fill=0.5)
    expected = [
        [ndimage.map_coordinates(np.pad(c, 3, constant_values=0.5), [r + 3, k + 3], order=1) for c in image]
        for image, r, k in zip(IMAGES[:4].astype(float), rows, columns, strict=True)
    ]
    np.testing.assert_allclose(result, expected, atol=2e-6)


def test_an_elastic_deformation_is_the_one_of_simard():
    ndimage = pytest.importorskip("scipy.ndimage")
    alpha, sigma = 6.0, 1.5
    field = draws().uniform(2, 6, 8, low=-1, high=1).astype(float)
    smooth = ndimage.gaussian_filter(field, (0, 0, sigma, sigma), mode="constant", truncate=6) * alpha
    rows, columns = np.mgrid[:6, :8]
    expected = sampled(IMAGES, smooth[:, 0] + rows, smooth[:, 1] + columns)
    np.testing.assert_allclose(Elastic(alpha, sigma)(IMAGES, draws()), expected, atol=2e-4)


def test_noise_brightness_and_contrast_change_pixels_as_they_say():
    noise = Noise(0.5)(IMAGES, draws()) - IMAGES
    assert (abs(noise.mean()), noise.std()) == (pytest.approx(0, abs=0.03), pytest.approx(0.5, abs=0.03))
    shift = (Brightness(0.3)(IMAGES, draws()) - IMAGES).reshape(40, -1)
    assert np.ptp(shift, axis=1).max() < 1e-6
    assert -0.3 <= shift.min() < -0.2
    assert 0.2 < shift.max() <= 0.3
    contrast = Contrast(0.3)(IMAGES, draws())
    np.testing.assert_allclose(contrast.mean((1, 2, 3)), IMAGES.mean((1, 2, 3)), atol=1e-5)
    ratio = contrast.std((1, 2, 3)) / IMAGES.std((1, 2, 3))
    assert 0.69 < ratio.min() < 0.8
    assert 1.2 < ratio.max() < 1.31


def test_cutout_blanks_one_square_of_each_image():
    blank = np.isnan(Cutout(3, fill=np.nan)(IMAGES, draws()))
    np.testing.assert_array_equal(blank[:, 0], blank[:, 1])
    rows, columns = blank[:, 0].any(2).sum(1), blank[:, 0].any(1).sum(1)
    np.testing.assert_array_equal(rows * columns, blank[:, 0].sum((1, 2)))
    assert set(rows) == set(columns) == {2, 3}


def test_erasing_takes_its_share_of_the_area():
    images = np.zeros((300, 1, 40, 40), np.float32)
    blank = RandomErasing(p=0.5, scale=(0.1, 0.2), fill=1)(images, draws(count=300))
    area = blank.mean((1, 2, 3))
    assert 0.4 < (area > 0).mean() < 0.6
    assert 0.08 < area[area > 0].min() < area.max() < 0.22


def test_mixup_takes_images_and_targets_in_the_same_shares():
    images = np.eye(40, dtype=np.float32).reshape(40, 1, 1, 40)  # which shows what has been mixed
    mixed = epoch(source_of(augmented((images, np.arange(40)), Mixup(0.8, 40))), 8)
    assert mixed["y"].shape == (40, 40)
    np.testing.assert_allclose(mixed["y"].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(mixed["x"].reshape(40, 40), mixed["y"], atol=1e-6)
    assert ((mixed["y"] > 0).sum(1) == 2).sum() > 30


def test_cutmix_takes_targets_by_area():
    images = np.arange(40, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 8, 8), np.float32)
    mixed = epoch(source_of(augmented((images, np.arange(40)), CutMix(1.0, 40))), 8)
    shares = np.stack([(mixed["x"] == k).mean((1, 2, 3)) for k in range(40)], 1)
    np.testing.assert_allclose(mixed["y"], shares, atol=1e-6)


def test_the_other_sample_has_gone_through_the_steps_before():
    images = np.ones((40, 1, 1, 1), np.float32)
    mixed = epoch(source_of(augmented((images, LABELS), lambda x, _: 3 * x, Mixup(0.5, 5), lambda x, _: x + 1)), 8)
    np.testing.assert_allclose(mixed["x"], 4, rtol=1e-6)


def test_numbers_as_targets_are_mixed_as_they_are():
    mixed = epoch(source_of(augmented((IMAGES, LABELS.astype(np.float32)), Mixup(0.5))), 8)
    assert mixed["y"].shape == (40,)
    with pytest.raises(DataError, match=r"y are class numbers, which cannot be mixed\n.*Mixup\(0\.5, classes=10\)"):
        epoch(source_of(augmented((IMAGES, LABELS), Mixup(0.5))), 8)


def test_steps_apply_in_their_order():
    def twice(x, draws):
        return 2 * x

    def more(x, draws):
        return x + 1

    for steps, expected in (((twice, more), 2 * IMAGES + 1), ((more, twice), 2 * (IMAGES + 1))):
        result = epoch(source_of(augmented((IMAGES, LABELS), *steps)), 8, shuffle=False)
        np.testing.assert_array_equal(result["x"], expected)
    nested = augmented(augmented((IMAGES, LABELS), twice), more)
    np.testing.assert_array_equal(epoch(source_of(nested), 8, shuffle=False)["x"], 2 * IMAGES + 1)


def test_an_image_and_its_mask_get_the_same_decisions():
    arrays = {"image": IMAGES, "mask": IMAGES[:, :1] > 0.5, "label": LABELS}
    both = augmented(Arrays(arrays), RandomCrop(2), Flip(), on=("image", "mask"))
    result = epoch(source_of(augmented(both, lambda x, _: x + 0, on="image")), 8)
    inside = result["image"][:, :1] != 0
    np.testing.assert_array_equal(result["mask"][inside], (result["image"][:, :1] > 0.5)[inside])
    assert result["label"].tolist() != LABELS.tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip("left"), "direction is 'left', expected 'horizontal' or 'vertical'"),
        (lambda: Flip(p=2), "p is 2, expected a probability"),
        (lambda: RandomCrop(), "without padding or size it changes nothing"),
        (lambda: RandomCrop(-1), "padding is -1"),
        (lambda: Mixup(0), "alpha is 0, expected more than 0"),
        (lambda: Elastic(sigma=0), "sigma is 0"),
        (lambda: Affine(scale=(0, 1)), r"scale is \(0, 1\)"),
        (lambda: Affine(translate=(2, 0)), r"translate is \(2, 0\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(GraphcError, match=message):
        make()


def test_a_window_that_does_not_fit_says_which_padding_would_do():
    with pytest.raises(DataError, match=r"no window of 9 x 8 fits into images of 6 x 8 with padding 1\n.*padding=2"):
        RandomCrop(1, size=(9, 8))(IMAGES, draws())


@pytest.mark.parametrize("step", [s for s in STEPS if not isinstance(s, Mixup | Noise | Brightness | Contrast)])
def test_what_is_not_an_image_is_refused(step):
    with pytest.raises(DataError, match=r"expected images \[count, channels, height, width\], got shape \(40, 6, 8\)"):
        step(IMAGES[:, 0], draws())


def test_one_hot_labels_are_probabilities():
    np.testing.assert_array_equal(one_hot([2, 0], 3), np.float32([[0, 0, 1], [1, 0, 0]]))
    with pytest.raises(DataError, match=r"label 3 of sample 1 is not in 0\.\.2\n.*subtract 1"):
        one_hot([1, 3], 3)
    with pytest.raises(DataError, match="expected integers"):
        one_hot([0.5], 3)
