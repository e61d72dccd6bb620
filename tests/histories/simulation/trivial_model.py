"""A model of two operators, and everything that planning, compiling, profiling and computing would make of it, in a few lines each.

Owns: what stands in the seat of ONNX, the planner, the compiler and onnxruntime in a simulated fleet: scores = (image + 1) * 2, one
operator a component. Its rule: deterministic, and cheap; a wrong result shows, for every request has a number of its own. Not here:
anything of the protocol, which is the product's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from edgesplit.control.component_messages import ComponentSpec, GraphRef, Route
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.control.profile_messages import ExecutionProfile, ModelOffer
from edgesplit.planning.plan import Assignment, Component, Evaluation, TimelineEntry
from edgesplit.planning.problem import Link, Node, Operator, Problem, Tensor
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.session_pool import Computed

__all__ = [
    "UNITS",
    "TrivialComponent",
    "TrivialModel",
    "answer_to",
    "best_assignment",
    "compiled",
    "digests_needed",
    "evaluated",
    "profile_of",
    "question",
    "stated",
]

UNITS = ("add", "double")
WIRE = ("image", "middle", "scores")
"""What the first unit reads, what it yields, what the second one yields."""
_SPECS = tuple(TensorSpec(name=name, dtype="float32", shape=(1,)) for name in WIRE)
NBYTES = 40_000
"""What planning believes of each tensor. [B]"""


@dataclass(frozen=True)
class TrivialModel:
    """A model as the controller works with it; in the seat of `ModelRecord`."""

    name: str

    @property
    def sha256(self) -> str:
        """Digest of its file."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def version(self) -> str:
        """Digest of all that plans are cut from."""
        return f"version of {self.name}"

    def fits(self, version: str) -> bool:
        """Whether plans of a version are plans of this record too."""
        return version == self.version

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What a request must hold."""
        return _SPECS[:1]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What an answer holds."""
        return _SPECS[2:]

    @property
    def offer(self) -> ModelOffer:
        """What nodes are asked to profile."""
        return ModelOffer(
            model=self.name,
            sha256=self.sha256,
            float_graph=GraphRef(digest=f"{self.name}/whole", nbytes=1000),
            quantized_graph=None,
            profile_plan=f"{self.name}/plan",
        )


def question(number: float) -> dict[str, Array]:
    """A request that differs from all others."""
    return {WIRE[0]: np.array([number], dtype=np.float32)}


def answer_to(number: float) -> float:
    """What the request of that number must be answered with."""
    return float((np.float32(number) + np.float32(1)) * np.float32(2))


class TrivialComponent:
    """One operator, loaded; in the seat of `LoadedComponent`."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def is_brief(self, _arrays: Mapping[str, Array]) -> bool:
        """Whether it may run between two events."""
        return False

    def as_planned(self, _arrays: Mapping[str, Array]) -> bool:
        """Whether these sizes are those that are planned for."""
        return True

    def refuses(self, _arrays: Mapping[str, Array], _error: BaseException) -> bool:
        """Whether it fails for its inputs' sizes."""
        return False

    def run(self, arrays: Mapping[str, Array]) -> Computed:
        """Compute."""
        if self._unit == UNITS[0]:
            outputs = {WIRE[1]: arrays[WIRE[0]] + np.float32(1)}
        else:
            outputs = {WIRE[2]: arrays[WIRE[1]] * np.float32(2)}
        return Computed(outputs, 0.001, 0.001)


def profile_of(times_s: Mapping[str, float]) -> ExecutionProfile:
    """What a node says that it takes."""
    return ExecutionProfile(
        time_s=dict(times_s),
        quantized_time_s={},
        whole_s=sum(times_s.values()),
        runs=3,
        provider="simulated",
        threads=1,
        runtime="none",
    )


