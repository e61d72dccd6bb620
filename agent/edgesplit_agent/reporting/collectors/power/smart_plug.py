"""A machine's power from a smart plug that publishes on MQTT (Shelly, Tasmota, Zigbee2MQTT and others).

Owns: the subscription, and finding the watts in a payload. Its rule: whatever the plug sends, only a finite number of
watts is believed, and only for a while. Not here: the control plane's own connection (`edgesplit.mqtt.bus`).
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit_agent.reporting.collectors.power.sensor import SensorTraits
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable

__all__ = ["PlugPower", "watts_in"]

LAG_S = 10.0
"""Plugs publish every few seconds at best. [s]"""


def watts_in(payload: bytes, key: str) -> float:
    """The watts a payload tells.

    Args:
        payload: A number, or JSON.
        key: Where in the JSON, parts separated by dots (`ENERGY.Power`); empty: the payload is the number.

    Raises:
        ValueError: It does not hold a finite number from 0 on there.
    """
    try:
        value: Any = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError("it is neither a number nor JSON") from error
    for part in key.split(".") if key else ():
        if not isinstance(value, dict) or part not in value:
            raise ValueError(f"it has no key {key!r}")
        value = value[part]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"what stands at {key!r} is not a number of watts" if key else "it is not a number of watts")
    return float(value)


class PlugPower:
    """The last power a plug published.

    Args:
        broker: Broker the plug publishes to.
        topic: Its topic; wildcards are the user's own risk.
        key: As in `watts_in`.
        max_age_s: How long a value stands. [s]
        clock: Monotonic. [s]
        connect: False leaves the connection out; `receive` is then the only source.
    """

    traits = SensorTraits("plug", covers_sending=True, lag_s=LAG_S)

    def __init__(
        self,
        broker: BrokerAddress,
        topic: str,
        key: str,
        *,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
        connect: bool = True,
    ) -> None:
        self._topic = topic
        self._key = key
        self._max_age_s = max_age_s
        self._clock = clock
        self._address = broker
        # One value, for the connection's thread writes what another reads.
        self._last: tuple[float, float | None] = (clock(), None)
        self._complaint = ""
        self._client = self._connected() if connect else None

    def read(self) -> float | None:
        """Watts of what hangs on the plug; None while the first value is awaited. [W]

        Raises:
            SensorUnavailable: Nothing usable came for `max_age_s`.
        """
        at_s, watts = self._last
        if self._clock() - at_s <= self._max_age_s:
            return watts
        cause = f", {self._complaint}" if self._complaint else ""
        raise SensorUnavailable(
            f"no watts came on topic {self._topic!r} of {self._address} for {self._max_age_s:g} s{cause}"
        )

    def receive(self, payload: bytes) -> None:
        """Take in what the plug published."""
        try:
            watts = watts_in(payload, self._key)
        except ValueError as error:
            self._complaint = f"the last payload was ignored: {error}"
            return
        self._last, self._complaint = (self._clock(), watts), ""

    def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()

    def _connected(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"edgesplit-plug-{secrets.token_hex(4)}", protocol=mqtt.MQTTv311
        )
        address = self._address
        if address.user is not None:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set_context(address.tls_context())
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.connect_async(address.host, address.port)
        client.loop_start()
        return client

    def _on_connect(self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._complaint = f"the broker refused the connection ({reason})"
        else:
            self._complaint = ""
            client.subscribe(self._topic)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.receive(bytes(message.payload))
