"""What the controller's own part takes of ten thousand nodes: their messages fed to its handlers, without a broker.

Owns: a controller without a connection, and what nodes would say to it. Its rule: every message is decoded and judged as one that arrived;
what a broker and its client library take is not in it (`many_agents.py`). Not here: what nodes do with what they are told.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from bench.process_figures import resident_bytes
from bench.scene import SHIPPED_MODEL
from bench.simulated_agents import GOOD_LINK, SITE_SIZE, labels_of, name_of
from edgesplit.control.figure_messages import LINK_METRICS, NODE_METRICS, LinkMetrics, LinkState, NodeMetrics
from edgesplit.control.plan_messages import DESIRED, OBSERVED, Desired, EpochState, Observed
from edgesplit.control.profile_messages import PROFILE_REPORT, ExecutionProfile, ProfileReport
from edgesplit.control.registration_messages import NODE_PEERS, NODE_STATUS, NodePeers, NodeStatus
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.topic import Topic
from edgesplit.operations.model_operations import AddModel
from edgesplit.release import PROTOCOL, installed_version
from edgesplit_controller.assembly import make_deciders, make_knowledge, make_node_messages
from edgesplit_controller.configuration import ControllerConfiguration, PlanningSection, StoreSection
from edgesplit_controller.models.intake_runs import run_in_process
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.rate_limited_events import RateLimitedEvents
from edgesplit_controller.storage.store import Store

__all__ = ["FedController", "main"]

M = TypeVar("M", bound=msgspec.Struct)
MODEL = "shapes"
VERSION = installed_version()
DEPLOY_LIMIT_S = 60.0
LINKED_EVERY = 10
"""One in so many reports is of links. [1]"""
AT_A_TURN = 100
WHOLE_S = (0.2, 0.05, 0.04)
SLOW_LINK = (5e4, 0.05)
"""[B/s, s]"""


class FedBus(MessageBus):
    """A bus without a connection: what would arrive is fed, and of what is published, plans are obeyed at once.

    Attributes:
        peers: What each node was told.
        heard_s: When it was told of an epoch first, by number. [s]
    """

    def __init__(self) -> None:
        super().__init__("mqtt://127.0.0.1:1", client_id="fed")
        self.peers: dict[str, tuple[str, ...]] = {}
        self.heard_s: dict[int, float] = {}
        self._served: dict[str, int] = {}

    def feed(self, row: Topic[M], message: M, *names: str) -> None:
        """Something arrives."""
        self._dispatch(row.of(*names), msgspec.json.encode(message))

    def publish(self, topic: Topic[M], message: M, *names: str) -> bool:
        """See `MessageBus.publish`."""
        if isinstance(message, NodePeers) and topic is NODE_PEERS:
            self.peers[message.node] = message.peers
        elif isinstance(message, Desired) and topic is DESIRED:
            asyncio.get_running_loop().call_soon(self._obey, message)
        return True

    def _obey(self, desired: Desired) -> None:
        for spec in desired.epochs:
            self.heard_s.setdefault(spec.epoch, time.monotonic())
        if desired.serve is not None:
            self._served[desired.node] = desired.serve
        states = tuple(EpochState(epoch=spec.epoch, state="prepared") for spec in desired.epochs)
        observed = Observed(
            node=desired.node,
            instance="1",
            model=desired.model,
            epochs=states,
            serving=self._served.get(desired.node),
        )
        self.feed(OBSERVED, observed, desired.node, desired.model)


class FedController:
    """A controller and what it is told.

    Args:
        folder: For its store.
        count: Nodes.
    """

    def __init__(self, folder: Path, count: int) -> None:
        settings = PlanningSection(known_nodes=2 * count, debounce_s=0.5)
        configuration = ControllerConfiguration(store=StoreSection(path=str(folder / "store")), planning=settings)
        self.count = count
        self.bus = FedBus()
        self.store = Store(configuration.store_path)
        self.known = known = make_knowledge(configuration, self.store, self.bus, run_in_process)
        self.decide = make_deciders(known, self.store, settings, by_itself=False)
        self.messages = make_node_messages(
            known,
            self.decide,
            self.bus,
            RateLimitedEvents(known.events, time.monotonic),
            lambda name: name in known.catalog.records,
            most_nodes=settings.known_nodes,
        )
        self.messages.subscribe()

    async def add_model(self) -> ModelRecord:
        """Take the demo's model in, as far as it can be deployed."""
        digest = hashlib.sha256(SHIPPED_MODEL.read_bytes()).hexdigest()
        shutil.copyfile(SHIPPED_MODEL, self.store.uploads / digest)
        self.known.catalog.begin(self.decide.completion)
        record = await self.known.catalog.add(AddModel(name=MODEL, file=digest), lambda _text, _fraction: None)
        await self.known.catalog.close()  # its completion is no part of this
        return record

    async def close(self) -> None:
        """End what runs."""
        await self.decide.deployer.close()
        self.store.close()

    def register(self, index: int) -> None:
        """A node comes."""
        status = NodeStatus(
            node=name_of(index),
            online=True,
            protocol=PROTOCOL,
            version=VERSION,
            instance="1",
            advertise=f"10.0.0.1:{10_000 + index}",
            memory_limit_bytes=4 << 30,
            labels=labels_of(index),
        )
        self.bus.feed(NODE_STATUS, status, name_of(index))

    def report(self, index: int) -> None:
        """A node says how it is."""
        metrics = NodeMetrics(
            node=name_of(index),
            instance="1",
            at_unix_s=time.time(),
            cpu_percent=float(index % 30),
            memory_available_bytes=1 << 30,
            compute_w=5.0,
            transmit_w=2.0,
            power_origin="configured",
        )
        self.bus.feed(NODE_METRICS, metrics, name_of(index))

    def report_links(self, index: int, slow: frozenset[str] = frozenset()) -> None:
        """A node says what its links carry."""
        links = tuple(
            LinkState(
                to=peer,
                up=True,
                bandwidth_bytes_per_s=(SLOW_LINK if peer in slow else GOOD_LINK)[0],
                latency_s=(SLOW_LINK if peer in slow else GOOD_LINK)[1],
                measured_at_unix_s=time.time(),
                age_s=0.1,
            )
            for peer in self.bus.peers.get(name_of(index), ())
        )
        self.bus.feed(LINK_METRICS, LinkMetrics(node=name_of(index), instance="1", links=links), name_of(index))

    def profile(self, index: int, record: ModelRecord) -> None:
        """A node says how fast it computes the model."""
        whole_s = WHOLE_S[index % SITE_SIZE]
        units = [unit.name for unit in record.graph.units]
        times = dict.fromkeys(units, whole_s / len(units))
        profile = ExecutionProfile(
            time_s=times,
            quantized_time_s={},
            whole_s=whole_s,
            unit_spreads=dict.fromkeys(units, 0.05),
            runs=9,
            provider="CPUExecutionProvider",
            threads=1,
            runtime="onnxruntime 1.22.0",
        )
        report = ProfileReport(
            node=name_of(index),
            instance="1",
            model=MODEL,
            sha256=record.sha256,
            state="done",
            fraction=1.0,
            profile=profile,
            offered=record.offered,
        )
        self.bus.feed(PROFILE_REPORT, report, name_of(index), MODEL)


