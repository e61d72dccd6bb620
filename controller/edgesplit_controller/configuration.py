"""The controller's configuration file.

Owns: its sections, keys and defaults. Its rule: loaded once, in `main`. Not here: the merge of file and environment
(`edgesplit.daemon.configuration_file`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from edgesplit.daemon.advertised_address import checked_advertise
from edgesplit.daemon.configuration_sections import BrokerSection, Section
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.topic import ROOT
from edgesplit.significance import LATENCY_FLOOR_S, PLAN_TOLERANCE, REPLAN_CHANGE, SWITCH_GAIN
from edgesplit.wire.address import TcpAddress, parse_tcp

__all__ = [
    "ArtifactsSection",
    "ControllerBrokerSection",
    "ControllerConfiguration",
    "ControllerSection",
    "DashboardSection",
    "HomeAssistantSection",
    "ModelsSection",
    "PlanningSection",
    "StoreSection",
    "Thresholds",
    "check_prefix",
    "tcp_address",
]

ARTIFACTS_PORT, DASHBOARD_PORT = 7480, 7481


class ControllerBrokerSection(BrokerSection, frozen=True, kw_only=True):
    """`[broker]`, with the broker that the controller can bring.

    Attributes:
        embedded: Run a broker in this process at `url` (one-machine demo; needs edgesplit[demo]).
    """

    embedded: bool = False


def _default_store() -> str:
    # systemd names the folder it made for the service; by hand, the usual place for a daemon's state.
    return os.environ.get("STATE_DIRECTORY", "/var/lib/edgesplit").split(":")[0]


class StoreSection(Section, frozen=True, kw_only=True):
    """`[store]`: where models, blobs and state live."""

    path: str = msgspec.field(default_factory=_default_store)


class ArtifactsSection(Section, frozen=True, kw_only=True):
    """`[artifacts]`.

    Attributes:
        listen: host:port of the HTTP server; empty: port 7480 of this machine alone, in a secured fleet of every interface.
        advertise: host:port under which agents reach it; derived from `listen` when empty.
        max_upload_bytes: The largest accepted upload. [B]
    """

    listen: str = ""
    advertise: str = ""
    max_upload_bytes: int = 64 << 30


class ControllerSection(Section, frozen=True, kw_only=True):
    """`[controller]`: how this controller stands to others at the same broker.

    Attributes:
        standby: Wait while another controller serves, and take over once it is gone; else a second one is refused.
        take_over: A controller whose store is new, damaged or behind takes over what nodes keep of the last one's records; false:
            it goes on with what its store holds.
    """

    standby: bool = False
    take_over: bool = True


class DashboardSection(Section, frozen=True, kw_only=True):
    """`[dashboard]`.

    Attributes:
        listen: host:port at which browsers are answered; empty: there is no dashboard.
        advertise: host:port under which browsers reach it, where that is not the address it listens at: behind a proxy, or in a
            container; its host is a name that the dashboard answers to.
    """

    listen: str = f"127.0.0.1:{DASHBOARD_PORT}"
    advertise: str = ""


class ModelsSection(Section, frozen=True, kw_only=True):
    """`[models]`.

    Attributes:
        metrics: Functions, module:function each, that `model add --metric` may name; their modules must be importable
            by this process. Nothing else is ever imported on a client's word.
        plan_shapes: Sizes that many requests have and that are far from those that plans are made for get a plan of their
            own.
    """

    metrics: tuple[str, ...] = ()
    plan_shapes: bool = True


class HomeAssistantSection(Section, frozen=True, kw_only=True):
    """`[home_assistant]`.

    Attributes:
        discovery: Nodes and deployed models are devices of Home Assistant, told over the same broker.
        prefix: Its discovery prefix; all that is told to it lies below.
    """

    discovery: bool = False
    prefix: str = "homeassistant"


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """How much must change.

    Attributes:
        change: Relative change of a link's or node's figure that makes the controller plan again. [1]
        gain: Relative gain of the objective that makes it switch. [1]
        latency_floor_s: Latencies that differ by less are the same. [s]
    """

    change: float = REPLAN_CHANGE
    gain: float = SWITCH_GAIN
    latency_floor_s: float = LATENCY_FLOOR_S

    @property
    def relevant_share(self) -> float:
        """Share of a plan that a link's change must be able to make before it is planned again. [1]"""
        return self.gain / 2


