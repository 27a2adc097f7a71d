"""An operator of one's own: its derivative, LaTeX and native code follow from the formula."""

import numpy as np

import graphc as gc
from graphc.ops.scalars import sigmoid


@gc.op
def swish(X, beta):
    """x · σ(β·x)"""
    return X[...] * sigmoid(beta[...] * X[...])


x = gc.input("x", (gc.BATCH, 1))
y = gc.input("y", (gc.BATCH, 1))
beta = gc.Parameter("beta", (1,), 0.2)
loss = gc.mse_loss(swish(x, beta), y)
training = gc.compile_training(loss, optimizer=gc.Adam(0.2))
print(training.text("derivatives"))

samples = np.random.default_rng(0).uniform(-3, 3, (256, 1)).astype("float32")
targets = samples / (1 + np.exp(-1.7 * samples))
for step in range(1, 201):
    result = training.step(x=samples, y=targets)
    if step % 40 == 0:
        print(f"step {step:3}  loss {result['loss']:.2e}  beta {beta.value[0]:.4f}  (true 1.7)")
