"""Small problems of extreme figures: every magnitude and shape that a problem file may have, few enough choices to try all.

Owns: drawing them. Its rule: it shares nothing with the planner but the problem's types. Not here: their optima
(`claims`), problems of ordinary size (`brute_force`).
"""

from __future__ import annotations

import random
from fractions import Fraction

import msgspec

from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem import (
    CodecOption,
    Constraints,
    Link,
    Node,
    NoiseModel,
    NoiseTerm,
    Objective,
    Operator,
    Problem,
    Tensor,
)
from edgesplit.planning.problem_file import problem_from_json, problem_to_json
from tests.planner.brute_force import all_assignments
from tests.planner.curves import random_curve
from tests.planner.exact_sums import ExactSums, exact_sums

__all__ = ["extreme_problem"]

MOST_ASSIGNMENTS = {"sum": 300, "critical-path": 36}
FAN_OUT = 100


def extreme_problem(seed: int, *, curved: bool = False) -> Problem:
    """A problem of at most some hundred assignments; every fourth is planned with a timeline.

    Args:
        seed: Of everything.
        curved: Noise is read off a curve.
    """
    r = random.Random(seed)
    model = "critical-path" if seed % 4 == 3 else "sum"
    nodes = [f"n{index}" for index in range(r.choice([1, 2, 2, 3, 3, 4, 6, 12]))]
    shape = _Shape(r, nodes, timed=model == "critical-path")
    operators = shape.operators(MOST_ASSIGNMENTS[model])
    problem = Problem(
        model="extreme",
        source=nodes[0],
        nodes=tuple(shape.node(name) for name in nodes),
        links=shape.links(),
        operators=operators,
        tensors=shape.tensors(operators),
        noise_model=shape.noise(operators),
        objective=_objective(r, model == "critical-path"),
        constraints=Constraints(pins=shape.pins or None),
    )
    if curved and problem.noise_model is not None:
        noise = msgspec.structs.replace(problem.noise_model, curve=_curve(seed, problem.noise_model))
        problem = msgspec.structs.replace(problem, noise_model=noise)
    problem = _limited(r, problem_from_json(problem_to_json(problem)))
    return problem_from_json(problem_to_json(problem))


def _curve(seed: int, noise: NoiseModel) -> NoiseCurve:
    r, top = random.Random(f"curve {seed}"), sum(abs(term.coefficient) for term in noise.terms) or 1.0
    return random_curve(r, top, top * 10 ** r.uniform(-3.0, 3.0))


def _objective(r: random.Random, timed: bool) -> Objective:
    latency, energy = r.choice([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (3.0, 1.0), (1e-9, 1.0), (1.0, 1e-6)])
    return Objective(latency_weight=latency, energy_weight=energy, latency_model="critical-path" if timed else "sum")


