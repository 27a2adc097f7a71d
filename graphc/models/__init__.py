"""The classic networks."""

from graphc.models.classifier import Classifier
from graphc.models.lenet import lenet5
from graphc.models.mlp import mlp
from graphc.models.perceptron import perceptron

__all__ = ["Classifier", "lenet5", "mlp", "perceptron"]
