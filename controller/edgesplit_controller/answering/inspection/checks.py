"""Checks of `splitctl doctor`: everything that can be looked at, with a verdict and what to do.

Owns: the controller's checks and their words. Its rule: pure; what could not be looked at is `unknown`, and says why. Not here: asking
nodes (`inquiries.py`), what splitctl checks itself (its own machine's side).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgesplit.control.figure_messages import LinkState
from edgesplit.formatting import day, size, time_span
from edgesplit.operations.inspection.doctor_operation import CheckRow, Verdict
from edgesplit_controller.answering.inspection.inquiries import Answered
from edgesplit_controller.answering.inspection.problems import Own, cause_and_remedy, ending_certificates
from edgesplit_controller.fleet.profiling_progress import failing_rows
from edgesplit_controller.fleet.registry import FleetNode, Registry

__all__ = ["WaysNow", "controller_checks", "node_checks"]

LITTLE_BYTES, ALMOST_NONE_BYTES = 2 << 30, 256 << 20
"""Free room from where on a disk is a warning, and an error. [B]"""
CLOCKS_S = 1.0
"""Clocks that surely differ by more are told. [s]"""
STALE_S = 900.0
"""Links are probed at least every few minutes; figures older than this say that they are not. [s]"""
SOON_S = 3 * 86_400.0
"""A certificate that ends within this is told. [s]"""


@dataclass(frozen=True)
class WaysNow:
    """What nodes that are online say of their links to each other; made once, for there are many.

    Attributes:
        addresses: Of their data planes.
        out: Links that were measured, by their sender.
        reaching: How many nodes reach one.
        unreached: By their sender, peers that it has no connection to and why.
    """

    addresses: Mapping[str, str]
    out: Mapping[str, Sequence[LinkState]]
    reaching: Counter[str]
    unreached: Mapping[str, Mapping[str, str]]

    @classmethod
    def of(cls, registry: Registry) -> WaysNow:
        """As it is now."""
        known = registry.addresses
        addresses = {name: known[name] for name in registry.online()}
        out: defaultdict[str, list[LinkState]] = defaultdict(list)
        for start, link in registry.links():
            out[start].append(link)
        unreached: dict[str, dict[str, str]] = {}
        for name in addresses:
            said = registry.node(name).links
            if said is not None:
                unreached[name] = {peer.to: peer.reason for peer in said.unreached if peer.to in addresses}
        reaching = Counter(link.to for links in out.values() for link in links if link.up)
        return cls(addresses, out, reaching, unreached)


def controller_checks(own: Own, free_bytes: int, store: str, version: str) -> Iterator[CheckRow]:
    """Of the controller itself; `free_bytes` is the room on its store's file system. [B]"""
    yield _check("version", "controller", "ok", f"the controller runs edgesplit {version}")
    if own.health.cause:
        yield _check("disk", "controller", "error", *cause_and_remedy(own.health.sentence))
    else:
        yield _disk("controller", store, free_bytes, "its store")
    for sentence in own.warnings:
        yield _check("set-up", "controller", "warning", *cause_and_remedy(sentence))
    if not own.warnings:
        yield _check("set-up", "controller", "ok", "its addresses and its inference runtime are as they should be")
    if own.trust is None:
        yield _check(
            "certificate", "controller", "note", "the fleet has no authority: whoever reaches the broker is obeyed",
            "splitctl ca init makes one, where others can reach it",
        )  # fmt: skip
        return
    ending = list(ending_certificates(own.trust))
    for who, left_s in ending:
        yield _check(
            "certificate", who, "warning", f"the certificate of {who} ends in {time_span(left_s)} and was not renewed",
            "see its log: it renews it by itself while it reaches the controller's HTTPS",
        )  # fmt: skip
    if not ending:
        yield _check("certificate", "controller", "ok", "no machine's certificate is late to be renewed")


