"""Noise measurement at intake: of int8 and of wire codecs, or none where it cannot be measured.

Owns: which of the two, and the sentence that says why: first what can be said without measuring, then the rest. Its rule: a
model that onnxruntime runs is taken in; where its noise cannot be measured, or only on samples that say nothing of its real
inputs, it stays in float and travels without loss. What the user's own samples do wrong is refused. Not here: measuring
(`quantization/`), the rest of the intake.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesplit.daemon.heap import trim_heap
from edgesplit.errors import EdgesplitError, InvalidCalibration, InvalidModel
from edgesplit.planning.output_noise import Measure, Metric
from edgesplit.wire.tensors import TEXT
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.model_graph import ModelGraph, Unit
from edgesplit_controller.graph.runner import open_session, run_session, shapes_of
from edgesplit_controller.models.submission import Progress
from edgesplit_controller.quantization.calibration import Calibration, Sample, load_calibration, split, that_run
from edgesplit_controller.quantization.codecs.codec_noise import NO_CODECS, CodecProfile, measure_codecs
from edgesplit_controller.quantization.noise.noise_model import (
    FEW_SAMPLES,
    NO_NOISE,
    POOR_R2,
    NoiseProfile,
    model_noise,
)
from edgesplit_controller.quantization.noise.pattern_runs import measure_for
from edgesplit_controller.quantization.opset import LEAST_OPSET, opset_of, upgrade_opset

__all__ = ["Accuracy", "Ground", "ground_for", "model_accuracy"]

LOG = logging.getLogger("edgesplit.intake")
"""Of the standard library: structlog takes 12 MB of a process that has next to nothing to log."""

MADE_UP = (
    "no calibration samples were given: ranges and noise come from seeded uniform noise in [0, 1]; "
    "add the model again with --calibration for figures of real inputs"
)
EXACT = "so no operator runs in int8 and no codec that loses anything is used"
GENERATED = 16
"""Samples that are made up."""
ROUNDING = 1e-5
"""Of an output's range, by which the same in another opset may differ. [1]"""
ASK = "add the model again with --calibration"


