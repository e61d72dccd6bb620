"""Import of a user's ONNX file as a graph that can be split.

Owns: the order of the import's steps. Its rule: what cannot be split is kept whole or
refused with one sentence, and the imported model computes what the file computes. Not here: the steps themselves.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from edgesplit.daemon.inference_runtime.runtime_abilities import known_operator_sets
from edgesplit.daemon.inference_runtime.runtime_builds import installed_runtime
from edgesplit.errors import EdgesplitError, InvalidModel
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.importing import normalise
from edgesplit_controller.graph.importing.branches import inline_constant_branches
from edgesplit_controller.graph.importing.building import build_graph
from edgesplit_controller.graph.importing.divided_branches import divided_branches
from edgesplit_controller.graph.importing.folding import fold_shape_arithmetic
from edgesplit_controller.graph.importing.opening.graphs_at_sizes import graph_at
from edgesplit_controller.graph.importing.opening.open_axes import (
    PlannedShapes,
    fix_sizes,
    name_ranks,
    open_axes,
    planned_shapes,
)
from edgesplit_controller.graph.importing.opening.open_forms import (
    NotSeparable,
    growth,
    open_shapes,
    separated,
)
from edgesplit_controller.graph.importing.opening.size_arithmetic import fold_fixed_sizes, one_shape_each
from edgesplit_controller.graph.importing.reading import file_digest, load_model, store_weights
from edgesplit_controller.graph.importing.shapes import complete_types, declared_shapes, infer_types
from edgesplit_controller.graph.importing.value_types import ValueType
from edgesplit_controller.graph.model_graph import ModelGraph, OpenForm
from edgesplit_controller.graph.protos import missing_operator_set
from edgesplit_controller.graph.quantizable import candidates, why_none
from edgesplit_controller.graph.runner import GraphRefused, open_session, refusal_of
from edgesplit_controller.graph.units import find_units, kept_whole

__all__ = ["import_model"]

LOG = logging.getLogger("edgesplit.intake")
"""Of the standard library: structlog takes 12 MB of a process that has next to nothing to log."""

_IR_WITH_FREE_INITIALIZERS = 4  # from here on initializers need not be graph inputs
_WHY_WHOLE = "what flows between them cannot travel, since frames do not know its type or no run showed its size"
_MOST_FOLDING_PASSES = 64


@dataclass(frozen=True, eq=False)
class _Read:
    """A file as it was read: the normalised graph with its weights stored, its digest, the shapes that it claims."""

    proto: onnx.ModelProto
    sha256: str
    declared: Mapping[str, tuple[int, ...]]


def import_model(
    path: Path,
    blobs: BlobStore,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    samples: Mapping[str, tuple[int, ...]] | None = None,
    fixed: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ModelGraph:
    """Read, normalise and check an ONNX model; its large weights go to the blob store.

    Args:
        path: The file; it and its external data are only read.
        blobs: Receives every initializer of at least 1 KiB.
        shapes: What inputs with open axes are planned with, by input, where the user said so.
        samples: Shapes of the arrays of calibration samples, for the others; their first axis counts samples.
        fixed: Take no other sizes than those planned.
        progress: Told what happens next, in a few words.

    Raises:
        InvalidModel: The file is damaged, onnxruntime does not load it, it holds what cannot be served, or a size does
            not fit it.
    """
    say = progress or _silently
    path = Path(path)
    notes: list[str] = []
    read = _read(path, blobs, notes, say, ranks={name: len(shape) for name, shape in (shapes or {}).items()})
    axes = open_axes(read.proto.graph)
    try:
        planned = planned_shapes(read.proto, axes, blobs, given=shapes or {}, samples=samples or {})
    except GraphRefused as error:
        raise _explained(error, read.proto, path) from error
    graph: ModelGraph | None = None
    if planned.sizes and not fixed:
        try:
            graph = _open_graph(read, planned, blobs, say)
            notes += planned.notes
        except (GraphRefused, NotSeparable) as error:
            notes.append(f"no other sizes than {_told(planned)} are taken, since the open form cannot be cut ({error})")
        except EdgesplitError:
            raise
        except Exception as error:
            # A fault of this program: the model is served at one size, and the log holds its trace.
            LOG.exception("open-form-failed")
            fault = f"a fault of edgesplit's own ({type(error).__name__}); report it with the model"
            notes.append(
                f"no other sizes than {_told(planned)} are taken, since making the open form failed by {fault}"
            )
    elif planned.sizes:
        notes.append(f"its sizes are fixed: {_told(planned)}")
    if graph is None:
        fix_sizes(read.proto.graph, planned.shapes)
        graph = _fixed_graph(read, path, blobs, say)
    notes += graph.notes
    notes += [_whole_note(group) for group in kept_whole(graph.operators, graph.tensors, graph.size_tensors)]
    able = candidates(graph)
    notes += [why_none(graph)] if not able and why_none(graph) else []
    graph = dataclasses.replace(graph, notes=tuple(notes))
    return graph.with_units(find_units(graph.operators, graph.tensors, able, graph.size_tensors))


def _read(
    path: Path, blobs: BlobStore, notes: list[str], say: Callable[[str], None], *, ranks: Mapping[str, int]
) -> _Read:
    say("reading the file")
    proto = load_model(path)
    sha256 = file_digest(path, proto)
    proto = _normalise(proto, notes)
    declared = declared_shapes(proto.graph)
    say("storing the weights")
    divided = divided_branches(proto)
    if divided is not None:
        store_weights(divided, path, blobs)
        if _loads(divided, blobs):
            proto = divided
            notes.append("branches with large parts of the network were divided, so that these may be placed apart")
    if proto is not divided:
        store_weights(proto, path, blobs)
    name_ranks(proto.graph, ranks)
    return _Read(proto, sha256, declared)


def _loads(proto: onnx.ModelProto, blobs: BlobStore) -> bool:
    try:
        open_session(proto, blobs, optimize=False)
    except GraphRefused:
        return False
    return True


def _fixed_graph(
    read: _Read,
    path: Path,
    blobs: BlobStore,
    say: Callable[[str], None],
) -> ModelGraph:
    """The graph of a model whose sizes are all fixed."""
    say("finding the shapes")
    settled = _copy(read.proto)
    notes: list[str] = []
    try:
        types = _settle_shapes(settled, blobs, notes, most_passes=_MOST_FOLDING_PASSES)
        _check_loads(settled, blobs, path)
    except GraphRefused:
        notes = ["shape arithmetic was left as it is, since onnxruntime refuses the model with it folded"]
        settled = _copy(read.proto)
        types = _settle_shapes(settled, blobs, notes, most_passes=0)
        _check_loads(settled, blobs, path)
    types = complete_types(settled, blobs, types, read.declared)
    return dataclasses.replace(build_graph(settled, types, read.sha256), notes=tuple(notes))


def _open_graph(
    read: _Read,
    planned: PlannedShapes,
    blobs: BlobStore,
    say: Callable[[str], None],
) -> ModelGraph:
    """The graph at the planning shape, with its open form."""
    say("finding the shapes")
    form = _copy(read.proto)
    types = _settle_open(form, blobs)
    say("loading the model")
    open_session(form, blobs, optimize=False)
    graph, complete = graph_at(form, planned.shapes, blobs, sha256=read.sha256, declared=read.declared)
    parts = separated(form, graph.proto, complete)
    open_form = OpenForm(
        proto=form,
        sizes=planned.sizes,
        shapes=open_shapes(graph, types),
        arithmetic=parts.arithmetic,
        size_nodes=parts.size_nodes,
        size_tensors=parts.size_tensors,
        growth=growth(form, planned, graph, blobs),
    )
    count = len(parts.arithmetic)
    notes = (f"{count} operators of shape arithmetic run wherever their results are needed",) if count else ()
    return dataclasses.replace(graph, open=open_form, notes=notes)


def _settle_open(proto: onnx.ModelProto, blobs: BlobStore) -> dict[str, ValueType]:
    """Fold what holds at every size; returns what is known of values at every size."""
    for _ in range(_MOST_FOLDING_PASSES):
        one_shape_each(proto.graph)
        types = infer_types(proto)
        changed = fold_shape_arithmetic(proto, types, blobs)
        changed += fold_fixed_sizes(proto.graph, types, frozenset(value.name for value in proto.graph.output))
        changed += inline_constant_branches(proto.graph)
        if not changed:
            break
        normalise.name_nodes(proto.graph)
        normalise.sort_nodes(proto.graph)
    return _tidied(proto)


def _told(planned: PlannedShapes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape)) or 'a scalar'}" for name, shape in planned.shapes.items())


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def _check_loads(proto: onnx.ModelProto, blobs: BlobStore, path: Path) -> None:
    try:
        open_session(proto, blobs, optimize=False)
    except GraphRefused as error:
        raise _explained(error, proto, path) from error


def _explained(error: GraphRefused, proto: onnx.ModelProto, path: Path) -> InvalidModel:
    """What to say of a graph that onnxruntime refuses: only the file itself is its user's to mend."""
    reason = refusal_of(path)
    if reason is None:
        return error
    needs = {entry.domain: entry.version for entry in proto.opset_import}
    if missing := missing_operator_set(needs, known_operator_sets()):
        return InvalidModel(f"the controller runs {installed_runtime()}, {missing}: update onnxruntime there")
    return InvalidModel(f"onnxruntime does not load the model ({reason}): export it again")


