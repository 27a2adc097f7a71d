"""A minimiser in `fit`: checkpoints go on bit for bit, callbacks see a run without a rate."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 4)).astype("f4")
Y = np.sin(X @ RANDOM.normal(size=(4, 1))).astype("f4")


def model() -> gc.Model:
    prediction = gc.Sequential(gc.Dense(3, "tanh"), gc.Dense(1))(gc.input("x", (gc.BATCH, 4)))
    return gc.Model(prediction, loss="mse")


@pytest.mark.parametrize("name", ["LBFGS", "LevenbergMarquardt"])
def test_a_resumed_fit_has_the_same_bits(name, tmp_path):
    def fit(epochs: int, **options: object) -> dict[str, bytes]:
        fitted = model()
        optimizer = gc.LBFGS(history=3) if name == "LBFGS" else gc.LevenbergMarquardt()
        given = {"optimizer": optimizer, "batch_size": 60, "threads": 1, "verbose": 0}
        fitted.fit(X, Y, epochs=epochs, **given, **options)
        return {n: v.tobytes() for n, v in fitted.program.state_dict().items()}

    whole = fit(6)
    fit(3, callbacks=[gc.Checkpoint(tmp_path)])
    assert fit(6, resume=tmp_path) == whole
