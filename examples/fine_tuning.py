"""Pretraining and fine-tuning: a network that knows the digits 0 to 6 learns all ten from two examples of each.

Its weights go by name into a network with another head: first only the head learns, then everything, at a smaller rate.
"""

import tempfile
from pathlib import Path

import numpy as np

import graphc as gc
from graphc.data import load, normalise

training, test = normalise(*load("digits"))


def network(classes: int, head: str) -> tuple[gc.Sequential, gc.Model]:
    """A convolutional network whose last layer is called by the name of its task."""
    layers = gc.Sequential(
        gc.Conv2d(16, 3, padding=1, activation="relu", name="conv1"),
        gc.Conv2d(32, 3, padding=1, activation="relu", name="conv2"),
        gc.MaxPool2d(2),
        gc.Flatten(),
        gc.Dense(64, "relu", name="hidden"),
        gc.Dense(classes, name=head),
    )
    logits = layers(gc.input("images", (gc.BATCH, 1, 8, 8)))
    return layers, gc.Model(logits, loss="cross_entropy", metrics=["accuracy"])


def accuracy(model: gc.Model) -> str:
    return f"{model.evaluate(test.images, test.labels)['accuracy']:.1%}"


known = training.take(np.flatnonzero(training.labels < 7))
_, teacher = network(7, "seven_digits")
teacher.fit(known.images, known.labels, epochs=10, batch_size=32, optimizer=gc.Adam(2e-3), verbose=0)
file = Path(tempfile.mkdtemp()) / "seven_digits.safetensors"
teacher.save(file)

for seed in range(3):
    order = np.random.default_rng(seed).permutation(len(training))
    few = training.take(np.concatenate([order[training.labels[order] == digit][:2] for digit in range(10)]))
    options = {"x": few.images, "y": few.labels, "batch_size": len(few), "verbose": 0}

    _, scratch = network(10, "ten_digits")
    scratch.fit(**options, epochs=60, optimizer=gc.Adam(3e-3))

    layers, model = network(10, "ten_digits")
    taken = model.load(file, only=["conv*", "hidden*"]).taken  # everything but the head
    *body, head = layers
    for layer in body:
        layer.freeze()  # no backward part is compiled for these
    model.fit(**options, epochs=60, optimizer=gc.Adam(1e-2))
    head_alone = accuracy(model)
    layers.unfreeze()
    model.fit(**options, epochs=30, optimizer=gc.Adam(1e-3))
    print(f"{len(few)} labels: from scratch {accuracy(scratch)}  new head {head_alone}  fine-tuned {accuracy(model)}")
print("transferred:", ", ".join(taken))
