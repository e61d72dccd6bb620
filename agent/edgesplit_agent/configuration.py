"""The agent's configuration: every key of its TOML file, with defaults and checks.

Owns: the frozen classes below. Its rule: read once in `main`; a wrong value is refused there with one sentence. Not
here: the merge of file and environment (`edgesplit.daemon.configuration_file`), and what the values are used for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from edgesplit.daemon.advertised_address import checked_advertise
from edgesplit.daemon.configuration_sections import BrokerSection, Section, checked
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.names import checked_name
from edgesplit.planning.selector import checked_labels
from edgesplit.wire.address import TcpAddress, parse_address, parse_tcp

__all__ = [
    "AgentConfiguration",
    "CacheSection",
    "DataSection",
    "EmulatedLinkSection",
    "EmulationSection",
    "HttpSection",
    "NodeSection",
    "PowerSection",
    "RuntimeSection",
    "full_name",
]

Positive = Annotated[int, msgspec.Meta(ge=1)]
NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=1000)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
GIB = 1024**3
DATA_PORT = 7400
PROVIDERS: Mapping[str, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""Short names of execution providers; any other is taken by onnxruntime's full name."""
_JOINING = "join a fleet (edgesplit-agent join, with the line that splitctl node add prints)"


def _default_cache_path() -> str:
    # systemd names the folder of CacheDirectory= in this variable; more than one is separated by colons.
    return os.environ.get("CACHE_DIRECTORY", "").split(":")[0] or "/var/cache/edgesplit"


