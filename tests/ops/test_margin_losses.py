"""Losses with margins, of embeddings, of regions and sequences against torch, natively; large numbers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import graphc as gc
from graphc.types import DType
from tests.torch_cases import Case, Numbers, alike, largest_errors, not_finite, reduce, reduced, torch

T = torch.nn.functional
draw = Numbers(np.random.default_rng(4))


def signs(*shape: int, dtype: str = "float64") -> np.ndarray:
    return draw.among([-1, 1], *shape, dtype=dtype)


X, Y, CHANCES = draw(4, 6), draw(4, 6), draw.chances(4, 6)
LOGITS, LABELS, CLASS = draw(5, 4), np.array([1, 3, 0, 2, 1]), draw.chances(4)
A, B, C, PROTOTYPES = draw(5, 4), draw(5, 4), draw(5, 4), draw(3, 4)
SAME = np.array([1, -1, 1, -1, -1])
MENTIONED = np.array([[1, 3, -1, 0], [0, 1, 2, 3], [-1, 0, 1, 2], [2, -1, 2, -1], [3, 0, 1, -1]])


def hinge(x: Any, t: Any, reduction: str) -> Any:
    return reduce((1 - t * x).clamp(min=0), reduction)


def squared_hinge(x: Any, t: Any) -> Any:
    return ((1 - t * x).clamp(min=0) ** 2).mean()


def multi_margin(x: Any, y: Any, w: Any, **options: Any) -> Any:
    return T.multi_margin_loss(x, y, weight=w, **options)


def large_margin(x: Any, w: Any, y: Any, margin: int) -> Any:
    """Liu et al., equations 4 to 6, by the angle itself."""
    lengths = x.norm(dim=1)[:, None] * w.norm(dim=1)
    angle = torch.acos(x @ w.T / lengths)
    j = torch.floor(angle.detach() * margin / torch.pi)
    psi = (-1) ** j * torch.cos(margin * angle) - 2 * j
    return lengths * torch.where(T.one_hot(y, len(w)) > 0, psi, torch.cos(angle))


def arc(x: Any, w: Any, y: Any, margin: float, scale: float) -> Any:
    c = T.normalize(x) @ T.normalize(w).T
    angle = torch.acos(c)
    moved = torch.where(angle + margin < torch.pi, torch.cos(angle + margin), c - margin * np.sin(margin))
    return scale * torch.where(T.one_hot(y, len(w)) > 0, moved, c)


def cosface(x: Any, w: Any, y: Any) -> Any:
    return 30 * (T.normalize(x) @ T.normalize(w).T - 0.35 * T.one_hot(y, len(w)).double())


def cosine(a: Any, b: Any, axis: int = 1) -> Any:
    return T.cosine_similarity(a, b, dim=axis)


def contrastive(a: Any, b: Any, s: Any, margin: float, reduction: str) -> Any:
    d = (a - b).norm(dim=1)
    return reduce(s * d**2 / 2 + (1 - s) * (margin - d).clamp(min=0) ** 2 / 2, reduction)


def nce(q: Any, k: Any, temperature: float, reduction: str) -> Any:
    return T.cross_entropy(T.normalize(q) @ T.normalize(k).T / temperature, torch.arange(len(q)), reduction=reduction)


def nt_xent(a: Any, b: Any, temperature: float) -> Any:
    z = T.normalize(torch.cat([a, b]))
    s = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=bool), -torch.inf)
    return T.cross_entropy(s, torch.arange(len(z)).roll(len(a)))


MARGINS = [
    *reduced("hinge", gc.hinge_loss, hinge, X, signs(4, 6), fixed=(1,)),
    alike("squared hinge", gc.squared_hinge_loss, squared_hinge, X, signs(4, 6, dtype="int64")),
    *reduced("soft margin", gc.soft_margin_loss, T.soft_margin_loss, X, signs(4, 6), fixed=(1,)),
    *reduced("hinge embedding", gc.hinge_embedding_loss, T.hinge_embedding_loss, X, signs(4, 6, dtype="int32")),
    *reduced("ranking", gc.margin_ranking_loss, T.margin_ranking_loss, X, Y, signs(4, 6, dtype="int64"), margin=0.3),
    *reduced("multi margin", gc.multi_margin_loss, T.multi_margin_loss, LOGITS, LABELS),
    alike("multi margin squared", gc.multi_margin_loss, multi_margin, LOGITS, LABELS, CLASS, fixed=(2,), p=2, margin=2),
    *reduced("multilabel margin", gc.multilabel_margin_loss, T.multilabel_margin_loss, LOGITS, MENTIONED),
    *reduced(
        "multilabel soft", gc.multilabel_soft_margin_loss, T.multilabel_soft_margin_loss, X, (CHANCES > 0.5) * 1.0,
        draw.chances(6), fixed=(1, 2),
    ),
    *[alike(f"large margin {m}", gc.large_margin_logits, large_margin, A, PROTOTYPES, LABELS % 3, margin=m)
      for m in (1, 2, 3, 4)],
    alike("arc face", gc.angular_margin_logits, arc, A, PROTOTYPES, LABELS % 3, margin=1.2, scale=2.0),
    alike("cos face", gc.additive_margin_logits, cosface, A, PROTOTYPES, LABELS % 3),
    alike("cosine", gc.cosine_similarity, cosine, A, B),
    alike("cosine of rows", gc.cosine_similarity, cosine, draw(2, 4, 2, 3), draw(2, 4, 2, 3), axis=2),
    *reduced("cosine embedding", gc.cosine_embedding_loss, T.cosine_embedding_loss, A, B, SAME, margin=0.1),
    *reduced("triplet", gc.triplet_margin_loss, T.triplet_margin_loss, A, B, C),
    alike("triplet swap", gc.triplet_margin_loss, T.triplet_margin_loss, A, B, C, p=1, swap=True, margin=2.0),
    alike("triplet cubic", gc.triplet_margin_loss, T.triplet_margin_loss, A, B, C, p=3, margin=3.0),
    *reduced("contrastive", gc.contrastive_loss, contrastive, A, B, (SAME > 0) * 1, margin=2.5),
    *reduced("info nce", gc.info_nce, nce, A, B, temperature=0.2),
    alike("nt xent", gc.nt_xent, nt_xent, A, B, temperature=0.2),
]  # fmt: skip


def overlap(
    p: Any, t: Any, alpha: float = 0.5, beta: float = 0.5, smooth: float = 1.0, per_class: bool = True,
    reduction: str = "mean",
) -> Any:  # fmt: skip
    over = tuple(range(2 if per_class and p.ndim > 2 else 1, p.ndim))
    both = (p * t).sum(over)
    missed = alpha * (p * (1 - t)).sum(over) + beta * ((1 - p) * t).sum(over)
    return reduce(1 - (both + smooth) / (both + missed + smooth), reduction)


def dice(p: Any, t: Any, reduction: str) -> Any:
    return reduce(1 - (2 * (p * t).sum((2, 3)) + 1) / (p.sum((2, 3)) + t.sum((2, 3)) + 1), reduction)


def boxes(count: int) -> np.ndarray:
    corner, size = draw(count, 2, low=0, high=2), draw(count, 2, low=0.3, high=2)
    return np.concatenate([corner, corner + size], 1)


def box_loss(a: Any, b: Any, name: str, eps: float = 1e-7, reduction: str = "none") -> Any:
    """As torchvision writes them."""
    x1, y1, x2, y2 = a.unbind(-1)
    u1, v1, u2, v2 = b.unbind(-1)
    left, top, right, bottom = torch.max(x1, u1), torch.max(y1, v1), torch.min(x2, u2), torch.min(y2, v2)
    common = torch.where((bottom > top) & (right > left), (right - left) * (bottom - top), 0.0)
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - common
    iou = common / (union + eps)
    width, height = torch.max(x2, u2) - torch.min(x1, u1), torch.max(y2, v2) - torch.min(y1, v1)
    centres = ((x1 + x2 - u1 - u2) / 2) ** 2 + ((y1 + y2 - v1 - v2) / 2) ** 2
    distance = 1 - iou + centres / (width**2 + height**2 + eps)
    v = 4 / torch.pi**2 * (torch.atan((u2 - u1) / (v2 - v1)) - torch.atan((x2 - x1) / (y2 - y1))) ** 2
    found = {
        "box_iou_loss": 1 - iou,
        "generalized_box_iou_loss": 1 - iou + (width * height - union) / (width * height + eps),
        "distance_box_iou_loss": distance,
        "complete_box_iou_loss": distance + (v / (1 - iou + v + eps)).detach() * v,
    }
    return reduce(found[name], reduction)


def every_pair(a: Any, b: Any) -> Any:
    return 1 - box_loss(a[:, None].expand(6, 4, 4), b[None].expand(6, 4, 4), "box_iou_loss", 0.0)


def area(b: Any) -> Any:
    return (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])


BOXES, AIMS = boxes(6), boxes(6)
P, MASKS = draw.chances(2, 3, 2, 2), draw.among([0.0, 1.0], 2, 3, 2, 2)
BOX_LOSSES = ("box_iou_loss", "generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")

REGIONS = [
    *reduced("dice", gc.dice_loss, dice, P, MASKS),
    alike("dice of all classes", gc.dice_loss, overlap, P, MASKS, smooth=0.0, per_class=False),
    alike("jaccard", gc.jaccard_loss, partial(overlap, alpha=1, beta=1), P, MASKS.astype("int64")),
    alike("jaccard of rows", gc.jaccard_loss, partial(overlap, alpha=1, beta=1), CHANCES, CHANCES[::-1]),
    alike("tversky", gc.tversky_loss, overlap, P, MASKS, alpha=0.3, beta=0.7, reduction="sum"),
    *[Case(name, getattr(gc, name), partial(box_loss, name=name), (BOXES, AIMS)) for name in BOX_LOSSES],
    alike("mean of boxes", gc.box_iou_loss, partial(box_loss, name=BOX_LOSSES[0]), BOXES, AIMS, reduction="mean"),
    alike("every pair", gc.box_iou, every_pair, BOXES, AIMS[:4]),
    alike("area", gc.box_area, area, BOXES),
]

TIMES, TARGETS = draw(3, 7, 5), np.array([[1, 2, 2], [3, 3, 0], [4, 0, 0]])


def our_ctc(x: Any, y: Any, inputs: Any, targets: Any, **options: Any) -> Any:
    return gc.ctc_loss(gc.log_softmax(x), y, inputs, targets, **options)


def torch_ctc(x: Any, y: Any, inputs: Any, targets: Any, **options: Any) -> Any:
    """Its gradient is the true one only through a softmax."""
    return T.ctc_loss(T.log_softmax(x, -1).transpose(0, 1), y, inputs, targets, **options)


def ctc(inputs: list[int], targets: list[int], **options: Any) -> list[Case]:
    name, lengths = f"ctc {inputs} {targets}", (np.array(inputs), np.array(targets))
    return reduced(name, our_ctc, torch_ctc, TIMES, TARGETS, *lengths, kinds=("mean", "sum", "none"), **options)


SEQUENCES = [
    *ctc([7, 6, 7], [3, 2, 1]),
    # an empty target, and one that its input is too short for: two equal labels need a blank between them
    *ctc([7, 2, 5], [3, 2, 0], zero_infinity=True),
    Case(
        "ctc time first",
        lambda x, *a: gc.ctc_loss(gc.log_softmax(x), *a, batch_first=False, blank=4),
        lambda x, *a: T.ctc_loss(T.log_softmax(x, -1), *a, blank=4),
        (draw(6, 2, 5), np.array([[1, 1], [0, 3]]), np.array([6, 5]), np.array([2, 1])),
    ),
]

GROUPS = {"margins": MARGINS, "regions": REGIONS, "sequences": SEQUENCES}


@pytest.mark.parametrize("cases", GROUPS.values(), ids=GROUPS)
def test_values_and_gradients_are_those_of_torch(cases: list[Case]) -> None:
    errors = largest_errors(cases, DType.FLOAT64)
    assert {name: e for name, e in errors.items() if not e <= 1e-11} == {}


def test_a_target_without_a_path_has_an_infinite_loss() -> None:
    x, y = gc.input("x", (gc.BATCH, 2, 3)), gc.input("y", (gc.BATCH, 2), "int64")
    lengths = gc.input("lengths", (gc.BATCH,), "int64")
    program = gc.compile_inference(gc.ctc_loss(gc.log_softmax(x), y, None, lengths), threads=1)
    scores = np.zeros((1, 2, 3), np.float32)
    assert program(x=scores, y=np.array([[1, 1]]), lengths=np.array([2])) == np.inf
    assert program(x=scores, y=np.array([[1, 1]]), lengths=np.array([3])) == np.inf  # no such target
    # 1 1, 1 blank and blank 1 of nine equally likely outcomes
    assert program(x=scores, y=np.array([[1, 1]]), lengths=np.array([1])) == pytest.approx(np.log(3), rel=1e-6)


E, F, K = draw.large(5, 4), draw.large(5, 4), draw.large(3, 4)
NEAR = E + draw.among([0.0, 1.0], 5, 4)
"""Some embeddings are equal to others."""

EXTREME = [
    alike("large margin", gc.large_margin_logits, T.relu, E, K, LABELS % 3),
    alike("arc face", gc.angular_margin_logits, T.relu, E, K, LABELS % 3),
    alike("arc face of zeros", gc.angular_margin_logits, T.relu, E * 0, K, LABELS % 3),
    alike("arc face on itself", gc.angular_margin_logits, T.relu, K, K, LABELS[:3] % 3),
    alike("cos face", gc.additive_margin_logits, T.relu, E * 0, K, LABELS % 3),
    alike("cosine", gc.cosine_similarity, T.relu, E * 0, F),
    alike("cosine embedding", gc.cosine_embedding_loss, T.relu, E * 0, F, SAME),
    alike("triplet", gc.triplet_margin_loss, T.relu, E, NEAR, F),
    alike("triplet swap", gc.triplet_margin_loss, T.relu, E, E, F, p=3, swap=True),
    alike("contrastive", gc.contrastive_loss, T.relu, E, NEAR, (SAME > 0) * 1),
    alike("info nce", gc.info_nce, T.relu, E, F, temperature=0.01),
    alike("nt xent", gc.nt_xent, T.relu, E, NEAR, temperature=0.01),
    alike("dice of nothing", gc.dice_loss, T.relu, P * 0, MASKS * 0),
    alike("boxes", gc.complete_box_iou_loss, T.relu, BOXES * 5e3 - 1e4, AIMS * 5e3 - 1e4),
    Case("ctc", our_ctc, T.relu, (draw.large(3, 7, 5), TARGETS, np.array([7, 6, 7]), np.array([3, 2, 1]))),
]


def test_values_and_gradients_are_finite_for_large_equal_and_vanishing_embeddings() -> None:
    assert not_finite(EXTREME) == []
