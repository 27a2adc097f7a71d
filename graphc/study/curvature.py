"""How a loss is curved at the parameters as they are: extreme eigenvalues and trace of its Hessian.

    report = gc.curvature(loss, {"images": x, "labels": y})
    print(report)

The Hessian is known by its products with vectors, each one run of a native program.
Sources: Lanczos 1950, with full reorthogonalisation (Golub and Van Loan 2013, "Matrix Computations", 10.3);
Hutchinson 1989, "A stochastic estimator of the trace of the influence matrix".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from graphc.dsl.derivatives import gradient, hessian_vector_product
from graphc.dsl.parameter import Parameter
from graphc.dsl.tensor import Tensor
from graphc.dsl.trace import trace
from graphc.errors import GraphcError, NonFiniteError
from graphc.study.gradients import compile_derivative
from graphc.train.optimisers.trainable import trained
from graphc.train.second_order.function import as_it_is, tangents_of
from graphc.train.second_order.vectors import Space, Vector, dot

Matrix = Callable[[Vector], Vector]
"""A symmetric matrix by its products."""


@dataclass(frozen=True, slots=True)
class Curvature:
    """The Hessian of a loss with respect to `size` numbers, to be printed.

    `largest` and `smallest` are eigenvalues, the extreme ones first, `residual` the largest |H·v - λ·v| of them for
    unit vectors v: every λ is that close to a true eigenvalue. `trace` is the sum of all, with its standard error.
    """

    loss: float
    slope: float
    size: int
    largest: tuple[float, ...]
    smallest: tuple[float, ...]
    residual: float
    trace: float
    trace_error: float
    products: int

    @property
    def stable_rate(self) -> float:
        """2/λ for the largest eigenvalue: from this rate on gradient descent diverges; infinite without curvature."""
        return 2 / self.largest[0] if self.largest[0] > 0 else float("inf")

    def __str__(self) -> str:
        places = max(0, min(6, int(-np.log10(max(self.residual, 1e-30) / max(abs(self.largest[0]), 1e-30)))))

        def listed(values: Sequence[float]) -> str:
            return ", ".join(f"{v:.{max(places, 2)}g}" for v in values)

        close = f"each within {self.residual:.1g} of a true one" if self.residual else "exact but for rounding"
        rows = [
            f"loss {self.loss:.6g}, norm of its gradient {self.slope:.3g}, {self.size:,} elements",
            f"largest eigenvalues   {listed(self.largest)}",
            f"smallest eigenvalues  {listed(self.smallest)}",
            f"                      {close}, {self.products} products",
            f"trace                 {self.trace:.4g} ± {self.trace_error:.1g}, mean {self.trace / self.size:.3g}",
        ]
        if self.largest[0] > 0:
            rows.append(f"gradient descent      diverges for rates above {self.stable_rate:.3g} (2/largest)")
        if self.smallest[0] < -self.residual:
            rows.append("negative curvature    there are directions in which the loss bends down")
        return "\n".join(rows)

    __repr__ = __str__


def curvature(
    loss: Tensor, arrays: Mapping[str, npt.ArrayLike] = {}, *, parameters: Sequence[Parameter] | None = None,
    count: int = 3, iterations: int = 100, probes: int = 16, tolerance: float = 1e-4, seed: int = 0,
    threads: int | None = None,
) -> Curvature:  # fmt: skip
    """The `count` largest and smallest eigenvalues and the trace of ∂²loss/∂W², W being all trainable `parameters`.

    Lanczos' iteration ends when these eigenvalues are known to `tolerance`, relative to the largest of all, or after
    `iterations`; for at most as many elements it is exact. The trace is the mean of vᵀ·H·v over random signs v. Random
    numbers are drawn from `seed`. Layers compute as in a training step; parameters stay as they are.
    Raises DerivativeError for a loss that is not a scalar, NonFiniteError, InputError, GraphcError.
    """
    for name, given in (("count", count), ("iterations", iterations), ("probes", probes)):
        if given < 1:
            raise GraphcError(f"{name} is {given}, expected at least 1", hint=f"use {name}=1")
    leaves = trace(loss, training=True)
    if parameters is None:
        parameters = [leaves.parameters[name] for name in trained(leaves, None, loss)]
    space, wrt = Space(parameters), tuple(parameters)
    tangents = tangents_of(wrt, [loss])
    products = hessian_vector_product(loss, wrt, tangents)
    traced = trace([loss, *gradient(loss, wrt), *products], training=True).without_updates()
    program = compile_derivative(traced, as_it_is, threads)

    def run(v: Vector) -> list[npt.NDArray[np.float64]]:
        parts = zip((t.name for t in tangents), space.split(v), strict=True)
        return list(program(**arrays, **dict(parts)))

    def product(v: Vector) -> Vector:
        return space.join(run(v)[1 + len(wrt) :])

    value, *found = run(np.zeros(space.size))
    slope = space.join(found[: len(wrt)])
    if not (np.isfinite(value) and np.isfinite(slope).all()):
        raise NonFiniteError(f"the loss is {float(value)}: it has no curvature here", location=loss.location)
    generator = np.random.default_rng(seed)
    values, residuals = eigenvalues(product, space.size, count, iterations, max(tolerance, 8 * space.eps), generator)
    total, error = hutchinson(product, space.size, probes, generator)
    few = min(count, len(values))
    ends = residuals[-few:].max(), residuals[:few].max()
    return Curvature(
        float(value), sqrt(dot(slope, slope)), space.size, tuple(values[::-1][:few].tolist()),
        tuple(values[:few].tolist()), float(max(ends)), total, error, len(values) + min(probes, space.size),
    )  # fmt: skip


def eigenvalues(
    product: Matrix, size: int, count: int, iterations: int, tolerance: float, generator: np.random.Generator
) -> tuple[Vector, Vector]:
    """Eigenvalues of the matrix on the space that Lanczos' iteration has seen, in rising order, and their residuals."""
    basis = np.zeros((min(iterations, size), size))
    diagonal: list[float] = []
    beside: list[float] = []
    v = _orthogonal(generator.standard_normal(size), basis[:0])
    while True:
        k = len(diagonal)
        basis[k] = v
        image = product(v)
        diagonal.append(dot(v, image))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        scale = float(np.abs(values).max()) or 1.0
        rest = image - diagonal[-1] * v - (beside[-1] * basis[k - 1] if k else 0.0)
        for _ in range(2):  # once more, for what rounding has left
            rest = rest - np.einsum("ki,k->i", basis[: k + 1], np.einsum("ki,i->k", basis[: k + 1], rest))
        length = sqrt(dot(rest, rest))
        residuals = length * np.abs(vectors[-1])
        few = min(count, k + 1)
        known = max(residuals[:few].max(), residuals[-few:].max()) <= tolerance * scale
        if k + 1 == len(basis) or (known and k + 1 >= 2 * count and length > 1e-12 * scale):
            return values, residuals if k + 1 < size else np.zeros_like(values)
        if length <= 1e-12 * scale:  # all of an invariant space has been seen: go on in another one
            beside.append(0.0)
            v = _orthogonal(generator.standard_normal(size), basis[: k + 1])
        else:
            beside.append(length)
            v = rest / length


def hutchinson(product: Matrix, size: int, probes: int, generator: np.random.Generator) -> tuple[float, float]:
    """The trace and its standard error: Σ_i eᵢᵀ·H·eᵢ if these are no more than the probes."""
    if size <= probes:
        return float(sum(dot(unit, product(unit)) for unit in np.eye(size))), 0.0
    signs = 2.0 * generator.integers(0, 2, (probes, size)) - 1
    found = np.array([dot(v, product(v)) for v in signs])
    return float(found.mean()), float(found.std(ddof=1) / sqrt(probes)) if probes > 1 else float("inf")


def _orthogonal(v: Vector, basis: Vector) -> Vector:
    """The unit vector along what a vector has beside a basis."""
    for _ in range(2):
        v = v - np.einsum("ki,k->i", basis, np.einsum("ki,i->k", basis, v))
    return v / sqrt(dot(v, v))
