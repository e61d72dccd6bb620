"""Model record: what the controller keeps of one model.

Owns: the record and its form on disk: a manifest, the normalised graph, and the user's samples until they were used. Its rule: a
record is immutable and can be served; it is first one of the float model, and its completion (int8, noise, codecs) is another
record of the same name and units, which plans of the first still fit. Not here: how it came to be (`intake/`), where
plans of it stand (`deployment/`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import onnx
from google.protobuf.message import DecodeError

from edgesplit.control.profile_messages import ModelOffer
from edgesplit.errors import InvalidConfiguration
from edgesplit.operations.model_operations import CodecsDocument, NoiseModelDocument
from edgesplit.planning.problem import NoiseModel
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit_controller.graph.graph_refs import request_specs
from edgesplit_controller.graph.model_graph import (
    GraphOperator,
    GraphTensor,
    ModelGraph,
    OpenForm,
    OpenSize,
    SizeTensor,
    Unit,
)
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure
from edgesplit_controller.storage.files.atomic_write import write_atomically
from edgesplit_controller.storage.files.file_format import refuse_newer

__all__ = [
    "Manifest",
    "ModelRecord",
    "Stage",
    "calibration_of",
    "graphs_of",
    "read_record",
    "record_of",
    "uncompleted",
    "write_record",
]

MANIFEST = "manifest.json"
MANIFEST_FORMAT = 1
"""Of a manifest and what lies beside it; 0.1 wrote 1 too."""
NOT_OFFERED = "int8 and codecs that lose anything are not offered"
GRAPH = "graph.onnx"
OPEN_GRAPH = "open.onnx"
CALIBRATION = "calibration.npz"

Stage = Literal["float", "complete"]
"""`float`: it can be deployed in float; `complete`: int8, noise and codecs were looked into as well."""


class OpenManifest(msgspec.Struct, frozen=True, kw_only=True):
    """An `OpenForm` but for its graph; see there."""

    sizes: tuple[OpenSize, ...]
    shapes: dict[str, tuple[int, ...]]
    arithmetic: tuple[str, ...]
    size_nodes: tuple[str, ...]
    size_tensors: tuple[SizeTensor, ...]
    growth: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, form: OpenForm) -> OpenManifest:
        """What is stored of a form."""
        return cls(
            sizes=form.sizes,
            shapes=dict(form.shapes),
            arithmetic=tuple(sorted(form.arithmetic)),
            size_nodes=tuple(sorted(form.size_nodes)),
            size_tensors=form.size_tensors,
            growth=dict(form.growth),
        )

    def form(self, proto: onnx.ModelProto) -> OpenForm:
        """The form again."""
        return OpenForm(
            proto=proto,
            sizes=self.sizes,
            shapes=self.shapes,
            arithmetic=frozenset(self.arithmetic),
            size_nodes=frozenset(self.size_nodes),
            size_tensors=self.size_tensors,
            growth=self.growth,
        )


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A model but for its graph's nodes.

    Attributes:
        format: Of what lies in the folder (`storage/files/file_format.py`).
        quantizable: Operators with an int8 form, in graph order; each names its unit.
        ranges: Calibrated least and greatest value of the tensors around them.
        noise: Over the quantizable operators.
        calibration: `user`, or `generated` for want of samples.
        offer: What nodes were asked to profile.
        warnings: Sentences from the intake.
        codecs: What was measured of wire codecs, by tensor; a model added before that was done has none.
        open: Of a model with open sizes, its open form but for the graph, which lies beside.
        stage: How far its intake is.
        candidates: Operators whose int8 form is looked into, in graph order; each names its unit.
        automatic: Of a further planning shape: requests ask it, and no user named it.
        weight_bits: Of weights in int8, as the machine that measured its noise can compute with them.
        files: SHA-256 of the files beside it; on disk alone, and none from a release that did not write them.
    """

    format: int = MANIFEST_FORMAT
    name: str
    sha256: str
    operators: tuple[GraphOperator, ...]
    tensors: tuple[GraphTensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    units: tuple[Unit, ...]
    notes: tuple[str, ...]
    quantizable: tuple[str, ...]
    ranges: dict[str, tuple[float, float]]
    noise: NoiseModel
    noise_report: NoiseModelDocument
    calibration: str
    offer: ModelOffer
    warnings: tuple[str, ...] = ()
    codecs: dict[str, tuple[CodecFigure, ...]] = msgspec.field(default_factory=dict[str, tuple[CodecFigure, ...]])
    codecs_report: CodecsDocument | None = None
    open: OpenManifest | None = None
    stage: Stage = "complete"
    candidates: tuple[str, ...] = ()
    automatic: bool = False
    weight_bits: int = 8
    files: dict[str, str] = msgspec.field(default_factory=dict[str, str])


@dataclass(frozen=True)
class ModelRecord:
    """A model as the controller works with it."""

    manifest: Manifest
    graph: ModelGraph

    @property
    def name(self) -> str:
        """The name the user gave it."""
        return self.manifest.name

    @property
    def sha256(self) -> str:
        """Digest of the imported file."""
        return self.manifest.sha256

    @property
    def offered(self) -> str:
        """What nodes name in reports on its present offer."""
        return self.manifest.offer.profile_plan

    @property
    def is_complete(self) -> bool:
        """Whether int8, noise and codecs were looked into."""
        return self.manifest.stage == "complete"

    @cached_property
    def version(self) -> str:
        """Digest of all that plans are cut from: the file, the candidates, their calibrated ranges and the planning shape."""
        if not self.is_complete:
            return self._float_version
        parts: tuple[object, ...] = (
            *(self.sha256, self.manifest.quantizable, sorted(self.manifest.ranges.items())),
            *(() if self.manifest.open is None else (self.manifest.open.sizes,)),
            *(() if self.manifest.weight_bits == 8 else (self.manifest.weight_bits,)),
        )
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def fits(self, version: str) -> bool:
        """Whether plans of a version are plans of this record too: one of the float model is, completed or not."""
        return version in {self.version, self._float_version}

    @cached_property
    def _float_version(self) -> str:
        """Digest of all that plans in float are cut from: the file, and the graph that names its units."""
        sizes = () if self.manifest.open is None else self.manifest.open.sizes
        parts = ("float", self.sha256, self.manifest.offer.float_graph.digest, sizes)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a request must hold."""
        return request_specs(self.graph, self.graph.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What an answer holds."""
        return request_specs(self.graph, self.graph.outputs)

    @property
    def weight_bytes(self) -> int:
        """Weights of all operators, shared ones counted for each. [B]"""
        return sum(operator.weight_bytes for operator in self.graph.operators)

    @property
    def digests(self) -> frozenset[str]:
        """Blobs the model needs."""
        offer = self.manifest.offer
        refs = [ref for ref in (offer.float_graph, offer.quantized_graph) if ref is not None]
        return frozenset(
            {offer.profile_plan, *offer.calibration_graphs}
            | ({offer.calibration_plan} if offer.calibration_plan else set())
            | {ref.digest for ref in refs}
            | {weight.digest for ref in refs for weight in ref.weights}
        )


def uncompleted(record: ModelRecord, reason: str) -> ModelRecord:
    """The record of a model that stays in float, since looking into the rest failed for good."""
    manifest = record.manifest
    warning = f"{NOT_OFFERED}: {reason}; add the model again once that is mended"
    changed = msgspec.structs.replace(manifest, stage="complete", warnings=(*manifest.warnings, warning))
    return ModelRecord(changed, record.graph)


def write_record(folder: Path, record: ModelRecord, calibration: Path | None = None) -> None:
    """Write a record; the manifest last, so that a folder with one is complete.

    Args:
        folder: Where.
        record: What.
        calibration: The user's samples, kept beside it until they were used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if calibration is not None:
        shutil.copyfile(calibration, folder / CALIBRATION)
    graphs = graphs_of(record)
    for name, content in graphs.items():
        write_atomically(folder / name, content)
    files = {name: hashlib.sha256(content).hexdigest() for name, content in graphs.items()}
    write_atomically(folder / MANIFEST, msgspec.json.encode(msgspec.structs.replace(record.manifest, files=files)))


def graphs_of(record: ModelRecord) -> dict[str, bytes]:
    """What is stored of a record beside its manifest, by the names of the files."""
    graphs = {GRAPH: record.graph.proto.SerializeToString()}
    if record.graph.open is not None:
        graphs[OPEN_GRAPH] = record.graph.open.proto.SerializeToString()
    return graphs


def calibration_of(folder: Path) -> Path | None:
    """The user's samples kept beside a record."""
    path = folder / CALIBRATION
    return path if path.exists() else None


def read_record(folder: Path) -> ModelRecord | None:
    """Read a record; None where its writing was never finished.

    Raises:
        InvalidConfiguration: A file is missing, cannot be read, holds something else than was written, or is of a newer release; names it.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        content = path.read_bytes()
        refuse_newer(path, content, MANIFEST_FORMAT)
        manifest = msgspec.json.decode(content, type=Manifest)
        names = (GRAPH,) if manifest.open is None else (GRAPH, OPEN_GRAPH)
        graphs = {name: (folder / name).read_bytes() for name in names}
        _check_whole(manifest, graphs)
        return record_of(manifest, graphs)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError, KeyError, ValueError) as error:
        raise InvalidConfiguration(
            f"the model stored in {folder} is damaged ({error}): delete that folder and add the model again"
        ) from error


def _check_whole(manifest: Manifest, graphs: Mapping[str, bytes]) -> None:
    for name, digest in manifest.files.items():
        if hashlib.sha256(graphs[name]).hexdigest() != digest:
            raise ValueError(f"{name} holds other bytes than were written")


def record_of(manifest: Manifest, graphs: Mapping[str, bytes]) -> ModelRecord:
    """A record of its manifest and its graphs, by the names of their files.

    Raises:
        ValueError: A graph is no ONNX file.
    """
    proto = _parsed(GRAPH, graphs[GRAPH])
    form = manifest.open.form(_parsed(OPEN_GRAPH, graphs[OPEN_GRAPH])) if manifest.open is not None else None
    graph = ModelGraph(
        sha256=manifest.sha256,
        proto=proto,
        operators=manifest.operators,
        tensors={tensor.name: tensor for tensor in manifest.tensors},
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        units=manifest.units,
        notes=manifest.notes,
        open=form,
        weight_bits=manifest.weight_bits,
    )
    return ModelRecord(msgspec.structs.replace(manifest, files={}), graph)


def _parsed(name: str, content: bytes) -> onnx.ModelProto:
    try:
        return onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise ValueError(f"{name} is no ONNX file: {error}") from error
