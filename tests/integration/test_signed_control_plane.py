"""A controller and an agent of a fleet with an authority at a broker that lets anybody write anything: nobody steers them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec
import numpy as np
import pytest

from edgesplit.client.asynchronous import AsyncClient
from edgesplit.control.inquiry_messages import INQUIRY, Inquiry
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED, Deployment, Desired, Observed
from edgesplit.control.profile_messages import MODEL_OFFER, PROFILE_REQUEST, ProfileRequest
from edgesplit.control.registration_messages import CONTROLLER_STATUS, ControllerStatus
from edgesplit.control.trust_messages import REVOCATIONS, Revocations, RevokedCertificate
from edgesplit.daemon.configuration_sections import BrokerSection
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import EdgesplitError, InvalidConfiguration, MalformedMessage, NameTaken, NotTrusted
from edgesplit.mqtt.signed.message_security import MessageSecurity
from edgesplit.mqtt.signed.refusals import MOST_A_MINUTE
from edgesplit.mqtt.topic import Topic
from edgesplit.operations.fleet_operations import ListNodes, NodeRow
from edgesplit.operations.model_operations import ListModels, RemoveModel
from edgesplit.operations.operation import OPERATION_REQUEST, Operation, OperationRequest
from edgesplit.operations.plan_operations import DeployModel, UndeployModel
from edgesplit.release import PROTOCOL
from edgesplit.topic_table import signed_rows
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import in_envelope
from edgesplit.trust.tls import TlsContexts
from edgesplit_agent.configuration import AgentConfiguration, CacheSection, DataSection, HttpSection, PowerSection
from edgesplit_agent.daemon import Agent
from edgesplit_controller.cli.ask import ask
from edgesplit_controller.cli.common import Settings
from edgesplit_controller.configuration import (
    ArtifactsSection,
    ControllerBrokerSection,
    ControllerConfiguration,
    DashboardSection,
    PlanningSection,
    StoreSection,
)
from edgesplit_controller.service import Service
from edgesplit_controller.storage.store import Store
from tests.brokers import Stranger, running_mosquitto
from tests.controller.fleet import Client, in_a_thread
from tests.controller.tiny_models import convolutions
from tests.trust.signers import MadeFleet, forgeries
from tests.waiting import until, until_answered

REQUEST = {"image": np.zeros((1, 3, 16, 16), np.float32)}


@pytest.fixture
def fleet() -> Iterator[MadeFleet]:
    made = MadeFleet()
    yield made
    made.close()


def secured(files: TrustFiles) -> SecuritySection:
    return SecuritySection(mode="fleet", folder=str(files.key.parent))


class Secured:
    """Controller, one agent, one operator and one stranger."""

    def __init__(self, url: str, folder: Path, fleet: MadeFleet) -> None:
        self.url, self.fleet = url, fleet
        self.controller = ControllerConfiguration(
            broker=ControllerBrokerSection(url=url),
            store=StoreSection(path=str(folder / "store")),
            artifacts=ArtifactsSection(listen="127.0.0.1:0"),
            dashboard=DashboardSection(listen=""),
            planning=PlanningSection(debounce_s=0.05),
            security=secured(fleet.files("controller")),
        )
        self.node = AgentConfiguration(
            name="device",
            broker=BrokerSection(url=url),
            data=DataSection(listen="127.0.0.1:0"),
            power=PowerSection(source="constant", compute_w=3.0, transmit_w=2.0),
            http=HttpSection(listen="127.0.0.1:0"),
            cache=CacheSection(path=str(folder / "cache")),
            security=secured(fleet.files("node", "device")),
        )

    async def start(self) -> None:
        self.stranger = Stranger(self.url)
        self.stranger.listen()
        await self.start_controller()
        self.agent = Agent(self.node)
        await self.agent.start()
        operator = TlsContexts.load(self.fleet.files("operator"))
        self.client = Client(self.url, self.fleet.security("operator"), operator.to_controller)
        await self.client.start()
        await until(lambda: bool(self.client.artifacts))
        await until(lambda: self.service.known.registry.online() == ("device",))

    async def start_controller(self) -> None:
        self.store = Store(self.controller.store_path)
        self.service = Service(self.controller, self.store, in_a_thread)
        await self.service.start()

    async def stop_controller(self) -> None:
        await self.service.close()
        self.store.close()

    async def stop(self) -> None:
        await self.client.bus.close()
        await self.agent.stop()
        await self.stop_controller()
        self.stranger.close()

    async def serve(self) -> None:
        await self.client.add("tiny", convolutions(2), wait="ready")
        await self.client.ask(DeployModel(name="tiny", source="device"))
        await until(lambda: self.serving() is not None)
        await until(lambda: all(self.stranger.heard.get(topic) for topic in self.said_of_the_model()))

    @staticmethod
    def said_of_the_model() -> tuple[str, ...]:
        """Topics of the controller that tell of a deployed model."""
        return MODEL_OFFER.of("tiny"), DEPLOYMENT.of("tiny"), DESIRED.of("device", "tiny")

    def serving(self) -> int | None:
        """The epoch that this run of the agent says it serves."""
        payload = self.stranger.heard.get(OBSERVED.of("device", "tiny"))
        observed = msgspec.json.decode(payload, type=Observed) if payload else None
        is_of_this_run = observed is not None and observed.instance == self.agent.control.status.instance
        return observed.serving if observed is not None and is_of_this_run else None

    async def answers(self) -> bool:
        """Whether a request is answered."""
        async with AsyncClient(self.agent.control.status.advertise) as client:
            return bool(await client.infer("tiny", REQUEST))

    @asynccontextmanager
    async def asked_all_the_while(self) -> AsyncIterator[list[bool]]:
        """Requests one after another while the block runs; whether each was answered."""
        answers: list[bool] = []

        async def ask_on() -> None:
            while True:
                try:
                    answers.append(await self.answers())
                except EdgesplitError:
                    answers.append(False)

        asking = asyncio.create_task(ask_on())
        yield answers
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    def desired(self) -> Desired:
        """What the controller last said that the agent should hold."""
        message = in_envelope(self.stranger.heard[DESIRED.of("device", "tiny")])
        assert message is not None
        return msgspec.json.decode(message, type=Desired)

    async def refused(self) -> dict[str, int]:
        """What the agent did not believe, as its metrics say it."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self.agent.control.status.http}/metrics") as response,
        ):
            page = await response.text()
        found = re.findall(r'edgesplit_untrusted_messages_total\{node="device",topic="([^"]+)"\} (\S+)', page)
        return {topic: int(float(count)) for topic, count in found}

    def told(self, kind: str) -> list[str]:
        return [event.text for event in self.service.known.events.last(10_000) if event.kind == kind]


