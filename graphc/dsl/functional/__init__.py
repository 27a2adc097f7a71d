"""Everything that can be applied to tensors, as functions."""

from graphc.dsl.functional import (
    activation,
    arithmetic,
    attention_maps,
    constant,
    convolution,
    filters,
    linear_maps,
    loss,
    movement,
    normalisation,
    padding,
    pooling,
    reduction,
    regularisation,
    resampling,
    selection,
    sequence_loss,
)
from graphc.dsl.functional.activation import *
from graphc.dsl.functional.arithmetic import *
from graphc.dsl.functional.attention_maps import *
from graphc.dsl.functional.constant import *
from graphc.dsl.functional.convolution import *
from graphc.dsl.functional.filters import *
from graphc.dsl.functional.linear_maps import *
from graphc.dsl.functional.loss import *
from graphc.dsl.functional.movement import *
from graphc.dsl.functional.normalisation import *
from graphc.dsl.functional.padding import *
from graphc.dsl.functional.pooling import *
from graphc.dsl.functional.reduction import *
from graphc.dsl.functional.regularisation import *
from graphc.dsl.functional.resampling import *
from graphc.dsl.functional.selection import *
from graphc.dsl.functional.sequence_loss import *

__all__ = [
    *activation.__all__,
    *arithmetic.__all__,
    *attention_maps.__all__,
    *constant.__all__,
    *convolution.__all__,
    *filters.__all__,
    *linear_maps.__all__,
    *loss.__all__,
    *movement.__all__,
    *normalisation.__all__,
    *padding.__all__,
    *pooling.__all__,
    *reduction.__all__,
    *regularisation.__all__,
    *selection.__all__,
    *sequence_loss.__all__,
    *resampling.__all__,
]
