"""Noise that does not add up as it is: the scale on which it does, the curve, and what bounds become of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit_controller.quantization.calibration import Calibration, further_samples, load_calibration, split
from edgesplit_controller.quantization.noise.noise_model import conservative, fit_noise, model_noise
from edgesplit_controller.quantization.noise.pattern_runs import Measured, measure_for
from edgesplit_controller.quantization.noise.single_index import fit_single_index, isotonic, looseness
from tests.quantization.saturation import saturated
from tests.quantization.support import branched, imported
from tests.quantization.test_noise_patterns import every_pattern, label_changes, predicted


def flips(candidates: int = 10, *, scatter: float = 0.1, seed: int = 3) -> tuple[Measured, np.ndarray, np.ndarray]:
    """Noise of saturated outputs: disturbances add up in variance, and few outputs flip until that is large.

    Returns:
        Half of the patterns, a seventh of them held out; the other half and its noise.
    """
    random = np.random.default_rng(seed)
    bits = every_pattern(candidates)
    variance = bits @ random.lognormal(0.0, 1.0, candidates)
    noise = np.exp(-30.0 / variance + scatter * random.normal(0, 1, len(bits)))
    order = random.permutation(len(bits))
    seen, unseen = order[: len(bits) // 2], order[len(bits) // 2 :]
    everything = np.array([len(bits) - 1])
    seen = np.union1d(seen, everything)
    held = random.random(len(seen)) < 0.15
    held[bits[seen].all(axis=1)] = False
    same = np.zeros(len(seen))
    return Measured(bits[seen], noise[seen][:, np.newaxis], held, 4, same), bits[unseen], noise[unseen]


def test_noise_of_flips_is_bounded_far_more_tightly_than_by_a_direct_polynomial() -> None:
    measured, bits, noise = flips()
    direct, _ = conservative(measured, fit_noise(measured, np.random.default_rng(0))[0])
    index = fit_single_index(measured, np.random.default_rng(0))
    assert index is not None
    assert (index.predict(bits) >= noise).mean() >= 0.97
    assert looseness(noise, index.predict(bits)) < 0.5 * looseness(noise, direct.predict(bits))
    assert index.r2_test > 0.9


def test_quiet_patterns_get_small_margins() -> None:
    """At three times its noise, most quiet patterns that were never measured may run; the direct margin is above them."""
    measured, bits, noise = flips()
    direct, margin = conservative(measured, fit_noise(measured, np.random.default_rng(0))[0])
    index = fit_single_index(measured, np.random.default_rng(0))
    assert index is not None
    quiet = noise <= np.quantile(noise, 0.5)
    assert (index.predict(bits[quiet]) <= 3 * noise[quiet]).mean() > 0.6
    assert (direct.predict(bits[quiet]) <= 3 * noise[quiet]).mean() < 0.2
    assert margin > np.quantile(noise, 0.2)


def test_curves_rise_and_no_bound_is_beyond_what_was_measured_by_much() -> None:
    measured, _, _ = flips(scatter=0.5)
    index = fit_single_index(measured, np.random.default_rng(0))
    assert index is not None
    assert index.bound.rises() and index.expected.rises()
    assert max(index.predict(every_pattern(10))) <= 2 * measured.rho.max()


def test_too_few_patterns_or_equal_noise_make_no_curve() -> None:
    few, _, _ = flips(6)
    assert fit_single_index(few, np.random.default_rng(0)) is None
    measured, _, _ = flips()
    same = Measured(measured.bits, np.ones_like(measured.noise), measured.held_out, 4, measured.deviations)
    assert fit_single_index(same, np.random.default_rng(0)) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
def test_isotonic_regression_rises_and_keeps_the_mean(values: list[float]) -> None:
    fitted = isotonic(np.array(values))
    assert (np.diff(fitted) >= -1e-9).all()
    assert fitted.mean() == pytest.approx(np.mean(values), abs=1e-6)


def test_what_rises_already_is_kept() -> None:
    assert isotonic(np.array([1.0, 2.0, 2.0, 5.0])).tolist() == [1.0, 2.0, 2.0, 5.0]


def test_a_saturated_model_offers_int8_at_little_above_the_noise_of_quiet_patterns(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(saturated("softmax", depth=8, sharpness=30.0), tmp_path, limit=8)
    profile = model_noise(graph, blobs, chosen, load_calibration(None, graph), patterns=220)
    assert profile.measured is not None
    quietest = float(profile.measured.rho.min())
    assert profile.report.least_noise <= 2.5 * quietest
    names = sorted(chosen, key=[node.name for node in graph.proto.graph.node].index)
    unders = [
        rho <= predicted(profile.model, {name for name, bit in zip(names, row, strict=True) if bit}) * (1 + 1e-9)
        for row, rho in zip(profile.measured.bits, profile.measured.rho, strict=True)
    ]
    assert np.mean(unders) >= 0.98


def test_a_poor_fit_is_tried_again_on_more_samples_where_they_are_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On few samples, which labels change is chance; how poor a fit that makes depends on the machine's kernels."""
    monkeypatch.setattr("edgesplit_controller.quantization.noise.noise_model.POOR_R2", 1.0)
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=8)
    own = Calibration(calibration.samples, "user")
    measure = measure_for(graph, label_changes, "mine:label_changes")
    few, more = (model_noise(graph, blobs, chosen, c, patterns=100, measure=measure) for c in (own, calibration))
    assert (few.report.samples, more.report.samples) == (4, 32)
    assert more.report.r2_test > few.report.r2_test


def test_samples_that_measure_noise_set_no_range(tmp_path: Path) -> None:
    graph, _, _ = imported(saturated("pooled", depth=2, sharpness=1.0), tmp_path)
    samples = load_calibration(None, graph, samples=200).samples
    inside, held = split(Calibration(samples, "user"))
    assert (len(inside), len(held)) == (168, 32)
    assert not {id(sample) for sample in inside} & {id(sample) for sample in held}
    assert not further_samples(Calibration(samples, "user"), graph)