@pytest.fixture
async def running(tmp_path: Path, fleet: MadeFleet) -> AsyncIterator[Secured]:
    with running_mosquitto(tmp_path) as url:
        made = Secured(url, tmp_path, fleet)
        await made.start()
        yield made
        await made.stop()


def harm(row: Topic[Any], running: Secured) -> tuple[str, bytes]:
    """A topic of the agent, and a message there that would do harm."""
    nothing = Desired(node="device", model="tiny", inputs=(), outputs=(), epochs=())
    elsewhere = Deployment(model="tiny", source="edge", advertise="127.0.0.1:1", inputs=(), outputs=())
    status = ControllerStatus(online=True, protocol=99, version="9", instance="x", artifacts="http://127.0.0.1:1")
    serial = Credentials.load(running.controller.security.files).facts.serial
    revoked = Revocations(certificates=(RevokedCertificate(serial=serial, subject="controller:one", expires_s=2e9),))
    offer = in_envelope(running.stranger.heard[MODEL_OFFER.of("tiny")])
    assert offer is not None
    messages: dict[Topic[Any], tuple[tuple[str, ...], object]] = {
        DESIRED: (("device", "tiny"), nothing),
        DEPLOYMENT: (("tiny",), elsewhere),
        CONTROLLER_STATUS: ((), status),
        REVOCATIONS: ((), revoked),
        MODEL_OFFER: (("tiny",), {**msgspec.json.decode(offer), "sha256": "0" * 64}),
        PROFILE_REQUEST: (("device",), ProfileRequest(model="tiny", sha256="0" * 64, asked="x")),
        INQUIRY: (("device",), Inquiry(id="x", about="trace", model="tiny")),
    }
    names, message = messages[row]
    return row.of(*names), msgspec.json.encode(message)


