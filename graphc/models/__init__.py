"""The classic networks."""

from graphc.models.classifier import Classifier
from graphc.models.lenet import lenet5
from graphc.models.mlp import mlp
from graphc.models.perceptron import perceptron
from graphc.models.resnet import resnet, resnet20
from graphc.models.transformer import vision_transformer

__all__ = ["Classifier", "lenet5", "mlp", "perceptron", "resnet", "resnet20", "vision_transformer"]
