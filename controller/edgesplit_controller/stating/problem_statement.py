"""Statement of the planning problem: from a model, the fleet and goals to split-problem/1.

Owns: which nodes and links a plan may use, and the planning operators and tensors. Its rule: pure; one planning
operator per unit, everything measured, nothing guessed: a node without a profile of exactly this model is left out.
Not here: solving, ONNX, where the figures come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgesplit.control.figure_messages import LinkState
from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit.errors import PlanInfeasible
from edgesplit.planning.goals import Goals
from edgesplit.planning.problem import Constraints, Link, Node, NoiseModel, Objective, Operator, Problem, Tensor
from edgesplit.planning.problem_validation import validate
from edgesplit_controller.graph.model_graph import ModelGraph, Unit
from edgesplit_controller.graph.unit_tensors import INPUT, OUTPUT, UnitTensor, unit_tensors
from edgesplit_controller.quantization.codecs.codec_figures import CodecFigure
from edgesplit_controller.stating.codec_offers import codec_offers
from edgesplit_controller.stating.held_weights import Held
from edgesplit_controller.stating.pinning import allowed_nodes
from edgesplit_controller.stating.predicting.predictions import typical_bytes, typical_quantized_time_s

__all__ = ["Candidate", "build_problem"]


@dataclass(frozen=True)
class Candidate:
    """A node that a plan may use.

    Attributes:
        memory_bytes: What this model's components may take; None is unlimited. [B]
        profile: Its times of exactly this model.
        holds: What it holds of the model's weights for other planning shapes.
        load: Share of its time that is promised to others. [1]
    """

    name: str
    compute_w: float
    transmit_w: float
    memory_bytes: float | None
    profile: ExecutionProfile
    holds: Held = frozenset()
    load: float = 0.0


def build_problem(
    model: str,
    graph: ModelGraph,
    *,
    quantizable: Sequence[str],
    noise: NoiseModel | None,
    source: str,
    candidates: Sequence[Candidate],
    links: Sequence[tuple[str, LinkState]],
    goals: Goals,
    latency_model: Literal["sum", "critical-path"] = "sum",
    codecs: Mapping[str, Sequence[CodecFigure]] | None = None,
    link_loads: Mapping[tuple[str, str], float] | None = None,
) -> Problem:
    """State the planning problem of one model.

    Args:
        model: Its name.
        graph: Its units and tensors.
        quantizable: Operators with an int8 form; each names its unit.
        noise: Over these operators, or None.
        source: Must be among the candidates.
        candidates: Online, accepted and profiled nodes; those the goals forbid are left out.
        links: Sending node and measurement; those that are down or whose ends are no candidates are left out.
        goals: Weights, limits, pins and forbidden nodes.
        latency_model: What latency means to the solver.
        codecs: What was measured of wire codecs, by tensor.
        link_loads: Sending and receiving node to the share of the link's time that is promised to others. [1]

    Raises:
        InvalidProblem: A figure makes no sense (negative, not finite).
        PlanInfeasible: The source is forbidden, or pins cannot be kept.
    """
    if source in goals.forbidden:
        raise PlanInfeasible(
            f"{model} has no plan: its source {source} is forbidden; allow it with splitctl allow, or deploy {model} "
            "from another source"
        )
    candidates = [candidate for candidate in candidates if candidate.name not in goals.forbidden]
    usable = _usable_links({candidate.name for candidate in candidates}, links)
    nodes = _connected(source, candidates, usable)
    names = {node.name for node in nodes}
    operators = _operators(graph, quantizable, nodes)
    pins = allowed_nodes(model, graph, goals.pins, source, [node.name for node in nodes])
    able = {operator.name for operator in operators if operator.quantizable}
    problem = Problem(
        model=model,
        source=source,
        nodes=tuple(_node(node) for node in nodes),
        links=tuple(
            _link(ends, link, (link_loads or {}).get(ends, 0.0))
            for ends, link in usable.items()
            if names.issuperset(ends)
        ),
        operators=operators,
        tensors=_tensors(graph, able, codecs or {}, {node.name: node.profile for node in nodes}),
        noise_model=_noise(noise, able),
        objective=Objective(
            latency_weight=goals.latency_weight, energy_weight=goals.energy_weight, latency_model=latency_model
        ),
        constraints=Constraints(
            max_noise=goals.max_noise,
            device_energy_limit_j=goals.device_energy_limit_j,
            min_rate_hz=goals.min_rate_hz,
            pins=pins or None,
        ),
    )
    validate(problem)
    return problem


def _node(candidate: Candidate) -> Node:
    return Node(
        name=candidate.name,
        compute_power_w=candidate.compute_w,
        transmit_power_w=candidate.transmit_w,
        memory_bytes=candidate.memory_bytes,
        load=candidate.load,
    )


def _link(ends: tuple[str, str], measured: LinkState, load: float) -> Link:
    return Link(
        source=ends[0],
        target=ends[1],
        bandwidth_bytes_per_s=measured.bandwidth_bytes_per_s,
        latency_s=measured.latency_s,
        load=load,
    )


def _usable_links(names: set[str], links: Sequence[tuple[str, LinkState]]) -> dict[tuple[str, str], LinkState]:
    return {
        (start, link.to): link
        for start, link in links
        if link.up and link.bandwidth_bytes_per_s > 0 and start != link.to and {start, link.to} <= names
    }


def _connected(
    source: str, candidates: Sequence[Candidate], links: Mapping[tuple[str, str], LinkState]
) -> list[Candidate]:
    """The source and the nodes work could go to and come back from."""
    sending, receiving = {start for start, _ in links}, {end for _, end in links}
    return [
        candidate
        for candidate in candidates
        if candidate.name == source or (candidate.name in sending and candidate.name in receiving)
    ]


def _operators(graph: ModelGraph, quantizable: Sequence[str], nodes: Sequence[Candidate]) -> tuple[Operator, ...]:
    nothing = {node.name: 0.0 for node in nodes}
    able = set(quantizable)
    operators = [Operator(name=INPUT, time_s=nothing, role="input", members=())]
    measures_changes = any(node.profile.transition_s_per_byte for node in nodes)
    typical = typical_bytes(graph, quantizable) if measures_changes else {}
    quantized_s = {node.name: typical_quantized_time_s(node.profile, typical) for node in nodes}
    operators += [_operator(graph, unit, able, nodes, quantized_s) for unit in graph.units]
    operators.append(Operator(name=OUTPUT, time_s=nothing, role="output", members=()))
    return tuple(operators)


def _operator(
    graph: ModelGraph,
    unit: Unit,
    able: set[str],
    nodes: Sequence[Candidate],
    quantized_s: Mapping[str, Mapping[str, float]],
) -> Operator:
    members = [graph.operator[name] for name in unit.operators]
    # A unit that some node did not time (folded away by its runtime) costs nothing there.
    times = {node.name: node.profile.time_s.get(unit.name, 0.0) for node in nodes}
    quantized = {node.name: quantized_s[node.name][unit.name] for node in nodes if unit.name in quantized_s[node.name]}
    is_able = unit.name in able and len(quantized) == len(nodes)
    return Operator(
        name=unit.name,
        time_s=times,
        flops=float(sum(member.flops for member in members)),
        weight_bytes=float(sum(member.weight_bytes for member in members)),
        held_on=tuple(node.name for node in nodes if (unit.name, False) in node.holds),
        quantized_held_on=tuple(node.name for node in nodes if (unit.name, True) in node.holds),
        quantizable=is_able,
        quantized_time_s=quantized if is_able else None,
        members=unit.operators,
    )


def _tensors(
    graph: ModelGraph,
    able: set[str],
    figures: Mapping[str, Sequence[CodecFigure]],
    profiles: Mapping[str, ExecutionProfile],
) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    for tensor in unit_tensors(graph):
        produced_by = graph.tensors[tensor.name].producer if tensor.name in graph.tensors else None
        # An output of the model is made float where it arises, so its int8 form never travels to the source.
        shrinks = produced_by in able and OUTPUT not in tensor.consumers and tensor.dtype == "float32"
        tensors.append(
            Tensor(
                name=tensor.name,
                bytes=float(tensor.nbytes),
                producer=tensor.producer,
                consumers=tensor.consumers,
                quantized_bytes=tensor.nbytes / 4 if shrinks else None,
                codecs=codec_offers(figures.get(tensor.name, ()), _timed_bytes(tensor), profiles, shrinks=shrinks),
            )
        )
    return tuple(tensors)


def _timed_bytes(tensor: UnitTensor) -> int:
    """Size of the float32 tensor that takes as long to code: nodes time codecs on such. [B]"""
    return tensor.nbytes * 2 if tensor.dtype in ("float16", "bfloat16") else tensor.nbytes


def _noise(noise: NoiseModel | None, able: set[str]) -> NoiseModel | None:
    """The model without terms over operators that cannot be quantized now."""
    if noise is None or not able:
        return None
    terms = tuple(term for term in noise.terms if able.issuperset(term.operators))
    return NoiseModel(intercept=noise.intercept, terms=terms, curve=noise.curve)
