"""Watching a roll-out from outside, by what controller and agents keep on the broker, and striking in the middle of it.

Owns: this connection, what it heard last, and the moments of a roll-out. Its rule: whoever waits for a moment is called in the thread that
hears of it, so that what is done then is done before the controller gets much further. Not here: what is done
(`controller_kills.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.control.plan_messages import DESIRED, OBSERVED, Desired, Observed

__all__ = ["MOMENTS", "Moment", "RolloutWatch"]

V = TypeVar("V")
Moment = Literal["preparing", "activating", "draining", "retiring", "fallback"]
MOMENTS: tuple[Moment, ...] = ("preparing", "activating", "draining", "retiring", "fallback")
"""In the order in which a roll-out passes them."""


class RolloutWatch:
    """One model's; a context manager.

    Args:
        host: Of the broker.
        port: Likewise.
        model: Its name.
        source: The node that answers its requests.
    """

    def __init__(self, host: str, port: int, model: str, source: str) -> None:
        self._model, self._source = model, source
        self._desired: dict[str, Desired] = {}
        self._observed: dict[str, Observed] = {}
        self._lock = threading.Lock()
        self._awaited: tuple[Moment, int, Callable[[], None]] | None = None
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_connect = self._subscribe
        self._client.reconnect_delay_set(1, 2)
        self._client.connect(host, port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def strike(self, moment: Moment, then: Callable[[], None]) -> None:
        """Call this once, when the next roll-out reaches a moment."""
        with self._lock:
            self._awaited = moment, max(self._epochs(), default=0), then

    @property
    def struck(self) -> bool:
        """Whether the moment came."""
        with self._lock:
            return self._awaited is None

    def forget(self) -> None:
        """Wait for no moment any more."""
        with self._lock:
            self._awaited = None

    def settled(self) -> bool:
        """Whether every node holds exactly what it should, the source serves what it should, and nothing is being prepared."""
        with self._lock:
            source, observed = self._desired.get(self._source), self._observed.get(self._source)
            if source is None or observed is None or source.serve is None or observed.serving != source.serve:
                return False
            kept = {source.serve, source.fallback, *source.fallbacks.values()}
            for node, desired in self._desired.items():
                wanted = {spec.epoch for spec in desired.epochs}
                said = self._observed.get(node)
                states = {state.epoch: state.state for state in said.epochs} if said is not None else {}
                if wanted - kept or states.keys() != wanted or set(states.values()) - {"prepared"}:
                    return False
            return True

    @property
    def serving(self) -> int | None:
        """The epoch that the source serves."""
        with self._lock:
            observed = self._observed.get(self._source)
            return observed.serving if observed is not None else None

    def _epochs(self) -> set[int]:
        return {spec.epoch for desired in self._desired.values() for spec in desired.epochs}

    def _subscribe(self, client: mqtt.Client, *_others: Any) -> None:
        with self._lock:
            # A broker that lost its memory says nothing of what it forgot.
            self._desired.clear()
            self._observed.clear()
        for row in (DESIRED, OBSERVED):
            client.subscribe(row.filter(), 1)

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        levels = message.topic.split("/")
        if levels[-1] != self._model:
            return
        node, is_desired = levels[3], levels[4] == "desired"
        with self._lock:
            before = self._desired.get(node)
            if is_desired:
                _keep(self._desired, node, bytes(message.payload), Desired)
            else:
                _keep(self._observed, node, bytes(message.payload), Observed)
            if self._awaited is None or not self._reached(node, before, is_desired=is_desired):
                return
            _, _, then = self._awaited
            self._awaited = None
        then()

    def _reached(self, node: str, before: Desired | None, *, is_desired: bool) -> bool:
        """Whether what was just heard is the moment that is waited for."""
        if self._awaited is None:
            return False
        moment, newest, _ = self._awaited
        desired, observed = self._desired.get(self._source), self._observed.get(self._source)
        if desired is None or observed is None:
            return False
        epochs = {spec.epoch for spec in desired.epochs}
        is_new = desired.serve is not None and desired.serve > newest
        at_source, serving = node == self._source, observed.serving or 0
        dropped = {spec.epoch for spec in before.epochs} - epochs if before is not None else set[int]()
        further = epochs - {desired.serve, desired.fallback}
        reached: dict[Moment, bool] = {
            "preparing": is_desired and not is_new and max(epochs, default=0) > newest,
            "activating": is_desired and is_new and serving != desired.serve,
            "draining": not is_desired and at_source and serving > newest,
            "retiring": is_desired and at_source and is_new and bool(dropped),
            "fallback": is_desired and at_source and is_new and max(further, default=0) > (desired.serve or 0),
        }
        return reached[moment]


def _keep(table: dict[str, V], node: str, payload: bytes, kind: type[V]) -> None:
    if payload:
        table[node] = msgspec.json.decode(payload, type=kind)
    else:
        table.pop(node, None)
