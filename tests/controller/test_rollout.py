"""Make before break, under whatever nodes report in whatever order."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesplit.control.plan_messages import Desired, EpochSpec, EpochState, Observed
from edgesplit.retrying import Retrying
from edgesplit_controller.rollout.desired_state import desired_states
from edgesplit_controller.rollout.steps import World, advance, begin, with_fallbacks
from edgesplit_controller.storage.rollout_state import Epoch, FallbackEpoch, Rollout

NODES = ("device", "edge", "cloud")


def plan(epoch: int, *participants: str, source: str = "device", fallback: int | None = None) -> Epoch:
    return Epoch(number=epoch, source=source, participants=(source, *participants), local_fallback=fallback)


def observed(node: str, serving: int | None = None, in_flight: int = 0, **states: str) -> Observed:
    epochs = tuple(
        EpochState(epoch=int(name[1:]), state=msgspec.convert(state, _STATE), in_flight=in_flight)
        for name, state in states.items()
    )
    return Observed(node=node, instance="1", model="m", epochs=epochs, serving=serving)


_STATE = EpochState.__annotations__ and msgspec.structs.fields(EpochState)[1].type


def desired(rollout: Rollout) -> dict[str, Desired]:
    """What nodes should hold, each epoch without anything to compute."""
    return desired_states(
        "m", rollout, lambda epoch, node: EpochSpec(epoch=epoch, source=node, participants={}, components=())
    )


def held(rollout: Rollout, node: str) -> tuple[int, ...]:
    return tuple(spec.epoch for spec in desired(rollout)[node].epochs)


def world(*reports: Observed, gone: tuple[str, ...] = (), overdue: bool = False) -> World:
    return World({report.node: report for report in reports}, frozenset(gone), overdue)


def test_an_epoch_is_activated_only_when_every_participant_prepared_it() -> None:
    rollout = begin(Rollout(), plan(1, "edge"), begun_unix_s=5.0, limit_s=60.0)
    rollout, notices = advance(rollout, world(observed("device", e1="prepared"), observed("edge", e1="preparing")))
    assert notices == ()
    assert desired(rollout)["device"].serve is None
    rollout, notices = advance(rollout, world(observed("device", e1="prepared"), observed("edge", e1="prepared")))
    assert [notice.kind for notice in notices] == ["prepared"]
    assert desired(rollout)["device"].serve == 1
    assert rollout.active is None
    rollout, notices = advance(rollout, world(observed("device", 1, e1="prepared"), observed("edge", e1="prepared")))
    assert [notice.kind for notice in notices] == ["activated"]
    assert rollout.active == plan(1, "edge")


def test_a_change_waits_for_a_node_that_tries_again_and_says_at_its_end_what_was_missing() -> None:
    rollout = begin(Rollout(), plan(1, "edge"), begun_unix_s=5.0, limit_s=60.0)
    retry = Retrying(attempts=2, failing_s=3.0, next_try_s=4.0)
    state = EpochState(epoch=1, state="failed", detail="the disk is full", retry=retry)
    trying = Observed(node="edge", instance="1", model="m", epochs=(state,))
    again = msgspec.structs.replace(trying, epochs=(msgspec.structs.replace(state, state="preparing"),))
    for report in (trying, again, trying):
        rollout, notices = advance(rollout, world(observed("device", e1="prepared"), report))
        assert notices == ()
        assert rollout.upcoming == plan(1, "edge")
    after, notices = advance(rollout, world(observed("device", e1="prepared"), trying, overdue=True))
    assert [notice.reason for notice in notices] == ["edge did not prepare it in time (edge: the disk is full)"]
    assert after.upcoming is None
    after, notices = advance(rollout, world(observed("device", e1="prepared"), observed("edge", e1="prepared")))
    assert [notice.kind for notice in notices] == ["prepared"]


def test_the_old_epoch_is_kept_until_its_last_request_ended() -> None:
    rollout = begin(Rollout(active=plan(1, "edge")), plan(3, "cloud", fallback=2), begun_unix_s=5.0, limit_s=60.0)
    ready = (observed("edge", e1="prepared"), observed("cloud", e3="prepared"))
    rollout, _ = advance(rollout, world(observed("device", 1, e1="prepared", e3="prepared"), *ready))
    assert held(rollout, "edge") == (1,)
    rollout, _ = advance(rollout, world(observed("device", 3, in_flight=2, e1="draining", e3="prepared"), *ready))
    assert rollout.retiring == (plan(1, "edge"),)
    assert held(rollout, "edge") == (1,)
    rollout, notices = advance(rollout, world(observed("device", 3, e1="draining", e3="prepared"), *ready))
    assert [(notice.kind, notice.epoch.number) for notice in notices] == [("retired", 1)]
    assert "edge" not in desired(rollout)
    assert desired(rollout)["device"].fallback == 2
    assert held(rollout, "device") == (2, 3)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (world(observed("device", 1, e1="prepared", e2="failed")), "device could not prepare it"),
        (world(observed("device", 1, e1="prepared"), gone=("edge",)), "node edge left"),
        (world(observed("device", 1, e1="prepared", e2="prepared"), overdue=True), "edge did not prepare it in time"),
    ],
)
def test_an_epoch_that_cannot_be_prepared_is_abandoned_and_the_old_one_serves(state: World, reason: str) -> None:
    rollout = begin(Rollout(active=plan(1)), plan(2, "edge"), begun_unix_s=5.0, limit_s=60.0)
    rollout, notices = advance(rollout, state)
    assert [notice.kind for notice in notices] == ["abandoned"]
    assert reason in notices[0].reason
    assert rollout == Rollout(active=plan(1), begun_unix_s=5.0, limit_s=60.0)
    assert desired(rollout)["device"].serve == 1


def test_moving_to_another_source_keeps_both_until_the_new_one_serves() -> None:
    rollout = begin(Rollout(active=plan(1)), plan(2, source="edge"), begun_unix_s=5.0, limit_s=60.0)
    rollout, _ = advance(rollout, world(observed("device", 1, e1="prepared"), observed("edge", e2="prepared")))
    assert (desired(rollout)["device"].serve, desired(rollout)["edge"].serve) == (1, 2)
    rollout, _ = advance(rollout, world(observed("device", 1, e1="prepared"), observed("edge", 2, e2="prepared")))
    assert (desired(rollout)["device"].serve, desired(rollout)["edge"].serve) == (None, 2)
    rollout, _ = advance(rollout, world(observed("device", e1="draining"), observed("edge", 2, e2="prepared")))
    assert "device" not in desired(rollout)


def test_another_plan_cannot_begin_while_one_is_prepared() -> None:
    with pytest.raises(ValueError, match="epoch 1 is still being prepared"):
        begin(begin(Rollout(), plan(1), begun_unix_s=1.0, limit_s=1.0), plan(2), begun_unix_s=1.0, limit_s=1.0)


def fallback(epoch: int, lost: str, *participants: str, ready: bool = False) -> FallbackEpoch:
    return FallbackEpoch(number=epoch, lost=(lost,), participants=("device", *participants), ready=ready)


def test_a_fallback_is_offered_to_the_source_only_while_all_its_nodes_have_it_ready() -> None:
    rollout = with_fallbacks(Rollout(active=plan(1, "edge", fallback=2)), (fallback(3, "edge", "cloud"),))
    assert held(rollout, "cloud") == (3,)
    assert (held(rollout, "device"), desired(rollout)["device"].fallbacks) == ((1, 2, 3), {})
    device = observed("device", 1, e1="prepared", e3="prepared")
    rollout, _ = advance(rollout, world(device, observed("cloud", e3="preparing")))
    assert desired(rollout)["device"].fallbacks == {}
    rollout, _ = advance(rollout, world(device, observed("cloud", e3="prepared")))
    assert desired(rollout)["device"].fallbacks == {"edge": 3}
    assert (desired(rollout)["device"].serve, desired(rollout)["device"].fallback) == (1, 2)
    rollout, _ = advance(rollout, world(device, observed("cloud", e3="failed")))
    assert desired(rollout)["device"].fallbacks == {}


def test_fallbacks_end_like_plans_when_their_plan_or_they_are_replaced() -> None:
    ready = fallback(3, "edge", "cloud", ready=True)
    rollout = with_fallbacks(Rollout(active=plan(1, "edge")), (ready,))
    rollout = with_fallbacks(rollout, (fallback(4, "edge", "cloud"),))
    assert [kept.number for kept in rollout.retiring] == [3]
    on_it = (observed("edge"), observed("cloud", e3="prepared", e4="prepared"))
    rollout, notices = advance(rollout, world(observed("device", 3, e1="prepared", e3="draining"), *on_it))
    assert not notices
    assert 3 in held(rollout, "cloud")
    rollout, notices = advance(rollout, world(observed("device", 1, e1="prepared", e3="draining"), *on_it))
    assert [(notice.kind, notice.epoch.number) for notice in notices] == [("retired", 3)]
    rollout = begin(rollout, plan(5), begun_unix_s=5.0, limit_s=60.0)
    rollout, _ = advance(rollout, world(observed("device", 1, e1="prepared", e4="prepared", e5="prepared"), *on_it))
    assert desired(rollout)["device"].fallbacks == {}  # they are not fallbacks of what is to serve
    busy = observed("device", 5, in_flight=1, e1="draining", e4="draining", e5="prepared")
    rollout, _ = advance(rollout, world(busy, *on_it))
    assert [kept.number for kept in rollout.retiring] == [1, 4]
    assert (rollout.fallbacks, held(rollout, "cloud")) == ((), (4,))


reports = st.builds(
    lambda node, states, serving, in_flight: Observed(
        node=node,
        instance="1",
        model="m",
        epochs=tuple(EpochState(epoch=epoch, state=state, in_flight=in_flight) for epoch, state in states.items()),
        serving=serving,
    ),
    st.sampled_from(NODES),
    st.dictionaries(
        st.integers(1, 6) | st.integers(101, 103), st.sampled_from(("preparing", "prepared", "failed", "draining"))
    ),
    st.none() | st.integers(1, 6) | st.integers(101, 103),
    st.integers(0, 2),
)
steps = st.lists(
    st.tuples(
        st.lists(reports, max_size=3),
        st.frozensets(st.sampled_from(NODES), max_size=2),
        st.floats(0, 5),
        st.lists(st.sampled_from(NODES), max_size=2),
        st.sampled_from(NODES),
        st.lists(
            st.tuples(st.integers(1, 3), st.lists(st.sampled_from(NODES), max_size=2)),
            max_size=2,
            unique_by=lambda made: made[0],
        ),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(steps)
def test_whatever_nodes_report_nothing_unprepared_serves_and_nothing_serving_is_dropped(
    sequence: list[tuple[list[Observed], frozenset[str], float, list[str], str, list[tuple[int, list[str]]]]],
) -> None:
    rollout, now_s, deadline_s, last_epoch = Rollout(), 0.0, 0.0, 0
    seen: dict[str, Observed] = {}
    for new_reports, gone, passed_s, participants, source, fallbacks in sequence:
        now_s += passed_s
        seen |= {report.node: report for report in new_reports}
        if rollout.upcoming is None and last_epoch < 6:
            last_epoch += 1
            others = tuple(sorted({*participants} - {source}))
            rollout = begin(rollout, plan(last_epoch, *others, source=source), begun_unix_s=now_s, limit_s=10.0)
            deadline_s = now_s + 10.0
        if rollout.active is not None and fallbacks:
            given_now = tuple(
                FallbackEpoch(number=100 + number, lost=("edge",), participants=(rollout.active.source, *held_by))
                for number, held_by in fallbacks
            )
            rollout = with_fallbacks(rollout, given_now)
        before = rollout
        rollout, notices = advance(rollout, World(seen, gone, now_s >= deadline_s))
        states_of = desired(rollout)
        epochs_of = {node: {spec.epoch for spec in part.epochs} for node, part in states_of.items()}
        for kept in rollout.epochs:
            assert all(kept.number in epochs_of[node] for node in kept.participants)
        for extra in rollout.fallbacks:
            assert all(extra.number in epochs_of[node] for node in extra.participants)
        for dropped in {entry.number for entry in before.fallbacks} - {entry.number for entry in rollout.fallbacks}:
            ended = {notice.epoch.number for notice in notices if notice.kind == "retired"}
            assert dropped in ended | {entry.number for entry in rollout.retiring}
        for part in states_of.values():
            assert part.serve is None or part.serve in epochs_of[part.node]
            for epoch in part.fallbacks.values():
                (offered,) = [entry for entry in rollout.fallbacks if entry.number == epoch]
                for participant in offered.participants:
                    states = {state.epoch: state.state for state in seen[participant].epochs}
                    assert states[epoch] == "prepared"
            if part.serve is not None and before.active is not None and part.serve != before.active.number:
                upcoming = before.upcoming
                assert upcoming is not None
                assert upcoming.number == part.serve
                if not before.activating:
                    for participant in upcoming.participants:
                        states = {state.epoch: state.state for state in seen[participant].epochs}
                        assert states[upcoming.number] == "prepared"
        if before.active is not None and rollout.active != before.active:
            assert rollout.active == before.upcoming
            assert before.active in rollout.retiring or any(notice.kind == "retired" for notice in notices)
        if before.active is not None:
            assert rollout.active is not None
