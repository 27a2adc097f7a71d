"""Fashion-MNIST: LeNet-5 reaches 90 % of the test images, a residual network 93 %, trained on the CPU.

    python examples/fashion_mnist.py lenet5
    python examples/fashion_mnist.py resnet              with random crops and mirror images
    python examples/fashion_mnist.py resnet --validate   a tenth of the training images instead of the test images

Everything that was chosen was chosen with --validate; the test images are looked at once, after the last epoch. Every
random number follows from the seed, so two runs end with the same bits, whatever the number of threads.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import graphc as gc

SHAPE, BATCH = (1, 28, 28), 128


@dataclass(frozen=True)
class Recipe:
    """A network, and how it is trained."""

    network: Callable[[], gc.models.Classifier]
    optimizer: Callable[[], gc.Optimizer]
    epochs: int
    crop: bool


RECIPES = {
    "lenet5": Recipe(gc.models.lenet5, lambda: gc.Adam(gc.schedules.one_cycle(4e-3)), 12, False),
    "resnet": Recipe(
        lambda: gc.models.resnet(2, SHAPE),
        lambda: gc.SGD(gc.schedules.one_cycle(0.1), momentum=0.9, nesterov=True, weight_decay=5e-4), 15, True,
    ),
}  # fmt: skip

parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
parser.add_argument("recipe", choices=RECIPES)
parser.add_argument("--validate", action="store_true")
parser.add_argument("--epochs", type=int)
parser.add_argument("--threads", type=int)
parser.add_argument("--images", type=int, help="train on the first so many only")
options = parser.parse_args()

training, test = gc.data.load("fashion-mnist")
if options.validate:
    training, test = gc.data.split(training, 0.1)
training, test = gc.data.normalise(training, test)
samples = training.images[: options.images], training.labels[: options.images]
recipe, black = RECIPES[options.recipe], float(training.images.min())
changes = [gc.augment.RandomCrop(2, fill=black), gc.augment.Flip()] if recipe.crop else []

model = gc.Model(recipe.network())
history = model.fit(
    gc.data.augmented(samples, *changes), epochs=options.epochs or recipe.epochs, batch_size=BATCH,
    optimizer=recipe.optimizer(), seed=0, threads=options.threads,
)  # fmt: skip
scores = model.evaluate(test.images, test.labels)
print(f"trained in {history.seconds:.0f} s; accuracy on {len(test)} images: {scores['accuracy']:.2%}")
