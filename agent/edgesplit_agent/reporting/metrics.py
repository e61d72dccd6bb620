"""Prometheus metrics of one agent.

Owns: their names and labels. Its rule: series go with what they are about: those of an epoch once it is released, those of a model
once it is gone; nothing of prometheus_client is needed until somebody asks for a page. Not here: the page (`metrics_page.py`), serving it
(`http/application.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from edgesplit.control.figure_messages import Steadiness
from edgesplit.errors import InvalidTensor, NotDeployed, Overloaded, SizesRefused, UnknownModel
from edgesplit.planning.origins import Origin
from edgesplit_agent.reporting.figure_series import LabelledDistributions, LabelledFigures

__all__ = ["PrometheusMetrics"]

T = TypeVar("T", LabelledFigures, LabelledDistributions)

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
        self._node = node
        self._peers: set[str] = set()
        self._limited: list[Mapping[str, int]] = []
        self._untrusted: list[Mapping[str, int]] = []
        self._now: dict[str, tuple[str, Callable[[], float | None]]] = {}
        self._families: list[LabelledFigures | LabelledDistributions] = []
        self._requests = self._counts("edgesplit_requests", "Requests answered by this source.", "model")
        self._failures = self._counts(
            "edgesplit_request_failures", "Requests that were taken in here and ended in an error.", "model", "code"
        )
        self._refusals = self._counts(
            "edgesplit_request_refusals",
            "Requests that were not taken in: too many, of wrong tensors, of a model that is not deployed.",
            "model",
            "code",
        )
        self._latency = self._kept(
            LabelledDistributions(
                "edgesplit_request_latency_seconds",
                "From a request's arrival at its source to its answer, by the epoch that computed it, while that is held.",
                "node",
                "model",
                "epoch",
                bounds=LATENCY_BUCKETS_S,
            )
        )
        self._compute = self._counts("edgesplit_compute_seconds", "Seconds spent running components.", "model")
        self._coding = self._counts("edgesplit_coding_seconds", "Seconds spent on wire codecs.", "model")
        self._energy = self._counts(
            "edgesplit_energy_joules",
            "Energy of computing and of sending for a model's requests here; origin says how it is known.",
            "model",
            "part",
            "origin",
        )
        self._sent = self._counts("edgesplit_sent_bytes", "Tensor bytes sent to peers.", "peer")
        self._probed = self._counts("edgesplit_probe_bytes", "Bytes sent to measure links.", "peer")
        self._received = self._counts("edgesplit_received_bytes", "Tensor bytes received from peers.")
        self._fetched = self._counts(
            "edgesplit_artifact_bytes", "Blobs fetched, by who had them: the controller or a node.", "source"
        )
        self._epoch = self._values("edgesplit_serving_epoch", "Epoch new requests start on; 0: none.", "model")
        self._noise = self._values(
            "edgesplit_measured_noise",
            "Mean noise of the served epoch's requests that were checked against the float model.",
            "model",
        )
        self._own = self._counts(
            "edgesplit_self_measurement_seconds",
            "Processor time that the agent spent on measuring its own speed, by what for.",
            "work",
        )
        self._spread = self._values(
            "edgesplit_steadiness_spread",
            "How much the time of the same work varies here, relative standard deviation, over seconds, minutes or pauses.",
            "over",
        )
        self._rested = self._values("edgesplit_rested_ratio", "Time of a run after a pause over one in a row.")
        self._restless = self._values("edgesplit_restless", "1 where the machine is restless, 0 where steady.")
        self._lost = self._values(
            "edgesplit_lost_time_ratio",
            "Share of time that others took: stolen by the hypervisor, throttled by a limit, waited for a core.",
            "to",
        )
        self._frequency = self._values("edgesplit_core_frequency_hertz", "Clock of the cores.")
        self._expires = self._values(
            "edgesplit_certificate_expires_timestamp_seconds",
            "When the certificate of this program ends, since the epoch.",
        )
        self._info = self._values("edgesplit_agent_info", "What runs here.", "version")
        self._info.set(1, node, version)

    def show_limited(self, *counts: Mapping[str, int]) -> None:
        """Have `/metrics` show what limits for strangers turned away or ended: counts by kind, which go on being changed."""
        self._limited += counts

    def show_untrusted(self, counts: Mapping[str, int]) -> None:
        """Have `/metrics` show how many messages were not believed, by kind of topic; the counts go on being changed."""
        self._untrusted.append(counts)

    def show_now(self, name: str, text: str, read: Callable[[], float | None]) -> None:
        """Have `/metrics` show a figure that is read when it is asked for.

        Args:
            name: Behind `edgesplit_`, ending with the unit.
            text: What it is.
            read: Takes no time; None for what is not known.
        """
        self._now[f"edgesplit_{name}"] = text, read

    def certificate_expires(self, at_unix_s: float) -> None:
        """The certificate of this program is another, or was read. [s since the epoch]"""
        self._expires.set(at_unix_s, self._node)

    def begin(self, model: str, epoch: int) -> None:
        """An epoch is held from now on."""
        self._latency.of(self._node, model, str(epoch))

    def forget(self, model: str, epoch: int) -> None:
        """An epoch is held no more: its series go."""
        self._latency.drop(self._node, model, str(epoch))

    def gone(self, model: str) -> None:
        """Nothing of a model is held any more."""
        for shown in (self._epoch, self._noise):
            shown.drop(self._node, model)

    def completed(self, model: str, epoch: int, latency_s: float) -> None:
        """A request was answered. [s]"""
        self._requests.add(1, self._node, model)
        self._latency.of(self._node, model, str(epoch)).add(latency_s)

    def failed(self, model: str, code: str) -> None:
        """A request ended in an error, or was refused."""
        # A model nobody deployed is whatever a client wrote; a label for each would grow without bound.
        known = "" if code in UNDEPLOYED else model
        (self._refusals if code in REFUSALS else self._failures).add(1, self._node, known, code)

    def computed(self, model: str, seconds: float) -> None:
        """A component ran. [s]"""
        self._compute.add(seconds, self._node, model)

    def coded(self, model: str, seconds: float) -> None:
        """A tensor was coded or restored. [s]"""
        self._coding.add(seconds, self._node, model)

    def spent(self, model: str, part: str, joules: float, origin: Origin) -> None:
        """Requests took energy: `compute` or `transmit`. [J]"""
        # A sensor that drifts below zero gives nothing back.
        self._energy.add(max(joules, 0.0), self._node, model, part, origin)

    def measured_itself(self, work: str, seconds: float) -> None:
        """The agent took processor time to see how fast the node is. [s]"""
        self._own.add(seconds, self._node, work)

    def steadiness(self, said: Steadiness) -> None:
        """How steady the machine is; what is not known is not shown."""
        lost = {"throttled": said.throttled, "waited": said.waited, "stolen": said.stolen}
        for name, share in lost.items():
            if share is not None:
                self._lost.set(share, self._node, name)
        if said.frequency_hz is not None:
            self._frequency.set(said.frequency_hz, self._node)
        if said.regime == "unknown":
            return
        self._restless.set(said.regime == "restless", self._node)
        self._rested.set(said.rested_ratio, self._node)
        spreads = {"seconds": said.seconds_spread, "minutes": said.minutes_spread, "pauses": said.rested_spread}
        for name, spread in spreads.items():
            self._spread.set(spread, self._node, name)

    def sent(self, peer: str, nbytes: int) -> None:
        """Tensors reached a peer. [B]"""
        self._sent.add(nbytes, self._node, self._peer(peer))

    def probed(self, peer: str, nbytes: int) -> None:
        """A probe was sent to a peer. [B]"""
        self._probed.add(nbytes, self._node, self._peer(peer))

    def received(self, nbytes: int) -> None:
        """Tensors came from a peer. [B]"""
        self._received.add(nbytes, self._node)

    def checked(self, model: str, mean: float | None) -> None:
        """The mean noise of checked requests changed, or one could not be checked."""
        if mean is not None:
            self._noise.set(mean, self._node, model)

    def fetched(self, source: str, nbytes: int) -> None:
        """A blob came from a source. [B]"""
        self._fetched.add(nbytes, self._node, self._peer(source))

    def _peer(self, name: str) -> str:
        """A node's name as a label has it."""
        if name not in self._peers and len(self._peers) >= MOST_PEERS:
            return OTHERS
        self._peers.add(name)
        return name

    def serving(self, model: str, epoch: int | None) -> None:
        """The epoch of new requests changed."""
        self._epoch.set(epoch or 0, self._node, model)

    def families(self) -> Iterator[LabelledFigures | LabelledDistributions]:
        """All that a page shows, as it is now."""
        yield self._counted(
            "edgesplit_limited",
            "What limits for strangers turned away, ended or forgot before its time, by kind (docs/failure.md).",
            "kind",
            self._limited,
        )
        yield self._counted(
            "edgesplit_untrusted_messages",
            "Messages that were not believed: unsigned, changed, old or another's, by kind of topic.",
            "topic",
            self._untrusted,
        )
        for name, (text, read) in self._now.items():
            now, value = LabelledFigures("value", name, text, "node"), read()
            if value is not None:
                now.set(value, self._node)
            yield now
        yield from self._families

    def _counted(self, name: str, text: str, label: str, counts: Iterable[Mapping[str, int]]) -> LabelledFigures:
        """Counts that others keep."""
        found = LabelledFigures("count", name, text, "node", label)
        for kinds in counts:
            for kind, count in sorted(kinds.items()):
                found.add(count, self._node, kind)
        return found

    def _counts(self, name: str, text: str, *labels: str) -> LabelledFigures:
        """Counts of this node that are on every page."""
        return self._kept(LabelledFigures("count", name, text, "node", *labels))

    def _values(self, name: str, text: str, *labels: str) -> LabelledFigures:
        """Values of this node that are on every page."""
        return self._kept(LabelledFigures("value", name, text, "node", *labels))

    def _kept(self, family: T) -> T:
        """One more that is on every page."""
        self._families.append(family)
        return family
