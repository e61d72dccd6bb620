"""The control plane as the agent uses it: what it says over MQTT and what it listens to.

Owns: subscriptions, the node's retained state, peers, and whom it obeys. Its rule: messages become calls on the
handler; nothing that arrives here can stop serving. Not here: the connection (`edgesplit.mqtt.bus`), decisions
(`serving/`), figures (`reporting/reporter.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from edgesplit.control.event_kinds import level_of
from edgesplit.control.event_messages import EVENT, Event
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
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.mqtt.signed.refusals import Refusal, Refusals
from edgesplit.mqtt.topic import Topic
from edgesplit.release import PROTOCOL
from edgesplit.topic_table import written_by
from edgesplit_agent.known_nodes import KnownNodes
from edgesplit_agent.serving.machine.actions import PublishNoise

__all__ = ["ControlHandler", "ControlPlane"]

SETTLE_S = 5.0
"""After connecting, the time within which the broker has delivered all retained messages. [s]"""

MOST_MODELS = 8192
"""Models, planning shapes and deployments that are remembered of any kind of message; a fleet has some hundreds."""
_OF_MODELS = tuple(row for row in written_by("agent") if row.lives_with is not None)
"""What a node keeps on the broker about models."""


class ControlHandler(Protocol):
    """What the control plane tells the agent."""

    def on_desired(self, model: str, desired: Desired | None) -> None:
        """What this node should hold of a model."""

    def on_deployment(self, model: str, deployment: Deployment | None) -> None:
        """Who the source of a model is."""

    def on_offer(self, model: str, offer: ModelOffer | None) -> None:
        """A model to profile."""

    def on_profile_request(self, request: ProfileRequest) -> None:
        """A model to profile once more."""

    def on_revocations(self, revocations: Revocations | None) -> None:
        """Which certificates are trusted no more."""

    def on_client_tokens(self, tokens: ClientTokens | None) -> None:
        """What clients' tokens allow."""

    def on_controller(self) -> None:
        """The controller said that it is there, perhaps at another address."""

    def on_nodes(self, addresses: Mapping[str, str]) -> None:
        """Other online nodes of the same protocol and their data-plane addresses."""

    def on_accepted(self) -> None:
        """The broker accepted a connection; nothing was said over it yet."""

    def on_broker(self, connected: bool, reason: str) -> None:
        """The broker's connection came up, or went away or cannot be had, and why."""

    def on_name_taken(self, sentence: str) -> None:
        """Another agent of this node's name is registered and answers."""


class ControlPlane:
    """One agent's MQTT side.

    Args:
        broker: Where the broker is.
        status: This node's registration.
        handler: Told of what arrives.
        security: Whose decisions count, in a fleet with an authority.
        client: Makes the connection to the broker.
        wall_clock: Of this machine. [s since the epoch]
    """

    def __init__(
        self,
        broker: BrokerAddress,
        status: NodeStatus,
        handler: ControlHandler,
        security: MessageSecurity | None = None,
        *,
        client: ClientMaker = PahoClient,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.status = status
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
        self._registered = asyncio.Event()
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

    def start(self) -> None:
        """Subscribe, register and begin connecting."""
        node, bus = self.status.node, self.bus
        # Before all that somebody whose certificate ended early could have signed.
        bus.subscribe(REVOCATIONS, self._on_revocations)
        # The controller's registration first: whether it is obeyed decides about all that follows.
        bus.subscribe(CONTROLLER_STATUS, self._on_controller)
        bus.subscribe(CLIENT_TOKENS, lambda _topic, tokens: self._handler.on_client_tokens(tokens))
        bus.subscribe(NODE_STATUS, self._on_node)
        bus.subscribe(MODEL_OFFER, self._on_model)
        bus.subscribe(PROFILE_REQUEST, self._on_profile_request, node)
        bus.subscribe(DEPLOYMENT, self._on_deployment)
        bus.subscribe(DESIRED, self._on_desired, node)
        for row in _OF_MODELS:
            bus.subscribe(row, partial(self._on_own_topic, row), node)
        # Not what an earlier run left there: `clear_stale` judges that.
        bus.own((row for row in written_by("agent") if row.defended), node)
        bus.publish(NODE_STATUS, self.status, node)
        bus.start()

    async def close(self) -> None:
        """Say goodbye in order."""
        self._closing = True
        self.bus.publish(NODE_STATUS, msgspec.structs.replace(self.status, online=False), self.status.node)
        await self.bus.close()

    async def clear_stale(self) -> None:
        """Over each connection, once retained messages are in, remove what was left on this node's topics of models that are gone.

        An earlier run left it, or another agent of this node's name that was started by mistake.
        """
        while True:
            await self._registered.wait()
            self._registered.clear()
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
        """Tell what happened."""
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
        self.bus.publish(EVENT, event, node)

    # --- what it hears ---------------------------------------------------------------------------------------------

    def _on_connection(self, connected: bool, reason: str) -> None:
        if connected:
            self._registered.set()
        self._handler.on_broker(connected, reason)

    def _on_revocations(self, _topic: str, revocations: Revocations | None) -> None:
        if self._security is not None and revocations is not None:
            self._security.revoke({certificate.serial for certificate in revocations.certificates})
        self._handler.on_revocations(revocations)

    def _on_controller(self, _topic: str, controller: ControllerStatus | None) -> None:
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
            for model, deployment in self._deployments.items():
                self._handler.on_deployment(model, deployment)
            for model, desired in self._desired.items():
                self._handler.on_desired(model, desired)
        for model, offer in self._models.items():
            self._handler.on_offer(model, offer)
        self._handler.on_controller()

    def _on_profile_request(self, _topic: str, request: ProfileRequest | None) -> None:
        if request is not None and not self.status.refused:
            self._handler.on_profile_request(request)

    def _on_node(self, topic: str, status: NodeStatus | None) -> None:
        (name,) = NODE_STATUS.names(topic)
        if name == self.status.node:
            self._on_own_status(status)
            return
        self._nodes.hear(name, status)
        self.announce_nodes()

    def announce_nodes(self) -> None:
        """Tell the handler who can be a peer."""
        self._handler.on_nodes({status.node: status.advertise for status in self.online_nodes()})

    def online_nodes(self) -> list[NodeStatus]:
        """Other nodes that can be a peer now."""
        return self._nodes.online()

    def _needed(self) -> frozenset[str]:
        """Nodes that plans name."""
        plans = (plan for desired in self._desired.values() for plan in desired.epochs)
        named = (name for plan in plans for name in plan.participants)
        return frozenset((*named, *(deployment.source for deployment in self._deployments.values())))

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
        if not self.status.refused:
            self._handler.on_desired(model, desired)

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
