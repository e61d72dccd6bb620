"""The bus with signatures: what stays on the broker is signed once, again with a renewed certificate, and taken back by a message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edgesplit.control.plan_messages import DEPLOYMENT, Deployment
from edgesplit.control.registration_messages import NODE_CLAIM, NODE_STATUS
from edgesplit.mqtt import retained_state
from edgesplit.mqtt.broker_address import BrokerAddress, TlsFiles
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.name_claim import Registered
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import in_envelope
from tests.brokers import Stranger, running_mosquitto
from tests.trust.signers import MadeFleet
from tests.waiting import until

TOPIC = DEPLOYMENT.of("m")
PLACE = Deployment(model="m", source="edge", advertise="127.0.0.1:1", inputs=(), outputs=())


@pytest.fixture(scope="module")
def fleet() -> Iterator[MadeFleet]:
    made = MadeFleet()
    yield made
    made.close()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with running_mosquitto(tmp_path) as running:
        yield running


class Conversation:
    """A controller's bus, an agent's and somebody who sees the bytes."""

    def __init__(self, url: str, fleet: MadeFleet) -> None:
        self.controller: MessageSecurity = fleet.security("controller")
        self.agent: MessageSecurity = fleet.security("node")
        self.speaks = MessageBus(url, client_id="controller", sealing=self.controller)
        self.hears = MessageBus(url, client_id="agent", sealing=self.agent)
        self.heard: list[Deployment | None] = []
        self.sees = Stranger(url)

    async def begin(self) -> None:
        self.sees.listen()
        self.speaks.own([DEPLOYMENT], remove_unknown=True)
        self.hears.subscribe(DEPLOYMENT, lambda _topic, message: self.heard.append(message))
        await self.hears.connect(10.0)
        await self.speaks.connect(10.0)

    async def end(self) -> None:
        await self.speaks.close()
        await self.hears.close()
        self.sees.close()


async def test_what_is_published_is_heard_and_what_is_cleared_is_taken_back(
    url: str, fleet: MadeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Conversation(url, fleet)
    await talk.begin()
    talk.speaks.publish(DEPLOYMENT, PLACE, "m")
    await until(lambda: talk.heard == [PLACE])
    monkeypatch.setattr(retained_state, "REMOVAL_S", 0.05)
    talk.speaks.clear(DEPLOYMENT, "m")
    await until(lambda: talk.heard == [PLACE, None])
    await until(lambda: talk.sees.heard[TOPIC] == b"")  # in time the broker keeps nothing of it
    assert [in_envelope(payload) for _, payload in talk.sees.said][-2:] == [b"null", None]
    assert talk.agent.refused == talk.controller.refused == {}
    await talk.end()


async def test_another_certificate_signs_what_stays_again(url: str, fleet: MadeFleet) -> None:
    talk = Conversation(url, fleet)
    await talk.begin()
    talk.speaks.publish(DEPLOYMENT, PLACE, "m")
    await until(lambda: talk.heard == [PLACE])
    before = await until(lambda: talk.sees.heard.get(TOPIC))
    renewed = fleet.credentials("controller")
    talk.controller.take(renewed)
    talk.speaks.renew()
    await until(lambda: talk.heard == [PLACE, PLACE])
    await until(lambda: talk.sees.heard[TOPIC] != before)
    said = fleet.security("node").opened(TOPIC, talk.sees.heard[TOPIC])
    assert said is not None
    assert said.signer == renewed.facts
    talk.sees.write(TOPIC, before)  # what an earlier certificate signed is put right like anything else
    await until(lambda: talk.agent.refused == {DEPLOYMENT.pattern: 1})
    await until(lambda: talk.sees.said[-1][1] != before)
    await talk.end()


async def test_what_was_refused_for_a_wrong_clock_is_heard_once_it_is_right(url: str, fleet: MadeFleet) -> None:
    talk, ahead_s = Conversation(url, fleet), [366 * 86_400.0]
    talk.agent._clock = lambda: time.time() + ahead_s[0]
    await talk.begin()
    talk.speaks.publish(DEPLOYMENT, PLACE, "m")
    await until(lambda: talk.agent.refused == {DEPLOYMENT.pattern: 1})
    ahead_s[0] = 0.0
    talk.hears.hear_again()
    await until(lambda: talk.heard == [PLACE])
    await talk.end()


async def test_what_an_earlier_run_said_is_taken_back_unless_it_is_said_again(url: str, fleet: MadeFleet) -> None:
    first = Conversation(url, fleet)
    await first.begin()
    first.speaks.publish(DEPLOYMENT, PLACE, "m")
    await until(lambda: first.heard == [PLACE])
    await first.end()
    second = Conversation(url, fleet)
    await second.begin()
    await until(lambda: second.heard[-1:] == [None])
    await until(lambda: in_envelope(second.sees.heard.get(TOPIC, b"")) == b"null")
    kept = second.sees.heard[TOPIC]
    await second.end()
    third = Conversation(url, fleet)
    await third.begin()
    third.speaks.publish(DEPLOYMENT, PLACE, "other")
    await until(lambda: PLACE in third.heard)
    assert third.sees.heard[TOPIC] == kept
    await third.end()


def secured_broker(fleet: MadeFleet, folder: Path, rights: str) -> AbstractContextManager[str]:
    """A Mosquitto that asks for certificates and takes their common name for the user's, with these access rights."""
    files = fleet.files("broker", addresses=("127.0.0.1",))
    (folder / "rights").write_text(rights)
    settings = (
        f"require_certificate true\nuse_identity_as_username true\ncafile {files.authority}\n"
        f"certfile {files.certificate}\nkeyfile {files.key}\nacl_file {folder / 'rights'}"
    )
    return running_mosquitto(folder, settings)


