"""A planning problem of any size that looks like a network.

Owns: its making, from a seed. Its rule: the same arguments give the same problem. Not here: solving.
"""

from __future__ import annotations

import random

from edgesplit.planning.problem import Constraints, Link, Node, Objective, Operator, Problem, Tensor

__all__ = ["large_problem"]


def large_problem(operators: int = 2000, nodes: int = 10, seed: int = 0) -> Problem:
    """Blocks with branches and shortcuts, tensors that shrink and weights that grow with depth.

    Args:
        operators: Beside the input and the output.
        nodes: The first is the source, slow and frugal; later ones are faster and, some of them, farther.
        seed: Of everything random.
    """
    r = random.Random(seed)
    names = [f"n{index}" for index in range(nodes)]
    speed = {name: 1.0 if name == "n0" else r.uniform(0.05, 0.6) for name in names}
    work = [0.0, *(r.lognormvariate(-7, 1) for _ in range(operators)), 0.0]
    last = operators + 1
    consumers: dict[int, set[int]] = {index: {index + 1} for index in range(last)}
    for index in range(1, operators):
        if r.random() < 0.3:
            consumers[index] = {min(last - 1, index + r.choice([2, 3]))} | (
                {index + 1} if r.random() < 0.6 else set[int]()
            )
        if r.random() < 0.03:
            consumers[index].add(min(last - 1, index + r.randint(5, 40)))
    reached = {target for targets in consumers.values() for target in targets}
    for index in range(1, last):
        if index not in reached:
            consumers[index - 1].add(index)
    placed = tuple(
        Operator(
            name=f"o{index}",
            time_s={name: seconds * speed[name] * r.uniform(0.8, 1.2) for name in names},
            weight_bytes=float(r.randint(0, 2_000_000)) * (1 + 3 * index / last),
            role="input" if index == 0 else "output" if index == last else None,
        )
        for index, seconds in enumerate(work)
    )
    tensors = tuple(
        Tensor(
            name=f"t{index}",
            bytes=float(r.choice([1, 2, 4])) * 1.2e6 / (1 + 9 * index / last),
            producer=f"o{index}",
            consumers=tuple(f"o{target}" for target in sorted(targets)),
        )
        for index, targets in consumers.items()
    )
    links = tuple(
        Link(source=a, target=b, bandwidth_bytes_per_s=r.uniform(5e6, 2e8), latency_s=r.choice([0.0005, 0.002, 0.01]))
        for a in names
        for b in names
        if a != b and r.random() < 0.85
    )
    total = sum(operator.weight_bytes for operator in placed)
    return Problem(
        model=f"large-{operators}-{nodes}",
        source="n0",
        nodes=tuple(
            Node(
                name=name,
                compute_power_w=r.uniform(2, 30),
                transmit_power_w=r.uniform(1, 6),
                memory_bytes=total * r.uniform(0.2, 0.6) if r.random() < 0.4 else None,
            )
            for name in names
        ),
        links=links,
        operators=placed,
        tensors=tensors,
        objective=Objective(latency_weight=0.5, energy_weight=0.5),
        constraints=Constraints(),
    )