class NodeSection(Section, frozen=True, kw_only=True):
    """What the node is to others.

    Attributes:
        labels: Such as `site` and `role`: deployments choose nodes by them (`splitctl deploy --on`). A node without the label `site` is
            shared by all sites.
    """

    labels: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse labels that no selector could name."""
        checked(lambda: checked_labels(self.labels))


class DataSection(Section, frozen=True, kw_only=True):
    """The data plane's socket.

    Attributes:
        listen: host:port to bind; empty: port 7400 of this machine alone, in a secured fleet of every interface.
        advertise: host:port that other nodes reach; empty: derived from `listen`.
        socket: Path of a Unix socket for programs on this machine; empty: none.
        max_body_bytes: Largest tensor body accepted in one frame. [B]
        max_connections: Accepted at a time; beyond that the one worth least is closed for a new one.
        max_connections_per_address: Of them, from one address.
        dead_after_s: Silence after which a peer that owes an answer is lost. [s]
        dead_after_limit_s: What a peer that was slow to answer lately may have instead, while its machine answers. [s]
        stable_after_s: How long a peer that was lost has to stay before requests rely on it again; longer each time. [s]
    """

    listen: str = ""
    advertise: str = ""
    socket: str = ""
    max_body_bytes: Positive = GIB
    max_connections: Positive = 1024
    max_connections_per_address: Positive = 256
    dead_after_s: Annotated[float, msgspec.Meta(ge=0.2, le=600)] = 0.7
    dead_after_limit_s: Annotated[float, msgspec.Meta(ge=0.2, le=600)] = 3.0
    stable_after_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 2.0

    def __post_init__(self) -> None:
        """Refuse addresses without a port, and a socket that cannot be made."""
        if self.listen:
            _tcp(self.listen)
        _check_advertise("[data] advertise", self.advertise)
        if self.socket:
            checked(lambda: parse_address(self.socket_address))

    @property
    def socket_address(self) -> str:
        """The Unix socket as clients spell it; empty for none."""
        return f"unix:{self.socket.removeprefix('unix:')}" if self.socket else ""


class PowerSection(Section, frozen=True, kw_only=True):
    """Where watts come from; `docs/power.md` says more.

    Attributes:
        source: `auto` (the first sensor that can be read, else constant), `constant`, a sensor's name (`rapl`, `nvml`,
            `rails`, `acpi`, `battery`, `plug`, `load`), or several joined with `+`.
        compute_w: Used when constant, and while a sensor gives nothing. [W]
        transmit_w: Drawn by sending; no sensor tells it apart. [W]
        idle_w: For `load`: the machine's draw with no core in use. [W]
        busy_w: For `load`: its draw with all cores in use; 0: not known. [W]
        rails: For `rails`: labels of those to add up; empty: the module's input, or all.
        gpu: For `nvml`: number of the graphics processor.
        plug_topic: For `plug`: the MQTT topic it publishes to.
        plug_key: For `plug`: where in its JSON the watts stand, such as `apower` or `ENERGY.Power`; empty: the
            payload is the number.
        plug_broker: For `plug`: the broker it publishes to; empty: the agent's own.
        plug_max_age_s: For `plug`: how long a value stands. [s]
        battery_wh: What the battery holds when full, for gauges that say only how full it is; 0: not known. [Wh]
        sysfs: Where the kernel's tree is mounted, for containers that see the host's elsewhere.
    """

    source: str = "auto"
    compute_w: Amount = 10.0
    transmit_w: Amount = 1.0
    idle_w: Amount = 0.0
    busy_w: Amount = 0.0
    rails: tuple[str, ...] = ()
    gpu: NonNegative = 0
    plug_topic: str = ""
    plug_key: str = ""
    plug_broker: str = ""
    plug_max_age_s: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    battery_wh: Amount = 0.0
    sysfs: str = "/sys"

    def __post_init__(self) -> None:
        """Refuse infinities, and sensors that lack what they need."""
        for key in ("compute_w", "transmit_w", "idle_w", "busy_w", "battery_wh"):
            if not math.isfinite(getattr(self, key)):
                raise ValueError(f"{key} must be a finite number")
        wanted = self.source.split("+")
        if "plug" in wanted and not self.plug_topic:
            raise ValueError("source plug needs plug_topic, the MQTT topic it publishes to")
        if ("load" in wanted or self.busy_w) and self.busy_w <= self.idle_w:
            raise ValueError("source load needs idle_w and a larger busy_w, the machine's watts at rest and at work")
        if self.plug_broker:
            checked(lambda: BrokerAddress.parse(self.plug_broker))


class RuntimeSection(Section, frozen=True, kw_only=True):
    """How components run.

    Attributes:
        threads: Intra-operator threads of a session.
        memory_limit_bytes: What components may use together; 0: half of the machine's. [B]
        provider: `auto`, `cpu`, `cuda`, `tensorrt`, `openvino`, or onnxruntime's full name of one.
        max_in_flight: Requests the source admits at a time.
        batch_window_ms: How long a source lets a request wait for others, to compute them as one where the model takes batches; 0: not.
            [ms]
        metrics: Noise metrics of users, module:function each, that checks of served requests may call here.
        trace: File to which every run of a component is appended with its begin and end, one JSON document a line; empty for
            none.
    """

    threads: Positive = 1
    memory_limit_bytes: NonNegative = 0
    provider: str = "auto"
    max_in_flight: Positive = 64
    batch_window_ms: Milliseconds = 0.0

    def __post_init__(self) -> None:
        """Refuse a provider that cannot be one."""
        full_name(self.provider)

    @property
    def execution_provider(self) -> str:
        """The provider's full name, or `auto`."""
        return full_name(self.provider)

    metrics: tuple[str, ...] = ()
    trace: str = ""


class HttpSection(Section, frozen=True, kw_only=True):
    """The HTTP endpoint.

    Attributes:
        listen: host:port of inference requests, metrics and health; empty disables it.
        advertise: host:port under which other nodes fetch blobs from here; empty: derived from `listen`.
        max_body_bytes: Largest request, decompressed. [B]
        max_json_bytes: Of it, the most that may be JSON: reading numbers as text takes the processor. [B]
        max_buffered_bytes: Requests being received and answers being sent, all together. [B]
        max_connections: More are told to come back later.
        max_connections_per_address: Likewise, from one address.
    """

    listen: str = "127.0.0.1:7470"
    advertise: str = ""
    max_body_bytes: Positive = GIB // 4
    max_json_bytes: Positive = 1 << 24
    max_buffered_bytes: Positive = GIB
    max_connections: Positive = 256
    max_connections_per_address: Positive = 128

    def __post_init__(self) -> None:
        """Refuse addresses without a port."""
        if self.listen:
            _tcp(self.listen)
        _check_advertise("[http] advertise", self.advertise)

    @property
    def address(self) -> TcpAddress:
        """Where to listen, taken apart; only where that is not empty."""
        return _tcp(self.listen)


