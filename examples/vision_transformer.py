"""A vision transformer: a digit as sixteen patches of 2x2 pixels, two encoder layers, the mean of their tokens.

Sizes, rates and the number of epochs were chosen on a fifth of the training images; those that are held out are looked
at once, at the end. Attention itself does not know where a patch is; that comes from the learnt positions.
"""

import graphc as gc
from graphc import nn
from graphc.train.data import load, normalise, split
from graphc.train.schedules import cosine

EPOCHS, BATCH, WIDTH = 45, 32, 32

training, test = normalise(*load("digits"))
learning, validation = split(training, 0.2)

images = gc.input("images", (gc.BATCH, 1, 8, 8))
labels = gc.input("labels", (gc.BATCH,), "int64")
network = gc.Sequential(
    nn.PatchEmbedding(WIDTH, 2, name="patches"),
    nn.LearnedPositions(name="positions"),
    nn.Dropout(0.2),
    *[nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.2, "gelu", norm_first=True, name=f"layer{k}") for k in (1, 2)],
    nn.LayerNorm(WIDTH, name="norm"),
)
logits = gc.Dense(10, name="output")(network(images).mean(axis=1))
loss, accuracy = gc.cross_entropy(logits, labels), gc.accuracy(logits, labels)

steps = EPOCHS * -(-len(learning) // BATCH)
model = gc.Model(logits, loss=loss, metrics={"accuracy": accuracy})
model.fit(
    learning.images, learning.labels, epochs=EPOCHS, batch_size=BATCH, optimizer=gc.Adam(cosine(5e-3, steps)),
    validation_data=(validation.images, validation.labels),
)  # fmt: skip
scores = model.evaluate(test.images, test.labels)
print(f"accuracy on {len(test)} images that were held out: {scores['accuracy']:.1%}")

patches = test.images.reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 2, 2)
turned = patches.transpose(0, 2, 1, 3, 4)  # the same patches, columns as rows
moved = turned.reshape(-1, 4, 4, 2, 2).transpose(0, 1, 3, 2, 4).reshape(test.images.shape)
print(f"with the same patches in other places: {model.evaluate(moved, test.labels)['accuracy']:.1%}")
