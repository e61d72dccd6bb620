"""Agents of a secured fleet behind a real broker: what the controller says of tokens and of revoked certificates holds at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.trust_messages import (
    CLIENT_TOKENS,
    REVOCATIONS,
    ClientToken,
    ClientTokens,
    Revocations,
    RevokedCertificate,
)
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.errors import NotTrusted, UnknownModel
from edgesplit.mqtt.bus import MessageBus
from edgesplit_agent.configuration import AgentConfiguration, CacheSection, DataSection, HttpSection, PowerSection
from edgesplit_agent.daemon import Agent
from tests.agent.test_live_agents import running
from tests.brokers import running_mosquitto
from tests.dataplane.fleets import MadeFleet
from tests.waiting import until, until_answered

FOR_EVER_S = 4e9
TOKEN = "est_of-ann"
X = {"x": np.zeros(4, np.float32)}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Mosquitto on a free port."""
    with running_mosquitto(tmp_path) as url:
        yield url


def secured(name: str, broker: str, fleet: MadeFleet, folder: Path) -> Agent:
    """An agent on free ports that lets in who proves something."""
    configuration = AgentConfiguration(
        name=name,
        broker=BrokerSection(url=broker),
        data=DataSection(listen="127.0.0.1:0"),
        power=PowerSection(source="constant", compute_w=3.0, transmit_w=2.0),
        http=HttpSection(listen="127.0.0.1:0"),
        cache=CacheSection(path=str(folder / name)),
    )
    return Agent(configuration, access=fleet.node(name, local_clients=False))


async def test_tokens_and_revocations_hold_as_the_controller_says_them(broker: str, tmp_path: Path) -> None:
    fleet = MadeFleet(tmp_path)
    controller = MessageBus(broker, client_id="controller")
    await controller.connect(5.0)
    async with (
        running(secured("device", broker, fleet, tmp_path)) as device,
        running(secured("edge", broker, fleet, tmp_path)) as edge,
    ):
        await until(lambda: device.plane.is_up("edge") and edge.plane.is_up("device"))
        address, authority = device.control.status.advertise, fleet.files("client", "ann").authority
        with pytest.raises(NotTrusted, match="is not known here"):
            await AsyncClient(address, token=TOKEN, ca_file=authority).connect()
        digest = hashlib.sha256(TOKEN.encode()).hexdigest()
        token = ClientToken(name="ann", digest=digest, models=("m",), expires_s=FOR_EVER_S)
        controller.publish(CLIENT_TOKENS, ClientTokens(tokens=(token,)))

        async def is_let_in() -> bool:
            try:
                async with AsyncClient(address, token=TOKEN, ca_file=authority):
                    return True
            except NotTrusted:
                return False

        await until_answered(is_let_in, "the token is known")
        async with AsyncClient(address, token=TOKEN, ca_file=authority) as client:
            with pytest.raises(UnknownModel):
                await client.infer("m", X)
            with pytest.raises(NotTrusted, match="is not for model 'n'"):
                await client.infer("n", X)
        revoked = RevokedCertificate(serial=fleet.serial("node", "edge"), subject="node:edge", expires_s=FOR_EVER_S)
        controller.publish(REVOCATIONS, Revocations(certificates=(revoked,)))
        await until(lambda: not device.plane.is_up("edge") and not edge.plane.is_up("device"))
        await until(lambda: any("was revoked" in peer.reason for peer in edge.plane.unreached()))
    await controller.close()
