"""A whole training, with augmentation and a schedule, ends with the same bits whatever the number of threads."""

from __future__ import annotations

import numpy as np

import graphc as gc


def trained(threads: int) -> dict[str, np.ndarray]:
    """Losses of the epochs, and the parameters of a small network after them."""
    training, _ = gc.data.normalise(*gc.data.load("digits"))
    network = gc.Sequential(
        gc.Conv2d(8, 3, padding=1, use_bias=False),
        gc.BatchNorm2d(),
        gc.ReLU(),
        gc.MaxPool2d(2),
        gc.Flatten(),
        gc.Dense(10),
    )
    model = gc.Model(network(gc.input("images", (gc.BATCH, 1, 8, 8))), loss="cross_entropy")
    data = gc.data.augmented(
        (training.images[:200], training.labels[:200]), gc.augment.RandomCrop(1), gc.augment.Flip()
    )
    optimizer = gc.SGD(gc.schedules.one_cycle(0.1), momentum=0.9, nesterov=True, weight_decay=5e-4)
    history = model.fit(data, epochs=3, batch_size=32, optimizer=optimizer, seed=5, threads=threads, verbose=0)
    return {"loss": np.array(history["loss"]), **model.state_dict()}


def test_the_same_bits_for_any_number_of_threads() -> None:
    one, two = trained(1), trained(2)
    assert one.keys() == two.keys()
    assert one["loss"][-1] < 0.8 * one["loss"][0]
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