def node_checks(
    registry: Registry, name: str, answer: Answered | None, ways: WaysNow, *, now_unix_s: float, version: str
) -> Iterator[CheckRow]:
    """Of one node.

    Args:
        registry: The fleet.
        name: Of the node.
        answer: What it answered; None where it did not.
        ways: What nodes say of their links.
        now_unix_s: [s since the epoch]
        version: Release of the controller.
    """
    node = registry.node(name)
    if not node.online or node.status is None:
        seen_s = registry.last_seen_s(name, now_unix_s)
        since = "" if seen_s is None else f", and was last heard {time_span(seen_s)} ago"
        yield _check(
            "broker", name, "warning", f"{name} is not connected to the broker{since}",
            f"start edgesplit-agent there, or forget it: splitctl node remove {name}",
        )  # fmt: skip
        return
    if node.refused:
        yield _check("refused", name, "error", *cause_and_remedy(node.refused))
        return
    yield _release(name, node.status.version, version)
    yield _rights(name, answer, version)
    if answer is not None:
        yield _clock(name, answer)
    yield from _ports(name, ways)
    yield from _surroundings(name, answer, now_unix_s)
    yield _sensor(name, node)
    yield _links(name, ways.out.get(name, ()), registry.clock() - node.links_s)
    yield from _set_up(name, node)
    for row in failing_rows(node, registry.clock()):
        what = f"{name} fails at {row.what} since {time_span(row.failing_s)}: {row.reason}"
        yield _check("set-up", name, "warning", what, f"it is tried again in {time_span(row.next_try_s)}")


def _release(name: str, runs: str, version: str) -> CheckRow:
    if runs == version:
        return _check("version", name, "ok", f"{name} runs edgesplit {runs}, as the controller does")
    what = f"{name} runs edgesplit {runs}, the controller {version}: both speak the same protocol"
    return _check("version", name, "note", what, "nothing, or install the same release")


def _rights(name: str, answer: Answered | None, version: str) -> CheckRow:
    if answer is not None:
        seconds = answer.heard_unix_s - answer.asked_unix_s
        return _check("rights", name, "ok", f"{name} is asked and answers over the broker (in {time_span(seconds)})")
    return _check(
        "rights", name, "error", f"{name} is connected and does not answer when it is asked",
        f"with an edgesplit before {version} on it: upgrade; else see whether the broker lets it read "
        f"edgesplit/1/nodes/{name}/inquiries and write .../findings (docs/broker.md), and its log",
    )  # fmt: skip


def _clock(name: str, answer: Answered) -> CheckRow:
    ahead_s, uncertain_s = answer.clock_ahead_s, answer.uncertain_s
    side = "ahead of" if ahead_s > 0 else "behind"
    what = f"the clock of {name} is {time_span(abs(ahead_s))} {side} the controller's (± {time_span(uncertain_s)})"
    if abs(ahead_s) - uncertain_s <= CLOCKS_S:
        return _check("clock", name, "ok", what)
    return _check("clock", name, "warning", what, "let both take their time from the network (NTP)")


def _ports(name: str, ways: WaysNow) -> Iterator[CheckRow]:
    """Whether it reaches its peers' data planes, and they its own."""
    others = len(ways.addresses) - 1
    if not others:
        yield _check("port", name, "note", f"no other node is online that {name} could reach")
        return
    measured = ways.out.get(name, ())
    reasons = ways.unreached.get(name, {})
    broken = {**{link.to: "it does not answer" for link in measured if not link.up}, **reasons}
    for peer, reason in sorted(broken.items()):
        yield _check(
            "port", name, "error", f"{name} does not reach {peer} at {ways.addresses[peer] or 'no address'}: {reason}",
            f"on {peer}: [data] listen and advertise, and a firewall in between",
        )  # fmt: skip
    reached = sum(link.up for link in measured)
    unmeasured = others - len({link.to for link in measured} | broken.keys())
    if not broken:
        rest = f"; {unmeasured} were not measured" if unmeasured else ""
        what = f"{name} reaches {reached} of {others} nodes, and {ways.reaching[name]} reach it at {ways.addresses[name]}{rest}"
        yield _check("port", name, "ok", what)