async def test_whoever_writes_to_the_broker_does_not_steer_the_agent(running: Secured) -> None:
    await running.serve()
    serving = running.serving()
    said = list(running.stranger.said)
    rows: tuple[Topic[Any], ...] = (
        DESIRED,
        DEPLOYMENT,
        CONTROLLER_STATUS,
        REVOCATIONS,
        MODEL_OFFER,
        PROFILE_REQUEST,
        INQUIRY,
    )
    counts: dict[str, int] = {}

    async def all_refused() -> bool:
        # The controller puts its topics right meanwhile, which agents hear as repetitions.
        return await running.refused() == counts

    # Made before anything is written: what a message is made from is then what the controller says, not what the
    # stranger put there a moment ago.
    harms = {row: harm(row, running) for row in rows}

    async with running.asked_all_the_while() as answered_requests:
        for row, (topic, message) in harms.items():
            made = [*forgeries(running.fleet, "controller", topic, message, row.limit_bytes).values()]
            # All that the controller ever said there, but for what stands.
            made += {payload for heard, payload in said if heard == topic and payload} - {
                running.stranger.heard.get(topic)
            }
            for payload in (*made, b""):
                running.stranger.write(topic, payload)
            counts[row.pattern] = len(made)
        await until_answered(all_refused, "everything is refused and counted")
        await until(lambda: len(answered_requests) >= 10)
    assert all(answered_requests)
    assert counts[DESIRED.pattern] > len(forgeries(running.fleet, "controller", "t", b"1", 1))  # some were old ones
    assert running.serving() == serving
    assert not running.agent.control.status.refused
    assert running.agent.control.artifacts == running.client.artifacts
    await until(lambda: DESIRED.of("device", "tiny") in running.stranger.heard)
    await until(lambda: bool(running.stranger.heard[DESIRED.of("device", "tiny")]))
    assert running.desired().serve == serving
    told = running.told("message-refused")
    assert 1 <= len(told) <= 2 * MOST_A_MINUTE  # the agent's and the controller's
    assert any("signed it, and only a controller may" in text for text in told)


async def test_what_the_controller_takes_back_ends_and_only_that(running: Secured) -> None:
    await running.serve()
    running.stranger.write(DESIRED.of("device", "tiny"), b"")
    running.stranger.write(DEPLOYMENT.of("tiny"), b"")
    await until(lambda: len(running.told("retained-restored")) == 2)
    assert await running.answers()
    await running.client.ask(UndeployModel(name="tiny"))
    await until(lambda: running.stranger.heard[OBSERVED.of("device", "tiny")] == b"")
    assert in_envelope(running.stranger.heard[DESIRED.of("device", "tiny")]) == b"null"


async def test_a_restarted_agent_and_controller_believe_what_stands_and_nothing_older(running: Secured) -> None:
    await running.serve()
    serving = running.serving()
    topic = DESIRED.of("device", "tiny")
    old = next(payload for heard, payload in running.stranger.said if heard == topic)
    await running.agent.stop()
    await running.stop_controller()
    running.stranger.write(topic, old)
    await until(lambda: running.stranger.heard[topic] == old)
    running.agent = Agent(running.node)
    await running.agent.start()

    async def refused_once() -> bool:
        return running.agent.ready and (await running.refused()).get(DESIRED.pattern) == 1

    await until_answered(refused_once, "what is old is refused")
    await running.start_controller()
    await until(lambda: running.serving() == serving)
    assert await running.answers()


def request_of(operation: Operation, identifier: str) -> bytes:
    return msgspec.json.encode(OperationRequest.of(operation, identifier=identifier, protocol=PROTOCOL))


async def test_whoever_writes_requests_makes_the_controller_do_nothing(running: Secured) -> None:
    await running.client.add("tiny", convolutions(2), wait="ready")
    topic = OPERATION_REQUEST.of("splitctl-stranger")
    made = forgeries(
        running.fleet, "operator", topic, request_of(RemoveModel(name="tiny"), "x"), OPERATION_REQUEST.limit_bytes
    )
    slow = MessageSecurity(running.fleet.credentials("operator"), signed_rows(), clock=an_hour_ago)
    made["an hour old"] = slow.sealed(topic, request_of(RemoveModel(name="tiny"), "slow"))
    asked = running.fleet.security("operator").sealed(topic, request_of(ListNodes(), "once"))
    running.stranger.write(topic, asked)
    await until(lambda: "once" in answered(running))
    made["sent again"] = asked
    for payload in made.values():
        running.stranger.write(topic, payload)
    security = running.service._security
    assert security is not None
    await until(lambda: security.refused.get(OPERATION_REQUEST.pattern) == len(made))
    assert [model["name"] for model in await running.client.ask(ListModels())] == ["tiny"]
    assert "by the clock of operator anna, and the clock here says" in answered(running)["slow"]["text"]
    assert answered(running)["x"]["code"] == NotTrusted.code
    assert answered(running)["once"]["kind"] == "result"
    assert len(running.told("message-refused")) <= MOST_A_MINUTE
    assert running.told("operator-asked") == ["operator anna asks for add-model tiny"]


