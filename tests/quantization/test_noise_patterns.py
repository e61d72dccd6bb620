"""Segments, patterns and the fit of the noise polynomial."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgesplit.errors import InvalidCalibration, InvalidMetric, InvalidModel
from edgesplit.planning.output_noise import Measure, output_noise
from edgesplit.planning.problem import NoiseModel
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.quantization.calibration import Calibration, Sample, load_calibration, split
from edgesplit_controller.quantization.noise import segments
from edgesplit_controller.quantization.noise.noise_model import (
    calibrate,
    conservative,
    fit_noise,
    model_noise,
    safety_margin,
)
from edgesplit_controller.quantization.noise.pattern_runs import Measured, measure_for
from edgesplit_controller.quantization.noise.patterns import always_measured, choose_patterns, in_tree_order
from edgesplit_controller.quantization.noise.regression import (
    Polynomial,
    affordable_degree,
    fill_in,
    fit_polynomial,
    r_squared,
)
from edgesplit_controller.quantization.noise.segments import SegmentedModel, dependencies
from edgesplit_controller.quantization.qdq import QuantizedModel, quantize
from tests.quantization.support import Network, branched, imported, run


def every_pattern(candidates: int) -> np.ndarray:
    return (np.arange(1, 1 << candidates)[:, np.newaxis] >> np.arange(candidates) & 1).astype(np.bool_)


def predicted(model: NoiseModel, chosen: set[str]) -> float:
    level = model.intercept + sum(term.coefficient for term in model.terms if set(term.operators) <= chosen)
    return level if model.curve is None else model.curve.near(level)


def measure_noise(
    graph: ModelGraph,
    blobs: BlobStore,
    quantized: QuantizedModel,
    samples: Sequence[Sample],
    measure: Measure | None = None,
) -> float:
    """The noise of one quantized model, measured by running it whole.

    Args:
        graph: The float model.
        blobs: Where the weights of both lie.
        quantized: The quantized model.
        samples: Inputs.
        measure: How outputs are compared; None for rho.

    Returns:
        Mean over the samples.
    """
    measure = measure or measure_for(graph)
    exact, noisy = open_session(graph.proto, blobs), open_session(quantized.proto, blobs)
    names = list(graph.outputs)

    def outputs(session: Any, sample: Sample) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(sample)), strict=True))

    return float(np.mean([measure.noise(outputs(exact, sample), outputs(noisy, sample)) for sample in samples]))


def test_nodes_depend_on_the_candidates_on_a_path_to_them(tmp_path: Path) -> None:
    graph, _, _ = imported(branched(), tmp_path)
    found = dependencies(graph.proto, ["left", "right", "row1"])
    assert {name: found[name] for name in ("stem", "left", "right.mul", "depth", "join", "row1", "head")} == {
        "stem": 0,
        "left": 0b001,
        "right.mul": 0b010,
        "depth": 0b010,
        "join": 0b011,
        "row1": 0b111,
        "head": 0b111,
    }


def test_segments_give_what_each_whole_quantized_model_gives(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=4)
    ranges = calibrate(graph, blobs, chosen, calibration)
    sample = calibration.samples[0]
    parts = SegmentedModel(graph, blobs, chosen, ranges).start(sample)
    for pattern in (0, 1, 0b11111111, 0b10101010, 0b00110011, 0b01010001, 0b10101010):
        names = [name for bit, name in enumerate(chosen) if pattern >> bit & 1]
        whole = run(quantize(graph, blobs, names, ranges).proto, blobs, dict(sample))
        for one, other in zip(whole, parts.outputs(pattern), strict=True):
            # Where fusion differs, a value may tip over to the next of 256 integers here and there.
            assert float(np.abs(one - other).mean()) <= 1e-3 * float(np.abs(one).max())


def test_a_small_cache_changes_no_result(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=4)
    model = SegmentedModel(graph, blobs, chosen, calibrate(graph, blobs, chosen, calibration))
    roomy, tight = (model.start(calibration.samples[0], cache_bytes=size) for size in (1 << 30, 1))
    for pattern in (3, 255, 7, 3, 128):
        for one, other in zip(roomy.outputs(pattern), tight.outputs(pattern), strict=True):
            assert np.array_equal(one, other)


def test_tensors_of_segments_that_lie_in_a_file_change_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=4)
    ranges, sample = calibrate(graph, blobs, chosen, calibration), calibration.samples[0]
    held = SegmentedModel(graph, blobs, chosen, ranges).start(sample)
    monkeypatch.setattr(segments, "HELD_BYTES", 0)
    monkeypatch.setattr(segments, "FILED_BYTES", 0)
    filed = SegmentedModel(graph, blobs, chosen, ranges).start(sample)
    for pattern in (3, 255, 7, 3, 0, 128, 255):
        for one, other in zip(held.outputs(pattern), filed.outputs(pattern), strict=True):
            assert np.array_equal(one, other)
    assert held.used_bytes > 0
    assert filed.used_bytes == 0


def test_tensors_that_are_no_numbers_never_cross_segments(tmp_path: Path) -> None:
    net = Network()
    first = net.conv("first", "image", (3, 4))
    net.add("SequenceConstruct", "pair", ["image", "image"])
    joined = net.add("ConcatFromSequence", "joined", ["pair.out"], axis=1)
    net.conv("second", net.add("Concat", "both", [joined, first], axis=1), (10, 2))
    graph, blobs, chosen = imported(net.proto((1, 3, 8, 8), {"second.out": (1, 2, 8, 8)}), tmp_path)
    profile = model_noise(graph, blobs, chosen, load_calibration(None, graph, samples=4))
    assert profile.report.full_noise > 0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 14), st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_patterns_are_distinct_and_hold_the_ones_always_measured(candidates: int, count: int, seed: int) -> None:
    chosen = choose_patterns(candidates, count, np.random.default_rng(seed))
    everything = (1 << candidates) - 1
    assert len(set(chosen)) == len(chosen)
    assert all(0 < pattern <= everything for pattern in chosen)
    assert set(always_measured(candidates)) <= set(chosen)
    assert len(chosen) == max(min(count, everything), len(always_measured(candidates)))


def test_tree_order_keeps_patterns_with_the_same_early_bits_together() -> None:
    assert in_tree_order([1, 2, 3, 4, 5, 6, 7], 3) == [4, 2, 6, 1, 5, 3, 7]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_polynomial_is_found_again(candidates: int, degree: int, seed: int) -> None:
    bits = every_pattern(candidates)
    random = np.random.default_rng(seed)
    truth = fit_polynomial(bits, random.random(len(bits)), min(degree, candidates))
    again = fit_polynomial(bits, truth.predict(bits), min(degree, candidates))
    assert np.allclose(again.predict(bits), truth.predict(bits), atol=1e-4)


def test_noise_that_adds_in_squares_is_filled_in_from_few_patterns() -> None:
    random = np.random.default_rng(3)
    bits = every_pattern(10)
    noise = np.sqrt(bits @ random.uniform(0.01, 1, (10, 2)))
    few = random.permutation(len(bits))[:80]
    estimates = fill_in(bits[few], noise[few], bits)
    assert r_squared(noise.mean(axis=1), estimates) > 0.99


@pytest.mark.parametrize(
    ("candidates", "degree"), [(1, 1), (2, 2), (3, 3), (12, 3), (20, 3), (21, 2), (54, 2), (200, 1)]
)
def test_the_number_of_terms_stays_manageable(candidates: int, degree: int) -> None:
    assert affordable_degree(candidates) == degree


def test_r_squared_of_equal_values_is_one() -> None:
    assert r_squared(np.ones(5), np.ones(5)) == 1.0
    assert r_squared(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0)) == 0.0


def _measured(candidates: int, held_out: int) -> Measured:
    random = np.random.default_rng(5)
    bits = every_pattern(candidates)
    noise = np.sqrt(bits @ random.uniform(0.1, 1, (candidates, 1))) + random.normal(0, 0.01, (len(bits), 1))
    held = np.zeros(len(bits), np.bool_)
    held[random.permutation(len(bits))[:held_out]] = True
    return Measured(bits, noise, held, 4, np.zeros(len(bits)))


def test_degree_rises_until_held_out_patterns_are_explained() -> None:
    polynomial, r2_train, r2_test = fit_noise(_measured(8, 40), np.random.default_rng(0))
    assert polynomial.degree in (2, 3)
    assert r2_train > 0.99 and r2_test > 0.99


def test_margin_lifts_the_prediction_above_nearly_all_measurements() -> None:
    measured = _measured(8, 40)
    flat = Polynomial(float(measured.rho.mean()), (), 0)
    raised = flat.raised(safety_margin(measured, flat))
    assert (raised.predict(measured.bits) >= measured.rho - 1e-12).mean() >= 0.99
    assert safety_margin(measured, Polynomial(100.0, (), 0)) == 0.0


def test_noise_model_bounds_what_is_measured(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph)
    told: list[float] = []
    profile = model_noise(graph, blobs, chosen, calibration, progress=told.append, patterns=120)
    _, held_out = split(calibration)
    random = np.random.default_rng(11)
    under = 0
    for _ in range(40):
        names = {name for name in chosen if random.random() < 0.5} or {chosen[0]}
        measured = measure_noise(graph, blobs, quantize(graph, blobs, names, profile.ranges), held_out)
        under += measured <= predicted(profile.model, names) * (1 + 1e-3)
    assert under >= 39
    assert profile.report.r2_test > 0.9  # outputs of ten values: their noise is a sum of few terms
    assert profile.report.patterns == 120
    assert profile.report.full_noise == pytest.approx(
        measure_noise(graph, blobs, quantize(graph, blobs, chosen, profile.ranges), held_out), rel=1e-2
    )
    assert told[-1] == 1.0 and all(0 <= fraction <= 1 for fraction in told)
    assert {name for term in profile.model.terms for name in term.operators} <= set(chosen)


@pytest.mark.parametrize(("limit", "near"), [(1, 1e-6), (2, 1e-6), (3, 0.02)])
def test_few_candidates_are_modelled_closely(limit: int, near: float, tmp_path: Path) -> None:
    """Of three, the least degree that fits well enough may leave something, as the machine's kernels have it."""
    graph, blobs, chosen = imported(branched(), tmp_path, limit=limit)
    profile = model_noise(graph, blobs, chosen, load_calibration(None, graph, samples=4))
    assert profile.report.patterns == 2**limit - 1
    assert profile.report.r2_test == pytest.approx(1.0, abs=near)
    assert predicted(profile.model, set(chosen)) == pytest.approx(
        profile.report.sampling * profile.report.full_noise, rel=1e-3 + 5 * near
    )


