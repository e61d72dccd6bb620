"""Node speeds: execution profiles of every node and model, corrected by live timings.

Owns: what nodes said of their runs, and the corrections that follow. Its rule: whoever plans or predicts takes profiles
from here; the registry keeps them as they were measured. Not here: the reasoning (`fleet/speed_factors.py`), what a
profile says of a component (`fleet/timed_components.py`), what a change leads to (`deciding/changes/replan_reasons.py`).

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
from edgesplit.operations.fleet_operations import SpeedRow
from edgesplit.significance import CORRECTION_CHANGE, ratio_differs
from edgesplit_controller.fleet.registry import FleetChange, Registry
from edgesplit_controller.fleet.speed_factors import Factors, NodeSpeed, factors, rested_factor, served, timed_again
from edgesplit_controller.fleet.timed_components import TimedComponents
from edgesplit_controller.fleet.unit_times import corrected
from edgesplit_controller.models.model_record import ModelRecord
from edgesplit_controller.storage.deployment_state import DeploymentState
from edgesplit_controller.storage.saved_speeds import SavedSpeed

__all__ = ["Speeds"]

FRESH_S = 10.0
"""Runs that ended so long before a node speaks of them show its speed now. [s]"""


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
        seen: Graph to the place of its last run that was taken in, in the order of the agent's runs.
        timed: Place of the last timing of the whole, in the same order.
        heard_s: When the later of them was. [s]
        begun: Something was taken in, maybe before a restart.
        saved: Components that are remembered on disk.
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
    begun: bool = False
    saved: frozenset[str] = frozenset()


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
    ) -> None:
        self._registry = registry
        self._models = models
        self._change = change
        self._clock = clock
        self._remembered = {(entry.node, entry.model): entry for entry in remembered}
        self._save = save
        self._said: dict[tuple[str, str], LiveTimings] = {}
        self._watched: dict[tuple[str, str], _Watched] = {}
        self._components = TimedComponents(deployments)

    # --- what nodes say --------------------------------------------------------------------------------------------

    def hear(self, node: str, model: str, timings: LiveTimings | None) -> tuple[tuple[FleetChange, ...], bool]:
        """Take in what runs of a model took on a node.

        Returns:
            What people should know, and whether predictions differ notably from before.
        """
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
        notable = _differ(watched.applied, now, CORRECTION_CHANGE)
        if notable:
            watched.applied, watched.corrected = now, corrected(watched.profile, now)
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
        self._save(self._to_remember())

    def forget_node(self, node: str) -> None:
        """A node is gone for good."""
        for kept in (self._said, self._watched, self._remembered):
            for key in [key for key in kept if key[0] == node]:
                del kept[key]
        self._save(self._to_remember())

    # --- what plans take from it -------------------------------------------------------------------------------------

    def profile(self, node: str, model: str, sha256: str) -> ExecutionProfile | None:
        """A node's times of exactly this model as they are now, or None while it has none."""
        profile = self._registry.profile(node, model, sha256)
        watched = self._watched.get((node, model))
        known = watched is not None and profile is not None and _same(watched.profile, profile)
        return watched.corrected if watched is not None and known else profile

    def timed_s(self, model: str) -> dict[tuple[str, str], float]:
        """What components that were timed take now, by node and key. [s]"""
        return {
            (node, key): watched.speed.factor * known.error * (known.float_s + known.int8_s)
            for (node, of_model), watched in self._watched.items()
            if of_model == model
            for key, known in watched.speed.known.items()
        }

    # --- what people see ---------------------------------------------------------------------------------------------

    def row(self, node: str, model: str) -> SpeedRow | None:
        """How a node's profile of a model is corrected; None without a profile."""
        record = self._models.get(model)
        profile = self._registry.profile(node, model, record.sha256) if record is not None else None
        if profile is None:
            return None
        watched = self._watched.get((node, model))
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
        said = self._said.get((node, model))
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
            if entry is None or entry.profile != _digest(profile):
                speed = NodeSpeed(factor=rested_factor(profile), slow_down=profile.slow_down)
                now = factors(speed)
                told_s = profile.whole_s * now.in_float
                watched = _Watched(profile, corrected(profile, now), told_s, speed, applied=now)
            else:
                watched = _restored(profile, entry)
            self._watched[node, model] = watched
        return watched

    def _to_remember(self) -> list[SavedSpeed]:
        now = {key: _saved(*key, watched) for key, watched in self._watched.items() if watched.begun}
        self._remembered |= now
        return [self._remembered[key] for key in sorted(self._remembered)]

    def _update(self, node: str, model: str, watched: _Watched, timings: LiveTimings) -> None:
        now_s = self._clock()
        if watched.instance != timings.instance:
            watched.instance, watched.seen, watched.timed = timings.instance, {}, float("-inf")
        ran = [
            timing
            for timing in timings.components
            if _is_later(_place(timing.number, timing.last_run_unix_s), watched.seen.get(timing.graph), timing.number)
            and _is_fresh(timing, timings)
        ]
        parts = list(self._components.timed(node, self._models[model], watched.profile, ran))
        if parts:
            watched.speed = served(watched.speed, parts, now_s, first=not watched.begun)
            watched.begun = True
            watched.seen |= {timing.graph: _place(timing.number, timing.last_run_unix_s) for timing in ran}
            watched.heard_s = now_s
        whole = timings.whole
        if whole is None or whole.sha256 != self._models[model].sha256:
            return
        place = _place(whole.number, whole.at_unix_s)
        if not _is_later(place, watched.timed, whole.number):
            return
        newest = place > max(watched.seen.values(), default=float("-inf")) if whole.number else not parts
        if newest and watched.profile.whole_s > 0:
            watched.speed = timed_again(watched.speed, watched.profile.whole_s, whole.whole_s, now_s)
            watched.heard_s, watched.begun = now_s, True
        watched.timed = place

    def _news(self, node: str, model: str, watched: _Watched) -> Iterator[FleetChange]:
        """What people were told, and what is so now, where the two differ."""
        before_s, now_s = watched.told_s, watched.profile.whole_s * factors(watched.speed).in_float
        if not before_s > 0 or not ratio_differs(before_s, now_s, self._change):
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


