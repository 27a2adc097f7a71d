"""Several losses with weights: one body, a head that names the digit and a head that draws the image again.

The second needs no label, and its weight decides how much of the body works for it.
"""

import graphc as gc
from graphc.data import load, normalise

training, test = normalise(*load("digits"))
pixels, test_pixels = (part.images.reshape(-1, 64) for part in (training, test))

for weight in (0.0, 0.1, 1.0, 10.0):
    images = gc.input("images", (gc.BATCH, 64))
    body = gc.Sequential(gc.Dense(64, "relu", name="body1"), gc.Dense(16, "relu", name="body2"))(images)
    outputs = {"digit": gc.Dense(10, name="digit")(body), "image": gc.Dense(64, name="image")(body)}
    model = gc.Model(
        outputs,
        loss={"digit": "cross_entropy", "image": "mse"},
        loss_weights={"digit": 1.0, "image": weight},
        metrics={"digit": "accuracy"},
    )
    model.fit(
        pixels, {"digit": training.labels, "image": pixels},
        epochs=15, batch_size=32, optimizer=gc.Adam(2e-3), verbose=0,
    )  # fmt: skip
    scores = model.evaluate(test_pixels, {"digit": test.labels, "image": test_pixels})
    error = scores["image_loss"]
    print(f"weight {weight:4.1f}  accuracy {scores['digit_accuracy']:.1%}  squared error of a pixel {error:.3f}")
