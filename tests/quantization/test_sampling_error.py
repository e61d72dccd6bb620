"""The factor on bounds for what few samples leave uncertain of all inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesplit_controller.graph.runner import open_session, run_session
from edgesplit_controller.quantization.calibration import Calibration, load_calibration
from edgesplit_controller.quantization.noise.noise_model import calibrate, model_noise
from edgesplit_controller.quantization.noise.pattern_runs import Measured, PatternRuns, measure_for
from edgesplit_controller.quantization.noise.sampling_error import sampling_factor
from edgesplit_controller.quantization.noise.segments import SegmentedModel
from edgesplit_controller.quantization.qdq import quantize
from tests.quantization.support import branched, imported
from tests.quantization.test_noise_patterns import predicted


def _measured(by_sample: NDArray[np.float64]) -> Measured:
    """Of samples, shape (samples, patterns)."""
    samples, patterns = by_sample.shape
    bits = np.ones((patterns, 1), np.bool_)
    deviations = by_sample.std(axis=0, ddof=1) if samples > 1 else np.zeros(patterns)
    return Measured(bits, by_sample.mean(axis=0)[:, np.newaxis], np.zeros(patterns, np.bool_), samples, deviations)


def test_samples_that_are_alike_leave_nothing_uncertain() -> None:
    assert sampling_factor(_measured(np.full((8, 5), 0.25))) == 1.0


def test_one_sample_tells_nothing_of_others_and_no_noise_needs_no_factor() -> None:
    assert sampling_factor(_measured(np.full((1, 5), 0.25))) == 1.0
    assert sampling_factor(_measured(np.zeros((8, 5)))) == 1.0


def test_more_samples_leave_less_uncertain() -> None:
    noise = np.random.default_rng(0).exponential(size=(32, 6))
    factors = [sampling_factor(_measured(noise[:count])) for count in (4, 8, 16, 32)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] < 1.6


@pytest.mark.parametrize("sigma", [0.3, 0.7])
@pytest.mark.parametrize("samples", [8, 16, 32])
def test_means_of_skewed_noise_are_rarely_above_their_bound(samples: int, sigma: float) -> None:
    random = np.random.default_rng(samples)
    draws = random.lognormal(sigma=sigma, size=(1000, samples, 1))
    covered = [sampling_factor(_measured(draw)) * draw.mean() >= np.exp(sigma**2 / 2) for draw in draws]
    assert np.mean(covered) >= 0.9


def test_predictions_bound_the_noise_of_inputs_that_differ_much_from_each_other(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    random = np.random.default_rng(4)
    plain = load_calibration(None, graph, samples=216).samples
    loud = [{name: array * np.float32(random.lognormal()) for name, array in sample.items()} for sample in plain]
    profile = model_noise(graph, blobs, chosen, Calibration(loud[:16], "user"))
    assert profile.report.sampling > 1.1
    measure, float_model = measure_for(graph), open_session(graph.proto, blobs)
    for names in (chosen, chosen[::2]):
        integer = open_session(quantize(graph, blobs, names, profile.ranges).proto, blobs)
        noise = np.mean(
            [
                measure.noise(*(run_session(session, graph.outputs, sample) for session in (float_model, integer)))
                for sample in loud[16:]
            ]
        )
        assert noise <= predicted(profile.model, set(names))


def test_a_moment_that_has_passed_leaves_the_first_few_samples_of_the_whole(tmp_path: Path) -> None:
    """Later rounds run on the same samples."""
    graph, blobs, chosen = imported(branched(), tmp_path, limit=3)
    calibration = load_calibration(None, graph, samples=12)
    segmented = SegmentedModel(graph, blobs, chosen, calibrate(graph, blobs, chosen, calibration))
    told: list[float] = []
    runs = PatternRuns(segmented, measure_for(graph), calibration.samples, workers=2, rows=4, progress=told.append)
    first = runs.of([1, 3], until_s=float("-inf"))
    assert first.shape == (8, 2, len(graph.outputs))
    assert runs.of([2, 4]).shape == first.shape
    assert 0 < max(told) <= 1
    alone = PatternRuns(segmented, measure_for(graph), calibration.samples[:8], workers=1, rows=4, progress=None)
    np.testing.assert_array_equal(alone.of([1, 3]), first)