class _Shape:
    """The magnitudes of one problem."""

    def __init__(self, r: random.Random, nodes: list[str], *, timed: bool) -> None:
        self.r, self.nodes, self.timed = r, nodes, timed
        ratio = r.choice([0.0, 1.0, 5.0])
        self.slowness = {name: 10 ** r.uniform(0.0, ratio) for name in nodes}
        self.time_s = 10 ** r.uniform(-9.0, 1.0)
        self.spread = r.random() < 0.3
        self.noise_level = 10 ** r.uniform(-9.0, 3.0)
        self.pins: dict[str, tuple[str, ...]] = {}

    def operators(self, most: int) -> tuple[Operator, ...]:
        """Some with a choice, some pinned, at times very many pinned readers."""
        r, choices = self.r, 1
        operators = [Operator(name="in", time_s=self.times(zero=True), role=r.choice(["input", None]))]
        if operators[0].role is None:
            choices *= len(self.nodes)
        for index in range(r.randint(1, 7)):
            name, quantizable = f"op{index}", r.random() < 0.4
            options = len(self.nodes) * (2 if quantizable else 1)
            if choices * options > most:
                self.pins[name] = (r.choice(self.nodes),)
                options = 2 if quantizable and choices * 2 <= most else 1
                quantizable = options == 2
            elif r.random() < 0.15:
                some = r.sample(self.nodes, r.randint(1, len(self.nodes)))
                self.pins[name] = (*some, some[0])
                options = len(some) * (2 if quantizable else 1)
            choices *= options
            times = self.times()
            gain = {node: times[node] * r.choice([0.3, 0.5, 1.0, 1.1]) for node in self.nodes}
            operators.append(
                Operator(
                    name=name,
                    time_s=times,
                    weight_bytes=self.weight(),
                    quantizable=quantizable,
                    quantized_time_s=gain if quantizable else None,
                )
            )
        if r.random() < 0.12:
            for index in range(r.choice([20, 60, FAN_OUT])):
                times = self.times(zero=self.timed)
                operators.append(Operator(name=f"reader{index}", time_s=times, weight_bytes=self.weight()))
                self.pins[f"reader{index}"] = (r.choice(self.nodes),)
        if r.random() < 0.7:
            operators.append(Operator(name="out", time_s=self.times(zero=True), role="output"))
        return tuple(operators)

    def times(self, *, zero: bool = False) -> dict[str, float]:
        r = self.r
        if zero or r.random() < 0.1:
            return dict.fromkeys(self.nodes, 0.0)
        work = 10 ** r.uniform(-9.0, 1.0) if self.spread else self.time_s * r.choice([1.0, 1.0, r.random(), 0.1])
        return {name: work * self.slowness[name] * r.choice([1.0, r.uniform(0.9, 1.1)]) for name in self.nodes}

    def weight(self) -> float:
        r = self.r
        return r.choice([0.0, 7.0, 100.0, float(r.randint(0, 10**6)), float(round(10 ** r.uniform(0.0, 12.0)))])

    def node(self, name: str) -> Node:
        r = self.r
        return Node(
            name=name,
            compute_power_w=r.choice([0.0, 1.0, 1.0, 3.3, 10 ** r.uniform(-3.0, 3.0)]),
            transmit_power_w=r.choice([0.0, 1.0, 0.7, 10 ** r.uniform(-3.0, 3.0)]),
        )

    def links(self) -> tuple[Link, ...]:
        r = self.r
        fast = 10 ** r.uniform(0.0, 10.0)
        return tuple(
            Link(
                source=a,
                target=b,
                bandwidth_bytes_per_s=fast * r.choice([1.0, 10 ** r.uniform(-2.0, 2.0)]),
                latency_s=r.choice([0.0, 0.0, 1e-9, self.time_s * r.random(), 10.0]),
            )
            for a in self.nodes
            for b in self.nodes
            if a != b and r.random() < 0.93
        )

    def tensors(self, operators: tuple[Operator, ...]) -> tuple[Tensor, ...]:
        r = self.r
        names = [operator.name for operator in operators if not operator.name.startswith("reader")]
        readers = [operator.name for operator in operators if operator.name.startswith("reader")]
        read = r.choice(names[:-1]) if len(names) > 1 else names[0]
        level = 10 ** r.uniform(0.0, 12.0)
        tensors: list[Tensor] = []
        for index, name in enumerate(names):
            later = names[index + 1 :]
            consumers = {later[0] if r.random() < 0.8 else r.choice(later)} if later else set()
            if later and r.random() < 0.3:
                consumers.add(r.choice(later))
            if name == read:
                consumers.update(readers)
            size = r.choice([0.0, 1.0, level, level * r.random()])
            tensors.append(
                Tensor(
                    name=f"t{index}",
                    bytes=size,
                    quantized_bytes=r.choice([None, size / 4, size, size * 1.1]),
                    producer=name,
                    consumers=tuple(sorted(consumers)),
                    codecs=(self.codec(size),) if r.random() < 0.12 else None,
                )
            )
        return tuple(tensors)

    def codec(self, size: float) -> CodecOption:
        r = self.r
        able = [name for name in self.nodes if r.random() < 0.9]
        return CodecOption(
            name="half",
            bytes=size / 2,
            noise=r.choice([0.0, self.noise_level, self.noise_level * r.random()]),
            encode_s={name: self.time_s * r.choice([0.0, 0.1]) for name in able},
            decode_s={name: self.time_s * r.choice([0.0, 0.1]) for name in able},
            precision=r.choice([None, None, "float", "int8"]),
        )

    def noise(self, operators: tuple[Operator, ...]) -> NoiseModel | None:
        r = self.r
        bits = [operator.name for operator in operators if operator.quantizable]
        if r.random() < 0.1:
            return None
        wide = r.random() < 0.3

        def coefficient() -> float:
            size = 10 ** r.uniform(-9.0, 3.0) if wide else self.noise_level * r.choice([1.0, r.random()])
            return size * (-1 if r.random() < 0.35 else 1)

        terms = [NoiseTerm(operators=(bit,), coefficient=coefficient()) for bit in bits]
        pairs = [(a, b) for index, a in enumerate(bits) for b in bits[index + 1 :]]
        terms += [NoiseTerm(operators=pair, coefficient=coefficient()) for pair in pairs if r.random() < 0.6]
        return NoiseModel(intercept=r.choice([0.0, coefficient()]), terms=tuple(terms))


def _limited(r: random.Random, problem: Problem) -> Problem:
    """Limits at the value of a plan, a little under it or a little over it."""
    if r.random() < 0.25:
        return problem
    assignments = list(all_assignments(problem))
    if not assignments:
        return problem
    kinds = r.choice(
        [("energy",), ("noise",), ("memory",), ("energy", "noise"), ("noise", "memory"), ("energy", "memory")]
    )
    for kind in kinds:
        sums = exact_sums(problem, r.choice(assignments))
        problem = _with_limit(r, problem, kind, sums)
    return problem


def _with_limit(r: random.Random, problem: Problem, kind: str, sums: ExactSums) -> Problem:
    constraints = problem.constraints
    if kind == "energy":
        limited = msgspec.structs.replace(constraints, device_energy_limit_j=_near(r, sums.device_energy_j))
        return msgspec.structs.replace(problem, constraints=limited)
    if kind == "noise":
        limited = msgspec.structs.replace(constraints, max_noise=max(0.0, _near(r, sums.noise)))
        return msgspec.structs.replace(problem, constraints=limited)
    node = r.choice(problem.nodes)
    held = sums.memory_bytes[node.name]
    room = max(0.0, float(held) + r.choice([-1.0, -0.25, 0.0, 1.0]))
    nodes = tuple(msgspec.structs.replace(n, memory_bytes=room) if n is node else n for n in problem.nodes)
    return msgspec.structs.replace(problem, nodes=nodes)


def _near(r: random.Random, value: Fraction) -> float:
    at = float(value)
    return r.choice([at, at, at * (1 - 1e-12), at * (1 - 1e-9), at * (1 - 1e-6), at * (1 + 1e-12), at * (1 + 1e-9)])