class _Stopwatch:
    """Processor time of this process, all its threads together."""

    def __init__(self) -> None:
        self._began_s = time.process_time()

    def lap_s(self) -> float:
        """Since the last lap. [s]"""
        now_s = time.process_time()
        lap_s, self._began_s = now_s - self._began_s, now_s
        return lap_s


async def _each(count: int, work: Callable[[int], None]) -> None:
    for index in range(count):
        work(index)
        if index % AT_A_TURN == 0:
            await asyncio.sleep(0)


async def _measure(folder: Path, count: int, rounds: int) -> None:
    fed = FedController(folder, count)
    record = await fed.add_model()
    deployer, rollouts = fed.decide.deployer, fed.known.rollouts
    watch = _Stopwatch()
    await _each(count, fed.register)
    print(f"{count} registrations: {1e6 * watch.lap_s() / count:.0f} us each")
    await _each(count, fed.report)
    print(f"first figures: {1e6 * watch.lap_s() / count:.0f} us each")
    await _each(count, partial(fed.profile, record=record))
    print(f"profiles: {1e6 * watch.lap_s() / count:.0f} us each")
    rollouts.settled, rollouts.patient = True, False
    deployer.start()
    fed.decide.links.look()
    print(f"peers of {len(fed.bus.peers)} nodes, {sum(map(len, fed.bus.peers.values()))} links: {watch.lap_s():.3f} s")
    began_s = time.monotonic()
    linking = asyncio.create_task(_link_site(fed))
    await deployer.deploy(MODEL, name_of(0), DEPLOY_LIMIT_S, on="")
    linking.cancel()
    plan = deployer.deployments[MODEL].active
    assert plan is not None
    among = [node.name for node in plan.problem.nodes]
    took_s = time.monotonic() - began_s
    print(
        f"deployed on a site in {took_s:.2f} s, chosen among {among}; {sum(map(len, fed.bus.peers.values()))} links measured"
    )
    await asyncio.sleep(2.0)
    watch.lap_s()
    for turn in range(rounds):
        await _each(count, fed.report)
        await _each(count // LINKED_EVERY, partial(_report_some_links, fed, turn))
        await asyncio.sleep(0.6)
    spent_s = watch.lap_s()
    messages = rounds * (count + count // LINKED_EVERY)
    print(
        f"{messages} reports: {1e6 * spent_s / messages:.0f} us each, {spent_s / rounds:.1%} of a core at one a second of each node; "
        f"{resident_bytes(os.getpid()) / 1e6:.0f} MB resident"
    )
    answers = [await _change(fed) for _ in range(3)]
    print(f"from a changed link to the plan that answers it: {', '.join(f'{answer_s:.2f} s' for answer_s in answers)}")
    watch.lap_s()
    began_s = time.monotonic()
    await deployer.deploy(MODEL, name_of(0), DEPLOY_LIMIT_S, on="role=edge")
    plan = deployer.deployments[MODEL].active
    assert plan is not None
    matching = count - (count + SITE_SIZE - 1) // SITE_SIZE
    print(
        f"with --on role=edge, which {matching} nodes match: {time.monotonic() - began_s:.2f} s (5 s of it waiting for links that nobody "
        f"feeds), {watch.lap_s():.2f} s of a core; {max(map(len, fed.bus.peers.values()))} peers at most"
    )
    await fed.close()


def _report_some_links(fed: FedController, turn: int, index: int) -> None:
    """Each turn another tenth of the nodes says what its links carry."""
    fed.report_links(index * LINKED_EVERY + turn % LINKED_EVERY)


async def _link_site(fed: FedController) -> None:
    """The nodes of the first site measure links as soon as they are told to."""
    while True:
        for index in range(SITE_SIZE):
            if fed.bus.peers.get(name_of(index)):
                fed.report_links(index)
        await asyncio.sleep(0.1)


async def _change(fed: FedController) -> float:
    """Make the links of the plan slow; returns how long its source took to hear of another plan. [s]"""
    plan = fed.decide.deployer.deployments[MODEL].active
    assert plan is not None
    used = frozenset(plan.epoch.participants) - {name_of(0)}
    before = max(fed.bus.heard_s)
    fed.report_links(0, used)
    changed_s = time.monotonic()
    while (newest := max(fed.bus.heard_s)) <= before or fed.bus.heard_s[newest] < changed_s:
        if time.monotonic() - changed_s > DEPLOY_LIMIT_S:
            return float("inf")
        await asyncio.sleep(0.01)
    answer_s = fed.bus.heard_s[newest] - changed_s
    await asyncio.sleep(3.0)
    return answer_s


@click.command()
@click.option("--nodes", default=10_000, show_default=True)
@click.option("--rounds", default=10, show_default=True, help="Seconds' worth of reports.")
def main(nodes: int, rounds: int) -> None:
    """Measure what the controller's own part takes of a very large fleet.

    Example: python -m bench.fed_controller --nodes 10000
    """
    with tempfile.TemporaryDirectory(prefix="edgesplit-bench-") as name:
        asyncio.run(_measure(Path(name), nodes, rounds))
    sys.exit(0)


if __name__ == "__main__":
    main()
