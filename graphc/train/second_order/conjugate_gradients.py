"""A x = b for a symmetric positive semidefinite matrix that is known by its products.

Source: Hestenes and Stiefel 1952; Nocedal and Wright 2006, algorithm 5.3 (preconditioned).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from graphc.train.second_order.vectors import Vector, dot

Product = Callable[[Vector], tuple[Vector, float]]
"""v to (A·v, vᵀ·A·v)."""


def conjugate_gradients(
    product: Product, b: Vector, diagonal: Vector, tolerance: float, iterations: int
) -> tuple[Vector, Vector]:
    """x and A·x, with |b - A·x| ≤ tolerance·|b| for |v|² = Σ v²/diagonal, or after so many iterations.

    `diagonal` preconditions. A direction without positive curvature, or whose product is not finite, ends it.
    """
    x, image, rest = np.zeros_like(b), np.zeros_like(b), b
    direction, square = rest / diagonal, dot(rest, rest / diagonal)
    goal = tolerance * tolerance * square
    for _ in range(iterations):
        if not square > goal:
            break
        turned, curvature = product(direction)
        # `not >` is true for NaN as well
        if not curvature > 0 or not np.isfinite(turned).all():
            break
        length = square / curvature
        x, image, rest = x + length * direction, image + length * turned, rest - length * turned
        before, square = square, dot(rest, rest / diagonal)
        direction = rest / diagonal + square / before * direction
    return x, image
