"""Data for training, and the files of the digits: all of graphc.train.data under the name that users say."""

from graphc.train.data import *  # noqa: F403
from graphc.train.data import __all__ as __all__
from graphc.train.sources import source_of as source_of
