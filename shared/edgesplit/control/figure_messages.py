"""Control-plane messages of figures that nodes report regularly: power and load, links, usage.

Owns: what was measured, in units, and where it comes from; how steady the machine is that measured it. Its rule: that of `control/messages.py`, a released message is
never changed. Not here: execution times (`control/profile_messages.py`), noise (`control/noise_messages.py`).
"""

from __future__ import annotations

import math
from typing import Literal

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, SMALL_BYTES, Topic
from edgesplit.planning.origins import Origin

__all__ = [
    "LINK_METRICS",
    "NODE_METRICS",
    "USAGE",
    "AskedSizes",
    "LinkMetrics",
    "LinkState",
    "NodeMetrics",
    "Regime",
    "Steadiness",
    "UnreachedPeer",
    "Usage",
]

Regime = Literal["unknown", "steady", "restless"]
"""Of a machine: whether the same work takes it the same time. `unknown` until enough was measured."""


class Steadiness(Message, frozen=True, kw_only=True):
    """How steady a machine is: how much the time of a small fixed workload varies that nothing of edgesplit disturbs.

    Attributes:
        seconds_spread: From one moment to another within seconds, beyond what runs in a row differ by, relative standard
            deviation; 0 where not known. [1]
        minutes_spread: From one minute to another, beyond what seconds explain, relative standard deviation; 0 where
            not known. [1]
        rested_spread: Of runs after a pause over those right behind them, relative standard deviation; 0 where not known. [1]
        rested_ratio: Time of a run after a pause over one in a row; 1 where not known. [1]
        regime: What the spreads amount to, with hysteresis.
        stolen: Share of the time of all cores that the hypervisor gave to others (steal in /proc/stat), over the last
            minutes; 0 where the kernel does not tell. [1]
        throttled: Share of the time during which the limit of a control group held the agent back, over the last minutes;
            None where there is no limit. [1]
        waited: Share of the time in which the thread that computes wanted a core but others of this machine had it, over
            the last minutes; None where the kernel does not tell. [1]
        frequency_hz: Clock of the cores, mean; None where the kernel does not tell. [Hz]
        samples: How many runs this stands on.
        cost_share: Share of one core that measuring this took. [1]
    """

    seconds_spread: float = 0.0
    minutes_spread: float = 0.0
    rested_spread: float = 0.0
    rested_ratio: float = 1.0
    regime: Regime = "unknown"
    stolen: float = 0.0
    throttled: float | None = None
    waited: float | None = None
    frequency_hz: float | None = None
    samples: int = 0
    cost_share: float = 0.0

    @property
    def spread(self) -> float:
        """From one moment to any other, relative standard deviation. [1]"""
        return math.hypot(self.seconds_spread, self.minutes_spread)


class NodeMetrics(Message, frozen=True, kw_only=True):
    """Compute and power figures of a node.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        at_unix_s: When they were read. [s since the epoch]
        cpu_percent: Load of all cores together. [%]
        memory_available_bytes: What programs may still get without swapping. [B]
        compute_w: Power drawn by computing, over idle where a sensor can tell. [W]
        transmit_w: Power drawn by sending. [W]
        power_origin: Where the watts come from.
        power_sensor: Name of the sensor, or `constant`.
        power_problem: Why configured watts stand in for a sensor; empty where they do not, or were asked for.
        idle_w: What the sensor reads while nothing is computed, None until it told. [W]
        drawn_w: What the sensor reads now, None without one. [W]
        battery_fraction: How full the battery is, 0 to 1; None without one.
        battery_energy_j: What is left in it; None where it does not say. [J]
        battery_discharging: Whether it delivers; False on mains, None where it does not say.
        idle_origin: Where `idle_w` comes from; None where there is none, and from an agent that does not say: then it comes
            from where the watts do.
        steadiness: How steady the machine is; None from an agent that does not measure it.
    """

    node: str
    instance: str
    at_unix_s: float
    cpu_percent: float
    memory_available_bytes: int
    compute_w: float
    transmit_w: float
    power_origin: Origin
    power_sensor: str = "constant"
    power_problem: str = ""
    idle_w: float | None = None
    drawn_w: float | None = None
    battery_fraction: float | None = None
    battery_energy_j: float | None = None
    battery_discharging: bool | None = None
    idle_origin: Origin | None = None
    steadiness: Steadiness | None = None


NODE_METRICS = Topic(
    "nodes/{node}/metrics",
    NodeMetrics,
    says="compute and power figures of a node",
    writers=("agent",),
    readers=("controller",),
    retained=True,
    signed=frozenset({"idle_w", "drawn_w"}),  # sensors drift below zero
    limit_bytes=SMALL_BYTES,
)


