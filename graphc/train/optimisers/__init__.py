"""Optimisers. Every update is a formula over tensors, compiled into the same native call as the gradients it uses.

    Optimizer                what all have in common                                        optimizer.py
    SGD, Momentum, Nesterov  descent along the gradient or its running sum                  descent.py
    Adagrad, Adadelta, RMSprop  steps relative to the size of earlier gradients             adaptive.py
    Adam, AdamW, NAdam, RAdam, Adamax  running means of the gradient and of its square      adam.py
    Rprop, Lion              steps by the sign alone                                        signs.py

`updating` extends a graph by the updates: accumulation, clipping, decay, the optimiser's own formulas, averages.
"""

from graphc.train.optimisers.adam import Adam, Adamax, AdamW, NAdam, RAdam
from graphc.train.optimisers.adaptive import Adadelta, Adagrad, RMSprop
from graphc.train.optimisers.descent import SGD, Momentum, Nesterov
from graphc.train.optimisers.optimizer import Group, Optimizer
from graphc.train.optimisers.signs import Lion, Rprop

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Group",
    "Lion",
    "Momentum",
    "NAdam",
    "Nesterov",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
]