def test_without_candidates_there_is_no_noise(tmp_path: Path) -> None:
    graph, blobs, _ = imported(branched(), tmp_path)
    profile = model_noise(graph, blobs, (), load_calibration(None, graph))
    assert profile.model == NoiseModel(intercept=0.0, terms=())
    assert (profile.report.degree, profile.report.patterns, profile.ranges) == (0, 0, {})


def test_same_seed_same_model(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=4)
    one, other = (model_noise(graph, blobs, chosen, calibration, seed=3, patterns=40) for _ in range(2))
    assert one.model == other.model


def test_outputs_that_are_not_finite_are_compared_where_they_are() -> None:
    reference = np.array([1.0, np.inf, 3.0], np.float32)
    assert output_noise(reference, np.array([1.5, np.inf, 3.0], np.float32)) == pytest.approx(0.25)
    assert output_noise(np.array([1, 2]), np.array([2, 2])) == 0.5
    assert output_noise(np.array([], np.float32), np.array([], np.float32)) == 0.0


def test_samples_that_give_no_numbers_are_refused(tmp_path: Path) -> None:
    net = Network()
    net.add("Log", "log", [net.add("Neg", "neg", [net.add("Relu", "relu", [net.conv("conv", "image", (3, 2))])])])
    graph, blobs, chosen = imported(net.proto((1, 3, 8, 8), {"log.out": (1, 2, 8, 8)}), tmp_path)
    samples = tuple({"image": np.full((1, 3, 8, 8), 1 + index, np.float32)} for index in range(4))
    with pytest.raises(InvalidCalibration, match="output NaN"):
        model_noise(graph, blobs, chosen, Calibration(samples, "user"))


