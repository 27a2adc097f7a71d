"""Losses of sequences."""

from __future__ import annotations

from graphc.dsl.scan import scan
from graphc.dsl.tensor import Tensor
from graphc.ops import sequence_losses

__all__ = ["ctc_loss"]


def ctc_loss(
    log_probabilities: Tensor,
    targets: Tensor,
    input_lengths: Tensor | None,
    target_lengths: Tensor,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    batch_first: bool = True,
) -> Tensor:
    """-log of the chance that the labels of a target come in their order, with blanks and repetitions between.

    log_probabilities [n, time, classes], with batch_first=False [time, n, classes] as torch has them; targets
    [n, labels] of an integer dtype, filled up to one length; both lengths [n], those of the inputs all of `time` if
    None. The "mean" is that of loss / target length. A target that its input is too short for has an infinite loss, or
    none with `zero_infinity`. Raises ShapeError, DTypeError, GraphcError. Graves et al. 2006.
    """
    if not batch_first:
        log_probabilities = log_probabilities.transpose(1, 0, 2)
    emissions = sequence_losses.ctc_emissions(log_probabilities, targets, blank=blank)
    skips = sequence_losses.ctc_skips(log_probabilities, targets)

    def step(state: Tensor, emission: Tensor) -> tuple[Tensor, None]:
        return sequence_losses.ctc_step(state, emission, skips), None

    _, last = scan(step, sequence_losses.ctc_start(skips), emissions, lengths=input_lengths)
    result: Tensor = sequence_losses.ctc_result(last, target_lengths, reduction=reduction, zero_infinity=zero_infinity)
    return result
