"""Operations on nodes and links, and the documents that answer them.

Owns: these operations and their documents. Its rule: keys may be added, never renamed; figures are None until a node
reported them. Not here: which nodes a model may use (`goal_operations.py`), agents' messages (`control/`).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.figure_messages import Steadiness
from edgesplit.operations.exchange import TaggedOperation

__all__ = [
    "FailingRow",
    "FleetOperation",
    "LinkRow",
    "ListLinks",
    "ListNodes",
    "NodeRemovedDocument",
    "NodeRow",
    "RemoveNode",
    "SpeedRow",
]


class ListNodes(TaggedOperation, frozen=True, kw_only=True, tag="list-nodes"):
    """Answered with a list of `NodeRow`."""


class SpeedRow(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a node computes a model: its execution profile, and what live timings correct it by.

    Attributes:
        whole_s: The whole model in float, as plans assume it now. [s]
        profiled_s: As the node once measured it. [s]
        factor: What the profile's times in float are multiplied with. [1]
        int8_factor: Those in int8. [1]
        origin: What the factors rest on: `profile` (nothing else was heard), `live timings` of served requests, or
            `timed again` while nothing was served.
        age_s: Since that was last heard; None for a profile. [s]
    """

    whole_s: float
    profiled_s: float
    factor: float = 1.0
    int8_factor: float = 1.0
    origin: str = "profile"
    age_s: float | None = None


class FailingRow(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a node tries again and again, of `splitctl nodes`.

    Attributes:
        what: `profiling MODEL` or `preparing epoch N of MODEL`.
        reason: Why it failed last.
        attempts: How many tries failed so far.
        failing_s: Since the first of them. [s]
        next_try_s: Until the next one; 0: under way. [s]
    """

    what: str
    reason: str
    attempts: int
    failing_s: float
    next_try_s: float


class NodeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `splitctl nodes`; figures are None until the node reported them.

    Attributes:
        name: Name of the node.
        online: Whether its agent is connected to the broker.
        advertise: host:port where peers and clients reach its data plane.
        cpu_percent: Load of all cores together. [%]
        memory_available_bytes: Memory that programs can still have. [B]
        compute_w: Power drawn by computing. [W]
        transmit_w: Power drawn by sending. [W]
        power_origin: Where the watts come from: `measured`, `modelled` or `configured`.
        version: Version of edgesplit there.
        runtime: Name and version of its inference runtime.
        emulated: Its speed and links are those of an `[emulation]` section, not the machine's.
        refused: Why it is not used (another protocol version); else empty.
        speeds: How fast it computes each model that it has profiled, by the model's name.
        providers: Execution providers its sessions really got; empty before the first session.
        power_sensor: Where its watts come from, `constant` for the configuration.
        power_problem: Why configured watts stand in for a sensor; empty where they do not.
        failing: What it tries again and again because something is away.
        clock_offset_s: How far its clock is ahead of the controller's; None where that is not known. [s]
        warnings: What is wrong with how it is set up while it works all the same.
        last_seen_s: Since it last said anything; None where that is not known. Figures of a node that is offline are
            None: those it had last say nothing of now. [s]
        steadiness: How steady its machine is; None until it said so.
        insecure: It listens to strangers, for its configuration says `insecure_network = true`.
        drained_unix_s: Since when plans leave it out, for `splitctl drain`; None where they do not. [s since the epoch]
        labels: Of its configuration, such as `site` and `role`.
    """

    name: str
    online: bool
    advertise: str
    cpu_percent: float | None
    memory_available_bytes: int | None
    compute_w: float | None
    transmit_w: float | None
    power_origin: str | None
    version: str = ""
    runtime: str = ""
    emulated: bool = False
    refused: str = ""
    speeds: dict[str, SpeedRow] = {}
    providers: tuple[str, ...] = ()
    power_sensor: str | None = None
    power_problem: str = ""
    failing: tuple[FailingRow, ...] = ()
    clock_offset_s: float | None = None
    warnings: tuple[str, ...] = ()
    last_seen_s: float | None = None
    steadiness: Steadiness | None = None
    insecure: bool = False
    drained_unix_s: float | None = None
    labels: dict[str, str] = {}


class RemoveNode(TaggedOperation, frozen=True, kw_only=True, tag="remove-node"):
    """Forget a node that is gone for good. Answered with `NodeRemovedDocument`."""

    name: str


class NodeRemovedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl node remove`.

    Attributes:
        name: Name of the node.
        topics: Retained messages that were removed from the broker.
        named_by: Models whose pins or forbidden nodes still name it.
    """

    name: str
    topics: tuple[str, ...]
    named_by: tuple[str, ...] = ()


class ListLinks(TaggedOperation, frozen=True, kw_only=True, tag="list-links"):
    """Answered with a list of `LinkRow`."""


class LinkRow(msgspec.Struct, frozen=True, kw_only=True):
    """One direction between two online nodes in `splitctl links`.

    Attributes:
        from_: Sending node.
        to: Receiving node.
        bandwidth_bytes_per_s: Measured; None where it never was. [B/s]
        latency_s: One way; None where it was never measured. [s]
        age_s: Of the last sample; None where there is none. [s]
        origin: Where the figures come from: `measured`, or `missing` where they never were.
        up: Whether the peer answers now.
        reason: Why it does not, or was never measured; empty while it answers.
        error: Standard error of the bandwidth, relative; None where it is not known. [1]
        latency_error_s: Standard error of the latency; None where it is not known. [s]
    """

    from_: str = msgspec.field(name="from")
    to: str
    bandwidth_bytes_per_s: float | None
    latency_s: float | None
    age_s: float | None
    origin: str
    up: bool = True
    reason: str = ""
    error: float | None = None
    latency_error_s: float | None = None


FleetOperation = ListNodes | RemoveNode | ListLinks
