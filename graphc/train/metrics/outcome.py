"""What a classification said and what was true, as places that can be counted."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.dsl.tensor import Tensor, caller
from graphc.errors import DTypeError, ShapeError
from graphc.ops import counting
from graphc.types import DType


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Integers [n, ...]: the labels and the predicted classes, -1 where a label is left out.

    A prediction is `classes` where its scores are NaN. With `binary` the classes are no (0) and yes (1).
    """

    labels: Tensor
    predicted: Tensor
    classes: int
    binary: bool

    @property
    def right(self) -> Tensor:
        """How many predictions are the labels."""
        return counting.counted(counting.agreement(self.labels, self.predicted))

    @property
    def all(self) -> Tensor:
        """How many labels are not left out."""
        return counting.counted(self.labels)

    @property
    def by_class(self) -> dict[str, Tensor]:
        """For each class how often it was right, how often predicted (NaN at the end), and how often true."""
        hits = counting.agreement(self.labels, self.predicted)
        return {
            "right": counting.counts(hits, classes=self.classes),
            "predicted": counting.counts(self.predicted, classes=self.classes + 1),
            "true": counting.counts(self.labels, classes=self.classes),
        }

    @property
    def matrix(self) -> Tensor:
        """[true class, predicted class] how often, with a last column for NaN."""
        return counting.pair_counts(self.labels, self.predicted, extents=(self.classes, self.classes + 1))


def outcome(metric: str, outputs: Tensor, labels: Tensor, ignore_index: int | None, threshold: float) -> Outcome:
    """The outcome of scores [n, classes, ...] for labels [n, ...], or of one score for each label: yes or no.

    Scores say yes above the threshold. Raises ShapeError, DTypeError.
    """
    outputs = one_score_each(outputs, labels)
    binary = outputs.shape == labels.shape
    if binary:
        predicted = counting.predicted_side(outputs, threshold=threshold)
        true = labels if not labels.dtype.is_float else counting.predicted_side(labels, threshold=0.5)
        classes = 2
    else:
        check_classes(metric, outputs, labels)
        predicted, true, classes = counting.predicted_class(outputs), labels, int(str(outputs.shape[1]))
    if ignore_index is not None:
        predicted = counting.left_out(labels, predicted, ignore_index=ignore_index)
        true = counting.left_out(labels, true, ignore_index=ignore_index)
    return Outcome(true.astype(DType.INT64), predicted, classes, binary)


def one_score_each(outputs: Tensor, targets: Tensor) -> Tensor:
    """Outputs [n, 1] as [n] where the targets are [n]."""
    return outputs.reshape(targets.shape) if outputs.shape == (*targets.shape, 1) else outputs


def check_classes(metric: str, outputs: Tensor, labels: Tensor) -> None:
    """Raises ShapeError, DTypeError for what are not scores [n, classes, ...] and integer labels [n, ...]."""
    if outputs.shape[:1] + outputs.shape[2:] != labels.shape or outputs.ndim < 2:
        raise ShapeError(
            f"{metric}: outputs {outputs.shape} and labels {labels.shape} do not go together", location=caller(),
            hint=f"scores for classes need labels of shape {outputs.shape[:1] + outputs.shape[2:]}, "
            f"yes or no labels of shape {outputs.shape}",
        )  # fmt: skip
    if labels.dtype.is_float:
        raise DTypeError(
            f"{metric}: labels are {labels.dtype.value}, expected the numbers of classes", location=caller(),
            hint='declare them as integers: gc.input("labels", (gc.BATCH,), "int64")',
        )  # fmt: skip


def check_yes_or_no(metric: str, outputs: Tensor, labels: Tensor) -> None:
    """Raises ShapeError unless there is one score for each label."""
    if outputs.shape != labels.shape:
        raise ShapeError(
            f"{metric}: outputs {outputs.shape} and labels {labels.shape}, expected one score for each label",
            location=caller(), hint="of two classes take the difference of their scores: logits[:, 1] - logits[:, 0]",
        )  # fmt: skip
