"""Everything that can be applied to tensors, as functions."""

from graphc.dsl.functional import (
    activation,
    arithmetic,
    convolution,
    linear_maps,
    loss,
    movement,
    normalisation,
    pooling,
    reduction,
)
from graphc.dsl.functional.activation import *
from graphc.dsl.functional.arithmetic import *
from graphc.dsl.functional.convolution import *
from graphc.dsl.functional.linear_maps import *
from graphc.dsl.functional.loss import *
from graphc.dsl.functional.movement import *
from graphc.dsl.functional.normalisation import *
from graphc.dsl.functional.pooling import *
from graphc.dsl.functional.reduction import *

__all__ = [
    *activation.__all__,
    *arithmetic.__all__,
    *convolution.__all__,
    *linear_maps.__all__,
    *loss.__all__,
    *movement.__all__,
    *normalisation.__all__,
    *pooling.__all__,
    *reduction.__all__,
]
