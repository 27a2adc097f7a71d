"""Two inputs, two outputs with a loss each, shared weights, and a loop of Python that just builds graph."""

import numpy as np

import graphc as gc

left, right = (gc.input(name, (gc.BATCH, 12)) for name in ("left", "right"))
same = gc.input("same", (gc.BATCH, 1))
total = gc.input("total", (gc.BATCH, 1))

encoder = gc.Sequential(*[gc.Dense(16, "tanh") for _ in range(2)])
a, b = encoder(left), encoder(right)  # called twice: the weights are shared
likeness = gc.Dense(1, name="likeness")(gc.square(a - b))
amount = gc.Dense(1, name="amount")(a + b)
loss = gc.binary_cross_entropy_with_logits(likeness, same) + 0.1 * gc.mse_loss(amount, total)

training = gc.compile_training(loss, optimizer=gc.Adam(0.02), metrics={"amount": gc.mse_loss(amount, total)})
predict = gc.compile_inference({"same": gc.sigmoid(likeness), "total": amount})

random = np.random.default_rng(0)
patterns = random.standard_normal((5, 12)).astype("float32")
for step in range(1, 1001):
    i, j = random.integers(5, size=(2, 64))
    batch = {"left": patterns[i], "right": patterns[j]}
    targets = {
        "same": (i == j)[:, None].astype("float32"),
        "total": (patterns[i] + patterns[j]).sum(1, keepdims=True),
    }
    result = training.step(**batch, **targets)
    if step % 200 == 0:
        print(f"step {step}  loss {result['loss']:.4f}  squared error of the amount {result['amount']:.4f}")
answer = predict(left=patterns[:2], right=patterns[[0, 3]])
print("same pattern?", " ".join(f"{p:.3f}" for p in answer["same"].ravel()))
