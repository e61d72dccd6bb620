"""Epochs of one model on one node: what is wanted, what is held, what new requests start on.

Owns: reconciling `Desired` with what is held. Its rule: make before break; what serves is kept until what replaces it
is prepared, and an epoch is freed only when no request is left on it. While a node is lost, requests start on the plan
that does without it, else on the one that needs nobody. Not here: requests (`serving/machine/request_flow.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edgesplit.control.plan_messages import Desired, EpochSpec, EpochState
from edgesplit.retrying import Retry, hastened, retry_after
from edgesplit.wire.tensor_spec import TensorSpec
from edgesplit.wire.tensors import Array
from edgesplit_agent.serving.machine.actions import (
    Action,
    ClearObserved,
    EmitEvent,
    PrepareEpoch,
    PublishObserved,
    ReleaseEpoch,
    ShadowRequest,
)
from edgesplit_agent.serving.machine.admitting.footprints import Footprints
from edgesplit_agent.serving.machine.events import EpochFailed
from edgesplit_agent.serving.machine.shadow_sampling import ShadowSampling

__all__ = ["HeldEpoch", "ModelEpochs"]

SUSPICION_S = 5.0
"""After a participant gave a request up because of the network, new requests avoid the epoch this long; doubled each time
that happens again at once. [s]"""
LONGEST_SUSPICION_S = 60.0


@dataclass(slots=True)
class HeldEpoch:
    """An epoch this node prepares, has or drains.

    Attributes:
        detail: Why it failed, or fails so far.
        retry: It fails for a passing reason and is tried again.
        joins: Whether its requests may be joined; None while that was not tried.
        footprints: What its requests take, where this node is their source.
    """

    spec: EpochSpec
    generation: int
    state: Literal["preparing", "prepared", "failed", "draining"] = "preparing"
    detail: str = ""
    retry: Retry | None = None
    joins: bool | None = None
    footprints: Footprints = field(init=False)

    def __post_init__(self) -> None:
        self.follow(self.spec)

    def follow(self, spec: EpochSpec) -> None:
        """Take over a spec that means the same work."""
        self.spec, self.footprints = spec, Footprints(spec)

    @property
    def usable(self) -> bool:
        """Whether its sessions exist."""
        return self.state in {"prepared", "draining"}


class ModelEpochs:
    """All epochs of one model at this node.

    Args:
        generations: Numbers never used before on this node, one for each preparation.
    """

    def __init__(self, node: str, model: str, generations: Iterator[int]) -> None:
        self.node = node
        self.model = model
        self.desired: Desired | None = None
        self.open_inputs: tuple[TensorSpec, ...] = ()
        """Inputs of the model that have open axes."""
        self.held: dict[int, HeldEpoch] = {}
        self.current: int | None = None
        self.shadows = ShadowSampling(model)
        self._suspicions: dict[int, tuple[float, float]] = {}
        """Epoch to how long it is avoided and until when. [s]"""
        self._generations = generations
        self._published: object = None
        self._engaged: int | None = None

    # --- events ----------------------------------------------------------------------------------------------------

    def want(self, desired: Desired | None) -> list[Action]:
        """Take over what should be: begin preparations, mark what is to be drained."""
        self.desired = desired
        self.open_inputs = () if desired is None else tuple(spec for spec in desired.inputs if spec.typical)
        actions: list[Action] = []
        wanted = {} if desired is None else {spec.epoch: spec for spec in desired.epochs}
        for number, held in list(self.held.items()):
            spec = wanted.get(number)
            if spec is not None and _same_work(spec, held.spec):
                held.follow(spec)
                held.state = "prepared" if held.state == "draining" else held.state
            elif spec is None and held.usable:
                held.state = "draining"
            else:
                # Unfinished work nobody wants, or a number that now means another plan: its requests cannot go on.
                actions.append(self._release(number))
        for number, spec in wanted.items():
            if number not in self.held:
                actions.append(self._prepare(spec))
        self._settle()
        return actions

    def prepared(self, number: int, generation: int) -> bool:
        """Note that an epoch is ready; False for a stale report."""
        held = self.held.get(number)
        if held is None or held.generation != generation or held.state != "preparing":
            return False
        held.state, held.detail, held.retry = "prepared", "", None
        self._settle()
        return True

    def failed(self, event: EpochFailed, now_s: float) -> bool:
        """Note that an epoch could not be prepared; False for a stale report."""
        held = self.held.get(event.epoch)
        if held is None or held.generation != event.generation or held.state != "preparing":
            return False
        held.state, held.detail = "failed", event.detail
        held.retry = retry_after(held.retry, now_s, event.draw) if event.passing else None
        return True

    def suspect(self, number: int, now_s: float) -> None:
        """Have new requests avoid an epoch for a while."""
        before_s, until_s = self._suspicions.get(number, (0.0, 0.0))
        if now_s < until_s:
            return  # requests that failed with the one that raised it
        again = now_s < until_s + LONGEST_SUSPICION_S and before_s > 0.0
        length_s = min(2 * before_s, LONGEST_SUSPICION_S) if again else SUSPICION_S
        self._suspicions[number] = length_s, now_s + length_s

    def answered(
        self, number: int, arrays: Mapping[str, Array], outputs: Mapping[str, Array], now_s: float
    ) -> list[Action]:
        """A request was answered on an epoch: perhaps check it against the float model."""
        desired, reference = self.desired, self.fallback
        if desired is None or desired.shadowing is None or number != self.current or number != desired.serve:
            return []
        if reference is None or reference == number or not self.held[number].spec.quantized:
            return []
        if not self.shadows.choose(number, desired.shadowing, now_s):
            return []
        generation = self.held[reference].generation
        metric = desired.shadowing.metric
        return [ShadowRequest(self.model, number, generation, arrays, outputs, desired.outputs, metric)]

    def retry_failed(self, now_s: float) -> list[Action]:
        """Try wanted epochs again that failed for a passing reason and are due."""
        due = [held for held in self._failing() if held.retry is not None and now_s >= held.retry.next_at_s]
        return [self._prepare(held.spec, held) for held in due]

    def hasten(self, now_s: float) -> list[Action]:
        """Try them again at once: what they failed for may be there again."""
        for held in self._failing():
            held.retry = hastened(held.retry, now_s) if held.retry is not None else None
        return self.retry_failed(now_s)

    def release_drained(self, in_flight: Mapping[int, int]) -> list[Action]:
        """Free draining epochs that no request is left on."""
        self._settle()
        idle = [
            number
            for number, held in self.held.items()
            if held.state == "draining" and number != self.current and not in_flight.get(number, 0)
        ]
        return [self._release(number) for number in idle]

    # --- questions -------------------------------------------------------------------------------------------------

    @property
    def fallback(self) -> int | None:
        """The fallback epoch, once it can run."""
        number = None if self.desired is None else self.desired.fallback
        return number if number is not None and self._is_usable(number) else None

    def spares(self, lost: Iterable[str] | None = None) -> tuple[int, ...]:
        """Epochs that can run instead of the served one, each once.

        Args:
            lost: Only those for the loss of one of these nodes; None for all.
        """
        if self.desired is None or self.desired.serve != self.current:
            return ()  # they belong to the epoch that is to serve, not to the one that still does
        fallbacks = self.desired.fallbacks
        numbers = fallbacks.values() if lost is None else [fallbacks[node] for node in lost if node in fallbacks]
        return tuple(number for number in dict.fromkeys(numbers) if self._is_usable(number))

    @property
    def is_source(self) -> bool:
        """Whether requests of the model start here."""
        return self.desired is not None and self.desired.serve is not None

    def lost_peers(self, number: int, peers_up: Iterable[str]) -> tuple[str, ...]:
        """Participants of an epoch that do not answer."""
        lost = self.held[number].spec.participants.keys() - {self.node, *peers_up}
        return tuple(sorted(lost)) if lost else ()

    def awaits_fallback(self, peers_up: Iterable[str]) -> bool:
        """Whether a plan that could run without the peers that are away is being prepared, and did not fail yet."""
        if self.desired is None:
            return False
        numbers = {self.desired.fallback, *self.desired.fallbacks.values()} & self.held.keys()
        coming = [number for number in numbers if number is not None and self.held[number].state == "preparing"]
        return any(self.held[number].retry is None and not self.lost_peers(number, peers_up) for number in coming)

    def choose(
        self,
        peers_up: Collection[str],
        now_s: float,
        avoid: Iterable[int] = (),
        *,
        probation: Set[str] = frozenset(),
    ) -> int | None:
        """The epoch a request starts on now; None while nothing can serve it.

        Args:
            peers_up: Peers that answer.
            now_s: The machine's clock. [s]
            avoid: Epochs the request already failed on.
            probation: Those of them that came back only lately.
        """
        if not self.is_source:
            return None
        avoided, reliable = set(avoid), set(peers_up) - probation
        if self.current is not None and self.current not in avoided and self._is_sound(self.current, reliable, now_s):
            return self.current
        candidates = [number for number in self._preferences(reliable) if number not in avoided]
        possible = [number for number in candidates if not self.lost_peers(number, peers_up)]
        for number in possible:
            if self._is_sound(number, reliable, now_s):
                return number
        # One that may fail is better than none; one with a peer away cannot succeed and says so.
        return next(iter([*possible, *candidates]), None)

    def report(
        self,
        peers_up: Collection[str],
        now_s: float,
        in_flight: Mapping[int, int],
        *,
        probation: Set[str] = frozenset(),
    ) -> list[Action]:
        """Publish what is, where it differs from what was said last; tell when the fallback takes over."""
        serving = self.choose(peers_up, now_s, probation=probation)
        actions = self._fallback_events(serving, set(peers_up) - set(probation))
        # How many requests are on the serving epoch changes all the time and decides nothing; whether another epoch
        # has any left at its source decides when it may be dropped.
        key = (
            tuple(
                (number, held.state, held.detail, held.retry, number != serving and self._left(number, in_flight) > 0)
                for number, held in sorted(self.held.items())
            ),
            serving,
        )
        if key == self._published:
            return actions
        first = self._published is None
        self._published = key
        if not self.held and self.desired is None:
            self._published = None
            return actions if first else [*actions, ClearObserved(self.model)]
        states = tuple(
            EpochState(
                epoch=number,
                state=held.state,
                detail=held.detail,
                in_flight=self._left(number, in_flight),
                retry=held.retry.said(now_s) if held.retry is not None else None,
            )
            for number, held in sorted(self.held.items())
        )
        return [*actions, PublishObserved(self.model, states, serving)]

    def settled(self, in_flight: Mapping[int, int]) -> bool:
        """Whether requests that come and go leave nothing to report or to free, as long as nothing else happens."""
        elsewhere = any(count for number, count in in_flight.items() if number != self.current and number in self.held)
        draining = any(held.state == "draining" for held in self.held.values())
        return not draining and self._engaged is None and not (self.is_source and elsewhere)

    # --- steps -----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Move to the epoch to serve once it is ready; until then the one before keeps serving."""
        serve = None if self.desired is None else self.desired.serve
        if serve is None:
            self.current = None
        elif (held := self.held.get(serve)) is not None and held.state == "prepared" and held.spec.source == self.node:
            self.current = serve
        elif self.current not in self.held or not self.held[self.current].usable:
            self.current = None

    def _preferences(self, peers_up: Collection[str]) -> Iterator[int]:
        """Epochs to try, the best first: the served one, the one for this loss, the local one, any other."""
        numbers: list[int] = []
        if self.current is not None:
            numbers = [self.current, *self.spares(self.lost_peers(self.current, peers_up))]
        # Where a link between other nodes failed nobody knows which plan avoids it; the local one does.
        numbers += [number for number in (self.fallback,) if number is not None]
        return iter(dict.fromkeys([*numbers, *self.spares()]))

    def _left(self, number: int, in_flight: Mapping[int, int]) -> int:
        """Requests of this source that are on an epoch; those of another source are not this node's to count."""
        return in_flight.get(number, 0) if self.held[number].spec.source == self.node else 0

    def _is_sound(self, number: int, reliable: Collection[str], now_s: float) -> bool:
        """Whether nothing speaks against an epoch now."""
        suspect = now_s < self._suspicions.get(number, (0.0, 0.0))[1]
        return not suspect and not self.lost_peers(number, reliable)

    def _is_usable(self, number: int) -> bool:
        held = self.held.get(number)
        return held is not None and held.usable

    def _failing(self) -> list[HeldEpoch]:
        return [held for held in self.held.values() if held.state == "failed"]

    def _prepare(self, spec: EpochSpec, failed: HeldEpoch | None = None) -> Action:
        generation = next(self._generations)
        held = self.held[spec.epoch] = HeldEpoch(spec, generation)
        if failed is not None:
            held.detail, held.retry = failed.detail, failed.retry
        return PrepareEpoch(self.model, generation, spec)

    def _release(self, number: int) -> Action:
        held = self.held.pop(number)
        self._suspicions.pop(number, None)
        return ReleaseEpoch(self.model, number, held.generation)

    def _fallback_events(self, serving: int | None, peers_up: Collection[str]) -> list[Action]:
        engaged = serving if self.current is not None and serving != self.current else None
        if engaged == self._engaged:
            return []
        self._engaged = engaged
        if engaged is None:
            text = f"{self.model} left its fallback plan" + ("" if serving is None else f" for epoch {serving}")
            return [EmitEvent("fallback-left", text, self.model, {"epoch": serving})]
        assert self.current is not None  # noqa: S101  engaged says so, the type checker cannot see it
        lost = ", ".join(self.lost_peers(self.current, peers_up)) or "a link between other nodes"
        others = ", ".join(sorted(set(self.held[engaged].spec.participants) - {self.node}))
        where = f"with {others}" if others else "on this node alone"
        text = f"{self.model} runs on its fallback plan (epoch {engaged}, {where}) because {lost} is lost"
        return [
            EmitEvent(
                "fallback-engaged",
                text,
                self.model,
                {"epoch": engaged, "instead_of": self.current, "lost": lost, "with": others},
            )
        ]


def _same_work(left: EpochSpec, right: EpochSpec) -> bool:
    """Whether two specs need the same sessions and routes; a participant's address may change."""
    return msgspec.structs.replace(left, participants={}) == msgspec.structs.replace(right, participants={}) and set(
        left.participants
    ) == set(right.participants)
