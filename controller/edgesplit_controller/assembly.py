"""The controller's parts, made in the order in which they need each other: what it knows, what decides, what answers.

Its rule: it only makes them; nothing is started here. Not here: connection and registration (`service.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgesplit.control.archive_messages import ARCHIVE, Archive
from edgesplit.control.event_messages import EVENT, Event
from edgesplit.mqtt.bus import MessageBus
from edgesplit_controller.answering.dispatch import OpenDoor, Operations
from edgesplit_controller.answering.fleet_answers import FleetAnswers
from edgesplit_controller.answering.goal_changes import GoalChanges
from edgesplit_controller.answering.inspection.inquiries import Inquiries
from edgesplit_controller.answering.inspection.inspection_answers import InspectionAnswers
from edgesplit_controller.answering.inspection.problems import Own
from edgesplit_controller.answering.inspection.served_models import FleetNow
from edgesplit_controller.answering.model_answers import ModelAnswers
from edgesplit_controller.answering.node_removal import NodeRemoval
from edgesplit_controller.answering.plan_answers import PlanAnswers
from edgesplit_controller.answering.state_changes import StateChanges
from edgesplit_controller.answering.studies import Studies
from edgesplit_controller.answering.trust_answers import TrustAnswers
from edgesplit_controller.answering.upkeep.backup_making import BackupMaking
from edgesplit_controller.answering.upkeep.node_drains import NodeDrains
from edgesplit_controller.answering.upkeep.planning_pauses import PlanningPauses
from edgesplit_controller.answering.upkeep.restoring import Restoring
from edgesplit_controller.answering.upkeep.upkeep_answers import UpkeepAnswers
from edgesplit_controller.archive.fleet_archive import FleetArchive
from edgesplit_controller.configuration import ControllerConfiguration, PlanningSection
from edgesplit_controller.deciding.battery_floors import BatteryFloors
from edgesplit_controller.deciding.beside.shape_watch import ShapeWatch
from edgesplit_controller.deciding.beside.source_watch import SourceWatch
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.deciding.fallbacks import Fallbacks
from edgesplit_controller.deciding.measured_links import MeasuredLinks
from edgesplit_controller.deciding.model_completion import ModelCompletion
from edgesplit_controller.deciding.noise_guard import NoiseGuard
from edgesplit_controller.deciding.plan_maker import PlanMaker
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.fleet.handling import HandlingBook
from edgesplit_controller.fleet.node_clocks import NodeClocks
from edgesplit_controller.fleet.node_speeds import Speeds
from edgesplit_controller.fleet.profiling_progress import Profiling
from edgesplit_controller.fleet.reach.candidates import Candidates
from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.models.intake_runs import IntakeRun
from edgesplit_controller.node_messages import NodeMessages
from edgesplit_controller.outbox import BusOutbox
from edgesplit_controller.rate_limited_events import RateLimitedEvents
from edgesplit_controller.rollout.activation import Activation
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.rollout.noise_checks import shadowing_of
from edgesplit_controller.stating.predicting.prediction_intervals import Certainty
from edgesplit_controller.storage.backup_snapshots import BackupSnapshots
from edgesplit_controller.storage.blob_writes import BlobWrites
from edgesplit_controller.storage.recording import Recording
from edgesplit_controller.storage.store import Store
from edgesplit_controller.trust.fleet_trust import FleetTrust

__all__ = [
    "Deciders",
    "Knowledge",
    "make_deciders",
    "make_knowledge",
    "make_node_messages",
    "make_operations",
    "make_upkeep",
]


@dataclass(frozen=True)
class Knowledge:
    """What is known of nodes, models and what they serve.

    Attributes:
        outbox: Where nodes are told.
        writing: Blobs that nobody names yet.
        archive: What nodes keep for the day on which the store is lost.
        inquiries: What nodes are asked now and then.
    """

    registry: Registry
    clocks: NodeClocks
    traffic: Traffic
    events: EventLog
    catalog: Catalog
    rollouts: Rollouts
    speeds: Speeds
    handling: HandlingBook
    certainty: Certainty
    outbox: BusOutbox
    writing: BlobWrites
    archive: FleetArchive
    inquiries: Inquiries


@dataclass(frozen=True)
class Deciders:
    """What decides over plans.

    Attributes:
        changes: What every change begins and ends with.
    """

    deployer: Deployer
    guard: NoiseGuard
    batteries: BatteryFloors
    fallbacks: Fallbacks
    completion: ModelCompletion
    shapes: ShapeWatch
    sources: SourceWatch
    changes: StateChanges
    maker: PlanMaker
    links: MeasuredLinks

    @property
    def solved(self) -> dict[str, Mapping[str, int]]:
        """How often was planned since the start, by purpose and model."""
        return {"plan": self.maker.solved, "fallbacks": self.fallbacks.solved}


def make_knowledge(configuration: ControllerConfiguration, store: Store, bus: MessageBus, run: IntakeRun) -> Knowledge:
    """Read what is remembered.

    Args:
        configuration: Effective values.
        store: The folder.
        bus: The connection to the broker.
        run: Carries out completions of models.

    Raises:
        InvalidConfiguration: A file of the store can neither be read nor set aside.
    """

    def publish(event: Event) -> None:
        bus.publish(EVENT, event, event.origin)

    def publish_archive(archive: Archive) -> None:
        bus.publish(ARCHIVE, archive)

    settings, state, registry = configuration.planning, store.load_state(), Registry()
    events, outbox = EventLog(store.events, publish), BusOutbox(bus, lambda: registry.nodes)
    catalog = Catalog(
        store, registry, outbox, configuration.models.metrics, removed=state.removed, restored=state.restored, run=run
    )
    rollouts = Rollouts(
        state,
        save=store.save_state,
        registry=registry,
        events=events,
        outbox=outbox,
        clock=time.monotonic,
        most_s=settings.prepare_limit_s,
        shadowing=shadowing_of(catalog.deployed, settings),
        unmanaged=store.unmanaged,
    )
    if state.restored:
        rollouts.note(restored=())  # their records are in place now
    speeds = Speeds(
        registry,
        catalog.deployed,
        lambda: rollouts.state.deployments,
        change=settings.change_threshold,
        clock=time.monotonic,
        remembered=store.load_speeds(),
        save=store.save_speeds,
        record=Recording(Path(settings.record_timings)).add if settings.record_timings else lambda _: None,
    )
    clocks, traffic = NodeClocks(time.monotonic, time.time), Traffic(time.monotonic)
    handling = HandlingBook(lambda: rollouts.state.deployments)
    writing = BlobWrites()
    archive = FleetArchive(
        store,
        state=lambda: rollouts.state,
        records=lambda: catalog.records,
        registry=registry,
        publish=publish_archive,
        writing=writing,
        secured=configuration.security.secured,
    )
    store.on_saved = outbox.on_offer = archive.changed
    return Knowledge(
        registry,
        clocks,
        traffic,
        events,
        catalog,
        rollouts,
        speeds,
        handling,
        Certainty(registry, speeds, handling),
        outbox,
        writing,
        archive,
        Inquiries(outbox),
    )


def make_deciders(known: Knowledge, store: Store, settings: PlanningSection, *, by_itself: bool) -> Deciders:
    """Make what decides over plans.

    Args:
        known: What it decides on.
        store: The folder.
        settings: Limits and thresholds.
        by_itself: Whether sizes that many requests have get a plan of their own.
    """
    heavy = asyncio.Lock()
    fallbacks = Fallbacks(
        known.rollouts,
        registry=known.registry,
        certainty=known.certainty,
        models=known.catalog.deployed,
        blobs=store.blobs,
        writing=known.writing,
        events=known.events,
        settings=settings,
    )
    candidates = Candidates(known.registry, settings.candidates)
    maker = PlanMaker(
        known.registry,
        known.speeds,
        candidates,
        known.certainty,
        settings,
        heavy=heavy,
        drained=lambda: known.rollouts.state.drained,
    )
    links = MeasuredLinks(known.registry, candidates, known.rollouts, known.catalog.deployed, known.outbox)
    batteries = BatteryFloors(known.registry, known.traffic, known.events, settings.thresholds, clock=time.monotonic)
    deployer = Deployer(
        known.rollouts,
        registry=known.registry,
        models=known.catalog.deployed,
        maker=maker,
        batteries=batteries,
        fallbacks=fallbacks,
        activation=Activation(
            known.rollouts, known.registry, store.blobs, writing=known.writing, events=known.events, heavy=heavy
        ),
        links=links,
        events=known.events,
        settings=settings,
        clock=time.monotonic,
    )
    guard = NoiseGuard(
        known.rollouts, deployer, maker, models=known.catalog.deployed, events=known.events, settings=settings
    )
    changes = StateChanges(known.rollouts, known.catalog, known.writing.when_done, known.archive)
    completion = ModelCompletion(deployer, known.events, changes.collect)
    shapes = ShapeWatch(
        known.catalog,
        deployer,
        known.rollouts,
        registry=known.registry,
        speeds=known.speeds,
        handling=known.handling,
        events=known.events,
        clock=time.monotonic,
        limit_s=settings.time_limit_s + settings.prepare_limit_s,
        by_itself=by_itself,
    )
    sources = SourceWatch(
        known.catalog,
        deployer,
        known.rollouts,
        registry=known.registry,
        clock=time.monotonic,
        limit_s=settings.time_limit_s + settings.prepare_limit_s,
    )
    return Deciders(deployer, guard, batteries, fallbacks, completion, shapes, sources, changes, maker, links)


def make_node_messages(
    known: Knowledge,
    decide: Deciders,
    bus: MessageBus,
    seldom: RateLimitedEvents,
    knows_model: Callable[[str], bool],
    *,
    most_nodes: int,
) -> NodeMessages:
    """Make what hears nodes.

    Args:
        known: What there is.
        decide: What decides over plans.
        bus: The connection to the broker.
        seldom: Takes events that a stranger could cause.
        knows_model: Whether a model's name is one.
        most_nodes: That are remembered.
    """
    return NodeMessages(
        bus,
        registry=known.registry,
        clocks=known.clocks,
        traffic=known.traffic,
        speeds=known.speeds,
        handling=known.handling,
        rollouts=known.rollouts,
        deployer=decide.deployer,
        guard=decide.guard,
        inquiries=known.inquiries,
        events=known.events,
        seldom=seldom,
        knows_model=knows_model,
        most_nodes=most_nodes,
    )


def make_operations(
    known: Knowledge,
    decide: Deciders,
    bus: MessageBus,
    settings: PlanningSection,
    *,
    store: Store,
    trust: FleetTrust | None,
    url: Callable[[], str],
    warnings: Callable[[], tuple[str, ...]],
    standbys: Callable[[], tuple[str, ...]],
    upkeep: UpkeepAnswers,
    dashboard: OpenDoor,
) -> Operations:
    """Make what carries out splitctl's operations.

    Args:
        known: What there is.
        decide: What decides over plans.
        bus: The connection to the broker.
        settings: Limits and thresholds.
        store: The folder.
        trust: The fleet's; None where it has no authority.
        url: Base URL of the controller's HTTP server.
        warnings: What is wrong with how the controller is set up, one sentence each.
        standbys: Machines on which controllers wait for this one's place.
        upkeep: Answers about maintenance.
        dashboard: Lets somebody into it.
    """
    removal = NodeRemoval(
        bus,
        registry=known.registry,
        rollouts=known.rollouts,
        deployer=decide.deployer,
        remembering=(known.registry, known.rollouts, known.speeds, known.traffic, decide.guard, decide.batteries),
        events=known.events,
        distrust=partial(trust.revoke, replaced=True) if trust is not None else None,
    )
    changes = decide.changes
    return Operations(
        fleet=FleetAnswers(
            known.registry, known.speeds, removal, drained=lambda: known.rollouts.state.drained, peers=decide.links.of
        ),
        models=ModelAnswers(
            known.registry,
            known.catalog,
            known.rollouts,
            decide.deployer,
            known.events,
            shapes=decide.shapes,
            sources=decide.sources,
            guard=decide.guard,
            profiling=Profiling(known.registry, known.outbox, settings.profile_silence_s),
            changes=changes,
        ),
        plans=PlanAnswers(
            known.registry,
            known.catalog,
            known.rollouts,
            decide.deployer,
            speeds=known.speeds,
            traffic=known.traffic,
            certainty=known.certainty,
            guard=decide.guard,
            shapes=decide.shapes,
            sources=decide.sources,
            changes=changes,
        ),
        goals=GoalChanges(known.registry, known.catalog, decide.deployer, changes, known.rollouts.unchecked),
        studies=Studies(
            known.catalog,
            decide.deployer,
            known.registry,
            known.certainty,
            time_limit_s=settings.time_limit_s,
            tolerance=settings.tolerance,
        ),
        trust=TrustAnswers(trust, url, bus),
        inspection=InspectionAnswers(
            FleetNow(known.registry, known.catalog, known.rollouts, known.traffic, decide.links.of),
            decide.deployer,
            decide.guard,
            inquiries=known.inquiries,
            own=lambda: Own(warnings(), store.health, trust, standbys()),
            store=store.path,
        ),
        upkeep=upkeep,
        events=known.events,
        dashboard=dashboard,
    )


def make_upkeep(
    known: Knowledge, decide: Deciders, bus: MessageBus, store: Store, snapshots: BackupSnapshots
) -> UpkeepAnswers:
    """Make what answers about maintenance.

    Args:
        known: What there is.
        decide: What decides over plans.
        bus: The connection to the broker.
        store: The folder.
        snapshots: Backups that are held for fetching.
    """
    catalog, rollouts, deployer, events = known.catalog, known.rollouts, decide.deployer, known.events
    return UpkeepAnswers(
        NodeDrains(
            known.registry, rollouts, deployer, fallbacks=decide.fallbacks, changes=decide.changes, events=events
        ),
        PlanningPauses(catalog, rollouts, deployer, events),
        BackupMaking(store, catalog, rollouts, snapshots, writing=known.writing, events=events),
        Restoring(
            store,
            catalog,
            rollouts,
            deployer,
            shapes=decide.shapes,
            writing=known.writing,
            changes=decide.changes,
            events=events,
            hear_again=bus.hear_again,
        ),
    )
