"""The control plane as the agent uses it: what it says over MQTT and what it listens to.

Owns: subscriptions, the node's retained state, peers, whom it obeys, and what an earlier run was told until somebody says more. Its rule:
messages become calls on the handler; nothing that arrives here can stop serving. Not here: the connection (`edgesplit.mqtt.bus`), decisions
(`serving/`), figures (`reporting/reporter.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import msgspec
import structlog

from edgesplit.control.component_messages import digests_of
from edgesplit.control.event_kinds import level_of
from edgesplit.control.event_messages import EVENT, Event
from edgesplit.control.inquiry_messages import INQUIRY, NODE_FINDINGS, Inquiry, NodeFindings
from edgesplit.control.noise_messages import NOISE_REPORT, NoiseReport
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Deployment, Desired, EpochState, Observed
from edgesplit.control.profile_messages import (
    LIVE_TIMINGS,
    MODEL_OFFER,
    PROFILE_REPORT,
    PROFILE_REQUEST,
    LiveTimings,
    ModelOffer,
    ProfileReport,
    ProfileRequest,
)
from edgesplit.control.registration_messages import (
    CONTROLLER_STATUS,
    NODE_CLAIM,
    NODE_STATUS,
    ControllerStatus,
    NodeStatus,
)
from edgesplit.control.trust_messages import CLIENT_TOKENS, REVOCATIONS, ClientTokens, Revocations
from edgesplit.errors import MalformedMessage
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.packet_limit import Oversize
from edgesplit.mqtt.paho_client import ClientMaker, PahoClient
from edgesplit.mqtt.signed.refusals import Refusal, Refusals
from edgesplit.mqtt.signed.sealing import JudgingSealing
from edgesplit.mqtt.topic import Topic
from edgesplit.release import PROTOCOL
from edgesplit.topic_table import written_by
from edgesplit_agent.autonomy.node_memory import NodeMemory
from edgesplit_agent.control_handler import ControlHandler
from edgesplit_agent.following.followed_peers import FollowedPeers
from edgesplit_agent.following.known_nodes import KnownNodes
from edgesplit_agent.serving.machine.actions import PublishNoise

__all__ = ["ControlPlane"]

SETTLE_S = 5.0
"""After connecting, the time within which the broker has delivered all retained messages. [s]"""

MOST_MODELS = 8192
"""Models, planning shapes and deployments that are remembered of any kind of message; a fleet has some hundreds."""
MOST_UNTOLD = 100
"""Events that are told once the controller is there; of more, the oldest are in the log alone."""
_KEPT: tuple[Topic[Any], ...] = (REVOCATIONS, CLIENT_TOKENS, DEPLOYMENT, DESIRED)
"""What is remembered over restarts, in the order in which it is to be heard: who is believed no more comes first."""
_OF_MODELS = tuple(row for row in written_by("agent") if row.lives_with is not None)
"""What a node keeps on the broker about models."""


class ControlPlane:
    """One agent's MQTT side.

    Args:
        broker: Where the broker is.
        status: This node's registration.
        handler: Told of what arrives.
        security: Whose decisions count, in a fleet with an authority.
        memory: What the node should hold, over restarts; None: nothing outlives the program.
        client: Makes the connection to the broker.
        wall_clock: Of this machine. [s since the epoch]
    """

    def __init__(
        self,
        broker: BrokerAddress,
        status: NodeStatus,
        handler: ControlHandler,
        security: JudgingSealing | None = None,
        memory: NodeMemory | None = None,
        *,
        client: ClientMaker = PahoClient,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.status = status
        self._memory = memory or NodeMemory(None, status.node)
        self._unconfirmed: set[str] = set()
        """Deployments of which only an earlier run was told."""
        self._controller_is_there = False
        self._untold: deque[Event] = deque(maxlen=MOST_UNTOLD)
        self._security = security
        if security is not None:
            security.on_refused = self._on_untrusted
        self.artifacts = ""
        self._handler = handler
        self.refused: Counter[str] = Counter()
        """What limits for strangers turned away, by kind."""
        self._nodes = KnownNodes(self._needed, self.refused)
        self._models: dict[str, ModelOffer] = {}
        self._desired: dict[str, Desired] = {}
        self._deployments: dict[str, Deployment] = {}
        self._own_topics: set[tuple[Topic[Any], str]] = set()
        self._unreadable = Refusals()
        self._wall_clock = wall_clock
        self._closing = False
        self._registered, self._obeys, self._connected_anew = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._log = structlog.get_logger(part="control")
        offline = msgspec.structs.replace(status, online=False)
        self.bus = MessageBus(
            broker,
            # Under one identifier, two agents of a name would take the session from each other for ever; and under one that can be known,
            # as the instance in the registration can, whoever may connect would end this session whenever it likes.
            client_id=f"edgesplit-agent-{status.node}-{secrets.token_hex(8)}",
            will=(NODE_STATUS.of(status.node), offline),
            sealing=security,
            registered=Registered(
                NODE_STATUS.of(status.node), NODE_CLAIM.of(status.node), status.instance, self._another_agent
            ),
            on_malformed=self._on_malformed,
            on_connection=self._on_connection,
            on_accepted=handler.on_accepted,
            on_refused=handler.on_name_taken,
            on_rival=self._on_rival,
            on_oversize=self._on_oversize,
            client=client,
        )
        self.peers = FollowedPeers(
            self.bus,
            status.node,
            hear=self._on_node,
            planned=self._planned,
            known=lambda: [status.node for status in self._nodes.online()],
            forget=self._forget_nodes,
        )
        """The other nodes that count."""

    def start(self) -> None:
        """Subscribe, register and begin connecting."""
        node, bus = self.status.node, self.bus
        # Before all that somebody whose certificate ended early could have signed.
        bus.subscribe(REVOCATIONS, self._on_revocations)
        # The controller's registration first: whether it is obeyed decides about all that follows.
        bus.subscribe(CONTROLLER_STATUS, self._on_controller)
        bus.subscribe(CLIENT_TOKENS, self._on_client_tokens)
        bus.subscribe(NODE_STATUS, self._on_node, node)
        bus.subscribe(MODEL_OFFER, self._on_model)
        bus.subscribe(PROFILE_REQUEST, self._on_profile_request, node)
        bus.subscribe(INQUIRY, self._on_inquiry, node)
        bus.subscribe(DEPLOYMENT, self._on_deployment)
        bus.subscribe(DESIRED, self._on_desired, node)
        for row in _OF_MODELS:
            bus.subscribe(row, partial(self._on_own_topic, row), node)
        # Not what an earlier run left there: `clear_stale` judges that.
        bus.own((row for row in written_by("agent") if row.defended), node)
        bus.publish(NODE_STATUS, self.status, node)
        self._recall()
        bus.start()

    async def close(self) -> None:
        """Say goodbye in order."""
        self._closing = True
        self.bus.publish(NODE_STATUS, msgspec.structs.replace(self.status, online=False), self.status.node)
        await self.bus.close()

    async def forget_unconfirmed(self) -> None:
        """Once the controller is there and has repeated what holds, forget sources of models that it does not name any more.

        What the node should hold is not forgotten for silence: the controller takes that back in words.
        """
        await self._registered.wait()
        await self._obeys.wait()
        await asyncio.sleep(SETTLE_S)
        for model in sorted(self._unconfirmed):
            self._on_deployment(DEPLOYMENT.of(model), None)
            self._memory.delivered(DEPLOYMENT.of(model), b"", obeyed=True)

    async def clear_stale(self) -> None:
        """Over each connection, once retained messages are in, remove what was left on this node's topics of models that are gone.

        An earlier run left it, or another agent of this node's name that was started by mistake.
        """
        while True:
            await self._connected_anew.wait()
            self._connected_anew.clear()
            await asyncio.sleep(SETTLE_S)
            if not self.status.refused:
                self._clear_stale()

    def _clear_stale(self) -> None:
        present: dict[Topic[Any], Mapping[str, object]] = {
            MODEL_OFFER: self._models,
            DESIRED: self._desired,
            DEPLOYMENT: self._deployments,
        }
        for row, model in sorted(self._own_topics, key=lambda own: (own[0].pattern, own[1])):
            own = self.bus.says(row, self.status.node, model)
            if row.lives_with is not None and not own and model not in present[row.lives_with]:
                self.bus.clear(row, self.status.node, model)

    # --- what the agent says ---------------------------------------------------------------------------------------

    def update_status(self, **changes: object) -> None:
        """Change the registration."""
        status = msgspec.structs.replace(self.status, **changes)
        if status != self.status:
            self.status = status
            self.bus.publish(NODE_STATUS, status, status.node)

    def publish_observed(self, model: str, epochs: tuple[EpochState, ...], serving: int | None) -> None:
        """Say what is held and served."""
        status = self.status
        observed = Observed(node=status.node, instance=status.instance, model=model, epochs=epochs, serving=serving)
        self.bus.publish(OBSERVED, observed, status.node, model)
        self._memory.changed()  # what is prepared may be computed with other blobs than what it was made of

    def clear_observed(self, model: str) -> None:
        """Nothing of the model is held any more."""
        self._clear_with(DESIRED, model)

    def _clear_with(self, gone: Topic[Any], model: str) -> None:
        """What this node says of a model must not outlast what it answers."""
        for row in _OF_MODELS:
            if row.lives_with is gone:
                self.bus.clear(row, self.status.node, model)

    def publish_noise(self, found: PublishNoise) -> None:
        """Say what checks of served requests found."""
        status = self.status
        report = NoiseReport(
            node=status.node,
            instance=status.instance,
            model=found.model,
            epoch=found.epoch,
            samples=found.samples,
            mean=found.mean,
            deviation=found.deviation,
            max=found.max,
            last=found.last,
            dropped=found.dropped,
            measure=found.measure,
            detail=found.detail,
        )
        self.bus.publish(NOISE_REPORT, report, status.node, found.model)

    def publish_profile(self, report: ProfileReport) -> None:
        """Say where profiling a model stands; of a model that is gone, nothing."""
        if report.model in self._models:
            self.bus.publish(PROFILE_REPORT, report, report.node, report.model)

    def publish_findings(self, findings: NodeFindings) -> None:
        """Answer an inquiry."""
        self.bus.publish(NODE_FINDINGS, findings, findings.node)

    def publish_timings(self, timings: LiveTimings) -> None:
        """Say what runs took lately; of a model that is gone, nothing."""
        if timings.model in self._models:
            self.bus.publish(LIVE_TIMINGS, timings, timings.node, timings.model)

    def emit(
        self,
        kind: str,
        text: str,
        *,
        model: str = "",
        data: Mapping[str, str | float | int | bool | None] | None = None,
    ) -> None:
        """Tell what happened, and again once there is a controller where there was none, for it keeps the history."""
        node = self.status.node
        event = Event(
            at_unix_s=self._wall_clock(),
            origin=node,
            kind=kind,
            text=text,
            model=model,
            node=node,
            data=dict(data or {}),
            level=level_of(kind),
        )
        log = {"info": self._log.info, "warning": self._log.warning, "error": self._log.error}[event.level]
        log(kind, text=text, model=model, **event.data)
        if not (self.bus.publish(EVENT, event, node) and self._controller_is_there):
            self._untold.append(event)

    # --- what it hears ---------------------------------------------------------------------------------------------

    def _on_connection(self, connected: bool, reason: str) -> None:
        self._controller_is_there = self._controller_is_there and connected
        self._tell_untold()
        if connected:
            self._connected_anew.set()
        self._handler.on_broker(connected, reason)

    def _tell_untold(self) -> None:
        # What the broker keeps of the controller is heard before this node may say anything.
        while self._controller_is_there and self.bus.connected and self._untold:
            self.bus.publish(EVENT, self._untold.popleft(), self.status.node)

    def _recall(self) -> None:
        """Have what an earlier run was told hold until somebody says more, and remember what is said from now on."""
        self._memory.begin(self, self.emit)
        for status in self._memory.recalled.nodes:
            self._nodes.remember(status)
        self._memory.recall(_KEPT, self.bus.recall)
        for desired in self._desired.values():
            for plan in desired.epochs:
                others = {name: at for name, at in plan.participants.items() if name != self.status.node}
                self._nodes.remember_addresses(others)
        self._unconfirmed = set(self._deployments)
        self.bus.on_delivered = self._on_delivered
        self.announce_nodes()

    def _on_delivered(self, topic: str, payload: bytes) -> None:
        self._memory.delivered(topic, payload, obeyed=not self.status.refused)

    def _on_revocations(self, topic: str, revocations: Revocations | None) -> None:
        if self._security is not None and revocations is not None:
            self._security.revoke({certificate.serial for certificate in revocations.certificates})
        if revocations is not None:
            self._memory.take(topic, holds=True)
        self._handler.on_revocations(revocations)

    def _on_client_tokens(self, topic: str, tokens: ClientTokens | None) -> None:
        if tokens is not None:
            self._memory.take(topic, holds=True)
        self._handler.on_client_tokens(tokens)

    def _on_controller(self, _topic: str, controller: ControllerStatus | None) -> None:
        self._controller_is_there = controller is not None and controller.online
        self._tell_untold()
        if controller is not None:
            self.peers.hear_controller(controller)
        if controller is None or not controller.online:
            return  # What serves goes on serving; its blobs are in the cache.
        if controller.protocol != PROTOCOL:
            refused = (
                f"the controller speaks protocol {controller.protocol} (version {controller.version}) and this agent "
                f"{PROTOCOL} (version {self.status.version}): install the same version on both"
            )
            if refused != self.status.refused:
                self._log.error("controller-refused", text=refused)
            self.update_status(refused=refused)
            return
        self.artifacts = controller.artifacts.rstrip("/")
        if self.status.refused:
            self.update_status(refused="")
            self._log.info("controller-accepted", version=controller.version)
            self.bus.hear_again()  # what was not remembered while its controller was refused
            for model, deployment in self._deployments.items():
                self._handler.on_deployment(model, deployment)
            for model, desired in self._desired.items():
                self._handler.on_desired(model, desired)
        for model, offer in self._models.items():
            self._handler.on_offer(model, offer)
        self._obeys.set()
        self._handler.on_controller()

    def _on_profile_request(self, _topic: str, request: ProfileRequest | None) -> None:
        if request is not None and not self.status.refused:
            self._handler.on_profile_request(request)

    def _on_inquiry(self, _topic: str, inquiry: Inquiry | None) -> None:
        if inquiry is not None:
            self._handler.on_inquiry(inquiry)

    def _on_node(self, topic: str, status: NodeStatus | None) -> None:
        (name,) = NODE_STATUS.names(topic)
        if name == self.status.node:
            self._registered.set()
            self.peers.listens()
            self._on_own_status(status)
            return
        self._nodes.hear(name, status)
        if name in self._needed():
            self._memory.changed()
        self.announce_nodes()

    def _forget_nodes(self, names: Collection[str]) -> None:
        """Nodes that this one hears of no more."""
        for name in names:
            self._nodes.hear(name, None)
        self.announce_nodes()

    def announce_nodes(self) -> None:
        """Tell the handler who can be a peer."""
        self._handler.on_nodes({status.node: status.advertise for status in self.online_nodes()})

    def online_nodes(self) -> list[NodeStatus]:
        """Other nodes that can be a peer now."""
        return self._nodes.online()

    def last_addresses(self, names: AbstractSet[str]) -> dict[str, str]:
        """Where nodes of plans were that are offline by what the broker says, or said when there was one."""
        return self._nodes.last_addresses(names)

    def last_known_nodes(self) -> list[NodeStatus]:
        """See `Surroundings`."""
        return self._nodes.last_known()

    def planned_blobs(self) -> frozenset[str]:
        """See `Surroundings`."""
        parts = (part for desired in self._desired.values() for spec in desired.epochs for part in spec.components)
        return frozenset(digest for part in parts for digest in digests_of(part.graph))

    def _planned(self) -> frozenset[str]:
        """Nodes that hold parts of what this node should hold."""
        plans = (plan for desired in self._desired.values() for plan in desired.epochs)
        return frozenset(name for plan in plans for name in plan.participants)

    def _needed(self) -> frozenset[str]:
        """Nodes that plans name, or that requests go to."""
        return self._planned() | {deployment.source for deployment in self._deployments.values()}

    def _finds_room(self, table: Collection[object], name: object) -> bool:
        """Whether something may be remembered; a stranger who may write can name any number."""
        if name in table or len(table) < MOST_MODELS:
            return True
        self.refused["models"] += 1
        return False

    def _on_own_status(self, status: NodeStatus | None) -> None:
        if not self._closing and (status is None or not status.online):
            # An older connection's last will came late.
            self.bus.publish(NODE_STATUS, self.status, self.status.node)

    def _on_model(self, topic: str, offer: ModelOffer | None) -> None:
        (model,) = MODEL_OFFER.names(topic)
        if offer is None:
            self._models.pop(model, None)
        elif self._finds_room(self._models, model):
            self._models[model] = offer
        else:
            return
        if self.status.refused:
            return
        self._handler.on_offer(model, offer)
        if offer is None:
            self._clear_with(MODEL_OFFER, model)

    def _on_deployment(self, topic: str, deployment: Deployment | None) -> None:
        (model,) = DEPLOYMENT.names(topic)
        if deployment is None:
            self._deployments.pop(model, None)
        elif self._finds_room(self._deployments, model):
            self._deployments[model] = deployment
        else:
            return
        self._memory.take(topic, holds=deployment is not None)
        self._unconfirmed.discard(model)
        if not self.status.refused:
            self._handler.on_deployment(model, deployment)

    def _on_desired(self, topic: str, desired: Desired | None) -> None:
        _, model = DESIRED.names(topic)
        if desired is not None and (desired.node != self.status.node or desired.model != model):
            text = f"the payload on {topic} was ignored: it is for {desired.node!r}"
            self._on_malformed(topic, MalformedMessage(text))
            return
        if desired is None:
            self._desired.pop(model, None)
        elif self._finds_room(self._desired, model):
            self._desired[model] = desired
        else:
            return
        self._memory.take(topic, holds=desired is not None)
        if not self.status.refused:
            self._handler.on_desired(model, desired)
        self.peers.look()

    def _on_own_topic(self, row: Topic[Any], topic: str, message: object) -> None:
        _, model = row.names(topic)
        if message is None:
            self._own_topics.discard((row, model))
        elif self._finds_room(self._own_topics, (row, model)):
            self._own_topics.add((row, model))

    def _another_agent(self, where: str) -> str:
        return (
            f"another agent is registered as {self.status.node!r}{where} and serves: give this one another name "
            "in its configuration, or stop the other"
        )

    def _on_rival(self) -> None:
        text = (
            f"another agent asked for the name {self.status.node!r} and is refused, for this one holds it: give it another name "
            "in its configuration"
        )
        self.emit("name-taken", text)

    def _on_untrusted(self, refusal: Refusal) -> None:
        if refusal.is_news:
            self.emit("message-refused", refusal.sentence)

    def _on_oversize(self, oversize: Oversize) -> None:
        self.emit("message-too-large", oversize.sentence(str(self.bus.address)))

    def _on_malformed(self, topic: str, error: MalformedMessage) -> None:
        self.refused["malformed-messages"] += 1
        found = self._unreadable.refuse("malformed", topic, str(error), b"", time.monotonic())
        if found.is_news:
            self.emit("malformed-message", str(error))
