"""Control-plane messages about execution profiles: what a node is asked to measure and what it found.

Owns: the offer of a model, the plans that say how to measure it, the result, and what serving shows of it later. Its
rule: that of `control/messages.py`, a released message is never changed. Not here: measuring (agents), what predictions make of
it (the controller).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.control.component_messages import GraphRef
from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, Topic
from edgesplit.planning.origins import Origin
from edgesplit.retrying import Retrying
from edgesplit.wire.tensor_spec import TensorSpec

__all__ = [
    "LIVE_TIMINGS",
    "MODEL_OFFER",
    "PROFILE_REPORT",
    "PROFILE_REQUEST",
    "CalibrationGraph",
    "CalibrationPlan",
    "CodecTimes",
    "CodingTiming",
    "ComponentTiming",
    "ExecutionProfile",
    "LiveTimings",
    "ModelOffer",
    "ProfilePlan",
    "ProfileReport",
    "ProfileRequest",
    "WholeTiming",
]


class ProfilePlan(Message, frozen=True, kw_only=True):
    """How to read a whole-model profile as times of units; travels as a blob, not over MQTT.

    Attributes:
        units: All units in topological order.
        kernel_units: Graph node name, as the runtime's profile reports it, to unit name.
        quantizable: Units that have an int8 form.
        inputs: What to feed.
        values: Of integer inputs that may not be 0 (a divisor, a size), in C order; the others may.
        flops: Unit name to floating-point operations of one run; empty from a controller that does not say. [1]
    """

    units: tuple[str, ...]
    kernel_units: dict[str, str]
    quantizable: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    values: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict[str, tuple[int, ...]])
    flops: dict[str, float] = msgspec.field(default_factory=dict[str, float])


class CalibrationGraph(Message, frozen=True, kw_only=True):
    """A part of a model, some of it in int8, whose time shows what changes of form between kernels cost.

    Attributes:
        name: Of the part, unique in its plan.
        graph: Itself.
        inputs: What to feed.
        units: What it computes.
        quantized: Those of them that are in int8 here.
        transition_bytes: Kind of change of form to the bytes it changes beyond the float model's. [B]
    """

    name: str
    graph: GraphRef
    inputs: tuple[TensorSpec, ...]
    units: tuple[str, ...]
    quantized: tuple[str, ...]
    transition_bytes: dict[str, float]


class CalibrationPlan(Message, frozen=True, kw_only=True):
    """The parts of a model to time beside the whole; travels as a blob, not over MQTT.

    Attributes:
        graphs: Those parts.
    """

    graphs: tuple[CalibrationGraph, ...]


class ModelOffer(Message, frozen=True, kw_only=True):
    """A model that every online node profiles.

    Attributes:
        model: Its name.
        sha256: Of the imported model; a profile of another is stale.
        float_graph: The whole model.
        quantized_graph: The whole model with every quantizable operator in int8, or None without any.
        profile_plan: Digest of the `ProfilePlan` blob.
        calibration_plan: Digest of the `CalibrationPlan` blob; empty without one.
        calibration_graphs: Digests of that plan's graphs; their weights are those of the two whole models.
    """

    model: str
    sha256: str
    float_graph: GraphRef
    quantized_graph: GraphRef | None
    profile_plan: str
    calibration_plan: str = ""
    calibration_graphs: tuple[str, ...] = ()


MODEL_OFFER = Topic(
    "models/{model}",
    ModelOffer,
    says="a model that every node profiles",
    writers=("controller",),
    readers=("agent",),
    retained=True,
    cleared="by the controller: `splitctl model remove`",
    defended=True,
    signer="controller",
)


class CodecTimes(Message, frozen=True, kw_only=True):
    """What one wire codec takes on a node, by the size of the tensor before coding.

    Attributes:
        encode_s: Of coding, per tensor. [s]
        encode_s_per_byte: Of coding, per byte besides. [s/B]
        decode_s: Of restoring, per tensor. [s]
        decode_s_per_byte: Of restoring, per byte besides. [s/B]
        spread: Relative standard error of these times; 0 where it is not known. [1]
    """

    encode_s: float
    encode_s_per_byte: float
    decode_s: float
    decode_s_per_byte: float
    spread: float = 0.0

    def scaled(self, factor: float) -> CodecTimes:
        """The same on a node that takes `factor` times as long."""
        return msgspec.structs.replace(
            self,
            encode_s=self.encode_s * factor,
            encode_s_per_byte=self.encode_s_per_byte * factor,
            decode_s=self.decode_s * factor,
            decode_s_per_byte=self.decode_s_per_byte * factor,
        )


class ExecutionProfile(Message, frozen=True, kw_only=True):
    """Measured seconds per unit on one node.

    Attributes:
        time_s: Unit name to seconds in float. [s]
        quantized_time_s: Quantizable unit name to seconds in int8. [s]
        whole_s: Measured seconds of the whole model in float, the check of the sum. [s]
        runs: Repetitions the medians stand on.
        provider: onnxruntime execution provider.
        threads: Processor threads that were used.
        runtime: Name and version of the inference runtime.
        slow_down: Factor of the `[emulation]` section already contained in the times.
        origin: Where the shares of units come from: measured kernel by kernel, or modelled of the measured whole.
        integer_time_s: Quantizable unit name to seconds of its integer kernels alone, conversions left out. [s]
        transition_s_per_byte: What changes of form between kernels cost here, by kind; empty where not measured. [s/B]
        codec_times: Wire codec to its times on float32 tensors; the node cannot run one that is absent.
        integer_codec_times: The same on the integers that quantized operators yield.
        rested_s: As `whole_s`, of runs with a pause before each, as requests come; 0 where not measured. [s]
        whole_spread: Standard deviation of the whole's time from one moment to another, relative; 0 where not known. [1]
        moments: At how many moments, spread over profiling, the whole was timed; 0 from an agent that did so in one series.
        rested_spread: Standard error of `rested_s / whole_s`; 0 where not known. [1]
        seconds: Of the node's time that profiling took, waiting not included; 0 where not known. [s]
        unit_spreads: Unit name to the standard error of its share of the whole, relative; a unit left out is not known. [1]
        quantized_unit_spreads: The same of `quantized_time_s`. [1]
    """

    time_s: dict[str, float]
    quantized_time_s: dict[str, float]
    whole_s: float
    runs: int
    provider: str
    threads: int
    runtime: str
    slow_down: float = 1.0
    origin: Origin = "measured"
    integer_time_s: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    transition_s_per_byte: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    codec_times: dict[str, CodecTimes] = msgspec.field(default_factory=dict[str, CodecTimes])
    integer_codec_times: dict[str, CodecTimes] = msgspec.field(default_factory=dict[str, CodecTimes])
    rested_s: float = 0.0
    whole_spread: float = 0.0
    moments: int = 0
    rested_spread: float = 0.0
    seconds: float = 0.0
    unit_spreads: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    quantized_unit_spreads: dict[str, float] = msgspec.field(default_factory=dict[str, float])

    @property
    def is_quick(self) -> bool:
        """Whether only the whole float model was timed, once, and its units share it by their operations."""
        return self.origin == "modelled" and self.moments == 1

    def scaled(self, factor: float, *, rests_once: bool = False) -> ExecutionProfile:
        """The profile of the same node played `factor` times slower; `rests_once`: what a pause costs is not multiplied.

        Then rested = factor * whole + (rested - whole), of which the ratio's error is a factor-th.
        """
        pause_s = (self.rested_s - self.whole_s) * (1.0 if rests_once else factor) if self.rested_s else 0.0
        return msgspec.structs.replace(
            self,
            time_s={unit: seconds * factor for unit, seconds in self.time_s.items()},
            quantized_time_s={unit: seconds * factor for unit, seconds in self.quantized_time_s.items()},
            integer_time_s={unit: seconds * factor for unit, seconds in self.integer_time_s.items()},
            transition_s_per_byte={kind: seconds * factor for kind, seconds in self.transition_s_per_byte.items()},
            codec_times={name: times.scaled(factor) for name, times in self.codec_times.items()},
            integer_codec_times={name: times.scaled(factor) for name, times in self.integer_codec_times.items()},
            whole_s=self.whole_s * factor,
            rested_s=self.whole_s * factor + pause_s if self.rested_s else 0.0,
            rested_spread=self.rested_spread / factor if rests_once else self.rested_spread,
            slow_down=factor,
        )


class ProfileReport(Message, frozen=True, kw_only=True):
    """Where a node stands with profiling a model.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        model: Whose profile.
        sha256: Of the model that was offered.
        state: `running` until it is known; `failed` for good where `retry` is null.
        fraction: What is done of it. [1]
        detail: Why it failed, or fails so far.
        profile: With `running`, the one that stands until it is measured: an earlier one, or a quick one of the float model
            alone (its `origin` is `modelled`, its `moments` 1).
        retry: It failed for a passing reason and is tried again; with `done`, how long that took.
        asked: Of the last `ProfileRequest` that this answers; empty where nobody asked.
        offered: The `profile_plan` of the offer that this is about; empty from an agent that does not say.
    """

    node: str
    instance: str
    model: str
    sha256: str
    state: Literal["running", "done", "failed"]
    fraction: float
    detail: str = ""
    profile: ExecutionProfile | None = None
    retry: Retrying | None = None
    asked: str = ""
    offered: str = ""


PROFILE_REPORT = Topic(
    "nodes/{node}/profiles/{model}",
    ProfileReport,
    says="where a node stands with profiling a model, and the profile",
    writers=("agent",),
    readers=("controller", "agent"),
    retained=True,
    lives_with=MODEL_OFFER,
    defended=True,
)


class ProfileRequest(Message, frozen=True, kw_only=True):
    """Measure a model once more, or try again at once what failed. Not retained: a node that is away is not asked.

    Attributes:
        model: Its name.
        sha256: Of the model that was offered; for another nothing is measured.
        asked: Comes back in the reports that answer it.
    """

    model: str
    sha256: str
    asked: str


PROFILE_REQUEST = Topic(
    "nodes/{node}/profile-requests",
    ProfileRequest,
    says="asks a node to measure a model once more",
    writers=("controller",),
    readers=("agent",),
    signer="controller",
)


class ComponentTiming(Message, frozen=True, kw_only=True):
    """How long one component took on a node lately.

    Attributes:
        graph: Digest of its graph: equal for equal components, whatever their epoch.
        epoch: On which it ran last.
        component: Its number within that epoch's plan.
        predicted_s: What that plan expects. [s]
        recent_s: Mean of the middle half of its last runs, waiting for the worker not included. [s]
        runs: How many runs that is the middle half of.
        last_run_unix_s: On the node's clock; for people. [s since the epoch]
        number: Of the last run among all that this agent counted: later runs have higher ones, whatever the clock was set
            to. 0 from an agent that does not count.
        ended_ago_s: Since the last run when this was said. [s]
        samples: What each run since the message before took, the last 16 at most, latest last; outliers are among
            them. A message with the same `number` is the same runs again. [s]
    """

    graph: str
    epoch: int
    component: int
    predicted_s: float
    recent_s: float
    runs: int
    last_run_unix_s: float
    number: int = 0
    ended_ago_s: float = 0.0
    samples: tuple[float, ...] = ()


class CodingTiming(Message, frozen=True, kw_only=True):
    """How long coding or restoring one tensor took on a node, each time since the message before; other sizes apart.

    Attributes:
        tensor: Its name.
        codec: Name of the wire codec.
        direction: What was done.
        nbytes: Of the tensor before coding. [B]
        samples: Seconds of each, the last 16 at most, latest last; waiting for the worker not included. [s]
        number: Of the last one, as of `ComponentTiming`, in the same order.
        ended_ago_s: Since the last one when this was said. [s]
    """

    tensor: str
    codec: str
    direction: Literal["encode", "decode"]
    nbytes: int
    samples: tuple[float, ...]
    number: int
    ended_ago_s: float = 0.0


class WholeTiming(Message, frozen=True, kw_only=True):
    """The whole model in float, timed again after its profile was taken.

    Attributes:
        sha256: Of the model.
        whole_s: To be held against `ExecutionProfile.whole_s`. [s]
        runs: What it is the mean of the middle half of.
        at_unix_s: On the node's clock; for people. [s since the epoch]
        number: As of `ComponentTiming`, in the same order.
        samples: What each of those runs took, the last 16 at most. [s]
    """

    sha256: str
    whole_s: float
    runs: int
    at_unix_s: float
    number: int = 0
    samples: tuple[float, ...] = ()


class LiveTimings(Message, frozen=True, kw_only=True):
    """What a node's served components and its last re-timing took, on the clock that its profile was taken with.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        model: Which model ran.
        at_unix_s: When this was said, on the node's clock. [s since the epoch]
        components: Of the epochs that the node holds, those that ran often enough; by digest.
        whole: None while the model was not timed again.
        codings: Tensors that were coded or restored for requests since the message before.
    """

    node: str
    instance: str
    model: str
    at_unix_s: float
    components: tuple[ComponentTiming, ...] = ()
    whole: WholeTiming | None = None
    codings: tuple[CodingTiming, ...] = ()


LIVE_TIMINGS = Topic(
    "nodes/{node}/timings/{model}",
    LiveTimings,
    says="what runs of a model took lately",
    writers=("agent",),
    readers=("controller", "agent"),
    retained=True,
    lives_with=MODEL_OFFER,
    defended=True,
    limit_bytes=LARGE_BYTES,
)
