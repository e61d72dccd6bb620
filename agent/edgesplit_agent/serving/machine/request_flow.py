"""Requests at the source and executions on every node: how they start, move on, fail and end.

Owns: the tables of both, and what a lost peer, an abort or a deadline means for them. Its rule: a request ends exactly
once; one that fails on an epoch is run again on the fallback before its caller hears of it. Not here: the dataflow
inside one execution (`execution.py`), preparing epochs (`epochs.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from edgesplit.control.plan_messages import Deployment
from edgesplit.errors import (
    EdgesplitError,
    InvalidTensor,
    NotDeployed,
    Overloaded,
    PeerUnreachable,
    PreparationFailed,
    RequestFailed,
    RequestTimedOut,
    SizesRefused,
    error_from_code,
)
from edgesplit.names import base_name
from edgesplit.wire.headers import ExecutionKey
from edgesplit.wire.tensors import Array, check_inputs
from edgesplit_agent.serving.machine.actions import Action, FailRequest, RunComponent, SendAbort
from edgesplit_agent.serving.machine.admitting.admission import Admission
from edgesplit_agent.serving.machine.admitting.footprints import inputs_alone
from edgesplit_agent.serving.machine.client_request import ClientRequest, RequestTable, passed_on
from edgesplit_agent.serving.machine.epochs import HeldEpoch, ModelEpochs
from edgesplit_agent.serving.machine.events import (
    AbortReceived,
    ComponentFinished,
    PeerLost,
    RequestArrived,
    SendFailed,
    TensorsArrived,
)
from edgesplit_agent.serving.machine.execution import Execution, ExecutionTable, request_tensors, time_left_s
from edgesplit_agent.serving.machine.joint_requests import JointRequests
from edgesplit_agent.serving.machine.nearest_shape import NearestShapes
from edgesplit_agent.serving.machine.out_of_order import EarlyTensors, EndedExecutions
from edgesplit_agent.serving.machine.peers import PeerTrust, SentAborts, back_again

__all__ = ["DEFAULT_DEADLINE_S", "RequestFlow"]

DEFAULT_DEADLINE_S = 60.0
"""Of a request whose client names none. [s]"""
MOST_EXECUTIONS = 4096
"""Requests of other sources that are under way here at a time."""
NETWORK_CODES = frozenset({PeerUnreachable.code, NotDeployed.code, PreparationFailed.code})
"""Reasons to give a request up that the next one on the same epoch would meet too."""


class RequestFlow:
    """Requests and executions of one node."""

    def __init__(
        self, node: str, admission: Admission, early_limit_bytes: int, stable_after_s: float, batch_window_s: float
    ) -> None:
        self.node = node
        self.admission = admission
        self.models: dict[str, ModelEpochs] = {}
        self.deployments: dict[str, Deployment] = {}
        self.offered: set[str] = set()
        self.requests = RequestTable()
        self.peers_up: set[str] = set()
        self.shapes = NearestShapes(self.models, self.peers_up)
        self.refused: Counter[str] = Counter()
        self.early = EarlyTensors(early_limit_bytes, self.refused)
        self._trust = PeerTrust(stable_after_s)
        self._sent_aborts = SentAborts()
        self._ended = EndedExecutions(self.refused)
        self.executions = ExecutionTable(node, self._ended)
        self.joints = JointRequests(self, batch_window_s)

    @property
    def busy(self) -> bool:
        """Whether a deadline is running."""
        return bool(self.requests or self.executions or self.early)

    # --- requests --------------------------------------------------------------------------------------------------

    def request_arrived(self, event: RequestArrived, now_s: float) -> list[Action]:
        """Check, admit and start a client's request, or pass it on to the source."""
        if self.shapes:
            event = self.shapes.of(event, self.probation(now_s), now_s)
        model = self.models.get(event.model)
        if model is None or not model.is_source or model.desired is None:
            known = event.model in self.offered
            return [passed_on(event, self.node, self.deployments.get(event.model), known=known)]
        try:
            arrays = check_inputs(model.desired.inputs, event.arrays)
        except InvalidTensor as error:
            return [FailRequest(event.request, event.model, None, error)]
        number = model.choose(self.peers_up, now_s, probation=self.probation(now_s))
        epoch = None if number is None else model.held[number]
        footprint = inputs_alone(arrays) if epoch is None else epoch.footprints.of(arrays)
        held = self.requests.held(event.model, self.models, on_peers=self.admission.has_credit_limits)
        refusal = self.admission.refusal(footprint, held, None if epoch is None else epoch.spec)
        if refusal is not None:
            return [FailRequest(event.request, event.model, None, refusal)]
        deadline_s = DEFAULT_DEADLINE_S if event.deadline_s is None else event.deadline_s
        request = ClientRequest(event.request, event.model, model.open_inputs, arrays, now_s, deadline_s, footprint)
        self.requests[event.request] = request
        waiting = self.joints.gather(request, number, now_s)
        return self.start(request, number, now_s) if waiting is None else waiting

    def request_cancelled(self, name: str, now_s: float) -> list[Action]:
        """Forget a request; every node stops working on it."""
        request = self.requests.pop(name, None)
        return [] if request is None else self._forsake(request, RequestFailed.code, "the client is gone", now_s)

    def go_on(self, name: str, now_s: float) -> list[Action]:
        """Start what waited for an epoch: requests, and executions whose tensors came early."""
        actions: list[Action] = []
        model = self.models[name]
        for request in self.requests.waiting(name):
            actions += self.start(request, self.choose(request, now_s), now_s)
        for number in [number for number, held in model.held.items() if held.usable]:
            for key, early in self.early.take(name, number):
                for peer, arrays in early.arrivals:
                    remaining_s = early.deadline_at_s - now_s
                    actions += self.tensors_arrived(TensorsArrived(peer, key, arrays, remaining_s), now_s)
        return actions

    def start(self, request: ClientRequest, number: int | None, now_s: float) -> list[Action]:
        """Begin a request on an epoch; without one it waits, as long as its model is served here."""
        model = self.models[request.model]
        if number is None:
            if model.is_source:
                return []  # An epoch is on its way: a slower answer is better than an error.
            gone = NotDeployed(
                f"model {base_name(request.model)!r} is not served by {self.node} any more: send it to its source"
            )
            return self._start_elsewhere(request, gone, now_s)
        lost = model.lost_peers(number, self.peers_up)
        if lost and model.awaits_fallback(self.peers_up):
            return []  # This node has just started: what needs nobody who is away is on its way.
        if lost:
            error = PeerUnreachable(f"{', '.join(lost)} cannot be reached from {self.node}, and no fallback is ready")
            return self._start_elsewhere(request, error, now_s)
        held = model.held[number]
        request.epoch, request.footprint = number, held.footprints.of(request.arrays)
        key = ExecutionKey(request.model, number, request.request)
        try:
            return self.begin(key, held, request.arrays, request.expires_at_s, now_s)
        except InvalidTensor as error:
            return [self._fail(request, error)]

    def begin(
        self, key: ExecutionKey, held: HeldEpoch, arrays: Mapping[str, Array], expires_at_s: float, now_s: float
    ) -> list[Action]:
        """Begin an execution at its source.

        Raises:
            InvalidTensor: The epoch takes other inputs.
        """
        execution = self.executions.begin(key, held.spec, held.generation, expires_at_s)
        tensors = request_tensors(held.spec, arrays)
        try:
            execution.add(tensors)
        except InvalidTensor:
            del self.executions[key]
            raise
        leaving = execution.sends(held.spec.input_routes, tensors, now_s)
        return leaving + self._advance(execution, now_s)

    def _start_elsewhere(self, request: ClientRequest, error: EdgesplitError, now_s: float) -> list[Action]:
        """Begin a request with the plan of another planning shape; where none can serve it better, it fails."""
        if error.code not in NETWORK_CODES or not self.shapes.move(request, self.probation(now_s), now_s):
            return [self._fail(request, error)]
        return self.start(request, self.choose(request, now_s), now_s)

    def _fail(self, request: ClientRequest, error: EdgesplitError) -> Action:
        self.requests.pop(request.request, None)
        self.joints.left(request)
        return FailRequest(request.request, request.model, request.epoch, error)

    # --- executions ------------------------------------------------------------------------------------------------

    def tensors_arrived(self, event: TensorsArrived, now_s: float) -> list[Action]:
        """Take tensors in: for an execution here, a new one, one whose epoch is not ready, or none any more."""
        key = event.key
        if key in self._ended:
            return []
        execution = self.executions.get(key)
        if execution is None:
            return self._first_tensors(event, now_s)
        if event.peer not in execution.spec.participants:
            return self._refuse("tensors-of-strangers")
        return self._take_in(execution, event, now_s)

    def _first_tensors(self, event: TensorsArrived, now_s: float) -> list[Action]:
        """Of an execution that is not known here: begin it where its epoch is ready."""
        key = event.key
        left_s = time_left_s(event.deadline_s)
        held = self._held(key)
        if held is None or not held.usable:
            return self._came_early(event, now_s + left_s, now_s)
        if held.spec.source == self.node:
            return []  # The request is not here any more, or never was.
        if event.peer not in held.spec.participants:
            return self._refuse("tensors-of-strangers")
        if len(self.executions) >= MOST_EXECUTIONS:
            message = f"{self.node} has {len(self.executions)} requests of other nodes under way"
            return [*self._refuse("requests-under-way"), SendAbort(key, event.peer, Overloaded.code, message)]
        return self._take_in(self.executions.begin(key, held.spec, held.generation, now_s + left_s), event, now_s)

    def _take_in(self, execution: Execution, event: TensorsArrived, now_s: float) -> list[Action]:
        try:
            execution.add(event.arrays)
        except InvalidTensor as error:
            return self.give_up(event.key, error.code, f"{event.peer} sent a wrong tensor: {error}", now_s)
        return self._advance(execution, now_s)

    def component_finished(self, event: ComponentFinished, now_s: float) -> list[Action]:
        """Send a component's outputs where they are needed and start what they complete."""
        execution = self.executions.get(event.key)
        if execution is None:
            return []
        try:
            component = execution.finish(event.component, event.outputs)
        except InvalidTensor as error:
            return self.give_up(event.key, RequestFailed.code, str(error), now_s)
        if component is None:
            return []
        leaving = execution.sends(component.routes, event.outputs, now_s)
        return leaving + self._advance(execution, now_s)

    def _came_early(self, event: TensorsArrived, expires_at_s: float, now_s: float) -> list[Action]:
        key = event.key
        held = self._held(key)
        if held is not None and held.state == "failed":
            message = f"epoch {key.epoch} could not be prepared on {self.node}: {held.detail}"
            return [SendAbort(key, event.peer, PreparationFailed.code, message)]
        known = self.knows(event.peer)
        if self.early.keep(key, event.peer, event.arrays, expires_at_s, now_s, known=known):
            return []
        if known:
            self._ended.add(key, now_s)
        message = f"{self.node} holds too many tensors of epochs that are not ready there"
        return [SendAbort(key, event.peer, NotDeployed.code, message)]

    def _advance(self, execution: Execution, now_s: float) -> list[Action]:
        key = execution.key
        outputs = execution.outputs()
        if outputs is not None:
            self.executions.end(key, now_s)
            if (joint := self.joints.completed(key, outputs, now_s)) is not None:
                return joint
            request = self.requests.pop(key.request)
            answer = request.answer(key.epoch, outputs, now_s)
            trial = self.joints.answered(key, outputs, now_s)
            if any(model.shadows.under_way is not None for model in self.models.values()):
                return [answer, *trial]  # one check at a time, for their arrays take memory
            return [answer, *trial, *self.models[key.model].answered(key.epoch, request.arrays, outputs, now_s)]
        actions: list[Action] = [
            RunComponent(key, number, execution.generation, arrays, execution.order, execution.expires_at_s)
            for number, arrays in execution.start_ready()
        ]
        if execution.done and not execution.is_source:
            self.executions.end(key, now_s)
        return actions

    def _forsake(self, request: ClientRequest, code: str, message: str, now_s: float) -> list[Action]:
        """End what is under way for a request, unless others need it too."""
        key = request.key
        return [] if self.joints.left(request) or key is None else self._end_everywhere(key, code, message, now_s)

    def _end_everywhere(self, key: ExecutionKey, code: str, message: str, now_s: float) -> list[Action]:
        """End an execution of this source, here and at the other participants."""
        execution = self.executions.get(key)
        if execution is None:
            return []
        self.executions.end(key, now_s)
        others = sorted((set(execution.spec.participants) & self.peers_up) - {self.node})
        return [SendAbort(key, peer, code, message) for peer in others]

    # --- failures --------------------------------------------------------------------------------------------------

    def give_up(self, key: ExecutionKey, code: str, message: str, now_s: float) -> list[Action]:
        """End an execution that cannot succeed: the source runs the request again, others tell the source."""
        execution = self.executions.get(key)
        if execution is None:
            return []
        if not execution.is_source:
            self.executions.end(key, now_s)
            return self._sent_aborts.tell(SendAbort(key, execution.spec.source, code, message), now_s)
        actions = self._end_everywhere(key, code, message, now_s)
        if (joint := self.joints.gave_up(key, code, now_s)) is not None:
            return [*actions, *joint]
        request, model = self.requests[key.request], self.models[key.model]
        if code == SizesRefused.code and not request.as_planned:
            return [*actions, self._fail(request, request.refused_for(message))]
        request.failed_epochs.add(key.epoch)
        number = self.choose(request, now_s)
        cannot = number is None or bool(model.lost_peers(number, self.peers_up))
        if cannot and not model.awaits_fallback(self.peers_up):
            return actions + self._start_elsewhere(request, error_from_code(code, message), now_s)
        request.epoch = None  # until it begins again
        return actions + self.start(request, number, now_s)

    def peer_up(self, peer: str, now_s: float) -> list[Action]:
        """Say again what the peer may have missed, and start what waited for it."""
        self.peers_up.add(peer)
        actions: list[Action] = [*self._sent_aborts.again(peer, now_s)]
        probation_s = self._trust.up(peer, now_s)
        if probation_s and any(self._relies_on(model, peer) for model in self.models.values()):
            actions.append(back_again(self.node, peer, probation_s, self._trust.losses(peer)))
        return actions + [action for model in list(self.models) for action in self.go_on(model, now_s)]

    def peer_lost(self, event: PeerLost, now_s: float) -> list[Action]:
        """Give up every execution that still needs the peer."""
        self.peers_up.discard(event.peer)
        self.admission.peer_has_room(event.peer, None)  # it says so anew, if it comes back
        self._trust.lost(event.peer, now_s)
        actions: list[Action] = []
        message = f"{self.node} lost {event.peer}: {event.reason}"
        for key, execution in list(self.executions.items()):
            if event.peer not in execution.spec.participants:
                continue
            if execution.awaits_peers() or (not execution.is_source and execution.owes(event.peer)):
                actions += self.give_up(key, PeerUnreachable.code, message, now_s)
        return actions

    def send_failed(self, event: SendFailed, now_s: float) -> list[Action]:
        """Tensors did not reach a peer: give up, or have the source give up where nothing is left to do here."""
        key = event.key
        if key in self.executions:
            return self.give_up(key, event.code, event.detail, now_s)
        return self._tell_source(key, event.peer, event.code, event.detail, now_s)

    def abort_received(self, event: AbortReceived, now_s: float) -> list[Action]:
        """A peer gave up: run again at the source, else stop, and tell the source unless it was the source."""
        key = event.key
        execution = self.executions.get(key)
        if execution is None:
            if not self.knows(event.peer):
                return self._refuse("aborts-of-strangers")
            self.early.drop(key)
            self._ended.add(key, now_s)
            if (held := self._held(key)) is None or held.spec.source == event.peer:
                return []
            # What was sent from here was this node's last part: whoever got it tells nobody else.
            return self._tell_source(key, event.peer, event.code, event.message, now_s)
        if event.peer not in execution.spec.participants:
            return self._refuse("aborts-of-strangers")
        if execution.is_source and event.code in NETWORK_CODES:
            self.models[key.model].suspect(key.epoch, now_s)
        if not execution.is_source and event.peer == execution.spec.source:
            self.executions.end(key, now_s)
            return []
        return self.give_up(key, event.code, event.message, now_s)

    def expire(self, now_s: float) -> list[Action]:
        """End what has run out of time."""
        actions: list[Action] = []
        for request in self.requests.expired(now_s):
            error = RequestTimedOut(
                f"model {base_name(request.model)!r} did not answer within {request.deadline_s:g} s"
            )
            actions.append(self._fail(request, error))
            actions += self._forsake(request, error.code, str(error), now_s)
        for key, execution in list(self.executions.items()):
            if now_s >= execution.expires_at_s:
                self.executions.end(key, now_s)
                self.joints.gave_up(key, RequestTimedOut.code, now_s)
        for key, early, known in self.early.overdue(now_s):
            if known:
                self._ended.add(key, now_s)
            message = f"{self.node} does not have epoch {key.epoch} of {key.model!r}"
            for peer in sorted({peer for peer, _ in early.arrivals}):
                # A sender that just started may be here before the way back to it is there.
                actions += self._sent_aborts.tell(SendAbort(key, peer, NotDeployed.code, message), now_s)
        self._ended.forget(now_s)
        self._sent_aborts.forget(now_s)
        return actions

    # --- steps -----------------------------------------------------------------------------------------------------

    def knows(self, peer: str) -> bool:
        """Whether a node is no stranger: it takes part in an epoch that is held here, or this one is connected to it.

        A name can be claimed: this bounds what everybody may leave here, and keeps honest nodes' things from being
        pushed out. Tensors and aborts of an execution count only from those who take part in it.
        """
        return peer in self.peers_up or any(
            peer in held.spec.participants for model in self.models.values() for held in model.held.values()
        )

    def _held(self, key: ExecutionKey) -> HeldEpoch | None:
        """The epoch of an execution, where it is held here."""
        model = self.models.get(key.model)
        return None if model is None else model.held.get(key.epoch)

    def _tell_source(self, key: ExecutionKey, peer: str, code: str, message: str, now_s: float) -> list[Action]:
        """Have the source of an execution that is over here give it up: it cannot go on at a peer, which took part in it."""
        held = self._held(key)
        if held is None or held.spec.source == self.node or peer not in held.spec.participants:
            return []
        return self._sent_aborts.tell(SendAbort(key, held.spec.source, code, message), now_s)

    def _refuse(self, what: str) -> list[Action]:
        """Do nothing but count it."""
        self.refused[what] += 1
        return []

    def probation(self, now_s: float) -> frozenset[str]:
        """Peers that came back only lately."""
        return self._trust.on_probation(self.peers_up, now_s)

    def choose(self, request: ClientRequest, now_s: float) -> int | None:
        """The epoch that a request starts on now."""
        model = self.models[request.model]
        return model.choose(self.peers_up, now_s, request.failed_epochs, probation=self.probation(now_s))

    def _relies_on(self, model: ModelEpochs, peer: str) -> bool:
        """Whether requests that start here may need the peer."""
        return model.is_source and any(peer in held.spec.participants for held in model.held.values())