def test_a_model_without_comparable_outputs_is_refused(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    tensors = dict(graph.tensors)
    for name in graph.outputs:
        tensors[name] = dataclasses.replace(tensors[name], shape=(-1, 10))
    opened: ModelGraph = dataclasses.replace(graph, tensors=tensors)
    with pytest.raises(InvalidModel, match="no output of the model is a tensor of numbers in a fixed size"):
        model_noise(opened, blobs, chosen, load_calibration(None, graph, samples=4))


def test_integer_outputs_count_too(tmp_path: Path) -> None:
    proto = branched()
    proto.graph.node.append(helper.make_node("ArgMax", ["row2.out"], ["label"], name="label", axis=1))
    proto.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, (1, 1, 20, 20)))
    onnx.checker.check_model(proto)
    graph, blobs, chosen = imported(proto, tmp_path)
    profile = model_noise(graph, blobs, chosen, load_calibration(None, graph, samples=4), patterns=30)
    assert profile.report.full_noise > 0


def label_changes(reference: dict[str, np.ndarray], noisy: dict[str, np.ndarray]) -> float:
    """Share of places whose largest channel is another."""
    return float(np.mean(reference["row2.out"].argmax(axis=1) != noisy["row2.out"].argmax(axis=1)))


def test_noise_is_modelled_in_the_users_own_metric(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = Calibration(load_calibration(None, graph, samples=8).samples, "user")
    measure = measure_for(graph, label_changes, "mine:label_changes")
    profile = model_noise(graph, blobs, chosen, calibration, patterns=60, measure=measure)
    _, held_out = split(calibration)
    measured = measure_noise(graph, blobs, quantize(graph, blobs, chosen, profile.ranges), held_out, measure)
    assert 0 < measured <= 1
    assert profile.report.full_noise == pytest.approx(measured, rel=0.05)
    assert predicted(profile.model, set(chosen)) >= measured * 0.95


def test_a_metric_that_fails_ends_the_modelling_with_its_sentence(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)

    def broken(reference: dict[str, np.ndarray], _noisy: dict[str, np.ndarray]) -> float:
        return float(reference["missing"].mean())

    with pytest.raises(InvalidMetric, match="the metric mine:broken failed on a sample"):
        model_noise(
            graph,
            blobs,
            chosen,
            load_calibration(None, graph, samples=4),
            measure=measure_for(graph, broken, "mine:broken"),
        )


def _erratic(candidates: int = 8) -> Measured:
    """Noise that hardly depends on what is quantized, as of saturated outputs."""
    random = np.random.default_rng(7)
    bits = every_pattern(candidates)[1:]
    noise = np.where(random.random((len(bits), 1)) < 0.2, random.uniform(0.5, 1.0, (len(bits), 1)), 0.01)
    noise[bits.all(axis=1)] = 1.0
    held = np.zeros(len(bits), np.bool_)
    held[random.permutation(len(bits))[:40]] = True
    return Measured(bits, noise, held, 4, np.zeros(len(bits)))


def test_a_fit_that_explains_little_never_predicts_int8_beyond_the_worst_that_was_measured() -> None:
    measured = _erratic()
    polynomial, _, r2_test = fit_noise(measured, np.random.default_rng(0))
    assert r2_test < 0.4
    chosen, margin = conservative(measured, polynomial)
    worst = measured.rho.max()
    assert margin <= worst
    assert chosen.predict(measured.bits).min() <= worst
    assert (chosen.predict(measured.bits) >= measured.rho).mean() >= 0.98


def test_a_good_fit_is_taken_as_it_is() -> None:
    measured = _measured(8, 40)
    polynomial, _, _ = fit_noise(measured, np.random.default_rng(0))
    chosen, margin = conservative(measured, polynomial)
    assert chosen == polynomial.raised(safety_margin(measured, polynomial))
    assert 0 < margin < 0.1 * measured.rho.max()
