"""Nodes and deployed models as devices of Home Assistant: what they are called, and their discovery and state messages.

Owns: identifiers, topics and payloads. Its rule: pure; a device is told in one retained message, so that it comes and goes whole; every
sensor has an identity that a restart and a change of what the device can do leave as it is. Not here: when they are told (`home_assistant.py`).

References: Home Assistant, "MQTT" integration: device discovery; "MQTT sensor", home-assistant.io/integrations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from edgesplit.names import source_of
from edgesplit_controller.fleet.registry import FleetNode
from edgesplit_controller.monitoring.recent_requests import RecentFigures
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["EXPIRES_S", "HomeDevice", "HomeTopics", "model_device", "node_device"]

EXPIRES_S = 180
"""Without a state for so long a sensor is shown as unavailable: the controller is gone. [s]"""
LONGEST_STATE = 255
"""Characters that Home Assistant takes as a state."""
_OWN = "edgesplit"
_PLAIN = re.compile(r"[^A-Za-z0-9-]")


class _Sensor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A component of a device, with Home Assistant's keys."""

    platform: str
    unique_id: str
    name: str
    value_template: str
    expire_after: int
    availability_topic: str = ""
    device_class: str = ""
    state_class: str = ""
    unit_of_measurement: str = ""
    suggested_display_precision: int | None = None
    options: tuple[str, ...] = ()


class _About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A device, with Home Assistant's keys."""

    identifiers: tuple[str, ...]
    name: str
    manufacturer: str
    model: str
    sw_version: str = ""


class _Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells of it, with Home Assistant's keys."""

    name: str
    sw_version: str


class _Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """A discovery message, with Home Assistant's keys."""

    device: _About
    origin: _Origin
    components: dict[str, _Sensor]
    state_topic: str
    qos: int


class _NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """State message of a node."""

    state: str
    power_w: float | None
    serving_w: float | None
    battery_percent: float | None


class _ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """State message of a deployed model."""

    nodes: str
    epoch: int | None
    predicted_latency_s: float | None
    latency_s: float | None
    rate_hz: float | None
    predicted_energy_j: float | None


@dataclass(frozen=True)
class HomeTopics:
    """Topics below the prefix that Home Assistant listens to.

    Attributes:
        prefix: Its discovery prefix.
    """

    prefix: str

    @property
    def every_device(self) -> str:
        """Filter of the discovery messages of all devices, other programs' among them."""
        return f"{self.prefix}/device/+/config"

    def is_own(self, topic: str) -> bool:
        """Whether a discovery message is of a device of edgesplit's."""
        return topic.removeprefix(f"{self.prefix}/device/").startswith(f"{_OWN}-")

    def discovery(self, identifier: str) -> str:
        """What the device is."""
        return f"{self.prefix}/device/{identifier}/config"

    def state(self, identifier: str) -> str:
        """What its sensors show."""
        return f"{self.prefix}/{_OWN}/{identifier}/state"

    def availability(self, identifier: str) -> str:
        """Whether they can show it: `online` or `offline`."""
        return f"{self.prefix}/{_OWN}/{identifier}/availability"

    def of_discovery(self, topic: str) -> tuple[str, ...]:
        """All topics of the device that a discovery message is of."""
        identifier = topic.removeprefix(f"{self.prefix}/device/").removesuffix("/config")
        return topic, self.state(identifier), self.availability(identifier)


@dataclass(frozen=True)
class HomeDevice:
    """A device as it is to be told.

    Attributes:
        identifier: In topics and identities.
        discovery: Message of what it is.
        state: Message of what its sensors show.
        available: Whether they can show it.
    """

    identifier: str
    discovery: bytes
    state: bytes
    available: bool


def node_device(topics: HomeTopics, name: str, node: FleetNode, serving_w: float, version: str) -> HomeDevice:
    """A node.

    Args:
        topics: Where it is told.
        name: Of the node.
        node: What is known of it.
        serving_w: What serving draws there, measured, modelled or configured. [W]
        version: Of this controller.
    """
    identifier = _identifier("node", name)
    made = _Maker(topics, identifier)
    metrics = node.metrics
    battery = metrics.battery_fraction if metrics is not None else None
    components = {
        "state": made.sensor(
            "State", "state", device_class="enum", options=("online", "offline", "refused"), always=True
        ),
        "power": made.sensor("Power drawn", "power_w", device_class="power", unit="W", precision=1),
        "serving": made.sensor("Power of serving", "serving_w", device_class="power", unit="W", precision=2),
    }
    if battery is not None:
        components["battery"] = made.sensor("Battery", "battery_percent", device_class="battery", unit="%", precision=0)
    about = _About(
        identifiers=(identifier,),
        name=f"edgesplit node {name}",
        manufacturer=_OWN,
        model="node",
        sw_version=node.status.version if node.status is not None else "",
    )
    state = _NodeState(
        state="refused" if node.refused else "online" if node.online else "offline",
        power_w=_rounded(metrics.drawn_w if metrics is not None else None),
        serving_w=_rounded(serving_w),
        battery_percent=None if battery is None else round(100 * battery),
    )
    return made.device(about, components, state, version, available=node.online and not node.refused)