def agents_bus(url: str, files: TrustFiles, told: list[str]) -> MessageBus:
    return MessageBus(
        BrokerAddress.parse(
            url.replace("mqtt:", "mqtts:"), TlsFiles(str(files.authority), str(files.certificate), str(files.key))
        ),
        client_id="agent",
        registered=Registered(NODE_STATUS.of("device"), NODE_CLAIM.of("device"), "i", lambda where: f"taken{where}"),
        on_connection=lambda _up, why: told.append(why),
    )


async def test_a_certificate_that_may_write_and_not_read_is_said_with_the_topic(
    fleet: MadeFleet, tmp_path: Path
) -> None:
    files, told = fleet.files("node", "device"), list[str]()
    with secured_broker(fleet, tmp_path, "user node:device\ntopic write edgesplit/1/#\n") as url:
        bus = agents_bus(url, files, told)
        bus.start()
        await until(lambda: bool(told))
        await bus.close()
    assert f"does not pass on {NODE_CLAIM.of('device')}: the holder of {files.certificate} has to be allowed" in told[0]


async def test_a_renewed_certificate_is_shown_from_the_next_connection_on(fleet: MadeFleet, tmp_path: Path) -> None:
    files, told = fleet.files("node", "device"), list[str]()
    with secured_broker(fleet, tmp_path, "user node:renewed\ntopic readwrite edgesplit/1/#\n") as url:
        bus = agents_bus(url, files, told)
        bus.start()
        await until(lambda: "does not pass on" in "".join(told))  # the rights are those of the renewed one
        renewed = fleet.files("node", "renewed")
        files.key.write_bytes(renewed.key.read_bytes())
        files.certificate.write_bytes(renewed.certificate.read_bytes())
        bus.renew()
        # The broker takes a second connection of the same client for the first one's return.
        other = agents_bus(url, renewed, [])
        other.start()
        await until(lambda: "" in told)
        await other.close()
        await bus.close()


def test_who_connects_with_a_certificate_is_named_by_it() -> None:
    files = TlsFiles(cert_file="/etc/edgesplit/certificate.pem")
    assert BrokerAddress.parse("mqtts://b", files).who == "the holder of /etc/edgesplit/certificate.pem"
    assert BrokerAddress.parse("mqtts://u@b", files).who == "user 'u'"
    assert BrokerAddress.parse("mqtt://b").who == "a client without a name"
