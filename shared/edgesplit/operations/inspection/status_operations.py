"""Operations on how a fleet fares now (`status`, `top`), and the documents that answer them.

Owns: these operations and their documents. Its rule: keys may be added, never renamed; a problem says what to do about it. Not
here: what is looked at only when somebody asks (`doctor_operation.py`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from edgesplit.operations.exchange import TaggedOperation
from edgesplit.operations.fleet_operations import LinkRow

__all__ = [
    "ActiveModelRow",
    "ActiveNodeRow",
    "ActivityDocument",
    "NodeState",
    "NodeStateRow",
    "NoteRow",
    "ProblemRow",
    "ServedRow",
    "Severity",
    "ShowActivity",
    "ShowStatus",
    "StatusDocument",
]

Severity = Literal["error", "warning"]
NodeState = Literal["online", "offline", "refused"]


class ShowStatus(TaggedOperation, frozen=True, kw_only=True, tag="show-status"):
    """Answered with `StatusDocument`."""


class ProblemRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be.

    Attributes:
        severity: `error`: a model does not serve as it was asked to, or the controller cannot remember; `warning`: everything
            serves, and something should be looked at.
        what: What is wrong, one sentence.
        do: What to do about it, one sentence.
    """

    severity: Severity
    what: str
    do: str


class NoteRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is as somebody wished, and that others may wonder about.

    Attributes:
        what: What holds, one sentence.
        do: How to end it, one sentence; empty where nothing is to be ended.
    """

    what: str
    do: str = ""


class ServedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it serves; of one with several sources, one row for each.

    Attributes:
        name: Of the deployment: the model's own at its first source, NAME~SOURCE at each further one.
        serving: Whether its source answers requests now, be it on a fallback.
        epoch: Number of the plan that answers them; None where it does not serve.
        requests_per_s: Of the last ten seconds, at the source. [1/s]
        latency_p50_s: Median of the last requests of the active plan, 256 at most; None before there was one. [s]
        failed: Requests that ended in an error since the active plan serves.
        source: Where its requests arise; None where it is not deployed.
        on_fallback: Another plan answers than the one that is wanted, for a node of that one is lost.
    """

    name: str
    serving: bool
    epoch: int | None
    requests_per_s: float
    latency_p50_s: float | None
    failed: int
    source: str | None = None
    on_fallback: bool = False


class NodeStateRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine.

    Attributes:
        name: Of the node.
        state: `refused`: its agent is connected and is not used, for it speaks another protocol.
        last_seen_s: Since it last said anything; None where that is not known. [s]
    """

    name: str
    state: NodeState
    last_seen_s: float | None


class StatusDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl status`.

    Attributes:
        ok: Nothing is wrong: there is no problem.
        problems: Errors first.
        models: All that were added.
        nodes: All that ever registered, in alphabetical order.
        notes: What holds because somebody asked for it: drained nodes, paused planning, controllers that stand by.
    """

    ok: bool
    problems: tuple[ProblemRow, ...]
    models: tuple[ServedRow, ...]
    nodes: tuple[NodeStateRow, ...]
    notes: tuple[NoteRow, ...] = ()


class ShowActivity(TaggedOperation, frozen=True, kw_only=True, tag="show-activity"):
    """Answered with `ActivityDocument`."""


class ActiveModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """A deployed model, of `splitctl top`.

    Attributes:
        name: As in `splitctl status`.
        source: Where its requests arise.
        epoch: Number of the plan that answers them; None where it does not serve.
        requests_per_s: Of the last ten seconds, at the source. [1/s]
        latency_p50_s: As in `splitctl status`. [s]
        predicted_latency_s: Of the active plan. [s]
        energy_j: Mean of the active plan's requests, of all nodes; None before there was one. [J]
        predicted_energy_j: Of the active plan. [J]
        energy_origin: The weakest of what `energy_j` is made of; None with it.
        failed: Requests that ended in an error since the active plan serves.
        nodes: That run a part of it.
        latency_p95_s: What 95 of 100 of the requests of the median took at most. [s]
        latency_p99_s: What 99 of 100 of them took at most. [s]
    """

    name: str
    source: str
    epoch: int | None
    requests_per_s: float
    latency_p50_s: float | None
    predicted_latency_s: float
    energy_j: float | None
    predicted_energy_j: float
    energy_origin: str | None
    failed: int
    nodes: tuple[str, ...]
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None


class ActiveNodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A machine, of `splitctl top`; figures are None while it is offline.

    Attributes:
        name: Of the node.
        state: As in `splitctl status`.
        cpu_percent: Load of all cores together. [%]
        memory_available_bytes: Memory that programs can still have. [B]
        drawn_w: What its sensor reads; None without one. [W]
        serving_w: What serving draws, mean of the last five minutes. [W]
        battery_fraction: How full its battery is, 0 to 1; None without one. [1]
        models: That it runs a part of.
    """

    name: str
    state: NodeState
    cpu_percent: float | None
    memory_available_bytes: int | None
    drawn_w: float | None
    serving_w: float
    battery_fraction: float | None
    models: tuple[str, ...]


class ActivityDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl top`.

    Attributes:
        at_unix_s: When this was so, on the controller's clock. [s since the epoch]
        models: That are deployed.
        nodes: All that ever registered.
        links: That an active plan uses, and those that are down.
        other_links: How many more there are.
    """

    at_unix_s: float
    models: tuple[ActiveModelRow, ...]
    nodes: tuple[ActiveNodeRow, ...]
    links: tuple[LinkRow, ...]
    other_links: int
