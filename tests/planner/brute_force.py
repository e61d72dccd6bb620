"""Random small problems, and their optima by trying everything.

Owns: an independent reading of docs/problem-file.md, as slow and plain as can be. Its rule: it shares no
code with the planner under `sum`; under `critical-path` the makespan of one assignment is its own enumeration of
orders. Not here: assertions.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Literal

from edgesplit.planning.plan import Assignment
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
from tests.planner.curves import noise_at, random_curve

__all__ = ["all_assignments", "best_score", "exact_costs", "makespan", "random_problem"]

Model = Literal["sum", "critical-path"]


def random_problem(
    seed: int,
    *,
    model: Model = "sum",
    operators: int = 5,
    codecs: bool = True,
    precisions: bool = False,
    curved: bool = False,
) -> Problem:
    """A problem of a few operators with a random choice of every feature; `curved`: noise is read off a curve."""
    r = random.Random(seed)
    nodes = ["device", "edge", "cloud"][: r.choice([2, 2, 3])]
    names = ["in", *(f"op{i}" for i in range(operators)), "out"]
    speed = {"device": 1.0, "edge": 0.5, "cloud": r.choice([0.1, 0.6])}
    ops: list[Operator] = [Operator(name="in", time_s=dict.fromkeys(nodes, 0.0), role="input")]
    for name in names[1:-1]:
        work = r.choice([0.0, 0.1, 0.5, 1.0, r.random()])
        quantizable = r.random() < 0.5
        times = {n: work * speed[n] * r.uniform(0.8, 1.2) for n in nodes}
        gain = {n: times[n] * r.choice([0.4, 0.6, 0.9, 1.2 if r.random() < 0.3 else 0.5]) for n in nodes}
        ops.append(
            Operator(
                name=name,
                time_s=times,
                weight_bytes=float(r.randint(0, 100)),
                quantizable=quantizable,
                quantized_time_s=gain if quantizable else None,
            )
        )
    ops.append(Operator(name="out", time_s=dict.fromkeys(nodes, 0.0), role="output"))
    tensors: list[Tensor] = []
    for index, name in enumerate(names[:-1]):
        later = names[index + 1 :]
        consumers = {later[0]} if r.random() < 0.8 else {r.choice(later)}
        if r.random() < 0.4:
            consumers.add(r.choice(later))
        size = float(r.choice([10, 50, 100, 400]))
        options: list[CodecOption] = []
        split = precisions and r.random() < 0.6
        for codec, share in (("fp16", 0.5), ("int8", 0.25), *((("int8", 0.1), ("fp16", 0.2)) if split else ())):
            precision: Literal["float", "int8"] | None = None
            if split:
                precision = "int8" if any(option.name == codec for option in options) else "float"
            if codecs and r.random() < (0.5 if split else 0.25):
                options.append(
                    CodecOption(
                        name=codec,
                        precision=precision,
                        bytes=size * share,
                        noise=r.choice([0.0, 0.01, 0.03]),
                        encode_s={n: r.choice([0.0, 0.01, 0.05]) for n in nodes},
                        decode_s={n: r.choice([0.0, 0.01, 0.05]) for n in nodes},
                    )
                )
        tensors.append(
            Tensor(
                name=f"t{index}",
                bytes=size,
                quantized_bytes=r.choice([None, size / 4, size / 4, size * 1.1]),
                producer=name,
                consumers=tuple(sorted(consumers)),
                codecs=tuple(options) or None,
            )
        )
    bits = [o.name for o in ops if o.quantizable]
    terms = [NoiseTerm(operators=(b,), coefficient=r.uniform(0, 0.05)) for b in bits]
    terms += [NoiseTerm(operators=pair, coefficient=r.uniform(-0.03, 0.03)) for pair in itertools.combinations(bits, 2)]
    links = [
        Link(
            source=a,
            target=b,
            bandwidth_bytes_per_s=r.choice([100.0, 500.0, 3000.0]),
            latency_s=r.choice([0, 0.01]),
        )
        for a in nodes
        for b in nodes
        if a != b and r.random() < 0.9
    ]
    pins: dict[str, tuple[str, ...]] = {}
    if r.random() < 0.3:
        pins[r.choice(names[1:-1])] = tuple(r.sample(nodes, r.choice([1, 2])))
    weights = r.choice([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.8, 0.2)])
    curve = random_curve(random.Random(f"curve {seed}"), 0.15, 0.15) if curved else None
    problem = Problem(
        model="random",
        source="device",
        nodes=tuple(
            Node(
                name=n,
                compute_power_w=r.choice([1.0, 3.0, 10.0]),
                transmit_power_w=r.choice([0.1, 2.0]),
                memory_bytes=float(r.randint(60, 300)) if r.random() < 0.3 else None,
            )
            for n in nodes
        ),
        links=tuple(links),
        operators=tuple(ops),
        tensors=tuple(tensors),
        noise_model=NoiseModel(intercept=r.uniform(0, 0.02), terms=tuple(terms), curve=curve)
        if r.random() < 0.9
        else None,
        objective=Objective(latency_weight=weights[0], energy_weight=weights[1], latency_model=model),
        constraints=Constraints(
            max_noise=r.choice([None, 0.0, 0.04, 0.08]),
            device_energy_limit_j=r.uniform(0.2, 4.0) if r.random() < 0.3 else None,
            pins=pins or None,
        ),
    )
    return problem_from_json(problem_to_json(problem))


def all_assignments(problem: Problem) -> Iterator[Assignment]:
    """Every node, precision and codec choice that pins, roles and links allow; codecs on cut tensors only."""
    pins = problem.constraints.pins or {}
    nodes = [n.name for n in problem.nodes]
    domains = [[n for n in pins.get(o.name, nodes) if o.role is None or n == problem.source] for o in problem.operators]
    links = {(link.source, link.target) for link in problem.links}
    bits = [o.name for o in problem.operators if o.quantizable]
    for places in itertools.product(*domains):
        node_of = dict(zip([o.name for o in problem.operators], places, strict=True))
        cut = [t for t in problem.tensors if any(node_of[c] != node_of[t.producer] for c in t.consumers)]
        if any(
            (node_of[t.producer], node_of[c]) not in links and node_of[c] != node_of[t.producer]
            for t in cut
            for c in t.consumers
        ):
            continue
        for chosen in itertools.product([False, True], repeat=len(bits)):
            quantized = frozenset(b for b, on in zip(bits, chosen, strict=True) if on)
            options = [
                [
                    None,
                    *(
                        c.name
                        for c in t.codecs or ()
                        if c.precision in (None, "int8" if t.producer in quantized else "float")
                    ),
                ]
                for t in cut
            ]
            for codes in itertools.product(*options):
                codecs = {t.name: c for t, c in zip(cut, codes, strict=True) if c is not None}
                if all(_able(t, codecs[t.name], node_of) for t in cut if t.name in codecs):
                    yield Assignment(node_of, quantized, codecs)


def _able(tensor: Tensor, name: str, node_of: dict[str, str]) -> bool:
    """Whether the nodes of a cut have the codec."""
    sender = node_of[tensor.producer]
    to = {node_of[consumer] for consumer in tensor.consumers} - {sender}
    named = [codec for codec in tensor.codecs or () if codec.name == name]
    return any(sender in codec.encode_s and to <= codec.decode_s.keys() for codec in named)


def exact_costs(problem: Problem, assignment: Assignment) -> tuple[float, float, bool]:
    """Latency under `sum`, energy, and whether every limit is kept."""
    nodes = {n.name: n for n in problem.nodes}
    links = {(link.source, link.target): link for link in problem.links}
    latency, energy, memory = 0.0, dict.fromkeys(nodes, 0.0), dict.fromkeys(nodes, 0.0)
    for o in problem.operators:
        node = assignment.node_of[o.name]
        int8 = o.name in assignment.quantized
        seconds = (o.quantized_time_s or {})[node] if int8 else o.time_s[node]
        latency += seconds
        energy[node] += seconds * nodes[node].compute_power_w
        if node not in (o.quantized_held_on if int8 else o.held_on):
            memory[node] += o.weight_bytes / (4 if int8 else 1)
    noise = 0.0
    if assignment.quantized and problem.noise_model is not None:
        level = problem.noise_model.intercept
        level += sum(t.coefficient for t in problem.noise_model.terms if set(t.operators) <= assignment.quantized)
        noise = noise_at(problem.noise_model.curve, level, float)
    for t in problem.tensors:
        sender = assignment.node_of[t.producer]
        to = {assignment.node_of[c] for c in t.consumers} - {sender}
        if not to:
            continue
        size = t.bytes
        if t.producer in assignment.quantized and t.quantized_bytes is not None:
            size = t.quantized_bytes
        for codec in t.codecs or ():
            form = "int8" if t.producer in assignment.quantized else "float"
            if assignment.codecs.get(t.name) == codec.name and codec.precision in (None, form):
                size = codec.bytes
                noise += codec.noise
                latency += codec.encode_s[sender] + sum(codec.decode_s[b] for b in to)
                energy[sender] += codec.encode_s[sender] * nodes[sender].compute_power_w
                for b in to:
                    energy[b] += codec.decode_s[b] * nodes[b].compute_power_w
        for b in to:
            seconds = size / links[sender, b].bandwidth_bytes_per_s + links[sender, b].latency_s
            latency += seconds
            energy[sender] += seconds * nodes[sender].transmit_power_w
    limits = problem.constraints
    ok = limits.max_noise is None or noise <= limits.max_noise
    ok &= limits.device_energy_limit_j is None or energy[problem.source] <= limits.device_energy_limit_j
    ok &= all(n.memory_bytes is None or memory[n.name] <= n.memory_bytes for n in problem.nodes)
    return latency, sum(energy.values()), ok


def makespan(problem: Problem, assignment: Assignment) -> float:
    """Least end over all orders, operator by operator: no grouping can be better."""
    links = {(link.source, link.target): link for link in problem.links}
    tasks: dict[str, tuple[str, float, float]] = {}
    after: dict[str, set[str]] = {}
    for o in problem.operators:
        node = assignment.node_of[o.name]
        times = o.quantized_time_s if o.name in assignment.quantized and o.quantized_time_s else o.time_s
        tasks[o.name] = (node, times[node], 0.0)
        after.setdefault(o.name, set())
    for t in problem.tensors:
        sender = assignment.node_of[t.producer]
        form = "int8" if t.producer in assignment.quantized else "float"
        fitting = [c for c in t.codecs or () if c.precision in (None, form)]
        codec = next((c for c in fitting if assignment.codecs.get(t.name) == c.name), None)
        size = t.bytes
        if t.producer in assignment.quantized and t.quantized_bytes is not None:
            size = t.quantized_bytes
        leaves = t.producer
        for b in sorted({assignment.node_of[c] for c in t.consumers}):
            readers = {c for c in t.consumers if assignment.node_of[c] == b}
            arrived = t.producer
            if b != sender:
                link = links[sender, b]
                if codec is not None:
                    size, leaves = codec.bytes, f"{t.name}!"
                    tasks[leaves] = (sender, codec.encode_s[sender], 0.0)
                    after[leaves] = {t.producer}
                arrived = f"{t.name}>{b}"
                tasks[arrived] = (f"{sender}>{b}", size / link.bandwidth_bytes_per_s, link.latency_s)
                after[arrived] = {leaves}
                if codec is not None:
                    tasks[f"{arrived}!"] = (b, codec.decode_s[b], 0.0)
                    after[f"{arrived}!"] = {arrived}
                    arrived = f"{arrived}!"
            for reader in readers:
                after.setdefault(reader, set()).add(arrived)
    return _least_end(tasks, after, {}, {}, 0.0, float("inf"))


def _least_end(
    tasks: dict[str, tuple[str, float, float]],
    after: dict[str, set[str]],
    done: dict[str, float],
    free: dict[str, float],
    end: float,
    best: float,
) -> float:
    """Try every order in which tasks may be appended."""
    if len(done) == len(tasks):
        return end
    ready = [name for name in tasks if name not in done and after[name] <= done.keys()]
    starts = {
        n: max([free.get(tasks[n][0], 0.0) if tasks[n][1] > 0 else 0.0, *(done[p] for p in after[n])]) for n in ready
    }
    # A task that is alone on its resource, or takes no time, may go first without loss.
    alone = [
        n
        for n in ready
        if tasks[n][1] == 0 or all(tasks[m][0] != tasks[n][0] for m in tasks if m not in done and m != n)
    ]
    for name in alone[:1] or ready:
        resource, duration, lag = tasks[name]
        resource = resource if duration > 0 else name
        finish = starts[name] + duration + lag
        if max(end, finish) < best:
            busy = {**free, resource: starts[name] + duration}
            best = min(best, _least_end(tasks, after, {**done, name: finish}, busy, max(end, finish), best))
    return best


def best_score(problem: Problem) -> float | None:
    """The optimal score by trying everything; None when nothing is feasible."""
    found: list[tuple[float, float]] = []
    for assignment in all_assignments(problem):
        latency, energy, ok = exact_costs(problem, assignment)
        if ok and problem.objective.latency_model == "critical-path":
            latency = makespan(problem, assignment)
        if ok:
            found.append((latency, energy))
    if not found:
        return None
    best_l, best_e = min(point[0] for point in found), min(point[1] for point in found)
    top_e = min(e for latency, e in found if latency <= best_l * (1 + 1e-6))
    top_l = min(latency for latency, e in found if e <= best_e * (1 + 1e-6))
    span_l = top_l - best_l if top_l - best_l >= 1e-6 * best_l and top_l > best_l else best_l or 1.0
    span_e = top_e - best_e if top_e - best_e >= 1e-6 * best_e and top_e > best_e else best_e or 1.0
    wl, we = problem.objective.latency_weight, problem.objective.energy_weight
    return min(wl * (latency - best_l) / span_l + we * (e - best_e) / span_e for latency, e in found) / (wl + we)
