"""Running again from changed tensors, and figures of codecs that bound what they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesplit.wire.codecs import CODECS
from edgesplit.wire.tensors import Array
from edgesplit_controller.graph.unit_tensors import unit_tensors
from edgesplit_controller.quantization.calibration import load_calibration, split
from edgesplit_controller.quantization.codecs.codec_noise import measure_codecs, round_trip
from edgesplit_controller.quantization.codecs.cut_frontiers import frontiers, in_order_of_worth
from edgesplit_controller.quantization.codecs.unit_runs import UnitModel
from edgesplit_controller.quantization.noise.noise_model import calibrate
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from tests.quantization.support import branched, imported, run


def test_an_unchanged_run_gives_the_whole_models_outputs(tmp_path: Path) -> None:
    graph, blobs, _ = imported(branched(), tmp_path)
    (sample, *_) = load_calibration(None, graph, samples=4).samples
    values = UnitModel(graph, blobs).start(sample)
    for name, wanted in zip(graph.outputs, run(graph.proto, blobs, dict(sample)), strict=True):
        np.testing.assert_allclose(values.outputs()[name], wanted, atol=1e-5)
        np.testing.assert_allclose(values.changed({})[name], wanted, atol=1e-5)


def test_changes_reach_every_reader_and_add_along_a_path(tmp_path: Path) -> None:
    graph, blobs, _ = imported(branched(), tmp_path)
    (sample, *_) = load_calibration(None, graph, samples=4).samples
    values = UnitModel(graph, blobs).start(sample)
    scaled = {name: np.asarray(array * 0.5, array.dtype) for name, array in sample.items()}
    wanted = dict(zip(graph.outputs, run(graph.proto, blobs, scaled), strict=True))
    got = values.changed({"image": lambda array: array * np.float32(0.5)})
    for name in graph.outputs:
        np.testing.assert_allclose(got[name], wanted[name], atol=1e-5)
    inner = next(t.name for t in unit_tensors(graph) if t.producer != "edgesplit:input" and t.name not in graph.outputs)
    zeroed = values.changed({"image": lambda array: array * 0, inner: lambda array: array * 0 + 7})
    alone = values.changed({inner: lambda array: array * 0 + 7})
    assert any(np.abs(zeroed[name] - wanted[name]).max() > 0 for name in graph.outputs)
    behind = UnitModel(graph, blobs).after([inner])
    assert behind
    assert all(np.isfinite(alone[name]).all() for name in graph.outputs)


def test_a_tensor_behind_another_changed_one_is_changed_once_as_it_is_computed_anew(tmp_path: Path) -> None:
    graph, blobs, _ = imported(branched(), tmp_path)
    (sample, *_) = load_calibration(None, graph, samples=4).samples
    model = UnitModel(graph, blobs)
    values = model.start(sample)
    (behind, *_) = [name for place in model.after(["image"]) for name in model.steps[place].outputs]
    seen: list[Array] = []

    def noted(array: Array) -> Array:
        seen.append(array.copy())
        return array

    values.changed({behind: noted, "image": lambda array: array * 0})
    (anew,) = seen
    assert not np.array_equal(anew, values.array(behind))


def test_a_changed_output_is_what_comes_out(tmp_path: Path) -> None:
    graph, blobs, _ = imported(branched(), tmp_path)
    (sample, *_) = load_calibration(None, graph, samples=4).samples
    values = UnitModel(graph, blobs).start(sample)
    name = "row2.out"
    got = values.changed({name: lambda array: round_trip("int8", array)})[name]
    np.testing.assert_array_equal(got, round_trip("int8", values.array(name)))


def test_figures_bound_the_noise_of_samples_that_were_not_measured(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=24)
    inside, held_out = split(calibration)
    measure = measure_for(graph)
    profile = measure_codecs(
        graph, blobs, chosen, calibrate(graph, blobs, chosen, calibration), held_out, measure=measure
    )
    assert profile.report.measured == profile.report.tensors
    assert profile.report.joint <= 1
    model = UnitModel(graph, blobs)
    runs = [model.start(sample) for sample in inside[:6]]
    checked = 0
    for tensor, figures in profile.figures.items():
        for figure in figures:
            if CODECS[figure.codec].lossless or CODECS[figure.codec].compresses:
                continue
            changes = {tensor: lambda array, codec=figure.codec: round_trip(codec, array)}
            noise = [measure.noise(values.outputs(), values.changed(changes)) for values in runs]
            assert float(np.mean(noise)) <= figure.noise
            checked += 1
    assert checked > 10


def test_little_time_measures_few_tensors_and_the_others_lose_nothing(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=4)
    ranges = calibrate(graph, blobs, chosen, calibration)
    profile = measure_codecs(
        graph, blobs, chosen, ranges, split(calibration)[1], measure=measure_for(graph), budget_s=1e-4
    )
    assert profile.report.samples == 1
    assert profile.report.measured < profile.report.tensors
    lossy = {
        name for name, figures in profile.figures.items() for figure in figures if not CODECS[figure.codec].lossless
    }
    assert len(lossy) == profile.report.measured
    without = measure_codecs(graph, blobs, chosen, ranges, split(calibration)[1], measure=None)
    assert without.report.measured == 0
    assert {figure.codec for figures in without.figures.values() for figure in figures} == {"lossless"}


def test_progress_never_goes_back_and_ends_whole(tmp_path: Path) -> None:
    graph, blobs, chosen = imported(branched(), tmp_path)
    calibration = load_calibration(None, graph, samples=8)
    told: list[float] = []
    measure_codecs(
        graph,
        blobs,
        chosen,
        calibrate(graph, blobs, chosen, calibration),
        split(calibration)[1],
        measure=measure_for(graph),
        progress=told.append,
    )
    assert told[-1] == pytest.approx(1.0)
    assert max(told) <= 1.0


def test_frontiers_hold_what_is_alive_and_come_smallest_first_from_every_stretch(tmp_path: Path) -> None:
    graph, _, _ = imported(branched(), tmp_path)
    every = frontiers(graph)
    assert every[0][0] == ("image",)
    assert len(every) == len(graph.units) + 1
    assert set(every[-1][0]) == set(graph.outputs)
    order = list(in_order_of_worth(graph))
    assert order[0] == ("image",)
    assert sorted(order) == sorted(names for names, _ in every)
