"""Noise model: output noise as a function of what is quantized.

Owns: the way from candidates and samples to the planner's noise model. Its rule: a noise model is conservative, and
its noise comes from samples that set no range. What it predicts
are bounds for inputs to come, not for the samples. Not here: running patterns (`pattern_runs`), choosing plans, checking served requests.

Noise is predicted as a polynomial where that fits. Where it does not (outputs that saturate), the polynomial is fitted on the
scale on which noise adds up, and a curve leads from it to noise (`single_index`). Of the two the one is taken whose bounds are
tighter. Outputs of few numbers leave noise to a few chances, which no form fits: made-up samples are then drawn anew, many more.
What samples leave uncertain of the mean over all inputs is a factor on every bound (`sampling_error`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgesplit.daemon.heap import trim_heap
from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.output_noise import Measure
from edgesplit.planning.problem import NoiseModel, NoiseTerm
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.quantization.calibration import Calibration, Sample, further_samples, split
from edgesplit_controller.quantization.noise.pattern_runs import Measured, measure_patterns
from edgesplit_controller.quantization.noise.regression import (
    Polynomial,
    affordable_degree,
    fill_in,
    fit_polynomial,
    r_squared,
)
from edgesplit_controller.quantization.noise.sampling_error import sampling_factor
from edgesplit_controller.quantization.noise.single_index import fit_single_index, looseness, noises_at
from edgesplit_controller.quantization.qdq import Ranges
from edgesplit_controller.quantization.ranges import activation_ranges
from edgesplit_controller.quantization.sites import observed_tensors

__all__ = ["FEW_SAMPLES", "NO_NOISE", "POOR_R2", "NoiseFit", "NoiseProfile", "calibrate", "model_noise"]

_DEGREES = (1, 2, 3)
_GOOD_R2 = 0.995
POOR_R2 = 0.8
"""Fits below it are tried again on more samples, where those can be made up."""
FEW_SAMPLES = 2.0
"""Sampling factors above it are measured again on more samples, where those can be made up."""
_MORE_BUDGET_S = 30.0
_TIGHTER = 0.05
"""By how much a curve's bounds must be tighter than those of a direct polynomial, as a logarithm, to be worth having."""
_CONFIDENCE = 0.995
_STRATA = 3
_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
_ALL_PATTERNS_UP_TO = 12
_FILLED_IN = 4096
_LISTED_UP_TO = 16
"""Candidates up to which every pattern is asked for the least noise."""


@dataclass(frozen=True)
class NoiseFit:
    """How the noise model came about.

    Attributes:
        degree: Of the polynomial; 0 without candidates.
        r2_train: Coefficient of determination on the patterns that were fitted.
        r2_test: On the patterns held out (on all when there are too few to hold any out).
        seconds: Spent on calibration, measuring and fitting. [s]
        patterns: Measured patterns.
        samples: Held-out samples each pattern was measured on.
        margin: Added, so that measured noise stays below the prediction for about 99 %: to the intercept, or under a curve
            on average over the measured patterns.
        full_noise: Measured noise with every candidate quantized.
        least_noise: The least that is predicted of any pattern: no bound below it admits int8.
        form: `polynomial`, or the scale on which the polynomial adds up under a curve.
        sampling: Factor of every bound, for what the samples leave uncertain of the mean over all inputs.
    """

    degree: int
    r2_train: float
    r2_test: float
    seconds: float
    patterns: int
    samples: int
    margin: float
    full_noise: float
    least_noise: float = 0.0
    form: str = "polynomial"
    sampling: float = 1.0


@dataclass(frozen=True)
class NoiseProfile:
    """What calibration and noise modelling yield.

    Attributes:
        model: For the planner; its terms name candidates.
        report: For people.
        ranges: Activation ranges that `quantize` takes for any subset of the candidates.
        measured: What the model was fitted to and tested on; None without candidates.
        expected: The same without margin and factor; None without candidates.
    """

    model: NoiseModel
    report: NoiseFit
    ranges: Ranges
    measured: Measured | None = None
    expected: NoiseModel | None = None


