"""Home Assistant: nodes and deployed models are told as devices over MQTT discovery.

Owns: when what is told, and what was told before. Its rule: a device is told while there is something it stands for, and taken back
once there is not, also what an earlier run left; states are told as they change, and again now and then, for Home Assistant forgets those
that are old. Not here: messages (`home_devices.py`), the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

import structlog

from edgesplit_controller.fleet.registry import Registry
from edgesplit_controller.fleet.traffic import Traffic
from edgesplit_controller.monitoring.home_devices import EXPIRES_S, HomeDevice, HomeTopics, model_device, node_device
from edgesplit_controller.monitoring.recent_requests import RecentFigures, RecentRequests
from edgesplit_controller.storage.deployment_state import DeploymentState

__all__ = ["HomeAssistant"]

LOOK_EVERY_S = 5.0
REPEAT_S = EXPIRES_S / 3
"""A state that did not change is told again after so long. [s]"""
FIRST_LOOK_S = 12.0
"""What is left of an earlier run is taken back only once nodes that are there had time to say so. [s]"""

_ONLINE, _OFFLINE = b"online", b"offline"


class HomeAssistant:
    """Tells the fleet to Home Assistant.

    Args:
        prefix: Its discovery prefix.
        registry: The nodes.
        deployments: By name, as they are now.
        traffic: What serving draws.
        keep: Keeps a payload on a topic; an empty one takes it back.
        kept: Which topics below a filter have one.
        clock: Monotonic. [s]
        version: Of this controller.
    """

    def __init__(
        self,
        prefix: str,
        *,
        registry: Registry,
        deployments: Callable[[], Mapping[str, DeploymentState]],
        traffic: Traffic,
        keep: Callable[[str, bytes], None],
        kept: Callable[[str], Awaitable[Collection[str]]],
        clock: Callable[[], float],
        version: str,
    ) -> None:
        self._topics = HomeTopics(prefix)
        self._registry, self._deployments, self._traffic = registry, deployments, traffic
        self._keep, self._kept, self._clock, self._version = keep, kept, clock, version
        self._told: dict[str, tuple[bytes, float]] = {}
        self._devices: set[str] = set()
        self._recent: dict[str, RecentRequests] = {}
        self._log = structlog.get_logger(part="home-assistant")

    async def tell(self) -> None:
        """Look and tell, for ever."""
        await asyncio.sleep(FIRST_LOOK_S)
        is_tidy = False
        while True:
            try:
                self.look()
                if not is_tidy:
                    await self.take_back_leftovers()
                is_tidy = True
            except Exception:
                # A defect in what is shown must not end the controller.
                self._log.exception("home-assistant-not-told")
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell what is new, and take back what is gone."""
        devices = list(self._present())
        for device in devices:
            self._say(self._topics.discovery(device.identifier), device.discovery)
            self._say(self._topics.availability(device.identifier), _ONLINE if device.available else _OFFLINE)
            self._say(self._topics.state(device.identifier), device.state, repeated=True)
        there = {device.identifier for device in devices}
        for identifier in sorted(self._devices - there):
            self._take_back(self._topics.discovery(identifier))
        self._devices = there

    async def take_back_leftovers(self) -> None:
        """Take back devices that an earlier run told and that are no more."""
        for topic in sorted(await self._kept(self._topics.every_device)):
            if self._topics.is_own(topic) and topic not in self._told:
                self._take_back(topic)

    def close(self) -> None:
        """The controller ends: nobody will say what sensors show."""
        for identifier in sorted(self._devices):
            self._say(self._topics.availability(identifier), _OFFLINE)

    def _present(self) -> Iterator[HomeDevice]:
        """Devices as they are now."""
        for name, node in self._registry.nodes.items():
            serving_w = self._traffic.watts(name, without="")
            yield node_device(self._topics, name, node, serving_w, self._version)
        deployments = self._deployments()
        self._recent = {name: recent for name, recent in self._recent.items() if name in deployments}
        for name, deployment in deployments.items():
            source = self._registry.node(deployment.source)
            yield model_device(
                self._topics,
                name,
                deployment,
                self._recent_figures(name, deployment),
                self._version,
                source_online=source.online and not source.refused,
            )

    def _recent_figures(self, name: str, deployment: DeploymentState) -> RecentFigures:
        plan = deployment.active
        if plan is None:
            return RecentFigures()
        number, source = plan.epoch.number, plan.epoch.source
        recent = self._recent.get(name)
        if recent is None or recent.epoch != number:
            recent = self._recent[name] = RecentRequests(number)
        usage = next((one for one in self._registry.usage(name, number) if one.node == source), None)
        counted = (0, 0.0) if usage is None else (usage.requests, usage.latency_sum_s)
        return recent.look(self._clock(), *counted)

    def _say(self, topic: str, payload: bytes, *, repeated: bool = False) -> None:
        before, at_s = self._told.get(topic, (b"", float("-inf")))
        now_s = self._clock()
        if payload != before or (repeated and now_s - at_s >= REPEAT_S):
            self._told[topic] = payload, now_s
            self._keep(topic, payload)

    def _take_back(self, discovery: str) -> None:
        for topic in self._topics.of_discovery(discovery):
            self._told.pop(topic, None)
            self._keep(topic, b"")
