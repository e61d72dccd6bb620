"""The interaction polynomial of noise over quantization bits.

Owns: fitting. Its rule: numpy in, numpy out; every random choice comes from the caller's generator. Not here:
running models, naming operators.

Noise of independent sources adds in squares, so the square of an output's noise is a smooth function of the bits
that few measured patterns determine. The planner needs a polynomial of the noise itself. Therefore two steps: a
ridge regression of the squared noise on products of signs (bits as -1 and 1, where a product's weight falls with its
degree, and the degree is the one that best predicts every fifth pattern from the others) fills in the patterns that were not measured; least squares then project measured and filled-in noise onto
the polynomial over 0 and 1 that the planner takes.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bits",
    "Polynomial",
    "affordable_degree",
    "fill_in",
    "fit_polynomial",
    "products",
    "r_squared",
    "sets_of",
]

Bits = NDArray[np.bool_]
"""Patterns, shape (patterns, candidates)."""
Vector = NDArray[np.float64]

_SURROGATE_DEGREE = 3
_RIDGE = 1.0
_RIDGE_GROWTH = 4.0
_NEGLIGIBLE = 1e-5
_MOST_TERMS = 1500
_CHECK_EVERY = 5


@dataclass(frozen=True)
class Polynomial:
    """Noise as intercept plus a coefficient for each set of quantized candidates.

    Attributes:
        intercept: Noise of any quantized pattern.
        coefficients: Sets of candidate indices, in rising order, and what each adds.
        degree: The largest set allowed.
    """

    intercept: float
    coefficients: tuple[tuple[tuple[int, ...], float], ...]
    degree: int

    def predict(self, bits: Bits) -> Vector:
        """Noise of patterns, shape (patterns,)."""
        noise = np.full(len(bits), self.intercept)
        for members, coefficient in self.coefficients:
            noise += coefficient * bits[:, list(members)].all(axis=1)
        return noise

    def scaled(self, share: float) -> Polynomial:
        """A share of it; with none of it left, no terms."""
        kept = tuple((members, share * value) for members, value in self.coefficients) if share > 0 else ()
        return Polynomial(share * self.intercept, kept, self.degree)

    def raised(self, margin: float) -> Polynomial:
        """The same with a margin on the intercept."""
        return Polynomial(self.intercept + margin, self.coefficients, self.degree)


def r_squared(measured: Vector, predicted: Vector) -> float:
    """Coefficient of determination; 1.0 when there is no variance to explain and nothing is missed."""
    residual = float(((measured - predicted) ** 2).sum())
    total = float(((measured - measured.mean()) ** 2).sum()) if len(measured) else 0.0
    if total <= 1e-12 * max(float((measured**2).sum()), 1e-300):
        return 1.0
    return 1.0 - residual / total


def affordable_degree(candidates: int) -> int:
    """Return the highest degree, at most 3, whose number of terms can be fitted and planned with."""
    degree = 1
    while degree < min(_SURROGATE_DEGREE, candidates):
        terms = sum(math.comb(candidates, size) for size in range(degree + 2))
        if terms > _MOST_TERMS:
            break
        degree += 1
    return degree


def sets_of(candidates: int, degree: int) -> list[tuple[int, ...]]:
    """Sets of at most so many candidates, the empty one first."""
    return [members for size in range(degree + 1) for members in itertools.combinations(range(candidates), size)]


def products(values: NDArray[np.float64], sets: list[tuple[int, ...]]) -> NDArray[np.float64]:
    """The product of a row's values over each set, shape (rows, sets)."""
    columns = np.ones((len(values), len(sets)))
    for index, members in enumerate(sets):
        for member in members:
            columns[:, index] *= values[:, member]
    return columns


def fill_in(bits: Bits, noise: NDArray[np.float64], wanted: Bits) -> Vector:
    """Estimate the noise of patterns from that of others.

    Args:
        bits: Measured patterns, shape (measured, candidates).
        noise: Their noise at each output, shape (measured, outputs).
        wanted: Patterns to estimate, shape (wanted, candidates).

    Returns:
        Mean noise over the outputs, shape (wanted,).
    """
    check = np.arange(len(bits)) % _CHECK_EVERY == _CHECK_EVERY - 1
    errors = [
        float(((_estimate(bits[~check], noise[~check], bits[check], degree) - noise[check].mean(axis=1)) ** 2).sum())
        for degree in range(1, affordable_degree(bits.shape[1]) + 1)
    ]
    # The first of equals: too few patterns to tell (no errors at all) make the simplest choice, sums of squares.
    return _estimate(bits, noise, wanted, 1 + int(np.argmin(errors)))


def _estimate(bits: Bits, noise: NDArray[np.float64], wanted: Bits, degree: int) -> Vector:
    """Ridge regression of squared noise at each output, and the mean of the roots."""
    sets = sets_of(bits.shape[1], degree)
    design = products(np.where(bits, 1.0, -1.0), sets)
    sizes = np.array([len(members) for members in sets])
    penalty = np.where(sizes < 2, 1e-6, _RIDGE * _RIDGE_GROWTH ** (sizes - 2.0))
    scale = np.maximum((noise**2).max(axis=0), 1e-300)
    gram = design.T @ design + np.diag(penalty)
    weights = np.linalg.solve(gram, design.T @ (noise**2 / scale))
    squares = products(np.where(wanted, 1.0, -1.0), sets) @ weights
    estimates: Vector = (np.sqrt(np.maximum(squares, 0.0)) * np.sqrt(scale)).mean(axis=1)
    return estimates


def fit_polynomial(bits: Bits, noise: Vector, degree: int) -> Polynomial:
    """Least squares over products of bits.

    Args:
        bits: Patterns, shape (patterns, candidates).
        noise: Their noise, shape (patterns,).
        degree: Largest number of candidates in one product.

    Returns:
        The polynomial; terms that never matter are left out.
    """
    sets = sets_of(bits.shape[1], degree)
    solution = np.linalg.lstsq(products(bits.astype(np.float64), sets), noise, rcond=None)[0]
    least = _NEGLIGIBLE * float(np.abs(noise).max(initial=0.0))
    kept = tuple(
        (members, float(value)) for members, value in zip(sets, solution, strict=True) if members and abs(value) > least
    )
    return Polynomial(float(solution[0]), kept, degree)
