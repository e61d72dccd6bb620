"""Node speeds: execution profiles of every node and model, corrected by live timings.

Owns: what nodes said of their runs, and the corrections that follow. Its rule: whoever plans or predicts takes profiles
from here; the registry keeps them as they were measured. Not here: the reasoning (`fleet/estimation`), what a
profile says of a component (`fleet/timed_components.py`), what a change leads to (`deciding/changes/replan_reasons.py`).

Nodes compute a model alike whatever its source: deployments of it are one model here.
A correction lives as long as the profile it corrects, over restarts too: a node that plans left says no more what its
components took.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from edgesplit.control.profile_messages import ComponentTiming, ExecutionProfile, LiveTimings
from edgesplit.formatting import time_span
from edgesplit.names import planned_name
from edgesplit.operations.fleet_operations import SpeedRow
from edgesplit.significance import CERTAINTY_CHANGE, CORRECTION_CHANGE, ratio_differs
from edgesplit_controller.fleet.believing.believed_profiles import BelievedProfiles
from edgesplit_controller.fleet.estimation.coding_runs import coding_factors, coding_runs, of_another_model
from edgesplit_controller.fleet.estimation.observations import (
    PartsRan,
    ProfileSeen,
    SpeedObservation,
    TensorsCoded,
    WholeRan,
)
from edgesplit_controller.fleet.estimation.run_order import FRESH_S, coding_key, is_fresh, is_later, place
from edgesplit_controller.fleet.estimation.saved_belief import believed_again, saved_belief
from edgesplit_controller.fleet.estimation.speed_belief import (
    Expectation,
    Factors,
    NodeSpeed,
    begun,
    expected_parts,
    factors,
    tensor_factors,
    with_codecs_of,
)
from edgesplit_controller.fleet.estimation.speed_estimate import taken
from edgesplit_controller.fleet.registry import FleetChange, Registry
from edgesplit_controller.fleet.timed_components import TimedComponents
from edgesplit_controller.fleet.unit_times import corrected
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState
from edgesplit_controller.storage.saved_speeds import SavedSpeed

__all__ = ["Speeds"]


@dataclass
class _Watched:
    """One node and model.

    Attributes:
        profile: As it was measured; another one starts from the beginning.
        speed: What live timings say against it.
        applied: What `profile` is multiplied with in predictions.
        corrected: The result.
        told_s: The whole model's seconds that people were last told. [s]
        instance: Of the agent whose runs these are; another one counts anew.
        seen: Graph or coding to the place of its last run that was taken in, in the order of the agent's runs.
        timed: Place of the last timing of the whole, in the same order.
        heard_s: When the later of them was. [s]
        saved: Components that are remembered on disk.
        shown: Components to what they should take when predictions last differed notably.
    """

    profile: ExecutionProfile
    corrected: ExecutionProfile
    told_s: float
    speed: NodeSpeed
    applied: Factors = field(default_factory=Factors)
    instance: str = ""
    seen: dict[str, float] = field(default_factory=dict[str, float])
    timed: float = float("-inf")
    heard_s: float | None = None
    saved: frozenset[str] = frozenset()
    shown: dict[str, Expectation] = field(default_factory=dict[str, Expectation])


class Speeds:
    """All nodes and models.

    Args:
        registry: Holds the profiles.
        models: By name.
        deployments: By model; says what a timed component consists of.
        change: Relative change that people are told. [1]
        clock: Monotonic. [s]
        remembered: What was saved before a restart.
        save: Called with everything to remember when something notable was learned.
        record: Called with every observation that is taken in.
    """

    def __init__(
        self,
        registry: Registry,
        models: Mapping[str, ModelRecord],
        deployments: Callable[[], Mapping[str, DeploymentState]],
        *,
        change: float,
        clock: Callable[[], float],
        remembered: Sequence[SavedSpeed] = (),
        save: Callable[[list[SavedSpeed]], None] = lambda _: None,
        record: Callable[[SpeedObservation], None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._models = models
        self._change = change
        self._clock = clock
        self._remembered = {(entry.node, entry.model): entry for entry in remembered}
        self._save = save
        self._record = record
        self._said: dict[tuple[str, str], LiveTimings] = {}
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._components = TimedComponents(deployments)
        self._believed = BelievedProfiles(registry.profiles)

    # --- what nodes say --------------------------------------------------------------------------------------------

    def hear(self, node: str, model: str, timings: LiveTimings | None) -> tuple[tuple[FleetChange, ...], bool]:
        """Take in what runs of a model took on a node.

        Returns:
            What people should know, and whether predictions differ notably from before.
        """
        model = planned_name(model)
        if timings is None:
            self._said.pop((node, model), None)
            return (), False
        self._said[node, model] = timings
        return self.profile_changed(node, model)

    def profile_changed(self, node: str, model: str) -> tuple[tuple[FleetChange, ...], bool]:
        """Look again at what a node said: its profile may be new. As `take`."""
        watched, timings = self._watch(node, model), self._said.get((node, model))
        if watched is None or timings is None:
            return (), False
        self._update(node, model, watched, timings)
        now = factors(watched.speed)
        parts = expected_parts(watched.speed)
        notable = _differ(watched.applied, now, CORRECTION_CHANGE) or _parts_differ(watched.shown, parts)
        if notable:
            watched.shown = parts
            watched.applied, watched.corrected = now, _corrected(watched.profile, watched.speed)
        changes = tuple(self._news(node, model, watched))
        if changes or frozenset(watched.speed.known) != watched.saved:
            watched.saved = frozenset(watched.speed.known)
            self._save(self._to_remember())
        return changes, notable

    def forget_model(self, model: str) -> None:
        """A model is gone."""
        for kept in (self._said, self._watched, self._remembered):
            for key in [key for key in kept if key[1] == model]:
                del kept[key]
        self._components.forget_model(model)
        self._believed.forget_model(model)
        self._save(self._to_remember())

    def forget_node(self, node: str) -> None:
        """A node is gone for good."""
        for kept in (self._said, self._watched, self._remembered):
            for key in [key for key in kept if key[0] == node]:
                del kept[key]
        self._save(self._to_remember())

    # --- what plans take from it -------------------------------------------------------------------------------------

    def profile(self, node: str, model: str, sha256: str) -> ExecutionProfile | None:
        """A node's times of exactly this model as they are now, or None while it has none; the same object while nothing changes.

        Units are believed as far as all nodes' profiles say something of them (`fleet/believing/believed_unit_times.py`).
        """
        profile = self._registry.profile(node, model, sha256)
        if profile is None:
            return None
        model = planned_name(model)
        watched = self._watched.get((node, model))
        known = watched is not None and _same(watched.profile, profile)
        return self._believed.profile(node, model, sha256, profile, watched.corrected if watched and known else profile)

    def timed_s(self, model: str) -> dict[tuple[str, str], float]:
        """What components that were timed take now, by node and key. [s]"""
        return {
            (node, key): part.seconds
            for node, speed in self.believed(model).items()
            for key, part in expected_parts(speed).items()
        }

    def coded(self, model: str) -> dict[tuple[str, str, str, str], float]:
        """What tensors that were coded take over others of their codec, by node, tensor, codec and direction. [1]"""
        return {
            (node, *coding): factor
            for node, speed in self.believed(model).items()
            for coding, factor in tensor_factors(speed).items()
        }

    def believed(self, model: str) -> dict[str, NodeSpeed]:
        """What is believed of each node's speed with a model."""
        planned = planned_name(model)
        return {node: watched.speed for (node, of_model), watched in self._watched.items() if of_model == planned}

    # --- what people see ---------------------------------------------------------------------------------------------

    def row(self, node: str, model: str) -> SpeedRow | None:
        """How a node's profile of a model is corrected; None without a profile."""
        record = self._models.get(planned_name(model))
        profile = self._registry.profile(node, model, record.sha256) if record is not None else None
        if profile is None:
            return None
        watched = self._watched.get((node, planned_name(model)))
        if watched is None or not _same(watched.profile, profile):
            return SpeedRow(whole_s=profile.whole_s, profiled_s=profile.whole_s)
        return SpeedRow(
            whole_s=watched.corrected.whole_s,
            profiled_s=profile.whole_s,
            factor=watched.applied.in_float,
            int8_factor=watched.applied.in_int8,
            origin=watched.speed.origin,
            age_s=max(0.0, self._clock() - watched.heard_s) if watched.heard_s is not None else None,
        )

    def rows(self, node: str) -> dict[str, SpeedRow]:
        """Of all models that a node has profiled."""
        found = {model: self.row(node, model) for model in sorted(self._models)}
        return {model: row for model, row in found.items() if row is not None}

    def timing(self, node: str, model: str, graph: str) -> ComponentTiming | None:
        """What a node last said of a component with this graph."""
        said = self._said.get((node, planned_name(model)))
        return next((timing for timing in said.components if timing.graph == graph), None) if said else None

    # --- inside ----------------------------------------------------------------------------------------------------

    def _watch(self, node: str, model: str) -> _Watched | None:
        record = self._models.get(model)
        profile = self._registry.profile(node, model, record.sha256) if record is not None else None
        watched = self._watched.get((node, model))
        if profile is None:
            return None
        if watched is not None and not _same(watched.profile, profile):
            self._said.pop((node, model), None)  # it speaks of the speed before
            watched = None
        if watched is None:
            entry = self._remembered.get((node, model))
            seen = _profile_seen(node, model, profile, self._clock(), self._host_spread(node))
            self._record(seen)
            if entry is None or entry.profile != _digest(profile):
                speed = begun(seen)
                for (at, _), other in self._watched.items():
                    speed = with_codecs_of(speed, other.speed) if at == node else speed
                watched = _watched(profile, speed, profile.whole_s * factors(speed).in_float)
            else:
                watched = _watched(profile, believed_again(seen, entry), entry.told_s)
                watched.saved = frozenset(entry.known)
            self._watched[node, model] = watched
        return watched

    def _host_spread(self, node: str) -> float:
        """What a node's small workload says of its machine; 0 where it does not know yet. [1]"""
        metrics = self._registry.node(node).metrics
        steadiness = metrics.steadiness if metrics is not None else None
        return steadiness.minutes_spread if steadiness is not None and steadiness.regime != "unknown" else 0.0

    def _to_remember(self) -> list[SavedSpeed]:
        now = {
            key: saved_belief(*key, _digest(watched.profile), watched.told_s, watched.speed)
            for key, watched in self._watched.items()
            if watched.speed.origin != "profile"
        }
        self._remembered |= now
        return [self._remembered[key] for key in sorted(self._remembered)]

    def _update(self, node: str, model: str, watched: _Watched, timings: LiveTimings) -> None:
        now_s = self._clock()
        if watched.instance != timings.instance:
            watched.instance, watched.seen, watched.timed = timings.instance, {}, float("-inf")
        ran = [
            timing
            for timing in timings.components
            if is_later(place(timing.number, timing.last_run_unix_s), watched.seen.get(timing.graph), timing.number)
            and is_fresh(timing, timings)
        ]
        parts = tuple(self._components.timed(node, self._models[timings.model], watched.profile, ran))
        if parts:
            self._take(watched, PartsRan(at_s=now_s, node=node, model=model, parts=parts))
            watched.seen |= {timing.graph: place(timing.number, timing.last_run_unix_s) for timing in ran}
        self._take_codings(node, model, watched, timings)
        whole = timings.whole
        if whole is None or whole.sha256 != self._models[model].sha256:
            return
        order = place(whole.number, whole.at_unix_s)
        if not is_later(order, watched.timed, whole.number):
            return
        newest = order > max(watched.seen.values(), default=float("-inf")) if whole.number else not parts
        if newest and watched.profile.whole_s > 0:
            samples, runs = (whole.samples, 0) if whole.samples else ((whole.whole_s,), whole.runs)
            seen = WholeRan(
                at_s=now_s, node=node, model=model, profiled_s=watched.profile.whole_s, samples=samples, runs=runs
            )
            self._take(watched, seen)
        watched.timed = order

    def _take_codings(self, node: str, model: str, watched: _Watched, timings: LiveTimings) -> None:
        new = [
            timing
            for timing in timings.codings
            if is_later(timing.number, watched.seen.get(coding_key(timing)), timing.number)
            and timing.ended_ago_s < FRESH_S
        ]
        codings = tuple(coding_runs(watched.profile, new))
        if codings:
            seen = TensorsCoded(at_s=self._clock(), node=node, model=model, codings=codings)
            self._take(watched, seen)
            for (at, of_model), other in self._watched.items():
                if at == node and of_model != model:  # its codecs are the same; to it, all these tensors are one
                    other.speed = taken(other.speed, of_another_model(seen))
            watched.seen |= {coding_key(timing): timing.number for timing in new}

    def _take(self, watched: _Watched, observation: SpeedObservation) -> None:
        self._record(observation)
        watched.speed = taken(watched.speed, observation)
        watched.heard_s = observation.at_s

    def _news(self, node: str, model: str, watched: _Watched) -> Iterator[FleetChange]:
        """What people were told, and what is so now, where the two differ."""
        before_s, now_s = watched.told_s, watched.profile.whole_s * factors(watched.speed).in_float
        # On a restless machine, what lies within its own spread comes and goes.
        enough = max(self._change, self._registry.unrest(node))
        if not before_s > 0 or not ratio_differs(before_s, now_s, enough):
            return
        watched.told_s = now_s
        factor, origin = now_s / before_s, watched.speed.origin
        text = (
            f"{node} computes {model} in {time_span(now_s)} instead of {time_span(before_s)} ({origin}), a factor "
            f"of {factor:.2f}"
        )
        data: dict[str, str | float | int | bool | None] = {
            "old_whole_s": before_s,
            "new_whole_s": now_s,
            "profiled_s": watched.profile.whole_s,
            "factor": factor,
            "origin": origin,
        }
        yield FleetChange("profile-changed", node, text, model, data)


