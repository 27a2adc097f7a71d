"""A derivative inside of a loss: images that are hard to deceive, by double backpropagation (Drucker, LeCun 1992).

    loss = mean_n(L_n + penalty·|∂L_n/∂x_n|²)

The penalty keeps the loss flat around the training images. Its own gradient needs second derivatives, which are derived
and compiled like first ones. An attack moves every pixel by 0.1 in the direction that raises the loss (Goodfellow,
Shlens, Szegedy 2014). The penalty was chosen on a fifth of the training images; those that are held out are looked at
once, at the end.
"""

import numpy as np

import graphc as gc
from graphc.train.data import load, split
from graphc.train.schedules import cosine

EPOCHS, BATCH, STEP = 30, 32, 0.1

training, test = load("digits")
learning, validation = split(training, 0.2)
images = gc.input("images", (gc.BATCH, 1, 8, 8))
labels = gc.input("labels", (gc.BATCH,), "int64")


def trained(penalty: float):
    """A program that tells the accuracy and the slope ∂L_n/∂x_n, after training with so much penalty."""
    network = gc.Sequential(gc.Flatten(), gc.Dense(64, "tanh"), gc.Dense(64, "tanh"), gc.Dense(10))
    logits = network(images)
    losses = gc.cross_entropy(logits, labels, reduction="none")
    slope = gc.gradient(losses.sum(), images)
    steepness = gc.square(slope).sum(axis=(1, 2, 3))
    steps = EPOCHS * -(-len(learning) // BATCH)
    optimizer = gc.Adam(cosine(0.005, steps))
    program = gc.compile_training((losses + penalty * steepness).mean(), optimizer=optimizer, seed=0)
    data = {"images": learning.images, "labels": learning.labels}
    for epoch in range(EPOCHS):
        program.epoch(data, BATCH, order=gc.shuffled(len(learning), seed=0, epoch=epoch))
    return gc.compile_inference({"accuracy": gc.accuracy(logits, labels), "slope": slope})


def accuracies(program, part) -> str:
    """Accuracy on the images of a part as they are, and on the same images attacked."""
    found = program(images=part.images, labels=part.labels)
    attacked = np.clip(part.images + STEP * np.sign(found["slope"]), 0, 1)
    found_attacked = program(images=attacked, labels=part.labels)
    return f"{found['accuracy']:.1%}, attacked {found_attacked['accuracy']:.1%}"


programs = {penalty: trained(penalty) for penalty in (0.0, 0.1, 0.3)}
for penalty, program in programs.items():
    print(f"penalty {penalty:<4} validation {accuracies(program, validation)}")
for penalty in (0.0, 0.3):
    print(f"penalty {penalty:<4} held out {accuracies(programs[penalty], test)}")