@dataclass(frozen=True)
class _Fit:
    """One form of the noise model.

    Attributes:
        level: The polynomial.
        expected: Noise of its value on average; None: the value less the margin.
        bound: Noise of its value; None: the value itself.
        r2_train: Coefficient of determination without margin, on the patterns that were fitted.
        r2_test: On patterns held out.
        margin: In the intercept, or on average.
        form: Its name.
    """

    level: Polynomial
    expected: NoiseCurve | None
    bound: NoiseCurve | None
    r2_train: float
    r2_test: float
    margin: float
    form: str

    def predict(self, bits: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Noise of patterns, shape (patterns,)."""
        level = self.level.predict(bits)
        return level if self.bound is None else noises_at(self.bound, level)


NO_NOISE = NoiseProfile(NoiseModel(intercept=0.0, terms=()), NoiseFit(0, 1.0, 1.0, 0.0, 0, 0, 0.0, 0.0), {})
"""Of a model without candidates."""


def calibrate(
    graph: ModelGraph, blobs: BlobStore, candidates: Sequence[str], calibration: Calibration
) -> dict[str, tuple[float, float]]:
    """Activation ranges of the candidates' tensors on the calibration part of the samples.

    Raises:
        InvalidModel: A candidate has no int8 form.
        InvalidCalibration: A sample drives the model to NaN or infinity.
    """
    inside, _ = split(calibration)
    return activation_ranges(graph, blobs, inside, observed_tensors(graph.proto, candidates))


def model_noise(
    graph: ModelGraph,
    blobs: BlobStore,
    candidates: Sequence[str],
    calibration: Calibration,
    *,
    progress: Callable[[float], None] | None = None,
    seed: int = 0,
    patterns: int | None = None,
    budget_s: float = 90.0,
    measure: Measure | None = None,
) -> NoiseProfile:
    """Model the noise of every subset of the candidates.

    Args:
        graph: The float model.
        blobs: Where its weights lie and the int8 ones go.
        candidates: Operators that may be quantized.
        calibration: Samples; a part sets the ranges, the rest measures noise.
        progress: Told the finished fraction, 0 to 1, now and then, from worker threads.
        seed: Of the patterns.
        patterns: How many to measure; by default as many as fit the budget, at most 1,000.
        budget_s: Aim for the time of measuring. [s]
        measure: What noise is; None for rho.

    Returns:
        Noise model, report and ranges. Without candidates the noise is always 0.

    Raises:
        InvalidModel: A candidate has no int8 form, or no output can be compared.
        InvalidCalibration: A sample drives the model to NaN or infinity.
        InvalidMetric: The measure's metric failed.
    """
    started = time.monotonic()
    if not candidates:
        return NO_NOISE
    ranges = calibrate(graph, blobs, candidates, calibration)
    trim_heap()
    position = {node.name: index for index, node in enumerate(graph.proto.graph.node)}
    ordered = sorted(candidates, key=position.__getitem__)

    def measured_on(samples: Sequence[Sample], budget_s: float) -> Measured:
        return measure_patterns(
            graph,
            blobs,
            ordered,
            ranges,
            samples,
            progress=progress,
            random=np.random.default_rng(seed),
            patterns=patterns,
            budget_s=budget_s,
            measure=measure,
        )

    measured = measured_on(split(calibration)[1], budget_s)
    trim_heap()
    fit = _fitted(measured, seed)
    poor = fit.r2_test < POOR_R2 or sampling_factor(measured) > FEW_SAMPLES
    if poor and len(more := further_samples(calibration, graph)) > measured.samples:
        again = measured_on(more, min(_MORE_BUDGET_S, budget_s))
        if again.samples > measured.samples:
            measured, fit = again, _fitted(again, seed)
    factor = sampling_factor(measured)
    every = _patterns_of(len(ordered), measured)
    report = NoiseFit(
        degree=fit.level.degree,
        r2_train=fit.r2_train,
        r2_test=fit.r2_test,
        seconds=time.monotonic() - started,
        patterns=len(measured.bits),
        samples=measured.samples,
        margin=fit.margin,
        full_noise=float(measured.rho[measured.bits.all(axis=1)][0]),
        least_noise=max(0.0, factor * float(fit.predict(every).min())),
        form=fit.form,
        sampling=factor,
    )
    plain = fit.level if fit.expected is not None else fit.level.raised(-fit.margin)
    level, bound = (fit.level.scaled(factor), None) if fit.bound is None else (fit.level, fit.bound.louder(factor))
    return NoiseProfile(_named(level, bound, ordered), report, ranges, measured, _named(plain, fit.expected, ordered))


def _fitted(measured: Measured, seed: int) -> _Fit:
    """The form with the tighter bounds, the direct one where there is little between them."""
    polynomial, r2_train, r2_test = fit_noise(measured, np.random.default_rng(seed))
    polynomial, margin = conservative(measured, polynomial)
    direct = _Fit(polynomial, None, None, r2_train, r2_test, margin, "polynomial")
    index = fit_single_index(measured, np.random.default_rng(seed))
    if index is None:
        return direct
    level = index.level.predict(measured.bits)
    margin = float((noises_at(index.bound, level) - noises_at(index.expected, level)).mean())
    curved = _Fit(index.level, index.expected, index.bound, index.r2_train, index.r2_test, margin, index.scale)
    gain = looseness(measured.rho, direct.predict(measured.bits)) - looseness(
        measured.rho, curved.predict(measured.bits)
    )
    return curved if gain > _TIGHTER else direct


def _named(polynomial: Polynomial, curve: NoiseCurve | None, names: Sequence[str]) -> NoiseModel:
    terms = tuple(
        NoiseTerm(operators=tuple(names[member] for member in members), coefficient=coefficient)
        for members, coefficient in polynomial.coefficients
    )
    return NoiseModel(intercept=polynomial.intercept, terms=terms, curve=curve)


def _patterns_of(candidates: int, measured: Measured) -> NDArray[np.bool_]:
    """Every pattern, or those that were measured (each candidate alone among them) where there are too many."""
    if candidates > _LISTED_UP_TO:
        return measured.bits
    return (np.arange(1, 1 << candidates)[:, np.newaxis] >> np.arange(candidates) & 1).astype(np.bool_)


def fit_noise(measured: Measured, random: np.random.Generator) -> tuple[Polynomial, float, float]:
    """Fit the polynomial of the least degree that does.

    Args:
        measured: Patterns and their noise.
        random: Chooses which patterns to fill in when there are too many for all.

    Returns:
        The polynomial, and its coefficients of determination on fitted and on held-out patterns.
    """
    train, test = ~measured.held_out, measured.held_out
    if not test.any():
        test = train
    bits, noise = completed(measured, random)
    best: tuple[Polynomial, float, float] | None = None
    for degree in _DEGREES:
        if degree > affordable_degree(measured.bits.shape[1]):
            break
        polynomial = fit_polynomial(bits, noise, degree)
        predicted = polynomial.predict(measured.bits)
        r2_train = r_squared(measured.rho[train], predicted[train])
        r2_test = r_squared(measured.rho[test], predicted[test])
        if best is None or r2_test > best[2]:
            best = polynomial, r2_train, r2_test
        if r2_test >= _GOOD_R2:
            break
    assert best is not None  # noqa: S101 - there is at least one candidate, hence degree 1
    return best


def completed(measured: Measured, random: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Fitted patterns with their measured noise, and others with an estimate."""
    train = ~measured.held_out
    bits, rho = measured.bits[train], measured.rho[train]
    candidates = bits.shape[1]
    if candidates <= _ALL_PATTERNS_UP_TO:
        others = (np.arange(1, 1 << candidates)[:, np.newaxis] >> np.arange(candidates) & 1).astype(np.bool_)
    else:
        others = random.random((_FILLED_IN, candidates)) < random.random((_FILLED_IN, 1))
    known = {row.tobytes() for row in bits} | {np.zeros(candidates, np.bool_).tobytes()}
    others = others[[row.tobytes() not in known for row in others]]
    if not len(others):
        return bits, rho
    estimates = fill_in(bits, measured.noise[train], others)
    return np.concatenate([bits, others]), np.concatenate([rho, estimates])


def conservative(measured: Measured, polynomial: Polynomial) -> tuple[Polynomial, float]:
    """Raise a fit until measured noise stays below it, at the least cost.

    A fit that explains little needs a margin beyond the noise of any pattern, and no plan in int8 would ever be
    predicted to keep a bound. So the fit is also tried flatter, down to a constant: the worst that was measured. Each is
    raised as far as it must be, and the one that predicts least on average is taken. A good fit is taken as it is.

    Args:
        measured: All measured patterns.
        polynomial: The fit.

    Returns:
        What to predict with, and the margin in its intercept; that is never above the worst that was measured.
    """
    found: list[tuple[float, Polynomial, float]] = []
    for share in _SHARES:
        flatter = polynomial.scaled(share)
        margin = safety_margin(measured, flatter) if share > 0 else float(measured.rho.max())
        raised = flatter.raised(margin)
        found.append((float(raised.predict(measured.bits).mean()), raised, margin))
    _, chosen, margin = min(found, key=lambda entry: entry[0])
    return chosen, margin


def safety_margin(measured: Measured, polynomial: Polynomial) -> float:
    """What the intercept must rise by for measured noise to stay below the prediction.

    The residuals' upper quantile is taken in bands of equal prediction, and the largest counts: a bound on the noise
    selects patterns of one band, where the fit may be worse than on average.

    Args:
        measured: All measured patterns.
        polynomial: The fit.

    Returns:
        The margin, not negative.
    """
    predicted = polynomial.predict(measured.bits)
    order = np.argsort(predicted, kind="stable")
    residuals = (measured.rho - predicted)[order]
    quantiles = [
        float(np.quantile(band, _CONFIDENCE, method="higher"))
        for band in np.array_split(residuals, _STRATA)
        if len(band)
    ]
    return max(0.0, *quantiles)
