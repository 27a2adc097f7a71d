"""Minimisers for small problems: they know the curvature, and choose the length of their steps themselves.

    training = gc.compile_training(loss, optimizer=gc.LBFGS())
    fitting = gc.compile_training(residuals, optimizer=gc.LevenbergMarquardt())

The loss, its gradient and the products with its curvature are native programs; between them a few vectors of the
length of all parameters are combined, in float64 and in an order that does not depend on threads.
"""

from graphc.train.second_order.lbfgs import LBFGS
from graphc.train.second_order.least_squares import GaussNewton, LevenbergMarquardt
from graphc.train.second_order.minimiser import Minimiser

__all__ = ["LBFGS", "GaussNewton", "LevenbergMarquardt", "Minimiser"]
