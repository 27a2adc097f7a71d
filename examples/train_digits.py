"""A convolutional network on real handwritten digits, in about thirty lines."""

import graphc as gc
from graphc.train.data import load, normalise
from graphc.train.schedules import cosine

EPOCHS, BATCH = 10, 32

training, test = normalise(*load("digits"))

images = gc.input("images", (gc.BATCH, 1, 8, 8))
labels = gc.input("labels", (gc.BATCH,), "int64")
network = gc.Sequential(
    gc.Conv2d(16, 3, padding=1, activation="relu", name="conv1"),
    gc.Conv2d(32, 3, padding=1, activation="relu", name="conv2"),
    gc.MaxPool2d(2, name="pool"),
    gc.Flatten(),
    gc.Dense(64, "relu", name="hidden"),
    gc.Dense(10, name="output"),
)
logits = network(images)
loss, accuracy = gc.cross_entropy(logits, labels), gc.accuracy(logits, labels)

steps = EPOCHS * -(-len(training) // BATCH)
model = gc.Model(logits, loss=loss, metrics={"accuracy": accuracy})
model.fit(
    training.images, training.labels, epochs=EPOCHS, batch_size=BATCH, optimizer=gc.Adam(cosine(3e-3, steps)),
    validation_data=(test.images, test.labels),
)  # fmt: skip
scores = model.evaluate(test.images, test.labels)
print(f"accuracy on {len(test)} images that were held out: {scores['accuracy']:.1%}")
print("predicted", model.predict(test.images[:10]).argmax(axis=1), "true", test.labels[:10])
