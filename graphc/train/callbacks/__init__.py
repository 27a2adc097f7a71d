"""What listens to a training and may end it: callbacks, and the run that they see."""

from graphc.train.callbacks.layers import LayerStatistics
from graphc.train.callbacks.logs import CSVLogger, JSONLogger, TensorBoard
from graphc.train.callbacks.plateau import EarlyStopping, ReduceLROnPlateau
from graphc.train.callbacks.run import Callback, LambdaCallback, Run

__all__ = [
    "CSVLogger", "Callback", "EarlyStopping", "JSONLogger", "LambdaCallback", "LayerStatistics",
    "ReduceLROnPlateau", "Run", "TensorBoard",
]  # fmt: skip
