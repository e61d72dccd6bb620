"""The planning problem `split-problem/1` as values.

Owns: the frozen values a planner works on. Its rule: nothing is checked here but types; what `problem_file.py` returns
and `problem_validation.py` passes needs no further check. Not here: costs, solving, ONNX.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from edgesplit.planning.noise_curve import NoiseCurve

__all__ = [
    "FORMAT",
    "CodecOption",
    "Constraints",
    "Link",
    "Node",
    "NoiseModel",
    "NoiseTerm",
    "Objective",
    "Operator",
    "Problem",
    "Tensor",
]

FORMAT: Final = "split-problem/1"

Name = Annotated[str, msgspec.Meta(min_length=1)]


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A machine that runs an agent.

    Attributes:
        compute_power_w: Power drawn while computing, encoding or decoding. [W]
        transmit_power_w: Power drawn while sending. [W]
        memory_bytes: Room for weights; None is unlimited. [B]
        load: Share of its time that others take, 0 to 1. Only a rate to be sustained counts it. [1]
    """

    name: Name
    compute_power_w: float
    transmit_power_w: float
    memory_bytes: float | None = None
    load: float = 0.0


class Link(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A directed network path; a pair without one cannot exchange tensors directly.

    Attributes:
        source: Sending node (`from` in the file).
        target: Receiving node (`to` in the file).
        bandwidth_bytes_per_s: Rate at which tensors leave. [B/s]
        latency_s: Added once per tensor. [s]
        load: Share of its time that others' tensors occupy, 0 to 1. Only a rate to be sustained counts it. [1]
    """

    source: Name = msgspec.field(name="from")
    target: Name = msgspec.field(name="to")
    bandwidth_bytes_per_s: float
    latency_s: float
    load: float = 0.0


class Operator(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is placed on one node as a whole: an ONNX operator, or a unit of several.

    Attributes:
        time_s: Node to its compute time in float. [s]
        flops: Floating point operations, for people. [1]
        weight_bytes: Memory of its weights in float; a quarter when quantized. [B]
        held_on: Nodes that hold its weights in float whatever the plan is: there they take no room.
        quantized_held_on: Likewise in int8.
        quantizable: Whether it may run in int8.
        quantized_time_s: Node to its compute time in int8; required when quantizable. [s]
        role: `input` and `output` stay on the source.
        members: ONNX operators this one stands for; None is itself. Only counts and lists in output use it.
    """

    name: Name
    time_s: dict[str, float]
    flops: float = 0.0
    weight_bytes: float = 0.0
    held_on: tuple[Name, ...] = ()
    quantized_held_on: tuple[Name, ...] = ()
    quantizable: bool = False
    quantized_time_s: dict[str, float] | None = None
    role: Literal["input", "output"] | None = None
    members: tuple[str, ...] | None = None

    @property
    def listed(self) -> tuple[str, ...]:
        """The operators this one is listed as."""
        return (self.name,) if self.members is None else self.members

    def weights_in(self, *, quantized: bool) -> float:
        """What its weights take in a precision. [B]"""
        return self.weight_bytes * (0.25 if quantized else 1.0)

    def weights_on(self, node: str, *, quantized: bool) -> float:
        """What they take of a node's room. [B]"""
        held = self.quantized_held_on if quantized else self.held_on
        return 0.0 if node in held else self.weights_in(quantized=quantized)


class CodecOption(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way to code a tensor on the wire.

    Attributes:
        bytes: Coded size. [B]
        noise: Added to the output's noise once when in use. [1]
        encode_s: Node to the time it takes to encode; a node left out cannot encode. [s]
        decode_s: Node to the time it takes to decode; a node left out cannot decode. [s]
        precision: Codes the tensor only when its producer runs in `float` or in `int8`; None codes it either way.
    """

    name: Name
    bytes: float
    encode_s: dict[str, float]
    decode_s: dict[str, float]
    noise: float = 0.0
    precision: Literal["float", "int8"] | None = None

    def codes(self, *, quantized: bool) -> bool:
        """Whether it codes a tensor whose producer runs in that precision."""
        return self.precision is None or (self.precision == "int8") == quantized


class Tensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value of the graph that may travel.

    Attributes:
        bytes: Size on the wire when its producer runs in float. [B]
        producer: The operator it comes out of.
        consumers: The operators that read it.
        quantized_bytes: Size when the producer is quantized; None is the same as `bytes`. [B]
        codecs: Codecs on offer; at most one is used, the same on all links. Two of one name are one codec, with
            figures of its own for each precision.
    """

    name: Name
    bytes: float
    producer: str
    consumers: tuple[str, ...]
    quantized_bytes: float | None = None
    codecs: tuple[CodecOption, ...] | None = None


class NoiseTerm(msgspec.Struct, frozen=True, kw_only=True):
    """A monomial of the noise polynomial, active when all its operators are quantized."""

    operators: tuple[str, ...]
    coefficient: float


class NoiseModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Interaction polynomial over quantization bits; no noise when nothing is quantized.

    Attributes:
        intercept: Added as soon as one operator is quantized. [1]
        terms: The monomials.
        curve: What noise a value of the polynomial stands for; None: its own value.
    """

    intercept: float
    terms: tuple[NoiseTerm, ...]
    curve: NoiseCurve | None = None


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """What to minimise; the weights are normalised to sum 1."""

    latency_weight: float = 1.0
    energy_weight: float = 0.0
    latency_model: Literal["sum", "critical-path"] = "sum"


class Constraints(msgspec.Struct, frozen=True, kw_only=True):
    """Limits a plan must keep; None is no limit.

    Attributes:
        max_noise: Bound on the output's noise. [1]
        device_energy_limit_j: Bound on the source's own energy per inference. [J]
        min_rate_hz: Requests a second that a plan must sustain: for one request no node computes, and no link is occupied,
            longer than a period of that rate. [1/s]
        pins: Operator to the nodes it may run on.
    """

    max_noise: float | None = None
    device_energy_limit_j: float | None = None
    min_rate_hz: float | None = None
    pins: dict[str, tuple[str, ...]] | None = None

    def without(self, node: str) -> Constraints:
        """The same where a node is gone; the pin of an operator that may run nowhere else is left empty."""
        pins = {name: tuple(left for left in allowed if left != node) for name, allowed in (self.pins or {}).items()}
        return msgspec.structs.replace(self, pins=pins or None)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One planning problem, valid when read by `problem_file.py`.

    Attributes:
        handling_s: What a request takes at its source whatever the plan: taking it in, handing it over, answering. The
            timeline begins with it; no plan is better or worse for it. [s]
    """

    format: Literal["split-problem/1"] = FORMAT
    model: str
    source: str
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    noise_model: NoiseModel | None = None
    objective: Objective = Objective()
    constraints: Constraints = Constraints()
    handling_s: float = 0.0