def _surroundings(name: str, answer: Answered | None, now_unix_s: float) -> Iterator[CheckRow]:
    checkup = None if answer is None else answer.findings.checkup
    if checkup is None:
        for check in ("artifacts", "disk"):
            yield _check(check, name, "unknown", f"{name} did not answer", "see rights above")
        return
    if checkup.artifacts_problem:
        yield _check(
            "artifacts", name, "error",
            f"{name} does not reach the controller's models at {checkup.artifacts}: {checkup.artifacts_problem}",
            "on the controller: [artifacts] listen and advertise, and a firewall in between",
        )  # fmt: skip
    elif not checkup.artifacts:
        yield _check(
            "artifacts", name, "warning", f"{name} was not told where the controller's models are", "see its log"
        )
    else:
        yield _check("artifacts", name, "ok", f"{name} reaches the controller's models at {checkup.artifacts}")
    yield _disk(name, checkup.folder, checkup.free_bytes, f"its cache (of {size(checkup.limit_bytes)} at most)")
    if checkup.certificate_expires_s is not None:
        left_s = checkup.certificate_expires_s - now_unix_s
        until = f"the certificate of {name} holds until {day(checkup.certificate_expires_s)}"
        if left_s > SOON_S:
            yield _check("certificate", name, "ok", until)
        else:
            ended = f"the certificate of {name} ended" if left_s <= 0 else until
            yield _check(
                "certificate",
                name,
                "error" if left_s <= 0 else "note",
                ended,
                "it is renewed by itself, else see its log",
            )


def _sensor(name: str, node: FleetNode) -> CheckRow:
    metrics = node.metrics
    if metrics is None:
        return _check("sensor", name, "unknown", f"{name} has told no figures yet", "see its log")
    if metrics.power_problem:
        return _check(
            "sensor", name, "warning", f"{name} uses configured watts: {metrics.power_problem}",
            "mend the sensor, or choose another in [power] source of its agent",
        )  # fmt: skip
    if metrics.power_origin == "measured":
        return _check("sensor", name, "ok", f"{name} measures its power by {metrics.power_sensor}")
    what = f"the power of {name} is {metrics.power_origin}, not measured: energy is as good as these watts are"
    return _check("sensor", name, "note", what, "see docs/power.md for sensors")


def _links(name: str, links: Sequence[LinkState], said_s: float) -> CheckRow:
    """How old its figures are; `said_s` is how long ago it told them. [s]"""
    if not links:
        return _check("links", name, "note", f"no link of {name} was measured yet")
    oldest_s = max(link.age_s or 0.0 for link in links) + said_s
    what = f"{len(links)} links of {name} are measured, the oldest figure is of {time_span(oldest_s)} ago"
    if oldest_s <= STALE_S:
        return _check("links", name, "ok", what)
    return _check("links", name, "warning", what, "see its log, and whether the peer still answers: splitctl links")


def _set_up(name: str, node: FleetNode) -> Iterator[CheckRow]:
    status = node.status
    if status is None:
        return
    for sentence in status.warnings:
        check = "runtime" if "onnxruntime" in sentence else "set-up"
        yield _check(check, name, "warning", *cause_and_remedy(sentence))
    if not status.warnings:
        on = f" on {', '.join(status.providers)}" if status.providers else ""
        yield _check("runtime", name, "ok", f"{name} computes with {status.runtime or 'an unnamed runtime'}{on}")
    if status.emulated:
        yield _check("set-up", name, "note", f"speed and links of {name} are emulated, not the machine's")
    if status.insecure:
        what = f"{name} is open to whoever reaches it (insecure_network = true)"
        yield _check("set-up", name, "note", what, "splitctl ca init, or a network that nobody else reaches")


def _disk(subject: str, folder: str, free_bytes: int, what_lies_there: str) -> CheckRow:
    what = f"{size(free_bytes)} are free at {folder}, where {what_lies_there} lies"
    if free_bytes > LITTLE_BYTES:
        return _check("disk", subject, "ok", what)
    verdict: Verdict = "error" if free_bytes < ALMOST_NONE_BYTES else "warning"
    return _check("disk", subject, verdict, what, "make room there")


def _check(check: str, subject: str, verdict: Verdict, what: str, do: str = "") -> CheckRow:
    return CheckRow(check=check, subject=subject, verdict=verdict, what=what, do=do)
