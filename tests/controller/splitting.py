"""A model taken in and split at random, run as agents run it, compared with plain onnxruntime on the user's file."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from edgesplit.control.component_messages import ComponentSpec, GraphRef
from edgesplit.control.figure_messages import LinkState
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import CalibrationPlan, ExecutionProfile, ProfilePlan
from edgesplit.daemon.inference_runtime.runtime_abilities import run_arrays
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import Assignment
from edgesplit.wire.tensors import TEXT, check_inputs, contiguous, dtype_name, tensor_bytes
from edgesplit_agent.compute.runtime import RuntimeOptions, has_integers, open_session
from edgesplit_agent.compute.session_pool import warm_up
from edgesplit_agent.profiling.timing.profile_inputs import profile_inputs
from edgesplit_controller.graph.blobs import BlobStore
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT
from edgesplit_controller.models.intake.stages import take_in
from edgesplit_controller.models.model_record import ModelRecord, read_record, write_record
from edgesplit_controller.models.submission import Submission
from edgesplit_controller.planner import evaluate
from edgesplit_controller.quantization.codecs.codec_noise import round_trip
from edgesplit_controller.rollout.compilation import compile_local, compile_plan
from edgesplit_controller.stating.problem_statement import Candidate, build_problem

__all__ = ["ADDRESSES", "NODES", "Arrays", "SplitModel", "as_tensor", "served"]

Arrays = dict[str, NDArray[Any]]
NODES = ("device", "edge", "cloud")
ADDRESSES = {name: f"10.0.0.{index}:7400" for index, name in enumerate(NODES)}


def as_tensor(value: Any) -> NDArray[Any]:
    """An output as an answer holds it: what a ZipMap makes, one row of probabilities for each map."""
    if isinstance(value, list):
        return np.array([list(row.values()) for row in value], np.float32)
    return np.asarray(value)


def served(
    specs: Mapping[str, EpochSpec], source: str, inputs: Arrays, compute: Callable[[ComponentSpec, Arrays], Arrays]
) -> Arrays:
    """What agents do, without agents: tensors are visible only where produced or routed to."""
    visible: dict[str, Arrays] = {node: {} for node in specs}
    visible[source] |= inputs
    asked = {name: np.array(inputs[of].shape, np.int64) for name, of in specs[source].input_shapes.items()}
    visible[source] |= asked
    for route in specs[source].input_routes:
        for node in route.to:
            visible[node][route.tensor] = round_trip(route.codec, (inputs | asked)[route.tensor])
    waiting = [(node, component) for node, spec in specs.items() for component in spec.components]
    while waiting:
        node, component = next(
            (node, component)
            for node, component in waiting
            if all(tensor.name in visible[node] for tensor in component.inputs)
        )
        waiting.remove((node, component))
        made = compute(component, visible[node])
        visible[node] |= made
        for route in component.routes:
            for receiver in route.to:
                visible[receiver][route.tensor] = round_trip(route.codec, made[route.tensor])
    return {name: visible[source][name] for name in specs[source].outputs}


class SplitModel:
    """One model under any assignment.

    Args:
        proto: The user's model.
        folder: Of the test.
        calibration: Samples, or None.
        shapes: What to plan for, as the user names it.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        folder: Path,
        calibration: Arrays | None = None,
        shapes: Mapping[str, tuple[tuple[int, ...], ...]] | None = None,
    ) -> None:
        self.file = folder / "model.onnx"
        onnx.save(proto, self.file)
        samples = None
        if calibration is not None:
            samples = folder / "calibration.npz"
            np.savez(samples, **calibration)  # type: ignore[arg-type]
        self.blobs = BlobStore(folder / "blobs")
        taken = take_in(
            Submission("m", self.file, {}, samples, 12, (), shapes=shapes or {}),
            self.blobs,
            lambda _text, _fraction: None,
        )
        write_record(folder / "record", taken)
        record = read_record(folder / "record")
        assert record is not None
        self.record: ModelRecord = record

    @property
    def quantizable(self) -> tuple[str, ...]:
        """Operators that may run in int8."""
        return self.record.manifest.quantizable

    @property
    def warnings(self) -> str:
        """All the user is told."""
        return "\n".join(self.record.manifest.warnings)

    def original(self, inputs: Arrays) -> Arrays:
        """What plain onnxruntime makes of the user's file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(str(self.file), options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, map(as_tensor, run_arrays(session, names, inputs)), strict=True))

    def run_offer(self) -> None:
        """Run every graph that nodes profile, on the inputs that they take."""
        offer = self.record.manifest.offer
        plan = msgspec.json.decode(self.blobs.read(offer.profile_plan), type=ProfilePlan)
        for ref in filter(None, (offer.float_graph, offer.quantized_graph)):
            self._session(ref).run(None, profile_inputs(plan.inputs, plan.values))
        parts = msgspec.json.decode(self.blobs.read(offer.calibration_plan), type=CalibrationPlan)
        for part in parts.graphs:
            # As agents do: made-up integers and texts at a cut may be refused.
            with contextlib.suppress(Exception) if has_integers(part.inputs) else contextlib.nullcontext():
                self._session(part.graph).run(None, profile_inputs(part.inputs, plan.values))

    def _session(self, ref: GraphRef) -> Any:
        for weight in ref.weights:
            assert self.blobs.nbytes(weight.digest) == weight.nbytes
        return open_session(self.blobs.path(ref.digest), RuntimeOptions())

    def local(self, inputs: Arrays) -> Arrays:
        """The plan that needs nobody else."""
        spec = compile_local(self.record.graph, self.blobs, epoch=1, source="device", address=ADDRESSES["device"])
        return self._served({"device": spec}, inputs)

    def split(self, inputs: Arrays, seed: int, *, quantized: bool = False) -> Arrays:
        """A random assignment of units to nodes, some operators in int8 where wanted."""
        draw = random.Random(seed)
        units = [unit.name for unit in self.record.graph.units]
        at_source = {unit.name for unit in self.record.graph.units if unit.at_source}
        node_of = {name: "device" if name in at_source else draw.choice(NODES) for name in units}
        chosen = frozenset(name for name in self.quantizable if quantized and draw.random() < 0.7)
        return self.assigned(inputs, node_of, chosen)

    def assigned(self, inputs: Arrays, node_of: Mapping[str, str], quantized: frozenset[str] = frozenset()) -> Arrays:
        """What one assignment gives."""
        problem = self._problem()
        assignment = Assignment({**node_of, INPUT: "device", OUTPUT: "device"}, quantized)
        graph, ranges = self.record.graph, self.record.manifest.ranges
        specs = compile_plan(
            graph,
            self.blobs,
            ranges,
            assignment,
            evaluate(problem, assignment),
            epoch=2,
            source="device",
            addresses=ADDRESSES,
        )
        return self._served(specs, inputs)

    def _problem(self) -> Any:
        graph = self.record.graph
        units = [unit.name for unit in graph.units]
        profile = ExecutionProfile(
            time_s=dict.fromkeys(units, 0.01),
            quantized_time_s=dict.fromkeys(self.quantizable, 0.005),
            whole_s=0.01 * len(units),
            runs=1,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="",
        )
        links = [
            (start, LinkState(to=end, up=True, bandwidth_bytes_per_s=1e6, latency_s=0.001, measured_at_unix_s=0.0))
            for start in NODES
            for end in NODES
            if start != end
        ]
        return build_problem(
            "m",
            graph,
            quantizable=self.quantizable,
            noise=self.record.manifest.noise,
            source="device",
            candidates=[Candidate(name, 3.0, 1.0, None, profile) for name in NODES],
            links=links,
            goals=Goals(max_noise=None),
        )

    def _served(self, specs: Mapping[str, EpochSpec], inputs: Arrays) -> Arrays:
        return served(specs, "device", check_inputs(self.record.inputs, inputs), self._computed)

    def _computed(self, component: ComponentSpec, visible: Arrays) -> Arrays:
        session = self._session(component.graph)
        names = [tensor.name for tensor in component.outputs]
        warm_up(session, component)
        results = session.run(names, {tensor.name: visible[tensor.name] for tensor in component.inputs})
        made = {name: contiguous(name, result) for name, result in zip(names, results, strict=True)}
        for tensor in component.outputs:
            assert dtype_name(made[tensor.name]) == tensor.dtype
            if all(size >= 0 for size in tensor.shape):
                assert made[tensor.name].shape == tensor.shape
                assert tensor.dtype == TEXT or made[tensor.name].nbytes == tensor_bytes(tensor)
        return made