def _profile_seen(node: str, model: str, profile: ExecutionProfile, now_s: float, host_spread: float) -> ProfileSeen:
    return ProfileSeen(
        at_s=now_s,
        node=node,
        model=model,
        whole_s=profile.whole_s,
        rested_s=profile.rested_s,
        whole_spread=profile.whole_spread,
        moments=profile.moments,
        rested_spread=profile.rested_spread,
        slow_down=profile.slow_down,
        host_spread=host_spread,
        quick=profile.is_quick,
    )


def _watched(profile: ExecutionProfile, speed: NodeSpeed, told_s: float) -> _Watched:
    return _Watched(profile, _corrected(profile, speed), told_s, speed, applied=factors(speed))


def _corrected(profile: ExecutionProfile, speed: NodeSpeed) -> ExecutionProfile:
    """A profile as its node computes now."""
    return coding_factors(corrected(profile, factors(speed)), profile, speed)


def _digest(profile: ExecutionProfile) -> str:
    return hashlib.sha256(msgspec.json.encode(profile)).hexdigest()


def _same(first: ExecutionProfile, second: ExecutionProfile) -> bool:
    """A node says the same profile again whenever it reconnects."""
    return first is second or first == second


def _parts_differ(before: Mapping[str, Expectation], now: Mapping[str, Expectation]) -> bool:
    """Whether a component was timed for the first time, or takes notably longer, or is known notably better."""
    return before.keys() != now.keys() or any(
        ratio_differs(before[key].seconds, part.seconds, CORRECTION_CHANGE)
        or ratio_differs(before[key].deviation, part.deviation, CERTAINTY_CHANGE)
        for key, part in now.items()
        if min(before[key].seconds, part.seconds, before[key].deviation, part.deviation) > 0
    )


def _differ(before: Factors, now: Factors, change: float) -> bool:
    return ratio_differs(before.in_float, now.in_float, change) or ratio_differs(before.in_int8, now.in_int8, change)
