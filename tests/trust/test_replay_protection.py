"""Counters of signed messages: remembered, bounded, reserved; requests taken once; refusals told once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.errors import InvalidConfiguration, NotTrusted
from edgesplit.mqtt.signed import counter_memory, request_freshness
from edgesplit.mqtt.signed.counter_memory import CounterMemory
from edgesplit.mqtt.signed.counter_reserve import AHEAD_US, CounterReserve
from edgesplit.mqtt.signed.refusals import EVERY_S, MOST_A_MINUTE, Refusals
from edgesplit.mqtt.signed.request_freshness import FRESH_S, RequestFreshness
from edgesplit.trust.subjects import PeerCertificate, Subject

ANNA = PeerCertificate(Subject("operator", "anna"), "a1", 2e9)
BERT = PeerCertificate(Subject("operator", "bert"), "b2", 2e9)
NOW_S = 1_764_460_000.0


@given(st.lists(st.integers(0, 20), max_size=40))
def test_of_a_topic_only_ever_newer_messages_are_taken(counters: list[int]) -> None:
    memory, highest = CounterMemory(), -1
    for counter in counters:
        if counter < highest:
            with pytest.raises(NotTrusted, match="newer one"):
                memory.take("t", counter, b"%d" % counter)
        else:
            memory.take("t", counter, b"%d" % counter)
            highest = counter


def test_an_equal_counter_of_other_bytes_is_refused() -> None:
    memory = CounterMemory()
    memory.take("t", 5, b"one")
    memory.take("t", 5, b"one")
    with pytest.raises(NotTrusted, match="newer one"):
        memory.take("t", 5, b"other")


def test_memory_is_bounded_and_keeps_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter_memory, "REMEMBERED", 3)
    memory = CounterMemory()
    for number in range(10):
        memory.take(f"t{number}", 5, b"")
    with pytest.raises(NotTrusted):
        memory.take("t9", 4, b"")
    memory.take("t0", 4, b"")  # forgotten: it is all that bounded memory can mean


def test_a_damaged_file_is_set_aside_and_said_by_name(tmp_path: Path) -> None:
    path = tmp_path / "counters.json"
    path.write_text("{")
    memory = CounterMemory(path)
    assert "counters.json is damaged" in memory.damage
    assert "counters.json.set-aside" in memory.damage
    assert [entry.name for entry in tmp_path.iterdir()] == ["counters.json.set-aside"]
    memory.take("t", 5, b"")
    assert memory.save()
    again = CounterMemory(path)
    assert again.damage == ""
    with pytest.raises(NotTrusted):
        again.take("t", 4, b"")


def test_a_damaged_file_that_cannot_be_set_aside_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counters.json"
    path.write_bytes(b"\xff")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(InvalidConfiguration, match=r"cannot be set aside \(Permission denied\): delete it"):
        CounterMemory(path)


def test_what_cannot_be_written_is_written_later(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    memory = CounterMemory(folder / "counters.json")
    memory.take("t", 5, b"")
    memory.save()
    assert memory.changed
    folder.unlink()
    memory.save()
    assert not memory.changed
    with pytest.raises(NotTrusted):
        CounterMemory(folder / "counters.json").take("t", 4, b"")


def at(offset_s: float) -> int:
    return int((NOW_S + offset_s) * 1e6)


def test_a_request_counts_once_and_by_whom_it_is_from() -> None:
    heard = RequestFreshness(NOW_S - 100.0)
    heard.take(ANNA, at(0), NOW_S)
    heard.take(BERT, at(0), NOW_S)
    heard.take(ANNA, at(-1), NOW_S)  # two programs of one operator: no order among them
    for signer in (ANNA, BERT):
        with pytest.raises(NotTrusted, match="sent again"):
            heard.take(signer, at(0), NOW_S)


def test_a_request_from_before_the_start_is_another_runs() -> None:
    with pytest.raises(NotTrusted, match="before this controller started"):
        RequestFreshness(NOW_S).take(ANNA, at(-1), NOW_S + 1.0)


@pytest.mark.parametrize("counter", [at(-FRESH_S - 1), at(FRESH_S + 1), 0, (1 << 63) - 1])
def test_clocks_that_differ_too_much_are_said(counter: int) -> None:
    with pytest.raises(NotTrusted, match="clock"):
        RequestFreshness(0.0).take(ANNA, counter, NOW_S)


@given(st.lists(st.tuples(st.integers(-400, 400), st.sampled_from([ANNA, BERT]), st.integers(0, 60)), max_size=60))
def test_nothing_is_ever_taken_twice_in_bounded_memory(asked: list[tuple[int, PeerCertificate, int]]) -> None:
    heard, taken, now_s = RequestFreshness(0.0), set[tuple[int, str]](), NOW_S
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(request_freshness, "REMEMBERED", 4)
        for offset_s, signer, passes_s in asked:
            now_s += passes_s
            try:
                heard.take(signer, at(offset_s), now_s)
            except NotTrusted:
                continue
            assert (offset_s, signer.serial) not in taken
            taken.add((offset_s, signer.serial))


def test_counters_go_on_above_all_that_were_used_whatever_the_clock_says() -> None:
    kept: list[int] = []
    first = CounterReserve(0, kept.append)
    for counter in (10, 11, AHEAD_US, AHEAD_US + 11):
        first.cover(counter)
        assert kept[-1] >= counter
    assert len(kept) == 2
    assert CounterReserve(kept[-1], kept.append).reserved > AHEAD_US


def test_the_same_is_told_once_in_a_while_and_a_flood_a_few_times() -> None:
    refusals = Refusals()
    told = [refusals.refuse("p", "t", "it is not signed", b"", now_s).is_news for now_s in (0.0, 1.0, EVERY_S)]
    assert told == [True, False, True]
    flood = [refusals.refuse("p", f"t{number}", "it is not signed", b"", EVERY_S).is_news for number in range(500)]
    assert sum(flood) == MOST_A_MINUTE - 1
    assert refusals.counts == {"p": 503}