def _place(number: int, unix_s: float) -> float:
    """Place of a run in the order of an agent's runs; one that does not count them has only its clock."""
    return float(number) if number else unix_s


def _is_later(place: float, before: float | None, number: int) -> bool:
    """Whether a run is not the one known already. Without numbers each other time is later: clocks are set back, too."""
    return before is None or (place > before if number else place != before)


def _is_fresh(timing: ComponentTiming, said: LiveTimings) -> bool:
    """Whether a run had ended only just before the node spoke of it."""
    return (timing.ended_ago_s if timing.number else said.at_unix_s - timing.last_run_unix_s) < FRESH_S


def _saved(node: str, model: str, watched: _Watched) -> SavedSpeed:
    speed = watched.speed
    return SavedSpeed(
        node=node,
        model=model,
        profile=_digest(watched.profile),
        told_s=watched.told_s,
        factor=speed.factor,
        known=dict(speed.known),
        origin=speed.origin,
        relapses=speed.relapses,
        slow_down=speed.slow_down,
    )


def _restored(profile: ExecutionProfile, entry: SavedSpeed) -> _Watched:
    speed = NodeSpeed(
        factor=entry.factor,
        known=entry.known,
        origin=entry.origin,
        relapses=entry.relapses,
        slow_down=entry.slow_down,
    )
    now = factors(speed)
    return _Watched(
        profile,
        corrected(profile, now),
        entry.told_s,
        speed,
        applied=now,
        begun=True,
        saved=frozenset(entry.known),
    )


def _digest(profile: ExecutionProfile) -> str:
    return hashlib.sha256(msgspec.json.encode(profile)).hexdigest()


def _same(first: ExecutionProfile, second: ExecutionProfile) -> bool:
    """A node says the same profile again whenever it reconnects."""
    return first is second or first == second


def _differ(before: Factors, now: Factors, change: float) -> bool:
    return ratio_differs(before.in_float, now.in_float, change) or ratio_differs(before.in_int8, now.in_int8, change)
