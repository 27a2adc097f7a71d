"""A recurrent network reads handwritten digits row by row, from above and from below: eight words of eight numbers.

Sizes and rate were chosen on a fifth of the training images; those that are held out are looked at once, at the end.
"""

import graphc as gc
from graphc.train.data import load, normalise, split
from graphc.train.schedules import cosine

EPOCHS, BATCH = 20, 32

training, test = normalise(*load("digits"))
learning, validation = split(training, 0.2)

images = gc.input("images", (gc.BATCH, 1, 8, 8))
labels = gc.input("labels", (gc.BATCH,), "int64")
rows = images.reshape(gc.BATCH, 8, 8)
_, last = gc.GRU(32, bidirectional=True, name="gru")(rows)  # [directions, n, 32]
summary = gc.dropout(gc.concat([last[0], last[1]], axis=1), 0.2)
logits = gc.Dense(10, name="output")(summary)
loss, accuracy = gc.cross_entropy(logits, labels), gc.accuracy(logits, labels)

steps = EPOCHS * -(-len(learning) // BATCH)
model = gc.Model(logits, loss=loss, metrics={"accuracy": accuracy})
model.fit(
    learning.images, learning.labels, epochs=EPOCHS, batch_size=BATCH, optimizer=gc.Adam(cosine(0.01, steps)),
    validation_data=(validation.images, validation.labels),
)  # fmt: skip
scores = model.evaluate(test.images, test.labels)
print(f"accuracy on {len(test)} images that were held out: {scores['accuracy']:.1%}")