def answered(running: Secured) -> dict[str, dict[str, str]]:
    """Last replies to the stranger's requests, by their id."""
    replies: dict[str, dict[str, str]] = {}
    for topic, payload in running.stranger.said:
        if topic.endswith("replies/splitctl-stranger") and (message := in_envelope(payload)) is not None:
            reply = msgspec.json.decode(message)
            replies[reply["id"]] = reply
    return replies


def an_hour_ago() -> float:
    return time.time() - 3600.0


async def test_splitctl_asks_under_an_operators_identity_alone(running: Secured) -> None:
    def nodes(folder: Path | None) -> list[NodeRow]:
        identity = "" if folder is None else str(folder)
        return ask(Settings(broker=running.url, identity=identity), ListNodes(), list[NodeRow])

    operator = running.fleet.files("operator", "bert").key.parent
    assert [row.name for row in await asyncio.to_thread(nodes, operator)] == ["device"]
    with pytest.raises(MalformedMessage, match="it is signed, and this program is of no fleet"):
        await asyncio.to_thread(nodes, None)
    with pytest.raises(click.UsageError, match="is that of node device, and splitctl is for operators"):
        await asyncio.to_thread(nodes, running.fleet.files("node").key.parent)
    stranger = MadeFleet()
    with pytest.raises(NotTrusted, match="the certificate is of another authority"):
        await asyncio.to_thread(nodes, stranger.files("operator").key.parent)
    stranger.close()


async def test_a_second_agent_of_a_name_is_refused_whatever_its_certificate(running: Secured, tmp_path: Path) -> None:
    second = msgspec.structs.replace(
        running.node,
        cache=CacheSection(path=str(tmp_path / "second")),
        security=secured(running.fleet.files("node", "device")),
    )
    other = Agent(second)
    await other.start()
    with pytest.raises(NameTaken, match="another agent is registered as 'device'"):
        await asyncio.wait_for(other.wait_failed(), 60.0)
    await other.stop()
    await until(lambda: any("another agent asked for the name 'device'" in text for text in running.told("name-taken")))
    assert running.service.known.registry.online() == ("device",)


async def test_a_second_controller_is_refused_though_its_certificate_is_good(running: Secured, tmp_path: Path) -> None:
    configuration = msgspec.structs.replace(
        running.controller,
        store=StoreSection(path=str(tmp_path / "second-store")),
        security=secured(running.fleet.files("controller", "two")),
    )
    store = Store(configuration.store_path)
    second = Service(configuration, store, in_a_thread)
    with pytest.raises(NameTaken, match="another controller serves at this broker"):
        await second.start()
    await second.close()
    store.close()
    await until(lambda: any("another controller asked" in text for text in running.told("name-taken")))
    assert [row["name"] for row in await running.client.ask(ListNodes())] == ["device"]


async def test_who_is_no_controller_cannot_keep_one_from_starting(running: Secured) -> None:
    """Whoever only says that a controller is there is not believed."""
    await running.stop_controller()
    status = ControllerStatus(online=True, protocol=PROTOCOL, version="1", instance="0", artifacts="http://127.0.0.1:1")
    stop = asyncio.Event()

    async def insist() -> None:
        while not stop.is_set():
            running.stranger.write(CONTROLLER_STATUS.of(), status)
            await asyncio.sleep(0.01)  # a stranger's pace

    insisting = asyncio.create_task(insist())
    await running.start_controller()
    stop.set()
    await insisting
    assert [row["name"] for row in await running.client.ask(ListNodes())] == ["device"]


async def test_an_agent_with_another_nodes_certificate_does_not_start(running: Secured) -> None:
    wrong = msgspec.structs.replace(running.node, security=secured(running.fleet.files("node", "edge")))
    with pytest.raises(InvalidConfiguration, match="is that of node edge, and this is node device"):
        Agent(wrong)