def stated(
    model: str,
    source: str,
    nodes: Mapping[str, Mapping[str, float]],
    links: Mapping[tuple[str, str], tuple[float, float]],
) -> Problem:
    """The planning problem.

    Args:
        model: Its name.
        source: Where requests arise.
        nodes: Node to what each unit takes there. [s]
        links: Bandwidth and latency of each. [B/s, s]
    """
    operators = (
        Operator(name="input", time_s=dict.fromkeys(nodes, 0.0), role="input"),
        *(Operator(name=unit, time_s={node: times_s[unit] for node, times_s in nodes.items()}) for unit in UNITS),
        Operator(name="output", time_s=dict.fromkeys(nodes, 0.0), role="output"),
    )
    ends = ("input", *UNITS, "output")
    tensors = tuple(
        Tensor(name=name, bytes=NBYTES, producer=ends[place], consumers=(ends[place + 1],))
        for place, name in enumerate(WIRE)
    )
    return Problem(
        model=model,
        source=source,
        nodes=tuple(Node(name=name, compute_power_w=1.0, transmit_power_w=1.0) for name in nodes),
        links=tuple(
            Link(source=start, target=end, bandwidth_bytes_per_s=rate, latency_s=latency_s)
            for (start, end), (rate, latency_s) in links.items()
            if start in nodes and end in nodes
        ),
        operators=operators,
        tensors=tensors,
    )


def evaluated(problem: Problem, assignment: Assignment) -> Evaluation | None:
    """What a plan takes; None where a link that it needs is not there."""
    links = {(link.source, link.target): link for link in problem.links}
    way = [problem.source, *(assignment.node_of[unit] for unit in UNITS), problem.source]
    times_s = {operator.name: operator.time_s for operator in problem.operators}
    timeline: list[TimelineEntry] = []
    now_s = 0.0
    for place, (start, end) in enumerate(pairwise(way)):
        if start != end:
            link = links.get((start, end))
            if link is None:
                return None
            ends_s = now_s + NBYTES / link.bandwidth_bytes_per_s + link.latency_s
            timeline.append(
                TimelineEntry(
                    kind="transfer", start_s=now_s, end_s=ends_s, source=start, target=end, tensor=WIRE[place]
                )
            )
            now_s = ends_s
        if place < len(UNITS):
            ends_s = now_s + times_s[UNITS[place]][end]
            timeline.append(TimelineEntry(kind="compute", start_s=now_s, end_s=ends_s, node=end, component=place))
            now_s = ends_s
    components = tuple(
        Component(id=place, node=way[place + 1], operators=(unit,), inputs=(WIRE[place],), outputs=(WIRE[place + 1],))
        for place, unit in enumerate(UNITS)
    )
    return Evaluation(
        latency_s=now_s,
        timeline_s=now_s,
        energy_j=now_s,
        device_energy_j=0.0,
        noise=0.0,
        memory_bytes={},
        violations=(),
        components=components,
        timeline=tuple(timeline),
    )


def best_assignment(problem: Problem, without: str = "") -> tuple[Assignment, Evaluation]:
    """The best plan of all, perhaps one that does without a node."""
    names = sorted(node.name for node in problem.nodes if node.name != without)
    found: list[tuple[float, Assignment, Evaluation]] = []
    for choice in product(names, repeat=len(UNITS)):
        placed = dict(zip(UNITS, choice, strict=True))
        assignment = Assignment({"input": problem.source, **placed, "output": problem.source})
        evaluation = evaluated(problem, assignment)
        if evaluation is not None:
            found.append((evaluation.latency_s, assignment, evaluation))
    _, assignment, evaluation = min(found, key=lambda entry: entry[0])
    return assignment, evaluation


def compiled(
    model: str, assignment: Assignment, *, epoch: int, source: str, addresses: Mapping[str, str]
) -> dict[str, EpochSpec]:
    """Every participant's part of a plan; the source always has one."""
    way = [source, *(assignment.node_of[unit] for unit in UNITS), source]
    participants = {node: addresses[node] for node in dict.fromkeys(way)}

    def routes(place: int) -> tuple[Route, ...]:
        start, end = way[place], way[place + 1]
        return () if start == end else (Route(tensor=WIRE[place], codec="raw", to=(end,)),)

    specs: dict[str, EpochSpec] = {}
    for node in participants:
        components = tuple(
            ComponentSpec(
                component=place,
                graph=GraphRef(digest=f"{model}/{unit}", nbytes=1000),
                inputs=_SPECS[place : place + 1],
                outputs=_SPECS[place + 1 : place + 2],
                routes=routes(place + 1),
            )
            for place, unit in enumerate(UNITS)
            if way[place + 1] == node
        )
        at_source = node == source
        specs[node] = EpochSpec(
            epoch=epoch,
            source=source,
            participants=participants,
            components=components,
            input_routes=routes(0) if at_source else (),
            outputs=WIRE[2:] if at_source else (),
        )
    return specs


def digests_needed(components: tuple[ComponentSpec, ...]) -> frozenset[str]:
    """Blobs that components are built from."""
    return frozenset(component.graph.digest for component in components)
