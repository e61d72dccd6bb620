"""The agent's state machine: events and the time in, actions out.

Owns: taking events apart, and epochs as the controller wants them. Its rule: no I/O and no clock; the same events at
the same times give the same actions. Not here: requests and executions (`serving/machine/request_flow.py`), which epoch serves (`serving/machine/epochs.py`),
doing (`serving/engine.py`).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import assert_never

from edgesplit.errors import PreparationFailed, RequestFailed, SizesRefused
from edgesplit.wire.headers import ExecutionKey
from edgesplit_agent.serving.machine.actions import Action, EmitEvent, SendAbort
from edgesplit_agent.serving.machine.admitting.admission import Admission, Held
from edgesplit_agent.serving.machine.epochs import ModelEpochs
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    Awoken,
    CauseReturned,
    ComponentFailed,
    ComponentFinished,
    DeploymentChanged,
    DesiredChanged,
    EpochFailed,
    EpochPrepared,
    MachineEvent,
    ModelOffered,
    OtherEvent,
    PeerLost,
    PeerPressed,
    PeerRoom,
    PeerUp,
    RequestArrived,
    RequestCancelled,
    RequestMoved,
    SendFailed,
    ShadowChecked,
    ShadowDropped,
    TensorsArrived,
    Tick,
)
from edgesplit_agent.serving.machine.request_flow import RequestFlow

__all__ = ["AgentMachine"]


class AgentMachine:
    """All models of one node.

    Args:
        node: This node's name.
        max_in_flight: Requests admitted at a time at the source.
        early_limit_bytes: Tensors kept for executions that cannot start yet. [B]
        memory_limit_bytes: Of weights and tensors together; 0 for no limit. [B]
        stable_after_s: How long a peer that was lost has to stay before requests rely on it again. [s]
        batch_window_s: How long a request waits for others to be joined with; 0: it does not. [s]
    """

    def __init__(
        self,
        node: str,
        *,
        max_in_flight: int = 64,
        early_limit_bytes: int = 256 * 1024**2,
        memory_limit_bytes: int = 0,
        stable_after_s: float = 2.0,
        batch_window_s: float = 0.0,
    ) -> None:
        self.node = node
        admission = Admission(node, max_in_flight, memory_limit_bytes)
        self.flow = RequestFlow(node, admission, early_limit_bytes, stable_after_s, batch_window_s)
        self.models = self.flow.models
        self._generations = itertools.count(1)
        self._settled = False

    def handle(self, event: MachineEvent, now_s: float) -> list[Action]:
        """Take one event in.

        Args:
            event: What happened.
            now_s: Of a monotonic clock. [s]

        Returns:
            What to do, in order.
        """
        if isinstance(event, RequestArrived | TensorsArrived | ComponentFinished | Awoken):
            actions = self._move(event, now_s)
            if self._settled:
                return actions
        else:
            actions = self._react(event, now_s)
        in_flight, probation = self.flow.executions.in_flight(), self.flow.probation(now_s)
        for name, model in list(self.models.items()):
            counts = in_flight.get(name, Counter[int]())
            actions += model.release_drained(counts)
            actions += model.report(self.flow.peers_up, now_s, counts, probation=probation)
            if model.desired is None and not model.held:
                del self.models[name]
        self.flow.admission.weight_bytes = _weight_bytes(self.models.values())
        self._settled = all(model.settled(in_flight.get(name, {})) for name, model in self.models.items())
        return actions

    def wants(self, key: ExecutionKey) -> bool:
        """Whether an execution still goes on, asked before a queued component is run."""
        return key in self.flow.executions

    def holds(self, key: ExecutionKey) -> bool:
        """Whether an execution's epoch is held here, prepared or not."""
        return key.model in self.models and key.epoch in self.models[key.model].held

    def knows(self, peer: str) -> bool:
        """Whether a node is no stranger."""
        return self.flow.knows(peer)

    @property
    def held(self) -> Held:
        """What requests in flight hold."""
        return self.flow.requests.held("", self.models, on_peers=False)

    @property
    def refused(self) -> Mapping[str, int]:
        """What limits for strangers turned away or forgot before its time, by kind."""
        return self.flow.refused

    def awaits_check(self, model: str, epoch: int) -> bool:
        """Whether the check of an answered request is still wanted, asked before it is run."""
        known = self.models.get(model)
        return known is not None and known.current == epoch == known.shadows.under_way

    @property
    def has_part(self) -> bool:
        """Whether this node has a part in a plan, be it prepared or not."""
        return any(model.held for model in self.models.values())

    def room_bytes(self) -> int | None:
        """What each source may hold here of its requests' tensors; None without a limit. [B]"""
        sources = {held.spec.source for model in self.models.values() for held in model.held.values()}
        return self.flow.admission.share_bytes(len(sources))

    def order_of(self, key: ExecutionKey) -> int:
        """Whose turn it is: arrival order of an execution's request here, the next one's where it is not known yet."""
        return self.flow.executions.order_of(key)

    @property
    def busy(self) -> bool:
        """Whether a deadline is running."""
        return self.flow.busy

    def _move(self, event: RequestMoved, now_s: float) -> list[Action]:
        """Move requests along epochs, which this does not change."""
        flow = self.flow
        match event:
            case ComponentFinished():
                return flow.component_finished(event, now_s)
            case RequestArrived():
                return flow.request_arrived(event, now_s)
            case TensorsArrived():
                return flow.tensors_arrived(event, now_s)
            case Awoken():
                return flow.joints.start_due(now_s)
            case _:
                assert_never(event)

    def _react(self, event: OtherEvent, now_s: float) -> list[Action]:  # noqa: PLR0911, PLR0912  one line an event
        flow = self.flow
        match event:
            case DesiredChanged():
                return self._desired_changed(event, now_s)
            case DeploymentChanged(model, deployment):
                flow.deployments.pop(model, None)
                if deployment is not None:
                    flow.deployments[model] = deployment
                return []
            case ModelOffered(model, offered):
                (flow.offered.add if offered else flow.offered.discard)(model)
                return []
            case EpochPrepared(model, epoch, generation):
                is_ready = model in self.models and self.models[model].prepared(epoch, generation)
                return flow.go_on(model, now_s) if is_ready else []
            case EpochFailed():
                return self._epoch_failed(event, now_s)
            case CauseReturned():
                return [action for model in self.models.values() for action in model.hasten(now_s)]
            case RequestCancelled(request):
                return flow.request_cancelled(request, now_s)
            case ComponentFailed(key, _, detail, for_sizes):
                code = SizesRefused.code if for_sizes else RequestFailed.code
                return flow.give_up(key, code, detail, now_s)
            case SendFailed():
                return flow.send_failed(event, now_s)
            case PeerPressed(peer, pressed):
                (flow.admission.pressed.add if pressed else flow.admission.pressed.discard)(peer)
                return []
            case PeerRoom(peer, nbytes):
                flow.admission.peer_has_room(peer, nbytes)
                return []
            case PeerUp(peer):
                hastened = [action for model in self.models.values() for action in model.hasten(now_s)]
                return flow.peer_up(peer, now_s) + hastened
            case PeerLost():
                return flow.peer_lost(event, now_s)
            case AbortReceived():
                return flow.abort_received(event, now_s)
            case ShadowChecked(model, epoch, noise, measure, detail):
                known = self.models.get(model)
                return [] if known is None else [*known.shadows.checked(epoch, noise, measure, detail)]
            case ShadowDropped(model, epoch, detail):
                known = self.models.get(model)
                return [] if known is None else [*known.shadows.dropped(epoch, detail, now_s)]
            case Tick():
                actions = flow.expire(now_s)
                return actions + [action for model in self.models.values() for action in model.retry_failed(now_s)]
            case _:
                assert_never(event)

    def _desired_changed(self, event: DesiredChanged, now_s: float) -> list[Action]:
        name = event.model
        if event.desired is None and name not in self.models:
            return []
        model = self.models.setdefault(name, ModelEpochs(self.node, name, self._generations))
        self.flow.shapes.follow()
        self.flow.joints.dissolve(name)
        actions = model.want(event.desired)
        for key, execution in list(self.flow.executions.items()):
            held = model.held.get(key.epoch)
            if key.model == name and (held is None or held.generation != execution.generation):
                actions += self.flow.give_up(key, PreparationFailed.code, f"epoch {key.epoch} was withdrawn", now_s)
        return actions + self.flow.go_on(name, now_s)

    def _epoch_failed(self, event: EpochFailed, now_s: float) -> list[Action]:
        model = self.models.get(event.model)
        if model is None or not model.failed(event, now_s):
            return []
        source = model.held[event.epoch].spec.source
        message = f"epoch {event.epoch} could not be prepared on {self.node}: {event.detail}"
        early = self.flow.early.take(event.model, event.epoch)
        aborts = [SendAbort(key, source, PreparationFailed.code, message) for key, _ in early if source != self.node]
        retry = model.held[event.epoch].retry
        # Requests may have waited for it as a fallback.
        waiting = self.flow.go_on(event.model, now_s)
        if retry is None or retry.attempts > 1:
            return [*aborts, *waiting]
        next_try_s = retry.next_at_s - now_s
        text = f"{message}; it is tried again in {next_try_s:.0f} s, and until it succeeds"
        return [
            *aborts,
            *waiting,
            EmitEvent("epoch-failing", text, event.model, {"epoch": event.epoch, "next_try_s": next_try_s}),
        ]


def _weight_bytes(models: Iterable[ModelEpochs]) -> int:
    """Weights of all epochs held, each blob once, for sessions share them. [B]"""
    parts = (part for model in models for held in model.held.values() for part in held.spec.components)
    return sum({weight.digest: weight.nbytes for part in parts for weight in part.graph.weights}.values())
