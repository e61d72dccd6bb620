"""Wire codecs from a model's figures to routes: offered where known, bounded in noise, addressed by wire name."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import CodecTimes, ExecutionProfile
from edgesplit.planning.goals import Goals
from edgesplit.planning.output_noise import output_noise
from edgesplit.planning.plan import Assignment
from edgesplit.planning.problem import Problem
from edgesplit.wire.codecs import CODECS
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.runner import open_session
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.planner import evaluate, solve
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure
from edgesplit_controller.rollout.compilation import compile_plan
from edgesplit_controller.stating.codec_offers import codec_offers, offers_hold
from edgesplit_controller.stating.problem_statement import Candidate
from tests.controller.splitting import ADDRESSES, NODES
from tests.controller.test_compilation import problem_of, profile, run, taken_in
from tests.controller.tiny_models import convolutions

SIDE = 40
TIMES = CodecTimes(encode_s=1e-5, encode_s_per_byte=1e-10, decode_s=2e-5, decode_s_per_byte=2e-10)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> BlobStore:
    return BlobStore(tmp_path_factory.mktemp("store") / "blobs")


@pytest.fixture(scope="module")
def record(blobs: BlobStore, tmp_path_factory: pytest.TempPathFactory) -> ModelRecord:
    return taken_in(convolutions(size=SIDE), blobs, tmp_path_factory.mktemp("upload"))


def coding(record: ModelRecord, *, unit_s: float = 0.01, without: str = "") -> ExecutionProfile:
    names = [name for name in CODECS if name not in ("raw", without)]
    return msgspec.structs.replace(
        profile(record, unit_s),
        codec_times=dict.fromkeys(names, TIMES),
        integer_codec_times={"lossless": TIMES},
    )


def coded_problem(
    record: ModelRecord, *, max_noise: float | None = None, without: str = "", cloud_s: float = 0.01
) -> Problem:
    speeds = {"device": 0.01, "edge": 0.01, "cloud": cloud_s}
    candidates = [
        Candidate(name, 3.0, 1.0, None, coding(record, unit_s=speeds[name], without=without if name == "edge" else ""))
        for name in NODES
    ]
    problem: Problem = problem_of(
        record, candidates=candidates, codecs=record.manifest.codecs, goals=Goals(max_noise=max_noise)
    )
    return problem


def compiled(record: ModelRecord, blobs: BlobStore, problem: Problem, assignment: Assignment) -> dict[str, EpochSpec]:
    return compile_plan(
        record.graph,
        blobs,
        record.manifest.ranges,
        assignment,
        evaluate(problem, assignment),
        epoch=1,
        source="device",
        addresses=ADDRESSES,
    )


def test_intake_measures_every_tensor_and_says_so(record: ModelRecord) -> None:
    report = record.manifest.codecs_report
    assert report is not None
    assert report.measured == report.tensors > 0
    assert report.joint <= 1.0
    for figures in record.manifest.codecs.values():
        for figure in figures:
            assert figure.noise == 0.0 if CODECS[figure.codec].lossless else figure.noise > 0.0
    assert any(figure.precision == "int8" for figures in record.manifest.codecs.values() for figure in figures)


def test_a_codec_that_one_node_cannot_run_is_not_offered(record: ModelRecord) -> None:
    offered = {codec.name for tensor in coded_problem(record).tensors for codec in tensor.codecs or ()}
    assert "int8-channel" in offered
    offered = {
        codec.name for tensor in coded_problem(record, without="int8-channel").tensors for codec in tensor.codecs or ()
    }
    assert "int8-channel" not in offered
    assert "int8" in offered
    silent = [Candidate(name, 3.0, 1.0, None, profile(record, 0.01)) for name in NODES]
    problem: Problem = problem_of(record, candidates=silent, codecs=record.manifest.codecs)
    assert all(tensor.codecs is None for tensor in problem.tensors)


def test_offers_state_time_by_size_and_the_precision_they_are_for(record: ModelRecord) -> None:
    figures = (
        CodecFigure(codec="int8", precision="float", bytes=1000.0, noise=0.1),
        CodecFigure(codec="lossless", precision="int8", bytes=700.0, noise=0.0),
    )
    profiles = {"device": coding(record)}
    float_one, integer_one = codec_offers(figures, 4000, profiles, shrinks=True) or ()
    assert (float_one.name, float_one.precision, float_one.noise) == ("int8", "float", 0.1)
    assert float_one.encode_s["device"] == pytest.approx(1e-5 + 4000 * 1e-10)
    assert (integer_one.precision, integer_one.bytes) == ("int8", 700.0)
    assert integer_one.decode_s["device"] == pytest.approx(2e-5 + 1000 * 2e-10)
    (alone,) = codec_offers(figures, 4000, profiles, shrinks=False) or ()
    assert (alone.name, alone.precision) == ("int8", None)


def test_a_plan_whose_codec_is_not_offered_any_more_does_not_hold() -> None:
    assert offers_hold({"x": ["int8", "fp16"]}, {"x": "fp16"})
    assert offers_hold({}, {})
    assert not offers_hold({"x": ["int8"]}, {"x": "fp16"})
    assert not offers_hold({}, {"x": "fp16"})


def test_without_noise_only_what_loses_nothing_is_used_and_with_it_less_is_sent(record: ModelRecord) -> None:
    exact = solve(coded_problem(record, max_noise=0.0, cloud_s=1e-4))
    loose = solve(coded_problem(record, max_noise=None, cloud_s=1e-4))
    assert exact.assignment is not None and loose.assignment is not None
    assert exact.evaluation is not None and loose.evaluation is not None
    assert all(CODECS[codec].lossless for codec in exact.assignment.codecs.values())
    assert not exact.assignment.quantized
    assert any(not CODECS[codec].lossless for codec in loose.assignment.codecs.values())
    assert loose.evaluation.latency_s < exact.evaluation.latency_s


@pytest.mark.parametrize("seed", range(12))
def test_noise_of_random_plans_stays_under_what_operators_and_codecs_add_up_to(
    record: ModelRecord, blobs: BlobStore, seed: int
) -> None:
    draw = random.Random(seed)
    problem = coded_problem(record)
    node_of = {o.name: "device" if o.role else draw.choice(NODES) for o in problem.operators}
    quantized = frozenset(name for name in record.manifest.quantizable if draw.random() < 0.4)
    codecs: dict[str, str] = {}
    for tensor in problem.tensors:
        fitting = [codec.name for codec in tensor.codecs or () if codec.codes(quantized=tensor.producer in quantized)]
        if fitting and draw.random() < 0.8:
            codecs[tensor.name] = draw.choice(fitting)
    assignment = Assignment(node_of, quantized, codecs)
    specs = compiled(record, blobs, problem, assignment)
    predicted = evaluate(problem, assignment)
    inputs = {"image": np.random.default_rng(100 + seed).random((1, 3, SIDE, SIDE), dtype=np.float32)}
    outputs = run(specs, "device", blobs, inputs)
    (wanted,) = open_session(record.graph.proto, blobs).run(None, inputs)
    measured = output_noise(wanted, outputs["scores"])
    assert measured <= predicted.noise + 1e-7
    cut = [t for t in problem.tensors if any(node_of[c] != node_of[t.producer] for c in t.consumers)]
    lossy = any(t.name in codecs and not CODECS[codecs[t.name]].lossless for t in cut)
    if quantized or lossy:
        assert measured > 0


def test_integers_travel_under_their_own_name_and_only_compressed(record: ModelRecord, blobs: BlobStore) -> None:
    problem = coded_problem(record)
    operator = next(name for name in record.manifest.quantizable if name != "conv3")
    tensor = next(t for t in problem.tensors if t.producer == operator and t.quantized_bytes is not None)
    away = {o.name: "edge" if o.name == operator else "device" for o in problem.operators}
    for codec, wanted in (("lossless", "lossless"), ("fp16", "raw")):
        assignment = Assignment(away, frozenset({operator}), {tensor.name: codec})
        specs = compiled(record, blobs, problem, assignment)
        (route,) = [r for c in specs["edge"].components for r in c.routes]
        assert (route.tensor, route.codec) == (f"{tensor.name}@int8", wanted)
    in_float = Assignment(away, frozenset(), {tensor.name: "fp16", "image": "int8"})
    specs = compiled(record, blobs, problem, in_float)
    (route,) = [r for c in specs["edge"].components for r in c.routes]
    assert (route.tensor, route.codec) == (tensor.name, "fp16")


@pytest.mark.parametrize(("codec", "differs"), [("lossless", False), ("int8", True)])
def test_only_what_loses_something_makes_a_plan_differ_from_the_float_model(
    record: ModelRecord, blobs: BlobStore, codec: str, differs: bool
) -> None:
    problem = coded_problem(record)
    away = {o.name: "device" if o.name in (INPUT, OUTPUT) else "edge" for o in problem.operators}
    specs = compiled(record, blobs, problem, Assignment(away, frozenset(), {"image": codec}))
    assert specs["device"].quantized is specs["edge"].quantized is differs
    (route,) = specs["device"].input_routes
    assert (route.tensor, route.codec) == ("image", codec)
    inputs = {"image": np.random.default_rng(1).random((1, 3, SIDE, SIDE), dtype=np.float32)}
    outputs = run(specs, "device", blobs, inputs)
    (wanted,) = open_session(record.graph.proto, blobs).run(None, inputs)
    assert (output_noise(wanted, outputs["scores"]) > 1e-5) is differs


def test_a_record_without_codec_figures_is_still_read(record: ModelRecord, tmp_path: Path) -> None:
    document = msgspec.json.decode(msgspec.json.encode(record.manifest))
    del document["codecs"], document["codecs_report"]
    older = msgspec.convert(document, type(record.manifest))
    assert older.codecs == {}
    assert older.codecs_report is None