class CacheSection(Section, frozen=True, kw_only=True):
    """The folder of fetched blobs and measured profiles.

    Attributes:
        limit_bytes: Least recently used blobs above it are removed, never those in use. [B]
    """

    path: str = msgspec.field(default_factory=_default_cache_path)
    limit_bytes: Positive = 20 * GIB

    @property
    def folder(self) -> Path:
        """The path as one."""
        return Path(self.path)


class EmulatedLinkSection(Section, frozen=True, kw_only=True):
    """A link slowed on purpose.

    Attributes:
        bandwidth_bytes_per_s: 0: not limited. [B/s]
        latency_s: Added one way. [s]
        up: False: nothing passes.
    """

    bandwidth_bytes_per_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    latency_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    up: bool = True


class EmulationSection(Section, frozen=True, kw_only=True):
    """Openly labelled: lets one machine play a slower one behind slower links.

    Attributes:
        slow_down: Factor on every component's time.
        links: Peer name to the link towards it.
    """

    slow_down: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    links: dict[str, EmulatedLinkSection] = msgspec.field(default_factory=dict[str, EmulatedLinkSection])

    def __post_init__(self) -> None:
        """Refuse infinities, which TOML can spell."""
        if not math.isfinite(self.slow_down):
            raise ValueError("slow_down must be a finite number of at least 1")

    @property
    def active(self) -> bool:
        """Whether anything is emulated."""
        return self.slow_down > 1.0 or bool(self.links)


class AgentConfiguration(Section, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        name: This node's name in the fleet.
    """

    name: str
    node: NodeSection = msgspec.field(default_factory=NodeSection)
    broker: BrokerSection = msgspec.field(default_factory=BrokerSection)
    data: DataSection = msgspec.field(default_factory=DataSection)
    power: PowerSection = msgspec.field(default_factory=PowerSection)
    runtime: RuntimeSection = msgspec.field(default_factory=RuntimeSection)
    http: HttpSection = msgspec.field(default_factory=HttpSection)
    cache: CacheSection = msgspec.field(default_factory=CacheSection)
    emulation: EmulationSection = msgspec.field(default_factory=EmulationSection)
    security: SecuritySection = msgspec.field(default_factory=SecuritySection)

    def __post_init__(self) -> None:
        """Refuse a name that cannot stand in topics; fill in what `[security]` decides where nothing is given."""
        checked(lambda: checked_name("node", self.name))
        if not self.data.listen:
            listen = self.security.default_listen(DATA_PORT)
            msgspec.structs.force_setattr(self, "data", msgspec.structs.replace(self.data, listen=listen))
        msgspec.structs.force_setattr(self, "broker", self.security.completed(self.broker))

    @property
    def listens(self) -> Mapping[str, str]:
        """Addresses that are listened on, by their keys."""
        return {"[data] listen": self.data.listen, "[http] listen": self.http.listen}

    def check_security(self) -> None:
        """Refuse to start where strangers would be let in that nobody asked in.

        Raises:
            InvalidConfiguration: The sentence says what to do.
        """
        self.security.check(self.listens, self.broker.address, _JOINING)
        if self.security.secured and not self.security.files.complete:
            raise InvalidConfiguration(
                f"[security] mode is fleet, and {self.security.folder} does not hold this node's authority.pem, certificate.pem and key.pem: "
                f"{_JOINING}"
            )


def full_name(provider: str) -> str:
    """An execution provider as onnxruntime calls it, or `auto`.

    Raises:
        ValueError: It is neither a short nor a full name.
    """
    lower = provider.strip().lower()
    if lower == "auto":
        return lower
    if lower in PROVIDERS:
        return PROVIDERS[lower]
    if provider.endswith("ExecutionProvider") and provider != "ExecutionProvider":
        return provider
    known = ", ".join(("auto", *sorted(PROVIDERS)))
    raise ValueError(f"provider {provider!r} is not known: use {known}, or onnxruntime's full name of another one")


def _tcp(address: str) -> TcpAddress:
    found = parse_tcp(address)
    if found is None:
        raise ValueError(f"{address!r} must look like host:port, for example 0.0.0.0:7400")
    return found


def _check_advertise(key: str, address: str) -> None:
    if address:
        _tcp(address)
        checked(lambda: checked_advertise(key, address))
