"""The MQTT connection of controller, agents and splitctl, on an asyncio loop.

Owns: connecting, reconnecting, subscriptions, typed publishing and decoding by the rows of topics, the republishing of
retained state after a reconnect, and the sentence that says why there is no connection. Its rule: handlers run on the loop
that made the bus. A payload that does not decode is reported and dropped, it never stops the daemon. A program with a
registration says nothing before its name is its own. Not here: the rows (`topic_table.py`), what messages mean,
the MQTT library (`mqtt/paho_client.py`), the defence of retained messages (`mqtt/retained_state.py`), signatures (`mqtt/signed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import msgspec

from edgesplit.daemon_thread import in_daemon_thread
from edgesplit.errors import BrokerUnreachable, MalformedMessage
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.broker_diagnosis import DIAGNOSE_EVERY_S, DIAGNOSE_TIMEOUT_S
from edgesplit.mqtt.name_claim import NameClaim, Registered
from edgesplit.mqtt.name_registration import ANSWER_S
from edgesplit.mqtt.packet_limit import Oversize, PacketLimit
from edgesplit.mqtt.paho_client import BrokerClient, ClientEvents, ClientMaker, PahoClient
from edgesplit.mqtt.retained_state import OnForeign, RetainedState
from edgesplit.mqtt.signed.sealing import PlainSealing, Said, Sealing
from edgesplit.mqtt.subscriptions import Deliveries, Delivery, Subscription, SubscriptionRound
from edgesplit.mqtt.topic import ROOT, Topic
from edgesplit.mqtt.topic_filters import matches, with_further
from edgesplit.trust.subjects import PeerCertificate

__all__ = ["FLUSH", "Flush", "MessageBus"]

M = TypeVar("M", bound=msgspec.Struct)
BEAT_S = 0.5
"""How often a program with a name notes that it runs. [s]"""
SILENT_S = 0.8
"""After which a first connection that nothing is heard of is looked into: who waits for a name server says nothing for long. [s]"""


class Flush(msgspec.Struct, frozen=True):
    """Nothing: the payload is empty. Once the broker confirms it, it has all that was published before."""


FLUSH = Topic(
    "flush", Flush, says="the last message before a program disconnects", writers=("agent", "controller", "splitctl")
)


class MessageBus:
    """One MQTT 3.1.1 connection.

    Args:
        broker: URL of the broker, or its address with TLS files.
        client_id: Unique per process, and known to nobody else: the broker drops an older connection of the same, whoever has the newer.
        will: Topic and message that the broker publishes, retained, when this side vanishes.
        sealing: How messages are signed and judged; plain without.
        elsewhere: Where another broker would be named, for a sentence that says to.
        registered: The name this program holds; nothing is published before it is its own.
        on_malformed: Told of the topics of payloads that do not decode, and what is wrong with them.
        on_connection: Told when the connection comes up, or goes away or cannot be had, and why; each reason once.
        on_accepted: Told when the broker has accepted a connection and nothing was published over it yet.
        on_refused: Told when another program holds the name, and who.
        on_rival: Told when another program asks for the name that this one holds, once in a while.
        on_standby: Told of instance and machine of a program that waits for the name, as often as it says so.
        on_oversize: Told of a message that the broker does not take.
        may_speak: Asked each time the name has just become this program's, and nothing was said yet; False: it stays silent.
        client: Makes the connection.

    Raises:
        InvalidConfiguration: The URL or a TLS file cannot be used.
    """

    def __init__(
        self,
        broker: str | BrokerAddress,
        *,
        client_id: str,
        will: tuple[str, msgspec.Struct] | None = None,
        sealing: Sealing | None = None,
        elsewhere: str = "in [broker] url",
        registered: Registered | None = None,
        on_malformed: Callable[[str, MalformedMessage], None] | None = None,
        on_connection: Callable[[bool, str], None] | None = None,
        on_accepted: Callable[[], None] | None = None,
        on_refused: Callable[[str], None] | None = None,
        on_rival: Callable[[], None] | None = None,
        on_standby: Callable[[str, str], None] | None = None,
        on_oversize: Callable[[Oversize], None] | None = None,
        may_speak: Callable[[], bool] | None = None,
        client: ClientMaker = PahoClient,
    ) -> None:
        self.address = BrokerAddress.parse(broker) if isinstance(broker, str) else broker
        self._loop = asyncio.get_running_loop()
        self._client_id, self._will, self._elsewhere = client_id, will, elsewhere
        self._on_malformed, self._on_connection, self._tell_accepted = on_malformed, on_connection, on_accepted
        self._on_refused, self._on_oversize, self._on_rival = on_refused, on_oversize, on_rival
        self._on_standby, self._may_speak = on_standby, may_speak
        self._sealing = sealing or PlainSealing()
        self._subscriptions: list[Subscription] = []
        self._deliveries = Deliveries(self._delivery)
        self._state = RetainedState(
            partial(self._publish, retain=True), lambda: self.connected, self._sealing.left_over
        )
        self._connected = asyncio.Event()
        self._settled = asyncio.Event()
        self._accepted = False
        self._round = SubscriptionRound(self._on_listening, self._on_denied)
        self._fault = ""
        self._packets = PacketLimit()
        self._sought: dict[str, list[set[str]]] = {}
        self.on_heard: Callable[[str, bool], None] | None = None
        """Told of the topic of whatever arrives, and whether the broker kept it from before."""
        self.on_delivered: Callable[[str, bytes], None] | None = None
        """Told of topic and payload of what was believed and read, once its handlers have it."""
        self._answers: dict[str, Callable[[bytes], None]] = {}
        self._name = None if registered is None else self._claim_of(registered)
        self._diagnosis: asyncio.Task[None] | None = None
        self._tls = self.address.tls_context() if self.address.tls else None
        self._make_client = client
        self._client = self._new_client()
        self._beat_s = self._loop.time()
        self._beating: asyncio.TimerHandle | None = None

    def _claim_of(self, registered: Registered) -> NameClaim:
        def send_claim(payload: bytes) -> None:
            self._publish(registered.claims, payload, retain=False)

        return NameClaim(
            registered,
            send_claim=send_claim,
            answer=self._register_again,
            on_rival=self._on_rival,
            on_standby=self._on_standby,
            on_held=self._on_ready,
            on_refused=self._on_name_refused,
            on_deaf=self._on_deaf,
        )

    def _new_client(self) -> BrokerClient:
        events = ClientEvents(
            accepted=self._on_accepted,
            failed=self._find_fault,
            disconnected=self._on_disconnected,
            subscribed=self._round.answered,
            confirmed=self._packets.confirmed,
            message=self._dispatch,
        )
        return self._make_client(self.address, self._tls, self._client_id, self._last_will(), events)

    def _last_will(self) -> tuple[str, bytes] | None:
        topic, message = self._will or ("", None)
        return (topic, self._sealing.sealed(topic, msgspec.json.encode(message))) if topic else None

    @property
    def connected(self) -> bool:
        """Whether the broker answers now, has confirmed every subscription, and the name (if any) is held."""
        return self._connected.is_set()

    @property
    def broker_host(self) -> str:
        """The broker's numeric address on the present connection; empty without one."""
        return self._client.broker_host

    @property
    def fault(self) -> str:
        """Why there is no connection, in one sentence; empty while there is one or nothing is known yet."""
        return self._fault

    def start(self) -> None:
        """Begin connecting, and reconnect for ever; returns at once."""
        if self._name is not None and self._beating is None:
            self._beat()
        self._client.start()

    async def connect(self, timeout_s: float) -> None:
        """Connect, or give up.

        Raises:
            BrokerUnreachable: No connection within `timeout_s`, or a reason why there will be none was found.
        """
        self.start()
        silent = self._loop.call_later(SILENT_S, self._find_fault)
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            pass  # said below, with what was found out
        finally:
            silent.cancel()
        if not self.connected:
            await self.close()
            late = f"no MQTT broker answers at {self.address} in time: start it, or name another {self._elsewhere}"
            raise BrokerUnreachable(self._fault or late)

    def renew(self) -> None:
        """This program has another certificate: what stays on the broker is said with it, and the next connection made."""
        self._state.replace(self._sealing.renewed)
        if self._tls is not None:
            self.address.renew(self._tls)
        self._client.set_will(self._last_will())
        if self.connected:
            for topic, payload in list(self._state.payloads.items()):
                self._publish(topic, payload, retain=True)

    def subscribe(self, topic: Topic[M], handler: Callable[[str, M | None], None], *names: str) -> None:
        """Have `handler(topic, message)` called for every payload; an empty (cleared) one arrives as None.

        What is larger than the row says, or is no message of its type, is malformed. `names` are the first names of the topics; all
        topics of the row without any.
        """
        self.subscribe_signed(topic, lambda name, message, _signer: handler(name, message), *names)

    def subscribe_signed(
        self, topic: Topic[M], handler: Callable[[str, M | None, PeerCertificate | None], None], *names: str
    ) -> None:
        """As `subscribe`, for a handler that is told who signed, too: None where nobody has to."""
        decoder = msgspec.json.Decoder(topic.payload)
        subscription = Subscription(topic.filter(*names), decoder, topic.limit_bytes, handler)
        self._subscriptions.append(subscription)
        self._deliveries.clear()
        if self._accepted:
            self._client.subscribe(subscription.topic_filter)

    def unsubscribe(self, topic: Topic[Any], *names: str) -> None:
        """Undo `subscribe` with the same names."""
        topic_filter = topic.filter(*names)
        self._subscriptions = [entry for entry in self._subscriptions if entry.topic_filter != topic_filter]
        self._deliveries.clear()
        if self._accepted:
            self._client.unsubscribe(topic_filter)

    def hear_again(self) -> None:
        """Have the broker repeat what it keeps: what was refused for a wrong clock counts once that is right."""
        for entry in self._subscriptions:
            self._client.subscribe(entry.topic_filter)

    def own(
        self,
        topics: Iterable[Topic[Any]],
        *names: str,
        remove_unknown: bool = False,
        leave_retained: bool = False,
        on_foreign: OnForeign | None = None,
    ) -> None:
        """Put right what others publish on topics that only this program writes; call it before `start`.

        `names` are the first names of the topics, `on_foreign` is told of each. `remove_unknown`: what was not published here is
        removed from them, instead of being left alone; `leave_retained`: but for what the broker kept from before.
        """
        filters = [topic.filter(*names) for topic in topics]
        self._deliveries.clear()
        self._state.own(filters, remove_unknown=remove_unknown, leave_retained=leave_retained, on_foreign=on_foreign)

    def owns(self, topic: str) -> bool:
        """Whether only this program writes a topic."""
        return self._deliveries.of(topic).is_owned

    def publish(self, topic: Topic[M], message: M, *names: str) -> bool:
        """Publish on the topic of these names.

        A retained message is kept and sent again after every reconnect, any other is sent once.

        Returns:
            Whether it is under way: not while the broker is away or would not take it.
        """
        name = topic.of(*names)
        payload = self._sealing.sealed(name, msgspec.json.encode(message))
        if topic.retained:
            self._state.set(name, payload)
        return self.connected and self._publish(name, payload, retain=topic.retained)

    def says(self, topic: Topic[Any], *names: str) -> bool:
        """Whether a retained message of this program's own is kept on a topic, or will be over the next connection."""
        return bool(self._state.payloads.get(topic.of(*names)))

    def hear_broker(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Have payloads on a topic of the broker's own (`$…`, no row of the table) handed over; that it denies it is no fault."""
        self._answers[topic] = handler

    def ask_broker(self, topic: str, payload: bytes) -> bool:
        """Publish on a topic of the broker's own; whether it is under way."""
        return self.connected and self._publish(topic, payload, retain=False)

    def keep(self, topic: str, payload: bytes) -> None:
        """Keep a payload on a topic of another program's tree (no row of the table), retained, unsigned; an empty one takes it back.

        It is repeated after a reconnect.
        """
        self._state.set(topic, payload)
        if self.connected:
            self._publish(topic, payload, retain=True)

    def clear(self, topic: Topic[Any], *names: str) -> None:
        """Remove a retained message; also repeated after a reconnect, in case the broker was away."""
        name = topic.of(*names)
        payload = self._sealing.removal(name)
        self._state.remove(name, payload)
        if self.connected:
            self._publish(name, payload, retain=True)

    def wipe(self, topic: str) -> None:
        """Remove a retained message that is somebody else's, once: nothing of it is remembered or repeated."""
        self._state.forget(topic)
        if self.connected:
            self._publish(topic, b"", retain=True)

    async def retained(self, topic_filter: str, wait_s: float = 0.5) -> frozenset[str]:
        """Topics below a filter of which the broker keeps a message; `wait_s` is what it gets to name them."""
        found: set[str] = set()
        seekers = self._sought.setdefault(topic_filter, [])
        seekers.append(found)
        self._client.subscribe(
            topic_filter
        )  # also where another seeks the same: a broker names them to each subscription
        try:
            await asyncio.sleep(wait_s)
        finally:
            seekers[:] = [one for one in seekers if one is not found]
            if not seekers:
                del self._sought[topic_filter]
                self._client.unsubscribe(topic_filter)
        return frozenset(found)

    async def close(self) -> None:
        """Disconnect in order after what was published has left; the last will is not sent."""
        if self._diagnosis is not None:
            self._diagnosis.cancel()
        if self._name is not None:
            self._name.close()
        if self._beating is not None:
            self._beating.cancel()
        self._round.end()
        self._state.close()
        await self._client.end(flush=FLUSH.of() if self.connected else "")
        await self._sealing.close()

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> bool:
        if not self._packets.admits(len(payload)):
            return False
        identifier, under_way = self._client.publish(topic, payload, retain=retain)
        self._packets.sent(identifier, topic, len(payload))
        if retain:
            self._state.published(topic, payload)
        return under_way

    # --- what happens to the connection ----------------------------------------------------------------------------

    def _on_accepted(self) -> None:
        self._connected.clear()
        self._accepted = True
        if self._diagnosis is not None:
            self._diagnosis.cancel()
        if self._tell_accepted is not None:
            self._tell_accepted()
        for topic in self._answers:
            self._client.subscribe(topic)
        wanted = [entry.topic_filter for entry in self._subscriptions]
        further = (*self._state.filters, *(self._name.topics if self._name is not None else ()))
        self._round.begin(with_further(wanted, further), self._client.subscribe)

    def _beat(self) -> None:
        self._look_for_standstill()
        self._beating = self._loop.call_later(BEAT_S, self._beat)

    def _look_for_standstill(self) -> None:
        """Claim the name anew if this process did not run for so long that its holder counted as gone.

        Whatever arrives then is heard by somebody who may not put it right: another program may hold the name.
        """
        now_s = self._loop.time()
        stood_s, self._beat_s = now_s - self._beat_s, now_s
        if stood_s >= ANSWER_S and self._name is not None and self._connected.is_set():
            self._connected.clear()
            self._state.disconnected()
            self._name.connected()

    def _on_denied(self, topic_filters: list[str]) -> None:
        self._say_fault(
            f"the broker at {self.address} refuses {self.address.who} the topics {', '.join(topic_filters)}: "
            "allow reading them in its access rules"
        )

    def _on_listening(self) -> None:
        # Only now is anything said: who answers it must find this side listening.
        if self._name is None:
            self._on_ready()
        else:
            self._name.connected()

    def _on_ready(self) -> None:
        if self._may_speak is not None and not self._may_speak():
            return
        for topic, payload in list(self._state.payloads.items()):
            if not self._publish(topic, payload, retain=True) and self._packets.admits(len(payload)):
                return  # gone again; the next connection repeats everything
        self._connected.set()
        self._settled.set()
        self._fault = ""
        self._state.put_unknown_right()
        if self._on_connection is not None:
            self._on_connection(True, "")

    def _on_disconnected(self, reason: str) -> None:
        was_connected, was_accepted = self._connected.is_set(), self._accepted
        self._connected.clear()
        self._accepted = False
        self._round.end()
        self._state.disconnected()
        if self._name is not None:
            self._name.disconnected()
        if not was_accepted:
            self._find_fault()
            return
        oversize = self._packets.connection_lost()
        if oversize is not None:
            # paho would send the same message again for ever, and offers no way to take it back.
            self._client.abandon()
            self._client = self._new_client()
            self.start()
            reason = oversize.sentence(str(self.address))
            if self._on_oversize is not None:
                self._on_oversize(oversize)
        if was_connected:
            self._say_fault(reason)

    def _find_fault(self) -> None:
        """A connection was not accepted: find out why, now and then."""
        if self._diagnosis is None or self._diagnosis.done():
            self._diagnosis = self._loop.create_task(self._diagnose(), name="why-no-broker")

    async def _diagnose(self) -> None:
        explain = partial(self._client.explain, DIAGNOSE_TIMEOUT_S, self._elsewhere)
        sentence = await in_daemon_thread(explain, "why-no-broker")
        if sentence and not self._accepted:
            self._say_fault(sentence)
        await asyncio.sleep(DIAGNOSE_EVERY_S if sentence else 0.0)

    def _say_fault(self, sentence: str) -> None:
        if sentence == self._fault:
            return
        self._fault = sentence
        self._settled.set()
        if self._on_connection is not None:
            self._on_connection(False, sentence)

    def _on_deaf(self, topic: str) -> None:
        self._say_fault(
            f"the broker at {self.address} confirms everything and does not pass on {topic}: "
            f"{self.address.who} has to be allowed to write and to read it ({ROOT}/#)"
        )

    def _on_name_refused(self, sentence: str) -> None:
        self._connected.clear()
        self._fault = sentence
        self._settled.set()
        if self._on_refused is not None:
            self._on_refused(sentence)

    def _register_again(self) -> None:
        if self._name is not None and self.connected and (payload := self._state.payloads.get(self._name.topics[0])):
            self._publish(self._name.topics[0], payload, retain=True)

    def _delivery(self, topic: str) -> Delivery:
        named = self._name is not None and topic in self._name.topics
        readers = tuple(entry for entry in self._subscriptions if matches(entry.topic_filter, topic))
        return Delivery(readers, is_owned=self._state.owns(topic), is_name=named)

    def _dispatch(self, topic: str, payload: bytes, retained: bool = False) -> None:
        self._look_for_standstill()
        if topic in self._answers:
            self._answers[topic](payload)
        if self.on_heard is not None:
            self.on_heard(topic, retained)
        for topic_filter, seekers in self._sought.items():
            if retained and payload and matches(topic_filter, topic):
                for found in seekers:
                    found.add(topic)
        delivery = self._deliveries.of(topic)
        said = self._sealing.opened(topic, payload) if delivery.is_name or delivery.readers else None
        if self._name is not None and delivery.is_name and said is not None:
            wrong = self._name.hear(topic, said.message, retained=retained)
            if wrong:
                self._say_malformed(topic, wrong)
        if delivery.is_owned:
            self._state.hear(topic, payload, retained)
        if said is not None and self._deliver(topic, said, delivery.readers) and self.on_delivered is not None:
            self.on_delivered(topic, payload)

    def recall(self, topic: str, payload: bytes, heard_s: float) -> None:
        """Hand over what came in an earlier run and was kept, as if the broker repeated it; call it before `start`.

        Args:
            topic: Where it came.
            payload: As it came, its signature included.
            heard_s: When it came. [s since the epoch]
        """
        said = self._sealing.recalled(topic, payload, heard_s)
        if said is not None:
            self._deliver(topic, said, self._deliveries.of(topic).readers)

    def _deliver(self, topic: str, said: Said, readers: Iterable[Subscription]) -> bool:
        """Have everybody hear it who wants to; whether all could read it."""
        faults = [wrong for subscription in readers if (wrong := subscription.deliver(topic, said))]
        for wrong in faults:
            self._say_malformed(topic, wrong)
        return not faults

    def _say_malformed(self, topic: str, wrong: str) -> None:
        if self._on_malformed is not None:
            self._on_malformed(topic, MalformedMessage(f"the payload on {topic} was ignored: {wrong}"))