class LinkState(Message, frozen=True, kw_only=True):
    """One directed link as its sender measured it.

    Attributes:
        to: The receiving node.
        up: Whether the peer answers now.
        bandwidth_bytes_per_s: Rate at which a long frame passes. [B/s]
        latency_s: One way, half the round trip. [s]
        measured_at_unix_s: Of the last sample, on the node's clock; for people. [s since the epoch]
        origin: Where both figures come from; agents measure them.
        scatter: Standard deviation of one measurement of the bandwidth, relative; 0 where not known. [1]
        age_s: Since the last sample when this was said; None from an agent that does not say. [s]
        error: Standard error of `bandwidth_bytes_per_s`, relative; 0 where not known. [1]
        latency_error_s: Standard error of `latency_s`; 0 where not known. [s]
    """

    to: str
    up: bool
    bandwidth_bytes_per_s: float
    latency_s: float
    measured_at_unix_s: float
    origin: Origin = "measured"
    scatter: float = 0.0
    age_s: float | None = None
    error: float = 0.0
    latency_error_s: float = 0.0


class UnreachedPeer(Message, frozen=True, kw_only=True):
    """An online peer that a node has no connection to, and why.

    Attributes:
        to: The peer.
        reason: One sentence.
    """

    to: str
    reason: str


class LinkMetrics(Message, frozen=True, kw_only=True):
    """The links that leave a node.

    Attributes:
        node: Who says this.
        instance: Of its registration.
        links: Those measured at least once.
        unreached: Peers without a connection now, measured before or not.
    """

    node: str
    instance: str
    links: tuple[LinkState, ...]
    unreached: tuple[UnreachedPeer, ...] = ()


LINK_METRICS = Topic(
    "nodes/{node}/links",
    LinkMetrics,
    says="the links that leave a node",
    writers=("agent",),
    readers=("controller",),
    retained=True,
    limit_bytes=LARGE_BYTES,
)


class AskedSizes(Message, frozen=True, kw_only=True):
    """Sizes that requests had.

    Attributes:
        inputs: Shape of each input that has open axes.
        requests: How many had them, and were answered; where more different sizes are asked than are counted, a few more
            than it were.
    """

    inputs: dict[str, tuple[int, ...]]
    requests: int


class Usage(Message, frozen=True, kw_only=True):
    """What serving one epoch of a model cost on one node since the epoch was prepared there.

    Attributes:
        node: Who says this.
        model: Of which model.
        epoch: Number of the plan.
        requests: Completed requests (source), or those whose part was computed (other nodes); each of several that were computed
            as one counts.
        failed: Requests that ended in an error (source only).
        compute_s: Seconds spent running components and coding tensors. [s]
        transmit_s: Seconds the node spent sending (bytes over measured rate, plus latency). [s]
        energy_j: Of computing and sending together. [J]
        energy_origin: The weakest of what went into `energy_j`: `measured`, else `modelled` or `configured`.
        latency_sum_s: Of completed requests (source only). [s]
        compute_energy_j: Integrated over the sensor's readings where one is there, else compute_s times watts. [J]
        compute_energy_origin: Of `compute_energy_j`.
        transmit_energy_j: transmit_s times configured watts, for no sensor tells sending apart. [J]
        counted_since_unix_s: When these counters began; tells them from others of the same epoch, before the agent
            restarted or prepared it again. 0: not said. [s since the epoch]
        coding_s: The part of compute_s that was spent on wire codecs. [s]
        waiting_s: What components and tensors to be coded waited, once they could begin, for the node to be done with
            other requests or with timing; not in compute_s, and not what they waited for their own request. [s]
        handling_s: What requests took here besides: handing work to the thread that computes and back, the next steps,
            packing, sending what goes at once. Not in it: reading what arrives, answering the client. [s]
        unplanned: Those of `requests` that had other sizes than planned for, or were computed together with others (source
            only).
        sizes: Sizes of `requests` where the model leaves some open, the most frequent ones first (source only).
        latency_p50_s: Median of the last completed requests, 256 at most (source only); None before there was one. [s]
        latency_p95_s: What 95 of 100 of them took at most. [s]
        latency_p99_s: What 99 of 100 of them took at most. [s]
    """

    node: str
    model: str
    epoch: int
    requests: int
    failed: int
    compute_s: float
    transmit_s: float
    energy_j: float
    energy_origin: Origin
    latency_sum_s: float = 0.0
    compute_energy_j: float = 0.0
    compute_energy_origin: Origin = "configured"
    transmit_energy_j: float = 0.0
    counted_since_unix_s: float = 0.0
    coding_s: float = 0.0
    waiting_s: float = 0.0
    handling_s: float = 0.0
    unplanned: int = 0
    sizes: tuple[AskedSizes, ...] = ()
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None


USAGE = Topic(
    "nodes/{node}/usage/{model}",
    Usage,
    says="what serving an epoch cost so far",
    writers=("agent",),
    readers=("controller",),
    limit_bytes=SMALL_BYTES,
)
