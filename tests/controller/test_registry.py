"""The registry remembers what nodes said and tells what changed."""

from __future__ import annotations

import msgspec

from edgesplit.control.figure_messages import NODE_METRICS, LinkMetrics, LinkState, NodeMetrics, UnreachedPeer
from edgesplit.control.profile_messages import ExecutionProfile, ProfileReport
from edgesplit.control.registration_messages import NodeStatus
from edgesplit_controller.answering.fleet_answers import counted_links, link_rows
from edgesplit_controller.fleet.registry import Registry


def status(node: str, *, online: bool = True, protocol: int = 1, instance: str = "1") -> NodeStatus:
    return NodeStatus(
        node=node, online=online, protocol=protocol, version="0.1.0", instance=instance, advertise="10.0.0.1:7400"
    )


def metrics(node: str) -> NodeMetrics:
    return NodeMetrics(
        node=node,
        instance="1",
        at_unix_s=0.0,
        cpu_percent=5.0,
        memory_available_bytes=1,
        compute_w=3.0,
        transmit_w=1.0,
        power_origin="measured",
    )


def report(sha256: str, state: str = "done", whole_s: float = 1.0) -> ProfileReport:
    profile = ExecutionProfile(
        time_s={"u": whole_s}, quantized_time_s={}, whole_s=whole_s, runs=1, provider="", threads=1, runtime=""
    )
    values = {"node": "a", "instance": "1", "model": "m", "sha256": sha256, "state": state, "fraction": 1.0}
    made = msgspec.convert(values, ProfileReport)
    return msgspec.structs.replace(made, profile=profile) if state == "done" else made


def link(to: str) -> LinkState:
    return LinkState(to=to, up=True, bandwidth_bytes_per_s=1.0, latency_s=0.1, measured_at_unix_s=0.0)


def test_joining_restarting_and_leaving_are_told_once() -> None:
    registry = Registry()
    kinds = [
        [change.kind for change in registry.set_status("a", message)]
        for message in (
            status("a"),
            status("a"),
            status("a", instance="2"),
            status("a", online=False),
            status("a", online=False),
            None,
        )
    ]
    assert kinds == [["node-joined"], [], ["node-joined"], ["node-left"], [], []]


def test_a_node_of_another_protocol_is_refused_with_one_sentence_and_never_usable() -> None:
    registry = Registry()
    (change,) = registry.set_status("a", status("a", protocol=2))
    registry.keep(NODE_METRICS, NODE_METRICS.of("a"), metrics("a"))
    assert change.kind == "node-refused"
    assert "speaks protocol 2" in change.text
    assert registry.set_status("a", status("a", protocol=2)) == ()
    assert registry.online() == ()
    assert not registry.node("a").usable


def test_a_node_is_usable_once_its_watts_are_known() -> None:
    registry = Registry()
    registry.set_status("a", status("a"))
    assert not registry.node("a").usable
    registry.keep(NODE_METRICS, NODE_METRICS.of("a"), metrics("a"))
    assert registry.node("a").usable


def test_links_are_those_between_nodes_that_are_connected() -> None:
    registry = Registry()
    for name in ("a", "b"):
        registry.set_status(name, status(name))
    registry.set_links("a", LinkMetrics(node="a", instance="1", links=(link("b"), link("c"))))
    assert [(start, entry.to) for start, entry in registry.links()] == [("a", "b")]
    registry.set_status("b", status("b", online=False))
    assert registry.links() == ()


def said(registry: Registry, node: str, to: str, latency_s: float) -> None:
    state = msgspec.structs.replace(link(to), latency_s=latency_s)
    registry.set_links(node, LinkMetrics(node=node, instance="1", links=(state,)))


def latencies(registry: Registry) -> dict[str, float]:
    return {f"{start}-{entry.to}": entry.latency_s for start, entry in registry.links()}


def test_both_directions_have_the_round_trip_of_the_end_whose_figure_changed_last() -> None:
    """They measure the same; a longer way is believed by one of them first."""
    registry = Registry()
    for name in ("a", "b"):
        registry.set_status(name, status(name))
    said(registry, "a", "b", 0.05)
    said(registry, "b", "a", 0.051)
    assert latencies(registry) == {"a-b": 0.05, "b-a": 0.051}  # as each says, where they hardly differ
    said(registry, "a", "b", 0.3)
    said(registry, "b", "a", 0.0512)
    assert latencies(registry) == {"a-b": 0.3, "b-a": 0.3}
    said(registry, "b", "a", 0.301)
    assert latencies(registry) == {"a-b": 0.3, "b-a": 0.301}
    said(registry, "b", "a", 0.05)
    assert latencies(registry) == {"a-b": 0.05, "b-a": 0.05}
    registry.set_links("b", None)
    assert latencies(registry) == {"a-b": 0.3}


def test_directions_that_were_never_measured_are_listed_with_their_reason() -> None:
    registry = Registry()
    for name in ("a", "b", "c"):
        registry.set_status(name, status(name))
    refused = UnreachedPeer(to="c", reason="no agent accepts connections at 10.0.0.3:7400 (connection refused)")
    registry.set_links("a", LinkMetrics(node="a", instance="1", links=(link("b"),), unreached=(refused,)))
    down = msgspec.structs.replace(link("a"), up=False)
    vanished = UnreachedPeer(to="a", reason="node a is silent")
    registry.set_links("b", LinkMetrics(node="b", instance="1", links=(down,), unreached=(vanished,)))
    rows = {
        (row.from_, row.to): (row.origin, row.up, row.latency_s, row.reason)
        for row in link_rows(registry, counted_links(registry, lambda name: frozenset("abc") - {name}))
    }
    assert rows == {
        ("a", "b"): ("measured", True, 0.1, ""),
        ("a", "c"): ("missing", False, None, refused.reason),
        ("b", "a"): ("measured", False, 0.1, "node a is silent"),
        ("b", "c"): ("missing", False, None, "b has not measured it yet"),
        ("c", "a"): ("missing", False, None, "c has not measured it yet"),
        ("c", "b"): ("missing", False, None, "c has not measured it yet"),
    }


def test_a_profile_of_another_version_of_the_model_does_not_count() -> None:
    registry = Registry()
    registry.set_status("a", status("a"))
    assert [change.kind for change in registry.set_profile("a", "m", report("old"))] == ["profile-changed"]
    assert registry.profile("a", "m", "new") is None
    assert registry.profile("a", "m", "old") is not None
    assert registry.set_profile("a", "m", report("old")) == ()
    assert [change.text for change in registry.set_profile("a", "m", report("new", "failed"))] == [
        "node a could not profile m: it gave no reason"
    ]
    assert registry.profiled("m", "new") == ()
