"""An optimiser of one's own: a formula over tensors, which is compiled into the training step."""

from dataclasses import dataclass
from typing import ClassVar

import graphc as gc
from graphc.train.data import load_digits


@dataclass
class SoftSign(gc.Optimizer):
    """M ← β·M + (1 - β)·G,  W ← W - η·M/(|M| + ε): between the gradient's direction and its sign."""

    beta: float = 0.9
    eps: float = 1e-3
    weight_decay: float = 0.0
    slots: ClassVar = {"mean": 0.0}  # the state of each parameter, and what it is at first

    def update(self, parameter, gradient, state, scalars):
        mean = self.beta * state["mean"] + (1 - self.beta) * gradient
        return parameter - scalars["lr"] * mean / (abs(mean) + self.eps), {"mean": mean}


data = load_digits()
x, y = data.images.reshape(-1, 64), data.labels
pixels, labels = gc.input("pixels", (gc.BATCH, 64)), gc.input("labels", (gc.BATCH,), "int64")
logits = gc.Dense(10, name="output")(gc.Dense(48, "relu", name="hidden")(pixels))
optimizer = SoftSign(
    gc.schedules.one_cycle(0.01, steps=20 * 37), clip_norm=1.0, groups=[gc.Group("*.weight", weight_decay=1e-3)]
)
training = gc.compile_training(gc.cross_entropy(logits, labels), optimizer=optimizer, threads=1, seed=0)
for epoch in range(20):
    order = gc.shuffled(1198, seed=0, epoch=epoch)
    losses = training.epoch({"pixels": x[:1198], "labels": y[:1198]}, 32, order=order, drop_last=True)["loss"]
print("\n".join(line for line in training.text("math", "output").splitlines() if "output.bias" in line))
print(f"loss {losses.mean():.4f}")
accuracy = gc.compile_inference(gc.accuracy(logits, labels))(pixels=x[1198:], labels=y[1198:])
print(f"accuracy on {len(x) - 1198} images that were held out: {100 * accuracy:.1f}%")
