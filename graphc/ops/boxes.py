"""Boxes [..., 4] as (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2: areas, overlaps and losses, as in torchvision."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp
from sympy.core.expr import Expr

from graphc.errors import ShapeError
from graphc.ops import scalars
from graphc.ops.loss_terms import hinge, positive, reduced
from graphc.ops.notation import Operand, axes, pointwise_names
from graphc.ops.operator import Sample, op
from graphc.ops.pointwise import number


@dataclass(frozen=True, slots=True)
class Box:
    """The corners of a box."""

    x1: Expr
    y1: Expr
    x2: Expr
    y2: Expr

    @property
    def width(self) -> Expr:
        return self.x2 - self.x1

    @property
    def height(self) -> Expr:
        return self.y2 - self.y1

    @property
    def area(self) -> Expr:
        return self.width * self.height

    def intersection(self, other: Box) -> Expr:
        """The area that both cover."""
        width = scalars.minimum(self.x2, other.x2) - scalars.maximum(self.x1, other.x1)
        height = scalars.minimum(self.y2, other.y2) - scalars.maximum(self.y1, other.y1)
        return hinge(width) * hinge(height)

    def hull(self, other: Box) -> Box:
        """The smallest box around both."""
        return Box(
            scalars.minimum(self.x1, other.x1), scalars.minimum(self.y1, other.y1),
            scalars.maximum(self.x2, other.x2), scalars.maximum(self.y2, other.y2),
        )  # fmt: skip

    def distance(self, other: Box) -> Expr:
        """The squared distance of the centres."""
        return ((self.x1 + self.x2 - other.x1 - other.x2) / 2) ** 2 + (
            (self.y1 + self.y2 - other.y1 - other.y2) / 2
        ) ** 2


def _boxes(name: str, boxes: Operand) -> None:
    if not boxes.rank or boxes.shape[-1] != 4:
        raise ShapeError(f"{name}: {boxes.name} must be [..., 4], got {boxes.shape}", hint="a box is (x1, y1, x2, y2)")


def _read(boxes: Operand, lead: tuple[Expr, ...]) -> Box:
    return Box(*[boxes[(*lead, k)] for k in range(4)])


@op(register=True, samples=[Sample(((3, 4),)), Sample(((2, 3, 4),))])
def box_area(boxes: Operand) -> Expr:
    """(x2 - x1) · (y2 - y1) of boxes [..., 4]. Raises ShapeError."""
    _boxes("box_area", boxes)
    return _read(boxes, axes(" ".join(pointwise_names(boxes.rank)[:-1]))).area


@op(register=True, samples=[Sample(((3, 4), (2, 4)), {}, (0.1, 2.0))])
def box_iou(first: Operand, second: Operand) -> Expr:
    """Intersection over union of every box of the first [n, 4] with every box of the second [m, 4]: [n, m].

    Raises ShapeError.
    """
    for boxes in (first, second):
        _boxes("box_iou", boxes)
        if boxes.rank != 2:
            raise ShapeError(f"box_iou: {boxes.name} must be [boxes, 4], got {boxes.shape}")
    n, m = axes("n m")
    a, b = _read(first, (n,)), _read(second, (m,))
    common = a.intersection(b)
    return common / (a.area + b.area - common)


# --------------------------------------------------------------------------------------------------- losses


def _pair(name: str, prediction: Operand, target: Operand, eps: float) -> tuple[tuple[Expr, ...], Box, Box, Expr]:
    """(axes, both boxes, eps)."""
    positive(name, eps=eps)
    for boxes in (prediction, target):
        _boxes(name, boxes)
    if prediction.shape != target.shape:
        raise ShapeError(f"{name}: prediction has shape {prediction.shape} but target has shape {target.shape}")
    lead = axes(" ".join(pointwise_names(prediction.rank)[:-1]))
    return lead, _read(prediction, lead), _read(target, lead), number(eps)


def _overlap(a: Box, b: Box, eps: Expr) -> tuple[Expr, Expr]:
    """(intersection over union, union)"""
    common = a.intersection(b)
    union = a.area + b.area - common
    return common / (union + eps), union


BOXES = [Sample(((3, 4), (3, 4)), {"reduction": "mean"}, (0.1, 2.0))]


@op(register=True, samples=BOXES)
def box_iou_loss(prediction: Operand, target: Operand, *, reduction: str = "none", eps: float = 1e-7) -> Expr:
    """1 - intersection / (union + eps) of boxes [..., 4]; no gradient where boxes do not meet. Raises ShapeError."""
    lead, a, b, e = _pair("box_iou_loss", prediction, target, eps)
    return reduced("box_iou_loss", reduction, 1 - _overlap(a, b, e)[0], lead)


@op(register=True, samples=BOXES)
def generalized_box_iou_loss(
    prediction: Operand, target: Operand, *, reduction: str = "none", eps: float = 1e-7
) -> Expr:
    """1 - IoU + (hull - union) / hull, hull being the smallest box around both.

    Boxes [..., 4]. Rezatofighi et al. 2019. Raises ShapeError, GraphcError.
    """
    name = "generalized_box_iou_loss"
    lead, a, b, e = _pair(name, prediction, target, eps)
    iou, union = _overlap(a, b, e)
    hull = a.hull(b).area
    return reduced(name, reduction, 1 - iou + (hull - union) / (hull + e), lead)


def _with_distance(a: Box, b: Box, e: Expr) -> tuple[Expr, Expr]:
    """(1 - IoU + squared distance of the centres / squared diagonal of the hull, IoU)"""
    hull, (iou, _) = a.hull(b), _overlap(a, b, e)
    return 1 - iou + a.distance(b) / (hull.width**2 + hull.height**2 + e), iou


@op(register=True, samples=BOXES)
def distance_box_iou_loss(prediction: Operand, target: Operand, *, reduction: str = "none", eps: float = 1e-7) -> Expr:
    """1 - IoU + (distance of the centres / diagonal of the smallest box around both)².

    Boxes [..., 4]. Zheng et al. 2020. Raises ShapeError, GraphcError.
    """
    name = "distance_box_iou_loss"
    lead, a, b, e = _pair(name, prediction, target, eps)
    return reduced(name, reduction, _with_distance(a, b, e)[0], lead)


@op(
    register=True,
    samples=[Sample(((3, 4), (3, 4)), {"detached": False, "reduction": r}, (0.1, 2.0)) for r in ("none", "mean")],
)
def complete_box_iou_loss(
    prediction: Operand, target: Operand, *, reduction: str = "none", eps: float = 1e-7, detached: bool = True
) -> Expr:
    """The distance loss + α·v, v = 4/π²·(atan(w/h) - atan(w'/h'))², α = v / (1 - IoU + v + eps).

    α counts as a constant when it is differentiated, unless `detached` is off. Boxes [..., 4]. Zheng et al. 2020.
    Raises ShapeError, GraphcError.
    """
    name = "complete_box_iou_loss"
    lead, a, b, e = _pair(name, prediction, target, eps)
    loss, iou = _with_distance(a, b, e)
    v = 4 / sp.pi**2 * (scalars.atan(b.width / b.height) - scalars.atan(a.width / a.height)) ** 2
    share = v / (1 - iou + v + e)
    return reduced(name, reduction, loss + (scalars.stop_gradient(share) if detached else share) * v, lead)
