"""Classes: names as numbers, numbers as probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from graphc.errors import DataError


def categories(values: Any) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """(numbers, names) with values[i] = names[numbers[i]]; the names are sorted, so the same values give the same."""
    names, numbers = np.unique(np.asarray(values, str), return_inverse=True)
    return numbers.reshape(-1).astype(np.int64), tuple(map(str, names))


def one_hot(labels: npt.ArrayLike, classes: int) -> npt.NDArray[np.float32]:
    """P[i, k] = 1 where k = labels[i], else 0: [n, classes] in float32. Raises DataError for labels out of range."""
    numbers = np.asarray(labels)
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise DataError(f"one_hot: labels are {numbers.dtype} of shape {numbers.shape}, expected integers [count]")
    check_labels("one_hot", numbers, classes)
    return np.equal(numbers[:, None], np.arange(classes)).astype(np.float32)


def check_labels(name: str, labels: npt.NDArray[Any], classes: int) -> None:
    """Raises DataError, with the first bad one, unless 0 <= label < classes."""
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        first = int(np.argmax(wrong))
        from_one = labels.min() == 1 and labels.max() == classes
        needed = int(labels.max()) + 1
        hint = "labels count from 0: subtract 1" if from_one else f"classes={needed}" if labels.min() >= 0 else ""
        raise DataError(f"{name}: label {labels[first]} of sample {first} is not in 0..{classes - 1}", hint=hint)
