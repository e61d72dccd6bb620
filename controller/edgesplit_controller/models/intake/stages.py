"""Model intake in two stages: import and what nodes time in float; then calibration, noise, codecs and int8.

Owns: the order of these steps and the records they make. Its rule: each stage is one blocking function on values; the first
takes seconds and its record can be served, the second takes minutes and changes neither name nor units; both write blobs
and nothing else, so that a refused model leaves nothing that anybody refers to. Not here: uploads, publishing, waiting for
nodes (`answering/`), the process in which they run (`intake_process.py`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec
import onnx

from edgesplit.control.profile_messages import ModelOffer, ProfilePlan
from edgesplit.errors import InvalidCalibration, InvalidInput, InvalidMetric, InvalidModel
from edgesplit.operations.model_operations import CodecsDocument, NoiseModelDocument
from edgesplit.planning.output_noise import Metric, load_metric
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import tensor_specs, whole_graph_ref
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.units import find_units
from edgesplit_controller.models.intake.accuracy import Accuracy, ground_for, model_accuracy
from edgesplit_controller.models.model_record import Manifest, ModelRecord, OpenManifest, uncompleted
from edgesplit_controller.models.named_shapes import Shape, combined_shapes
from edgesplit_controller.models.submission import Progress, Submission
from edgesplit_controller.quantization.calibration import integer_values, sample_shapes
from edgesplit_controller.quantization.calibration_graphs import calibration_plan
from edgesplit_controller.quantization.noise.noise_model import NO_NOISE
from edgesplit_controller.quantization.profile_graphs import profile_protos
from edgesplit_controller.quantization.qdq import Ranges, quantize
from edgesplit_controller.quantization.saturation import weight_bits
from edgesplit_controller.quantization.sites import quantizable

__all__ = ["completed", "first_record", "model_offer", "take_in"]

RHO = "rho"
"""What noise is where no metric is named."""
LOOKED_AT = 2
"""Made-up samples that the first stage tries the model on."""


def first_record(submission: Submission, blobs: BlobStore, progress: Progress) -> ModelRecord:
    """Make the record of a model that can be deployed in float.

    Raises:
        InvalidModel: The file is damaged or cannot be served.
        InvalidCalibration: The samples do not fit it.
        InvalidInput: An excluded operator or an external data location makes no sense.
        InvalidMetric: The metric is not allowed or cannot be imported.
    """
    metric = _metric(submission.metric, submission.metrics)
    graph = _import(submission, blobs, progress)
    able = _choose(graph, submission.max_quantizable, submission.exclude)
    progress("reading the samples", None)
    ground = ground_for(
        *(submission.calibration, graph, blobs), metric=metric, metric_name=submission.metric, generated=LOOKED_AT
    )
    graph, able = _with_units(graph, () if ground.why else able)
    progress("preparing the graph that nodes time", None)
    values = integer_values(graph, blobs, ground.calibration)
    manifest = Manifest(
        name=submission.name,
        sha256=graph.sha256,
        operators=graph.operators,
        tensors=tuple(graph.tensors.values()),
        inputs=graph.inputs,
        outputs=graph.outputs,
        units=graph.units,
        notes=graph.notes,
        quantizable=(),
        ranges={},
        noise=NO_NOISE.model,
        noise_report=NoiseModelDocument(
            degree=0, r2_train=None, r2_test=None, seconds=0.0, metric=submission.metric or RHO
        ),
        calibration=ground.calibration.origin,
        offer=model_offer(submission.name, graph, (), {}, blobs, values=values),
        warnings=(*graph.notes, *ground.warnings),
        stage="float",
        candidates=able,
        open=OpenManifest.of(graph.open) if graph.open is not None else None,
        weight_bits=graph.weight_bits,
    )
    return ModelRecord(manifest, graph)


def completed(
    record: ModelRecord, calibration: Path | None, metrics: tuple[str, ...], blobs: BlobStore, progress: Progress
) -> ModelRecord:
    """Look into int8, noise and codecs of a model.

    Args:
        record: Of the first stage.
        calibration: The user's samples, or None.
        metrics: Metrics that may be named (`[models] metrics`).
        blobs: Holds the model's weights; receives those of int8.
        progress: Told what is being done.

    Returns:
        The record to take its place. Where the samples or the metric turn out to be of no use, it stays in float and says why.

    Raises:
        EdgesplitError, OSError: It failed, and may succeed when it is tried again.
    """
    name = record.manifest.noise_report.metric
    name = "" if name == RHO else name
    progress("calibrating", None)
    try:
        metric = _metric(name, metrics)
        ground = ground_for(calibration, record.graph, blobs, metric=metric, metric_name=name)
        accuracy = model_accuracy(ground, record.graph, record.manifest.candidates, blobs, progress=progress)
    except (InvalidCalibration, InvalidMetric) as error:
        return uncompleted(record, str(error))
    progress("preparing the graphs that nodes profile", None)
    return _with_accuracy(record, accuracy, blobs)


def take_in(submission: Submission, blobs: BlobStore, progress: Progress) -> ModelRecord:
    """Both stages, one after the other.

    Raises:
        EdgesplitError: As of `first_record` and `completed`.
    """
    record = first_record(submission, blobs, progress)
    return completed(record, submission.calibration, submission.metrics, blobs, progress)


def _metric(name: str, allowed: tuple[str, ...]) -> Metric | None:
    return load_metric(name, allowed, "[models] metrics") if name else None


def _with_accuracy(record: ModelRecord, accuracy: Accuracy, blobs: BlobStore) -> ModelRecord:
    graph, able, profile = accuracy.graph, accuracy.quantizable, accuracy.noise
    report = profile.report
    values = integer_values(graph, blobs, accuracy.calibration)
    manifest = msgspec.structs.replace(
        record.manifest,
        units=graph.units,
        quantizable=able,
        ranges={name: (float(low), float(high)) for name, (low, high) in profile.ranges.items()},
        noise=profile.model,
        noise_report=NoiseModelDocument(
            degree=report.degree,
            r2_train=report.r2_train if able else None,
            r2_test=report.r2_test if able else None,
            seconds=report.seconds,
            patterns=report.patterns,
            full_noise=report.full_noise,
            margin=report.margin,
            least_noise=report.least_noise,
            form=report.form,
            samples=report.samples,
            sampling=report.sampling,
            metric=record.manifest.noise_report.metric,
        ),
        calibration=accuracy.calibration.origin,
        offer=model_offer(record.name, graph, able, profile.ranges, blobs, values=values),
        warnings=(*graph.notes, *accuracy.warnings),
        codecs=dict(accuracy.codecs.figures),
        codecs_report=CodecsDocument(**dataclasses.asdict(accuracy.codecs.report)),
        stage="complete",
    )
    return ModelRecord(manifest, graph)


def _import(submission: Submission, blobs: BlobStore, progress: Progress) -> ModelGraph:
    with tempfile.TemporaryDirectory(dir=submission.file.parent, prefix=".intake-") as name:
        folder = Path(name)
        _place(submission.file, folder / "model.onnx")
        for location, path in submission.external.items():
            _place(path, folder / _inside(location))
        graph = import_model(
            folder / "model.onnx",
            blobs,
            shapes=_planned(submission),
            samples=sample_shapes(submission.calibration),
            fixed=submission.fixed,
            progress=lambda text: progress(text, None),
        )
    # A parsed message keeps the room of weights that were moved out of it for as long as it lives.
    proto = onnx.ModelProto.FromString(graph.proto.SerializeToString())
    return dataclasses.replace(graph, proto=proto, weight_bits=weight_bits())


def _planned(submission: Submission) -> Mapping[str, Shape]:
    """The first planning shape that the user named.

    Raises:
        InvalidInput: There are others, and the sizes shall be fixed.
    """
    combined = combined_shapes(submission.shapes)
    if submission.fixed and len(combined) > 1:
        raise InvalidInput(f"--shape names {len(combined)} sizes to plan for, and --fixed leaves one: name one")
    return combined[0] if combined else {}


def _inside(location: str) -> PurePosixPath:
    path = PurePosixPath(location)
    if path.is_absolute() or ".." in path.parts or path.name in {"", "model.onnx"}:
        raise InvalidInput(f"external data location {location!r} leads elsewhere: save the model beside its data")
    return path


def _place(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)  # a file system without hard links


def _choose(graph: ModelGraph, limit: int, exclude: Sequence[str]) -> tuple[str, ...]:
    """The operators with most work that have an int8 form, in graph order."""
    if limit < 0:
        raise InvalidInput(f"--max-quantizable is {limit}: give 0 or more")
    for name in exclude:
        if name not in graph.operator:
            raise InvalidInput(f"--exclude names {name!r}, which is no operator of the model: see its operators' names")
    nodes = {node.name: node for node in graph.proto.graph.node}
    weights = {tensor.name: tensor for tensor in graph.proto.graph.initializer}
    able = [
        name
        for name in candidates(graph, limit=len(graph.operators), exclude=tuple(exclude))
        if quantizable(nodes[name], weights)
    ]
    largest = set(sorted(able, key=lambda name: -graph.operator[name].flops)[:limit])
    return tuple(name for name in able if name in largest)


def _with_units(graph: ModelGraph, quantizable: tuple[str, ...]) -> tuple[ModelGraph, tuple[str, ...]]:
    """Units for this choice of quantizable operators, each of which must name one."""
    divided = graph.with_units(find_units(graph.operators, graph.tensors, quantizable, graph.size_tensors))
    names = {unit.name for unit in divided.units}
    return divided, tuple(name for name in quantizable if name in names)


def model_offer(
    name: str,
    graph: ModelGraph,
    quantizable: Sequence[str],
    ranges: Ranges,
    blobs: BlobStore,
    *,
    values: Mapping[str, tuple[int, ...]] | None = None,
) -> ModelOffer:
    """Make what nodes are asked to profile.

    Args:
        name: Of the model.
        graph: With its units.
        quantizable: Operators with an int8 form; each names a unit.
        ranges: Calibrated ranges around them.
        blobs: Receives the graphs.
        values: Of integer inputs that may not be 0.

    Raises:
        InvalidModel: The model has no inputs.
    """
    if not graph.inputs:
        raise InvalidModel("the model has no inputs: there is nothing to ask it")
    quantized = quantize(graph, blobs, quantizable, ranges) if quantizable else None
    graphs = profile_protos(graph, quantized)
    plan = ProfilePlan(
        units=tuple(unit.name for unit in graph.units),
        kernel_units=dict(graphs.kernel_units),
        quantizable=tuple(quantizable),
        inputs=tensor_specs(graph, graph.inputs),
        values=dict(values or {}),
        flops={
            unit.name: float(sum(graph.operator[member].flops for member in unit.operators)) for unit in graph.units
        },
    )
    calibration = calibration_plan(graph, blobs, quantizable, ranges)
    return ModelOffer(
        model=name,
        sha256=graph.sha256,
        float_graph=whole_graph_ref(graphs.plain, blobs),
        quantized_graph=whole_graph_ref(graphs.quantized, blobs) if graphs.quantized is not None else None,
        profile_plan=blobs.put(msgspec.json.encode(plan)),
        calibration_plan=blobs.put(msgspec.json.encode(calibration)),
        calibration_graphs=tuple(part.graph.digest for part in calibration.graphs),
    )