class PlanningSection(Section, frozen=True, kw_only=True):
    """`[planning]`.

    Attributes:
        time_limit_s: What the solver may take for one plan. [s]
        latency_model: What a plan's latency means to the solver.
        change_threshold: Relative change of a figure that makes the controller plan again. [1]
        gain_threshold: Relative gain of the objective that makes it switch, if it is more than it is uncertain by. [1]
        tolerance: By how much a plan may be worse than the best one, as a share of it, if it has fewer components then, or as
            many and fewer bytes cut; 0: the best one. [1]
        debounce_s: How long changes are collected before planning again. [s]
        prepare_limit_s: How long nodes may take to prepare an epoch. [s]
        profile_silence_s: How long a node may stay silent while it should profile a model. [s]
        candidates: Among how many nodes a plan may choose: of more that match, those it uses, those that pins name and the fastest. In a
            fleet of no more, links between all are measured, whether something is deployed or not.
        known_nodes: So many nodes are known at most; what further ones say is ignored.
        fallbacks: What nodes keep ready for the loss of one: `per-node`, a plan without each node the serving plan
            uses, where memory allows, beside everything on the source; `local`, only the latter.
        shadow_requests: How many of a plan's first requests its source checks against the float model.
        shadow_every_s: After them, one in this time; 0 for none. [s]
        record_timings: File to which everything is appended that speeds are estimated from, one JSON document a line, so
            that it can be estimated from again; empty for none.
    """

    time_limit_s: float = 20.0
    latency_model: Literal["sum", "critical-path"] = "sum"
    change_threshold: float = REPLAN_CHANGE
    gain_threshold: float = SWITCH_GAIN
    tolerance: float = PLAN_TOLERANCE
    debounce_s: float = 0.5
    prepare_limit_s: float = 60.0
    profile_silence_s: float = 60.0
    candidates: int = 16
    known_nodes: int = 2000
    fallbacks: Literal["per-node", "local"] = "per-node"
    shadow_requests: int = 3
    shadow_every_s: float = 300.0
    record_timings: str = ""

    @property
    def thresholds(self) -> Thresholds:
        """The hysteresis these keys ask for."""
        return Thresholds(change=self.change_threshold, gain=self.gain_threshold)


class ControllerConfiguration(Section, frozen=True, kw_only=True):
    """The whole file."""

    broker: ControllerBrokerSection = ControllerBrokerSection()
    controller: ControllerSection = ControllerSection()
    store: StoreSection = msgspec.field(default_factory=StoreSection)
    artifacts: ArtifactsSection = ArtifactsSection()
    dashboard: DashboardSection = DashboardSection()
    planning: PlanningSection = PlanningSection()
    models: ModelsSection = ModelsSection()
    home_assistant: HomeAssistantSection = HomeAssistantSection()
    security: SecuritySection = msgspec.field(default_factory=SecuritySection)

    def __post_init__(self) -> None:
        """Fill in what `[security]` decides where nothing is given."""
        if not self.artifacts.listen:
            listen = self.security.default_listen(ARTIFACTS_PORT)
            msgspec.structs.force_setattr(self, "artifacts", msgspec.structs.replace(self.artifacts, listen=listen))
        msgspec.structs.force_setattr(self, "broker", self.security.completed(self.broker))

    @property
    def listens(self) -> Mapping[str, str]:
        """Addresses that are listened on, by their keys."""
        address = self.broker.address
        brought = {"[broker] url (embedded)": f"{address.host}:{address.port}"} if self.broker.embedded else {}
        return {
            "[artifacts] listen": self.artifacts.listen,
            "[dashboard] listen": self.dashboard.listen,
            **brought,
        }

    def check_security(self) -> None:
        """Refuse to start where strangers would be let in that nobody asked in.

        Raises:
            InvalidConfiguration: The sentence says what to do.
        """
        self.security.check(self.listens, self.broker.address, 'secure the fleet (mode = "fleet" in [security])')

    def validate(self) -> None:
        """Check what types cannot say.

        Raises:
            InvalidConfiguration: A key holds an impossible value.
        """
        tcp_address("artifacts.listen", self.artifacts.listen)
        if self.artifacts.advertise:
            tcp_address("artifacts.advertise", self.artifacts.advertise)
            checked_advertise("[artifacts] advertise", self.artifacts.advertise)
        if self.dashboard.listen:
            tcp_address("dashboard.listen", self.dashboard.listen)
        if self.dashboard.advertise:
            tcp_address("dashboard.advertise", self.dashboard.advertise)
            checked_advertise("[dashboard] advertise", self.dashboard.advertise)
        for key in ("time_limit_s", "prepare_limit_s", "profile_silence_s"):
            if not getattr(self.planning, key) > 0:
                raise InvalidConfiguration(f"planning.{key} must be greater than 0")
        for key in (
            "change_threshold",
            "gain_threshold",
            "tolerance",
            "debounce_s",
            "shadow_requests",
            "shadow_every_s",
        ):
            if not getattr(self.planning, key) >= 0:
                raise InvalidConfiguration(f"planning.{key} must be 0 or more")
        check_prefix("home_assistant.prefix", self.home_assistant.prefix)
        if self.controller.standby and self.broker.embedded:
            raise InvalidConfiguration(
                "controller.standby needs a broker that outlives the first controller: run one of its own instead of broker.embedded"
            )
        for key in ("candidates", "known_nodes"):
            if not getattr(self.planning, key) >= 1:
                raise InvalidConfiguration(f"planning.{key} must be 1 or more")

    @property
    def store_path(self) -> Path:
        """Where state lives."""
        return Path(self.store.path)


def check_prefix(key: str, prefix: str) -> None:
    """Refuse what cannot be the first levels of topics of another program.

    Raises:
        InvalidConfiguration: It is empty, has a level of another form, or is edgesplit's own; names the key.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*", prefix) is None or f"{prefix}/".startswith(f"{ROOT}/"):
        raise InvalidConfiguration(
            f"{key} is {prefix!r}: name a topic of letters, digits, dashes and underscores, such as homeassistant"
        )


def tcp_address(key: str, address: str) -> TcpAddress:
    """Take host:port apart; `[::1]:7480` for IPv6.

    Raises:
        InvalidConfiguration: It is not of that form; names the key.
    """
    found = parse_tcp(address)
    if found is None:
        raise InvalidConfiguration(f"{key} is {address!r}: write it as host:port, such as 0.0.0.0:7480")
    return found