def model_device(
    topics: HomeTopics,
    name: str,
    deployment: DeploymentState,
    recent: RecentFigures,
    version: str,
    *,
    source_online: bool,
) -> HomeDevice:
    """A deployed model, or a further planning shape or source of one.

    Args:
        topics: Where it is told.
        name: Of the deployment.
        deployment: With its plan.
        recent: Of its requests.
        version: Of this controller.
        source_online: Whether requests can be answered.
    """
    identifier = _identifier("model", name)
    made = _Maker(topics, identifier)
    plan = deployment.active
    components = {
        "plan": made.sensor("Plan", "nodes", always=True),
        "epoch": made.sensor("Epoch", "epoch", always=True),
        "predicted": made.sensor(
            "Latency predicted", "predicted_latency_s", device_class="duration", unit="s", precision=3
        ),
        "latency": made.sensor("Latency", "latency_s", device_class="duration", unit="s", precision=3),
        "rate": made.sensor("Rate", "rate_hz", unit="req/s", precision=2),
        "energy": made.sensor("Energy predicted", "predicted_energy_j", unit="J", precision=3),
    }
    further = source_of(name)
    title = name.partition("~")[0] + (f" at {further}" if further else "")
    about = _About(
        identifiers=(identifier,), name=f"edgesplit model {title}", manufacturer=_OWN, model="model", sw_version=version
    )
    state = _ModelState(
        nodes=_shortened(", ".join(plan.epoch.participants)) if plan is not None else "none",
        epoch=plan.epoch.number if plan is not None else None,
        predicted_latency_s=_rounded(plan.evaluation.timeline_s if plan is not None else None, 4),
        latency_s=_rounded(recent.latency_s, 4),
        rate_hz=_rounded(recent.rate_hz, 2),
        predicted_energy_j=_rounded(plan.evaluation.energy_j if plan is not None else None, 4),
    )
    return made.device(about, components, state, version, available=source_online)


@dataclass(frozen=True)
class _Maker:
    """Makes the messages of one device."""

    topics: HomeTopics
    identifier: str

    def sensor(
        self,
        name: str,
        key: str,
        *,
        device_class: str = "",
        unit: str = "",
        precision: int | None = None,
        options: tuple[str, ...] = (),
        always: bool = False,
    ) -> _Sensor:
        """A sensor that shows a key of the state; `always`: it says something of a device that is away, too."""
        return _Sensor(
            platform="sensor",
            unique_id=f"{self.identifier}-{key}",
            name=name,
            # What is not known is null, which a template shows as None and Home Assistant takes for unknown.
            value_template=f"{{{{ value_json.{key} }}}}",
            expire_after=EXPIRES_S,
            availability_topic="" if always else self.topics.availability(self.identifier),
            device_class=device_class,
            state_class="measurement" if unit else "",
            unit_of_measurement=unit,
            suggested_display_precision=precision,
            options=options,
        )

    def device(
        self,
        about: _About,
        components: dict[str, _Sensor],
        state: msgspec.Struct,
        version: str,
        *,
        available: bool,
    ) -> HomeDevice:
        """All of it."""
        discovery = _Discovery(
            device=about,
            origin=_Origin(name=_OWN, sw_version=version),
            components=components,
            state_topic=self.topics.state(self.identifier),
            qos=1,
        )
        return HomeDevice(self.identifier, msgspec.json.encode(discovery), msgspec.json.encode(state), available)


def _identifier(kind: str, name: str) -> str:
    """Unique for each name, of the signs that Home Assistant allows."""
    return f"{_OWN}-{kind}-{_PLAIN.sub(lambda found: f'_{ord(found[0]):02x}', name)}"


def _rounded(value: float | None, digits: int = 1) -> float | None:
    """What only scatters is no news."""
    return None if value is None else round(value, digits)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_STATE else f"{text[: LONGEST_STATE - 1]}…"
