"""Single-index fit of noise: an additive level, and a monotone curve from it to the noise.

Owns: the choice of a scale on which noise adds up, the level fitted on it, and the curves with and without margin. Its rule:
scale and margins come from predictions of patterns that were not fitted. Not here: the direct polynomial (`regression`), the
choice between the two (`noise_model`).

Outputs that saturate answer a disturbance little, then suddenly: what operators add is additive on another scale than that of
the noise (its root, its logarithm). Which scale is asked of the data. On it a ridge regression gives a level; isotonic
regression says which noise a level has on average; and a band of levels has the margin that its own patterns need, so that
patterns of little noise are not charged what the noisiest may be off.

References: H. Ichimura, Semiparametric least squares (SLS) and weighted SLS estimation of single-index models, Journal of
Econometrics 58, 1993. R. E. Barlow et al., Statistical Inference under Order Restrictions, 1972 (isotonic regression).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit_controller.quantization.noise.pattern_runs import Measured
from edgesplit_controller.quantization.noise.regression import (
    Bits,
    Polynomial,
    affordable_degree,
    products,
    r_squared,
    sets_of,
)

__all__ = ["SingleIndex", "fit_single_index", "isotonic", "looseness", "noises_at"]

Vector = NDArray[np.float64]

FEWEST = 60
"""Patterns below which nothing is concluded from bands of them."""
_FOLDS = 5
_RIDGES = (3.0, 30.0, 300.0)
_RIDGE_GROWTH = 4.0
_IN_A_BAND = 100
_MOST_BANDS = 10
_POINTS_A_BAND = 3
_CONFIDENCE = 0.995
_STRATA = 3
_NEGLIGIBLE = 1e-6
_SMALL = 1e-3
"""Of the median noise: less counts as this much on a logarithmic scale."""

_SCALES: Mapping[str, Callable[[Vector, float], Vector]] = {
    "itself": lambda noise, _: noise,
    "square": lambda noise, _: noise**2,
    "root": lambda noise, _: np.sqrt(noise),
    "logarithm": lambda noise, typical: np.log(noise + _SMALL * typical),
    "coarse logarithm": lambda noise, typical: np.log(noise + 0.1 * typical),
}


@dataclass(frozen=True)
class SingleIndex:
    """Noise as a curve over a level.

    Attributes:
        level: Polynomial over quantization bits.
        expected: Noise of a level on average.
        bound: Noise of a level that about 99 % of patterns stay below.
        scale: On which the level was fitted.
        r2_train: Coefficient of determination of what is expected, on the patterns that were fitted.
        r2_test: On the patterns held out.
    """

    level: Polynomial
    expected: NoiseCurve
    bound: NoiseCurve
    scale: str
    r2_train: float
    r2_test: float

    def predict(self, bits: Bits) -> Vector:
        """The bound on the noise of patterns, shape (patterns,)."""
        return noises_at(self.bound, self.level.predict(bits))


@dataclass(frozen=True)
class _Candidate:
    """One scale, degree and ridge: levels of patterns by fits that did not see them, and the weights of the fit that saw all."""

    scale: str
    degree: int
    levels: Vector
    weights: Vector


def fit_single_index(measured: Measured, random: np.random.Generator) -> SingleIndex | None:
    """Fit level and curves.

    Args:
        measured: Patterns and their noise.
        random: Divides the patterns to cross-validate.

    Returns:
        What bounds the noise most tightly; None where patterns are too few, or all have the same noise.
    """
    train, rho = ~measured.held_out, measured.rho
    typical = float(np.median(rho))
    if train.sum() < FEWEST or not rho.min() < rho.max() or typical <= 0:
        return None
    best: tuple[float, _Candidate, NoiseCurve, NoiseCurve] | None = None
    for candidate in _candidates(measured, typical, random):
        expected, bound = _curves(candidate.levels, rho)
        loose = looseness(rho, noises_at(bound, candidate.levels))
        if best is None or loose < best[0]:
            best = loose, candidate, expected, bound
    if best is None:
        return None
    _, chosen, expected, bound = best
    level = _polynomial(chosen.weights, measured.bits.shape[1], chosen.degree)
    known = noises_at(expected, level.predict(measured.bits))
    test = measured.held_out if measured.held_out.any() else train
    return SingleIndex(
        level=level,
        expected=expected,
        bound=bound,
        scale=chosen.scale,
        r2_train=r_squared(rho[train], known[train]),
        r2_test=r_squared(rho[test], known[test]),
    )


def looseness(noise: Vector, bound: Vector) -> float:
    """How far bounds are above the noise of patterns: the mean logarithm of all, of the quietest third and tenth, averaged.

    Who sets a bound asks for less noise than int8 of everything has, so it is the quiet patterns that must not be charged much.
    """
    least = _SMALL * float(np.median(noise))
    over: Vector = np.log(np.maximum(bound, least) / np.maximum(noise, least))[np.argsort(noise, kind="stable")]
    return float(np.mean([over[: -(-len(over) // share)].mean() for share in (1, 3, 10)]))


def noises_at(curve: NoiseCurve, levels: Vector) -> Vector:
    """Noise at levels, shape as theirs."""
    return np.array([curve.near(level) for level in levels.tolist()])


def isotonic(values: Vector) -> Vector:
    """The rising sequence nearest to a sequence by least squares (pool adjacent violators)."""
    means: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        mean, size = value, 1
        while means and means[-1] > mean:
            size += sizes[-1]
            mean += (means.pop() - mean) * sizes.pop() / size
        means.append(mean)
        sizes.append(size)
    return np.repeat(means, sizes)


def _candidates(measured: Measured, typical: float, random: np.random.Generator) -> list[_Candidate]:
    """Every scale at every degree under every ridge."""
    train, count = ~measured.held_out, measured.bits.shape[1]
    names = list(_SCALES)
    targets = np.stack([scale(measured.rho, typical) for scale in _SCALES.values()], axis=1)
    targets = (targets - targets.mean(axis=0)) / np.maximum(targets.std(axis=0), 1e-300)
    fold = np.full(len(train), -1)
    fold[train] = random.permutation(int(train.sum())) % _FOLDS
    found: list[_Candidate] = []
    for degree in range(1, affordable_degree(count) + 1):
        sets = sets_of(count, degree)
        design = products(np.where(measured.bits, 1.0, -1.0), sets)
        sizes = np.array([len(members) for members in sets])
        for ridge in _RIDGES:
            penalty = np.where(sizes < 2, 1e-6, ridge * _RIDGE_GROWTH ** (sizes - 2.0))
            weights = _ridge(design[train], targets[train], penalty)
            levels = design @ weights
            for left_out in range(_FOLDS):
                seen = train & (fold != left_out)
                levels[fold == left_out] = design[fold == left_out] @ _ridge(design[seen], targets[seen], penalty)
            found += [_Candidate(name, degree, levels[:, place], weights[:, place]) for place, name in enumerate(names)]
    return found


def _ridge(design: Vector, targets: Vector, penalty: Vector) -> Vector:
    """Weights of every product for every target."""
    gram = design.T @ design + np.diag(penalty)
    return np.linalg.solve(gram, design.T @ targets).astype(np.float64)


def _curves(levels: Vector, rho: Vector) -> tuple[NoiseCurve, NoiseCurve]:
    """What noise a level has on average, and what about 99 % stay below; margins belong to bands of levels."""
    order = np.argsort(levels, kind="stable")
    levels, rho = levels[order], rho[order]
    bands = int(np.clip(len(rho) // _IN_A_BAND, 1, _MOST_BANDS))
    shares = np.linspace(0.0, 1.0, bands + 1)
    if bands > 1:  # the quietest are few, and far from each other
        shares = np.union1d(shares, shares[1] * np.array([0.3, 0.6]))
    edges: Vector = np.unique(np.quantile(levels, shares))
    if len(edges) < 2:  # every pattern has the same level
        return _flat(edges[0], rho.mean()), _flat(edges[0], rho.max())
    steps = np.arange(_POINTS_A_BAND * (len(edges) - 1) + 1) / _POINTS_A_BAND
    points: Vector = np.unique(np.interp(steps, np.arange(len(edges)), edges))
    mean: Vector = np.interp(points, levels, isotonic(rho)).clip(min=_NEGLIGIBLE * float(rho.max()))
    place = np.clip(np.searchsorted(edges, levels, side="right") - 1, 0, len(edges) - 2)
    ratio = rho / np.interp(levels, points, mean)
    largest, furthest = (
        np.interp(points, edges, _at_edges(np.array([_upper(values[place == band]) for band in range(len(edges) - 1)])))
        for values in (rho, ratio)
    )
    bound: Vector = np.maximum(np.minimum(largest, mean * furthest), mean)
    bound = np.maximum.accumulate(bound)
    over = rho / np.interp(levels, points, bound)
    bound = bound * max(1.0, *(_upper(stratum) for stratum in np.array_split(over, _STRATA)))
    told = tuple(points.tolist())
    return NoiseCurve(levels=told, noises=tuple(mean.tolist())), NoiseCurve(levels=told, noises=tuple(bound.tolist()))


def _flat(level: float, noise: float) -> NoiseCurve:
    return NoiseCurve(levels=(float(level),), noises=(float(noise),))


def _upper(values: Vector) -> float:
    return float(np.quantile(values, _CONFIDENCE, method="higher")) if len(values) else 0.0


def _at_edges(bands: Vector) -> Vector:
    """What covers both bands that meet at each edge."""
    covering: Vector = np.maximum(np.concatenate([bands[:1], bands]), np.concatenate([bands, bands[-1:]]))
    return covering


def _polynomial(weights: Vector, candidates: int, degree: int) -> Polynomial:
    """Products of signs as products of bits: a sign is twice the bit less 1."""
    sets = sets_of(candidates, degree)
    found = dict.fromkeys(sets, 0.0)
    for members, weight in zip(sets, weights.tolist(), strict=True):
        for size in range(len(members) + 1):
            part = weight * 2.0**size * (-1.0) ** (len(members) - size)
            for subset in itertools.combinations(members, size):
                found[subset] += part
    least = _NEGLIGIBLE * sum(map(abs, weights[1:].tolist()))
    kept = tuple((members, value) for members, value in found.items() if members and abs(value) > least)
    return Polynomial(found[()], kept, degree)
