"""Prometheus metrics of one agent.

Owns: their names and labels. Its rule: a registry of its own, so that several agents fit in one process; series go with
what they are about: those of an epoch once it is released, those of a model once it is gone. Not here: serving them
(`http_server.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from edgesplit.control.figure_messages import Steadiness
from edgesplit.errors import InvalidTensor, NotDeployed, Overloaded, SizesRefused, UnknownModel
from edgesplit.planning.origins import Origin

__all__ = ["PrometheusMetrics"]

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.5, 5.0, 10.0, 30.0, 60.0)


MOST_PEERS = 2048
"""Values of a label that names nodes: whoever may register can do so under ever new names, and no series of a peer ever goes."""
OTHERS = "others"
REFUSALS = frozenset(error.code for error in (Overloaded, InvalidTensor, SizesRefused, NotDeployed, UnknownModel))
"""Errors of requests that were not taken in; any other is one that this source had begun to answer."""
UNDEPLOYED = frozenset({NotDeployed.code, UnknownModel.code})


class PrometheusMetrics:
    """Counters of a node.

    Args:
        node: Its name, a label on everything.
        version: Of edgesplit.
    """

    def __init__(self, node: str, version: str) -> None:
        # When a series began is of use to OpenMetrics alone, and would double most of them.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it says no types
        self.registry = CollectorRegistry()
        self._node = node
        self._peers: set[str] = set()
        registry = self.registry
        ProcessCollector(registry=registry)
        self._limited = _Counts(
            node,
            "edgesplit_limited",
            "What limits for strangers turned away, ended or forgot before its time, by kind (docs/failure.md).",
            "kind",
        )
        self._untrusted = _Counts(
            node,
            "edgesplit_untrusted_messages",
            "Messages that were not believed: unsigned, changed, old or another's, by kind of topic.",
            "topic",
        )
        self._now = _FiguresNow(node)
        for collector in (self._limited, self._untrusted, self._now):
            registry.register(collector)
        self._requests = Counter(
            "edgesplit_requests", "Requests answered by this source.", ["node", "model"], registry=registry
        )
        self._failures = Counter(
            "edgesplit_request_failures",
            "Requests that were taken in here and ended in an error.",
            ["node", "model", "code"],
            registry=registry,
        )
        self._refusals = Counter(
            "edgesplit_request_refusals",
            "Requests that were not taken in: too many, of wrong tensors, of a model that is not deployed.",
            ["node", "model", "code"],
            registry=registry,
        )
        self._latency = Histogram(
            "edgesplit_request_latency_seconds",
            "From a request's arrival at its source to its answer, by the epoch that computed it, while that is held.",
            ["node", "model", "epoch"],
            buckets=LATENCY_BUCKETS_S,
            registry=registry,
        )
        self._compute = Counter(
            "edgesplit_compute_seconds", "Seconds spent running components.", ["node", "model"], registry=registry
        )
        self._coding = Counter(
            "edgesplit_coding_seconds", "Seconds spent on wire codecs.", ["node", "model"], registry=registry
        )
        self._energy = Counter(
            "edgesplit_energy_joules",
            "Energy of computing and of sending for a model's requests here; origin says how it is known.",
            ["node", "model", "part", "origin"],
            registry=registry,
        )
        self._sent = Counter("edgesplit_sent_bytes", "Tensor bytes sent to peers.", ["node", "peer"], registry=registry)
        self._probed = Counter(
            "edgesplit_probe_bytes", "Bytes sent to measure links.", ["node", "peer"], registry=registry
        )
        self._received = Counter(
            "edgesplit_received_bytes", "Tensor bytes received from peers.", ["node"], registry=registry
        )
        self._fetched = Counter(
            "edgesplit_artifact_bytes",
            "Blobs fetched, by who had them: the controller or a node.",
            ["node", "source"],
            registry=registry,
        )
        self._epoch = Gauge(
            "edgesplit_serving_epoch", "Epoch new requests start on; 0: none.", ["node", "model"], registry=registry
        )
        self._noise = Gauge(
            "edgesplit_measured_noise",
            "Mean noise of the served epoch's requests that were checked against the float model.",
            ["node", "model"],
            registry=registry,
        )
        self._own = Counter(
            "edgesplit_self_measurement_seconds",
            "Processor time that the agent spent on measuring its own speed, by what for.",
            ["node", "work"],
            registry=registry,
        )
        self._spread = Gauge(
            "edgesplit_steadiness_spread",
            "How much the time of the same work varies here, relative standard deviation, over seconds, minutes or pauses.",
            ["node", "over"],
            registry=registry,
        )
        self._rested = Gauge(
            "edgesplit_rested_ratio",
            "Time of a run after a pause over one in a row.",
            ["node"],
            registry=registry,
        )
        self._restless = Gauge(
            "edgesplit_restless", "1 where the machine is restless, 0 where steady.", ["node"], registry=registry
        )
        self._lost = Gauge(
            "edgesplit_lost_time_ratio",
            "Share of time that others took: stolen by the hypervisor, throttled by a limit, waited for a core.",
            ["node", "to"],
            registry=registry,
        )
        self._frequency = Gauge("edgesplit_core_frequency_hertz", "Clock of the cores.", ["node"], registry=registry)
        self._expires = Gauge(
            "edgesplit_certificate_expires_timestamp_seconds",
            "When the certificate of this program ends, since the epoch.",
            ["node"],
            registry=registry,
        )
        Gauge("edgesplit_agent_info", "What runs here.", ["node", "version"], registry=registry).labels(
            node, version
        ).set(1)

    def show_limited(self, *counts: Mapping[str, int]) -> None:
        """Have `/metrics` show what limits for strangers turned away or ended: counts by kind, which go on being changed."""
        self._limited.counts += counts

    def show_untrusted(self, counts: Mapping[str, int]) -> None:
        """Have `/metrics` show how many messages were not believed, by kind of topic; the counts go on being changed."""
        self._untrusted.counts.append(counts)

    def show_now(self, name: str, text: str, read: Callable[[], float | None]) -> None:
        """Have `/metrics` show a figure that is read when it is asked for.

        Args:
            name: Behind `edgesplit_`, ending with the unit.
            text: What it is.
            read: Takes no time; None for what is not known.
        """
        self._now.figures[f"edgesplit_{name}"] = text, read

    def certificate_expires(self, at_unix_s: float) -> None:
        """The certificate of this program is another, or was read. [s since the epoch]"""
        self._expires.labels(self._node).set(at_unix_s)

    def begin(self, model: str, epoch: int) -> None:
        """An epoch is held from now on."""
        self._latency.labels(self._node, model, str(epoch))

    def forget(self, model: str, epoch: int) -> None:
        """An epoch is held no more: its series go."""
        with contextlib.suppress(KeyError):  # one that was never prepared
            self._latency.remove(self._node, model, str(epoch))

    def gone(self, model: str) -> None:
        """Nothing of a model is held any more."""
        for shown in (self._epoch, self._noise):
            with contextlib.suppress(KeyError):  # one that never served
                shown.remove(self._node, model)

    def completed(self, model: str, epoch: int, latency_s: float) -> None:
        """A request was answered. [s]"""
        self._requests.labels(self._node, model).inc()
        self._latency.labels(self._node, model, str(epoch)).observe(latency_s)

    def failed(self, model: str, code: str) -> None:
        """A request ended in an error, or was refused."""
        # A model nobody deployed is whatever a client wrote; a label for each would grow without bound.
        known = "" if code in UNDEPLOYED else model
        (self._refusals if code in REFUSALS else self._failures).labels(self._node, known, code).inc()

    def computed(self, model: str, seconds: float) -> None:
        """A component ran. [s]"""
        self._compute.labels(self._node, model).inc(seconds)

    def coded(self, model: str, seconds: float) -> None:
        """A tensor was coded or restored. [s]"""
        self._coding.labels(self._node, model).inc(seconds)

    def spent(self, model: str, part: str, joules: float, origin: Origin) -> None:
        """Requests took energy: `compute` or `transmit`. [J]"""
        # A sensor that drifts below zero gives nothing back.
        self._energy.labels(self._node, model, part, origin).inc(max(joules, 0.0))

    def measured_itself(self, work: str, seconds: float) -> None:
        """The agent took processor time to see how fast the node is. [s]"""
        self._own.labels(self._node, work).inc(seconds)

    def steadiness(self, said: Steadiness) -> None:
        """How steady the machine is; what is not known is not shown."""
        lost = {"throttled": said.throttled, "waited": said.waited, "stolen": said.stolen}
        for name, share in lost.items():
            if share is not None:
                self._lost.labels(self._node, name).set(share)
        if said.frequency_hz is not None:
            self._frequency.labels(self._node).set(said.frequency_hz)
        if said.regime == "unknown":
            return
        self._restless.labels(self._node).set(said.regime == "restless")
        self._rested.labels(self._node).set(said.rested_ratio)
        spreads = {"seconds": said.seconds_spread, "minutes": said.minutes_spread, "pauses": said.rested_spread}
        for name, spread in spreads.items():
            self._spread.labels(self._node, name).set(spread)

    def sent(self, peer: str, nbytes: int) -> None:
        """Tensors reached a peer. [B]"""
        self._sent.labels(self._node, self._peer(peer)).inc(nbytes)

    def probed(self, peer: str, nbytes: int) -> None:
        """A probe was sent to a peer. [B]"""
        self._probed.labels(self._node, self._peer(peer)).inc(nbytes)

    def received(self, nbytes: int) -> None:
        """Tensors came from a peer. [B]"""
        self._received.labels(self._node).inc(nbytes)

    def checked(self, model: str, mean: float | None) -> None:
        """The mean noise of checked requests changed, or one could not be checked."""
        if mean is not None:
            self._noise.labels(self._node, model).set(mean)

    def fetched(self, source: str, nbytes: int) -> None:
        """A blob came from a source. [B]"""
        self._fetched.labels(self._node, self._peer(source)).inc(nbytes)

    def _peer(self, name: str) -> str:
        """A node's name as a label has it."""
        if name not in self._peers and len(self._peers) >= MOST_PEERS:
            return OTHERS
        self._peers.add(name)
        return name

    def serving(self, model: str, epoch: int | None) -> None:
        """The epoch of new requests changed."""
        self._epoch.labels(self._node, model).set(epoch or 0)


class _Counts(Collector):
    """Reads counts when it is asked for them."""

    def __init__(self, node: str, name: str, text: str, label: str) -> None:
        self._node, self._name, self._text, self._label = node, name, text, label
        self.counts: list[Mapping[str, int]] = []

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        family = CounterMetricFamily(self._name, self._text, labels=["node", self._label])
        for counts in self.counts:
            for kind, count in sorted(counts.items()):
                family.add_metric([self._node, kind], count)
        yield family


class _FiguresNow(Collector):
    """Reads figures of the node when it is asked for them."""

    def __init__(self, node: str) -> None:
        self._node = node
        self.figures: dict[str, tuple[str, Callable[[], float | None]]] = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See `prometheus_client.registry.Collector`."""
        for name, (text, read) in self.figures.items():
            family = GaugeMetricFamily(name, text, labels=["node"])
            value = read()
            if value is not None:
                family.add_metric([self._node], value)
            yield family
