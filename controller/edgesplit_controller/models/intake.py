"""Model intake: import, calibration, noise, graphs to profile.

Owns: the order of these steps and the record they make. Its rule: one blocking function on values, run in a worker
thread; it writes blobs and nothing else, so that a refused model leaves nothing that anybody refers to. Not here:
uploads, publishing, waiting for nodes (`operations/`).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from edgesplit.control.profile_messages import ModelOffer, ProfilePlan
from edgesplit.errors import InvalidInput, InvalidModel
from edgesplit.operations.model_operations import CodecsDocument, NoiseModelDocument
from edgesplit.planning.output_noise import load_metric
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.graph_refs import tensor_specs, whole_graph_ref
from edgesplit_controller.graph.importing.importer import import_model
from edgesplit_controller.graph.model_graph import ModelGraph
from edgesplit_controller.graph.quantizable import candidates
from edgesplit_controller.graph.units import find_units
from edgesplit_controller.models.accuracy import model_accuracy
from edgesplit_controller.models.model_record import Manifest, ModelRecord, OpenManifest
from edgesplit_controller.models.submission import Progress, Submission
from edgesplit_controller.quantization.calibration import integer_values, sample_shapes
from edgesplit_controller.quantization.calibration_graphs import calibration_plan
from edgesplit_controller.quantization.profile_graphs import profile_protos
from edgesplit_controller.quantization.qdq import Ranges, quantize
from edgesplit_controller.quantization.sites import quantizable

__all__ = ["Progress", "Submission", "model_offer", "take_in"]


def take_in(submission: Submission, blobs: BlobStore, progress: Progress) -> ModelRecord:
    """Make the record of a model.

    Raises:
        InvalidModel: The file is damaged or cannot be served.
        InvalidCalibration: The samples do not fit it.
        InvalidInput: An excluded operator or an external data location makes no sense.
        InvalidMetric: The metric is not allowed, cannot be imported, or fails.
    """
    metric = load_metric(submission.metric, submission.metrics, "[models] metrics") if submission.metric else None
    graph = _import(submission, blobs, progress)
    quantizable = _choose(graph, submission.max_quantizable, submission.exclude)
    graph, quantizable = _with_units(graph, quantizable)
    accuracy = model_accuracy(submission, graph, quantizable, blobs, progress=progress, metric=metric)
    graph, quantizable, profile = accuracy.graph, accuracy.quantizable, accuracy.noise
    progress("preparing the graphs that nodes profile", None)
    offer = model_offer(
        *(submission.name, graph, quantizable, profile.ranges, blobs),
        values=integer_values(graph, blobs, accuracy.calibration),
    )
    report = profile.report
    manifest = Manifest(
        name=submission.name,
        sha256=graph.sha256,
        operators=graph.operators,
        tensors=tuple(graph.tensors.values()),
        inputs=graph.inputs,
        outputs=graph.outputs,
        units=graph.units,
        notes=graph.notes,
        quantizable=quantizable,
        ranges={name: (float(low), float(high)) for name, (low, high) in profile.ranges.items()},
        noise=profile.model,
        noise_report=NoiseModelDocument(
            degree=report.degree,
            r2_train=report.r2_train if quantizable else None,
            r2_test=report.r2_test if quantizable else None,
            seconds=report.seconds,
            patterns=report.patterns,
            full_noise=report.full_noise,
            margin=report.margin,
            metric=submission.metric or "rho",
        ),
        calibration=accuracy.calibration.origin,
        offer=offer,
        warnings=(*graph.notes, *accuracy.warnings),
        codecs=dict(accuracy.codecs.figures),
        codecs_report=CodecsDocument(**dataclasses.asdict(accuracy.codecs.report)),
        open=OpenManifest.of(graph.open) if graph.open is not None else None,
    )
    return ModelRecord(manifest, graph)


def _import(submission: Submission, blobs: BlobStore, progress: Progress) -> ModelGraph:
    with tempfile.TemporaryDirectory(dir=submission.file.parent, prefix=".intake-") as name:
        folder = Path(name)
        _place(submission.file, folder / "model.onnx")
        for location, path in submission.external.items():
            _place(path, folder / _inside(location))
        return import_model(
            folder / "model.onnx",
            blobs,
            samples=sample_shapes(submission.calibration),
            progress=lambda text: progress(text, None),
        )


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