@dataclass(frozen=True)
class Ground:
    """What noise is measured on, and with what.

    Attributes:
        calibration: The samples.
        measure: How outputs are compared; None where they cannot be.
        why: Why nothing is concluded from them; empty where something is.
    """

    calibration: Calibration
    measure: Measure | None
    why: str

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences for the user."""
        if self.why:
            return (self.why,)
        return (MADE_UP,) if self.calibration.origin == "generated" else ()


@dataclass(frozen=True)
class Accuracy:
    """What was found.

    Attributes:
        graph: The model; its units are those it had, or one where its parts do not work alone.
        quantizable: Operators that may run in int8.
        noise: Of them.
        codecs: Of tensors on their way.
        calibration: The samples.
        warnings: Sentences for the user.
    """

    graph: ModelGraph
    quantizable: tuple[str, ...]
    noise: NoiseProfile
    codecs: CodecProfile
    calibration: Calibration
    warnings: tuple[str, ...]


def ground_for(
    path: Path | None,
    graph: ModelGraph,
    blobs: BlobStore,
    *,
    metric: Metric | None,
    metric_name: str,
    generated: int = GENERATED,
) -> Ground:
    """Read the samples, or make some up, and look what they are good for.

    Args:
        path: The user's samples, or None.
        graph: The model.
        blobs: Where its weights lie.
        metric: The user's own, or None for rho.
        metric_name: Its name.
        generated: How many are made up.

    Raises:
        InvalidCalibration: The user's samples do not fit the model.
        InvalidMetric: The metric fails on the first of them.
    """
    with _named(path):
        calibration = load_calibration(path, graph, samples=generated)
        calibration, why = _usable(calibration, graph, blobs)
        measure: Measure | None = None
        if not why:
            measure, why = _measure(graph, metric, metric_name)
        if calibration.origin == "user" or (metric is not None and not why):
            _check_answers(graph, blobs, calibration, measure)
    return Ground(calibration, None if why else measure, why)


def model_accuracy(
    ground: Ground, graph: ModelGraph, quantizable: tuple[str, ...], blobs: BlobStore, *, progress: Progress
) -> Accuracy:
    """Measure noise as far as it can be.

    Args:
        ground: From `ground_for`.
        graph: The model, with units that end at the quantizable operators.
        quantizable: Operators that have an int8 form.
        blobs: Where weights lie, and integer ones go.
        progress: Told what is being done.

    Raises:
        InvalidCalibration: The user's samples do not fit the model.
        InvalidMetric: The metric fails.
    """
    calibration, measure, why = ground.calibration, ground.measure, ground.why
    warnings = list(ground.warnings)
    noise = NO_NOISE
    if not why and quantizable:
        try:
            noise = _model_noise(graph, quantizable, blobs, calibration, progress=progress, measure=measure)
        except InvalidCalibration as error:
            if calibration.origin == "user":
                raise
            why = f"{error}, {EXACT}: {ASK}"
            warnings = [why]
        except InvalidModel as error:
            warnings.append(f"no operator runs in int8: {error}")
            quantizable = ()
        except EdgesplitError:
            raise
        except Exception as error:
            # A fault of this program: the model serves without what it spoils, and the log holds its trace.
            LOG.exception("noise-not-modelled sha256=%s", graph.sha256)
            warnings.append(f"no operator runs in int8: {_fault(error)}")
            quantizable = ()
    if quantizable and noise.report.r2_test < POOR_R2:
        warnings.append(_poor(noise, calibration.origin))
    elif quantizable and noise.report.sampling > FEW_SAMPLES:
        warnings.append(_few(noise, calibration.origin))
    if why:
        quantizable, measure = (), None
    trim_heap()
    codecs, whole = _codecs(graph, quantizable, blobs, calibration, noise=noise, progress=progress, measure=measure)
    if whole:
        graph, quantizable, noise = graph.with_units(_one_unit(graph)), (), NO_NOISE
        warnings.append(whole)
    return Accuracy(graph, quantizable, noise, codecs, calibration, tuple(warnings))


@contextmanager
def _named(path: Path | None) -> Generator[None, None, None]:
    """The library names a file by where it lies here, which says nothing to the user."""
    try:
        yield
    except InvalidCalibration as error:
        if path is None:
            raise
        raise InvalidCalibration(str(error).replace(str(path), "the calibration file")) from error


def _check_answers(graph: ModelGraph, blobs: BlobStore, calibration: Calibration, measure: Measure | None) -> None:
    """Run the first sample: what is wrong with all of them is said at once, not when noise is modelled.

    Raises:
        InvalidCalibration: The model does not run on it, or an output is nothing but NaN or infinite.
        InvalidMetric: The metric fails.
    """
    session = open_session(graph.proto, blobs, optimize=False)
    try:
        if measure is None:
            shapes_of(session, graph.outputs, calibration.samples[0])
            return
        outputs = run_session(session, graph.outputs, calibration.samples[0])
    except InvalidModel as error:
        raise InvalidCalibration(f"on a calibration sample {error}") from error
    compared = [outputs[name] for name in measure.outputs]
    if any(array.size and array.dtype.kind == "f" and not np.isfinite(array).any() for array in compared):
        raise InvalidCalibration("a calibration sample makes an output NaN or infinite; check the samples' scale")
    measure.check(outputs)


def _fault(error: Exception) -> str:
    line = (str(error).strip() or "no reason").splitlines()[0][:200]
    return f"modelling its noise failed by a fault of edgesplit's own ({type(error).__name__}: {line}); report it with the model"


def _poor(noise: NoiseProfile, origin: str) -> str:
    report = noise.report
    more = "" if origin == "generated" else ", which more of them as --calibration improve"
    return (
        f"the noise model is poor (R² {report.r2_test:.2f} on patterns that it was not fitted to, measured on {report.samples} "
        f"samples{more}), so its margin is wide: int8 is not offered under a bound below {report.least_noise:.3g} (all "
        f"in int8 measured {report.full_noise:.3g})"
    )


def _few(noise: NoiseProfile, origin: str) -> str:
    report = noise.report
    more = "" if origin == "generated" else ": give more of them as --calibration"
    return (
        f"noise differs so much between inputs that {report.samples} samples leave it uncertain by a factor of "
        f"{report.sampling:.2g}, which is part of all that is predicted (int8 is not offered under a bound below "
        f"{report.least_noise:.3g}){more}"
    )


def _usable(calibration: Calibration, graph: ModelGraph, blobs: BlobStore) -> tuple[Calibration, str]:
    """Samples that the model takes, and why nothing should be concluded from them."""
    try:
        calibration = that_run(calibration, graph, blobs)
    except InvalidCalibration as error:
        return calibration, f"{error}, {EXACT}: {ASK}"
    texts = [name for name in graph.inputs if graph.tensors[name].dtype == TEXT]
    if texts:
        return calibration, f"input {texts[0]} takes texts, on which noise is not measured, {EXACT}"
    if calibration.guessed:
        return calibration, f"how far the integers of input {calibration.guessed[0]} go is not known, {EXACT}: {ASK}"
    return calibration, ""


def _measure(graph: ModelGraph, metric: Metric | None, name: str) -> tuple[Measure | None, str]:
    try:
        return measure_for(graph, metric, name), ""
    except InvalidModel as error:
        return None, f"{error}, {EXACT}"


def _model_noise(
    graph: ModelGraph,
    quantizable: tuple[str, ...],
    blobs: BlobStore,
    calibration: Calibration,
    *,
    progress: Progress,
    measure: Measure | None,
) -> NoiseProfile:
    _check_upgrade(graph, blobs, calibration.samples[0])
    if calibration.origin == "generated":
        progress("modelling the noise on generated samples", 0.0)
    return model_noise(
        graph,
        blobs,
        quantizable,
        calibration,
        progress=lambda done: progress("modelling the noise", done),
        measure=measure,
    )


def _check_upgrade(graph: ModelGraph, blobs: BlobStore, sample: Sample) -> None:
    """Make sure that a model computes in opset 10 what it does in its own.

    Raises:
        InvalidModel: It cannot be brought there, or computes something else then.
    """
    if opset_of(graph.proto) >= LEAST_OPSET:
        return
    wanted, got = (
        run_session(open_session(proto, blobs, optimize=False), graph.outputs, sample)
        for proto in (graph.proto, upgrade_opset(graph.proto))
    )
    for name in graph.outputs:
        if not _equal(np.asarray(wanted[name]), np.asarray(got[name])):
            raise InvalidModel(
                f"int8 needs opset 10, in which the model's {name} is another; export it with a newer opset"
            )


def _equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, other))
    extent = float(np.nanmax(np.abs(one), initial=0.0))
    return bool(np.allclose(one, other, rtol=0.0, atol=ROUNDING * extent, equal_nan=True))


def _codecs(
    graph: ModelGraph,
    quantizable: tuple[str, ...],
    blobs: BlobStore,
    calibration: Calibration,
    *,
    noise: NoiseProfile,
    progress: Progress,
    measure: Measure | None,
) -> tuple[CodecProfile, str]:
    """What was measured of codecs, and why the model cannot be split, if that is so."""
    if any(graph.tensors[name].dtype == TEXT for name in graph.inputs):
        return NO_CODECS, ""
    _, held_out = split(calibration)
    try:
        profile = measure_codecs(
            graph,
            blobs,
            quantizable,
            noise.ranges,
            held_out,
            measure=measure,
            progress=lambda done: progress("measuring wire codecs", done),
        )
    except InvalidModel as error:
        parts_refused = error
    except EdgesplitError:
        raise
    except Exception:
        # As where noise is modelled: tensors travel as they are, which needs nothing of this.
        LOG.exception("codecs-not-measured")
        return NO_CODECS, ""
    else:
        return profile, ""
    try:
        shapes_of(open_session(graph.proto, blobs), graph.outputs, held_out[0])
    except InvalidModel as error:
        if calibration.origin == "user":
            raise InvalidCalibration(f"on a calibration sample {error}") from error
        return NO_CODECS, ""
    return NO_CODECS, f"the model is served whole and in float, since a part of it does not work alone: {parts_refused}"


def _one_unit(graph: ModelGraph) -> tuple[Unit, ...]:
    names = tuple(operator.name for operator in graph.operators)
    return (Unit(names[0], names, graph.inputs, graph.outputs, at_source=True),) if names else ()