def _whole_note(group: frozenset[str]) -> str:
    return f"{len(group)} operators around {min(group)} stay together: {_WHY_WHOLE}"


def _silently(_stage: str) -> None:
    pass


def _normalise(proto: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    proto = normalise.inline_functions(proto)
    graph = proto.graph
    if normalise.release_initializers(graph):
        notes.append("weights that were also inputs are now constants, so requests cannot replace them")
    proto.ir_version = _needed_ir_version(proto)
    normalise.constants_to_initializers(graph)
    normalise.strip_comments(graph)
    normalise.name_nodes(graph)
    normalise.sort_nodes(graph)
    normalise.separate_scopes(graph)
    normalise.resolve_weight_aliases(graph)
    normalise.separate_dequantizers(graph)
    normalise.sort_nodes(graph)
    dropped = normalise.drop_unused(graph)
    if dropped:
        notes.append(f"{dropped} operators that no output needs were dropped")
    notes += normalise.open_zip_maps(graph)
    return proto


def _needed_ir_version(proto: onnx.ModelProto) -> int:
    """The oldest form of file that the operators need: an older onnxruntime refuses a newer one for its number alone."""
    least = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    return max(min(proto.ir_version, least), _IR_WITH_FREE_INITIALIZERS)


def _settle_shapes(
    proto: onnx.ModelProto, blobs: BlobStore, notes: list[str], *, most_passes: int
) -> dict[str, ValueType]:
    folded = 0
    for _ in range(most_passes):
        types = infer_types(proto)
        now = fold_shape_arithmetic(proto, types, blobs)
        branches = inline_constant_branches(proto.graph)
        folded += now
        if not now and not branches:
            break
    if folded:
        notes.append(f"{folded} operators of static shape arithmetic were folded")
    return _tidied(proto)


def _tidied(proto: onnx.ModelProto) -> dict[str, ValueType]:
    """Bring a folded graph in order; returns what is known of its values."""
    normalise.feed_constant_outputs(proto.graph)
    normalise.name_nodes(proto.graph)
    normalise.sort_nodes(proto.graph)
    normalise.drop_unused(proto.graph)
    return infer_types(proto)
