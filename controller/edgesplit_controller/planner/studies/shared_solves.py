"""Solves that are shared: a problem that was solved before is not solved again, whatever its source and model are called.

Owns: the names that are put aside, and the memory of solutions. Its rule: only a proven answer is shared, and what is returned is
in the names of the problem that was asked, evaluated by it. Not here: solving (`solving`), planning for many at once (`together.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from edgesplit.planning.plan import Assignment, Solution, Timings
from edgesplit.planning.problem import CodecOption, Operator, Problem, Tensor
from edgesplit_controller.planner.meaning.evaluation import evaluate

__all__ = ["SOURCE", "SharedSolves", "placed_under", "template"]

T = TypeVar("T")
SOURCE, MODEL = "\0source", "\0model"
"""What source and model are called in a template: no node and no model has such a name."""
KEPT = 64
"""Solutions that are remembered; the least recently asked go first."""


class SharedSolves:
    """Proven solutions of the last problems.

    Attributes:
        hits: How often one was asked for again.
    """

    def __init__(self) -> None:
        self.hits = 0
        self._solved: OrderedDict[bytes, Solution] = OrderedDict()

    def solve(self, problem: Problem, solve: Callable[[Problem], Solution]) -> Solution:
        """The solution of a problem, from memory or from the solver.

        Args:
            problem: A valid problem.
            solve: Solves it; what it raises is raised, and remembered by nobody.
        """
        key = msgspec.json.encode(template(problem))
        known = self._solved.get(key)
        if known is not None and known.assignment is not None:
            self._solved.move_to_end(key)
            self.hits += 1
            assignment = placed_under(known.assignment, {SOURCE: problem.source})
            return msgspec.structs.replace(
                known,
                assignment=assignment,
                evaluation=evaluate(problem, assignment),
                timings=Timings(build_s=0.0, solve_s=0.0, total_s=0.0),
            )
        solution = solve(problem)
        if solution.status == "optimal" and solution.assignment is not None:
            put_aside = placed_under(solution.assignment, {problem.source: SOURCE})
            self._solved[key] = msgspec.structs.replace(solution, assignment=put_aside, evaluation=None)
            while len(self._solved) > KEPT:
                self._solved.popitem(last=False)
        return solution


def template(problem: Problem) -> Problem:
    """A problem without the names of its source and model: equal for all that differ in these alone."""
    names = {problem.source: SOURCE}
    constraints = problem.constraints
    pins = constraints.pins
    return msgspec.structs.replace(
        problem,
        model=MODEL,
        source=SOURCE,
        nodes=tuple(msgspec.structs.replace(node, name=names.get(node.name, node.name)) for node in problem.nodes),
        links=tuple(
            msgspec.structs.replace(
                link, source=names.get(link.source, link.source), target=names.get(link.target, link.target)
            )
            for link in problem.links
        ),
        operators=tuple(_operator(operator, names) for operator in problem.operators),
        tensors=tuple(_tensor(tensor, names) for tensor in problem.tensors),
        constraints=msgspec.structs.replace(
            constraints,
            pins=None
            if pins is None
            else {name: tuple(names.get(node, node) for node in at) for name, at in pins.items()},
        ),
    )


def placed_under(assignment: Assignment, names: Mapping[str, str]) -> Assignment:
    """The same plan under other names of nodes."""
    node_of = {operator: names.get(node, node) for operator, node in assignment.node_of.items()}
    return msgspec.structs.replace(assignment, node_of=node_of)


def _operator(operator: Operator, names: Mapping[str, str]) -> Operator:
    quantized = operator.quantized_time_s
    return msgspec.structs.replace(
        operator,
        time_s=_keyed(operator.time_s, names),
        quantized_time_s=None if quantized is None else _keyed(quantized, names),
        held_on=tuple(names.get(node, node) for node in operator.held_on),
        quantized_held_on=tuple(names.get(node, node) for node in operator.quantized_held_on),
    )


def _tensor(tensor: Tensor, names: Mapping[str, str]) -> Tensor:
    if not tensor.codecs:
        return tensor
    return msgspec.structs.replace(tensor, codecs=tuple(_codec(codec, names) for codec in tensor.codecs))


def _codec(codec: CodecOption, names: Mapping[str, str]) -> CodecOption:
    return msgspec.structs.replace(
        codec, encode_s=_keyed(codec.encode_s, names), decode_s=_keyed(codec.decode_s, names)
    )


def _keyed(values: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    return {names.get(node, node): value for node, value in values.items()}
