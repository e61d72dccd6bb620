"""Execution of one request on one epoch at this node: which tensors are here, which components may start.

Owns: the dataflow of a single execution, and the table of those that go on. Its rule: a component starts once, when its last input is there; a tensor is
kept only while somebody here still needs it, and leaves once for all its receivers, coded or raw as its route says, with
the time that is left. Not here: requests, failures and peers (`request_flow.py`), the sending (`serving/engine.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgesplit.control.component_messages import ComponentSpec, Route
from edgesplit.control.plan_messages import EpochSpec
from edgesplit.errors import InvalidTensor
from edgesplit.late_libraries import np
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array, dtype_name
from edgesplit_agent.serving.machine.actions import Action, SendCoded, SendTensors
from edgesplit_agent.serving.machine.out_of_order import EndedExecutions

__all__ = ["Execution", "ExecutionTable", "request_tensors", "time_left_s"]

RAW = "raw"
"""A route's codec that is none."""
PEER_DEADLINE_S = 30.0
"""How long a node works on tensors that came without a deadline. [s]"""
LONGEST_DEADLINE_S = 3600.0
"""Longest that tensors are worked on, whatever deadline came with them. [s]"""


def request_tensors(spec: EpochSpec, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """A request's inputs, and the sizes of those whose sizes components elsewhere need."""
    if not spec.input_shapes:
        return inputs
    sizes = {name: np.array(inputs[source].shape, np.int64) for name, source in spec.input_shapes.items()}
    return {**inputs, **sizes}


class Execution:
    """Progress of one request on one epoch at one node.

    Args:
        node: This node.
        spec: Its part in the epoch.
        generation: Of the prepared epoch the sessions belong to.
        order: Arrival order of the request at this node.
        expires_at_s: When it is given up. [s on the machine's clock]
    """

    def __init__(
        self, node: str, key: ExecutionKey, spec: EpochSpec, *, generation: int, order: int, expires_at_s: float
    ) -> None:
        self.key = key
        self.spec = spec
        self.generation = generation
        self.order = order
        self.expires_at_s = expires_at_s
        self.is_source = spec.source == node
        self._tensors: dict[str, Array] = {}
        self._seen: set[str] = set()
        self._waiting = {component.component: component for component in spec.components}
        self._running: dict[int, ComponentSpec] = {}
        self._kept = frozenset(spec.outputs) if self.is_source else frozenset[str]()

    def add(self, arrays: Mapping[str, Array]) -> None:
        """Store arrived tensors; a name seen before, or one nobody here waits for, is dropped.

        Raises:
            InvalidTensor: One has another dtype or shape than planned.
        """
        expected = {spec.name: spec for component in self._waiting.values() for spec in component.inputs}
        for name, array in arrays.items():
            if name in self._seen:
                continue
            if name in expected:
                _check(expected[name], array)
            elif name not in self._kept:
                continue
            self._seen.add(name)
            self._tensors[name] = array

    def start_ready(self) -> list[tuple[int, dict[str, Array]]]:
        """Components whose inputs are complete, each given out once, with these inputs."""
        started: list[tuple[int, dict[str, Array]]] = []
        for number, component in list(self._waiting.items()):
            if all(spec.name in self._tensors for spec in component.inputs):
                started.append((number, {spec.name: self._tensors[spec.name] for spec in component.inputs}))
                self._running[number] = self._waiting.pop(number)
        if started:
            self._forget_consumed()
        return started

    def finish(self, number: int, outputs: Mapping[str, Array]) -> ComponentSpec | None:
        """Take a component's outputs in; None where it was not running (a stale report)."""
        component = self._running.pop(number, None)
        if component is not None:
            self.add(outputs)
        return component

    def outputs(self) -> dict[str, Array] | None:
        """On the source: the model's outputs in order once all are there."""
        if not self.is_source or any(name not in self._tensors for name in self.spec.outputs):
            return None
        return {name: self._tensors[name] for name in self.spec.outputs}

    @property
    def done(self) -> bool:
        """Whether every component here has run."""
        return not self._waiting and not self._running

    def awaits_peers(self) -> bool:
        """Whether anything still missing here must come from another node."""
        local = {
            spec.name for component in (*self._waiting.values(), *self._running.values()) for spec in component.outputs
        }
        missing = {spec.name for component in self._waiting.values() for spec in component.inputs}
        missing |= self._kept
        return any(name not in self._tensors and name not in local for name in missing)

    def owes(self, peer: str) -> bool:
        """Whether a component that has not finished here sends to `peer`."""
        pending = (*self._waiting.values(), *self._running.values())
        return any(peer in route.to for component in pending for route in component.routes)

    def sends(self, routes: Sequence[Route], tensors: Mapping[str, Array], now_s: float) -> list[Action]:
        """Tensors to the nodes that their routes name: to each node all that it gets as they are, then the coded ones."""
        left_s = max(self.expires_at_s - now_s, 0.0)
        raw: dict[str, dict[str, Array]] = {}
        coded: list[Action] = []
        for route in routes:
            name = route.tensor
            if name not in tensors:
                continue
            if route.codec == RAW:
                for peer in route.to:
                    raw.setdefault(peer, {})[name] = tensors[name]
            else:
                coded.append(SendCoded(self.key, name, tensors[name], route.codec, route.to, left_s, self.order))
        return [*(SendTensors(self.key, peer, part, left_s) for peer, part in raw.items()), *coded]

    def _forget_consumed(self) -> None:
        needed = {spec.name for component in self._waiting.values() for spec in component.inputs} | self._kept
        for name in [name for name in self._tensors if name not in needed]:
            del self._tensors[name]


class ExecutionTable(dict[ExecutionKey, Execution]):
    """Executions that go on at one node, in the order of their arrival.

    Args:
        node: This node.
        ended: Remembers those that have ended.
    """

    def __init__(self, node: str, ended: EndedExecutions) -> None:
        super().__init__()
        self._node = node
        self._ended = ended
        self._order = 0

    def begin(self, key: ExecutionKey, spec: EpochSpec, generation: int, expires_at_s: float) -> Execution:
        """A new one, of an epoch that is prepared."""
        self._order += 1
        execution = self[key] = Execution(
            self._node, key, spec, generation=generation, order=self._order, expires_at_s=expires_at_s
        )
        return execution

    def end(self, key: ExecutionKey, now_s: float) -> None:
        """Forget one; what still comes for it is dropped."""
        self.pop(key, None)
        self._ended.add(key, now_s)

    def order_of(self, key: ExecutionKey) -> int:
        """Arrival order of an execution's request here; of one not known yet the next."""
        execution = self.get(key)
        return self._order + 1 if execution is None else execution.order

    def in_flight(self) -> dict[str, Counter[int]]:
        """Their number, by model and epoch."""
        counts: dict[str, Counter[int]] = {}
        for key in self:
            counts.setdefault(key.model, Counter())[key.epoch] += 1
        return counts


def time_left_s(deadline_s: float | None) -> float:
    """How long tensors of a peer are worked on that came with this deadline. [s]"""
    return PEER_DEADLINE_S if deadline_s is None else min(deadline_s, LONGEST_DEADLINE_S)


def _check(expected: TensorSpec, array: Array) -> None:
    if not expected.admits(array.shape) or dtype_name(array) != expected.dtype:
        raise InvalidTensor(
            f"tensor {expected.name!r} must be {expected.dtype} of shape {expected.text}, "
            f"but it is {dtype_name(array)} of shape {list(array.shape)}"
        )
