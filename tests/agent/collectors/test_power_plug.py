"""Watts from a smart plug: payloads of the usual makes, silence, a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit_agent.reporting.collectors.power.smart_plug import PlugPower, watts_in
from edgesplit_agent.reporting.collectors.sensor_errors import SensorUnavailable
from tests.agent.collectors.trees import Clock
from tests.brokers import running_mosquitto
from tests.waiting import blocking_until

SHELLY_PLUS = (
    b'{"id":0,"source":"init","output":true,"apower":41.7,"voltage":229.8,"current":0.211,"aenergy":{"total":9}}'
)
TASMOTA = b'{"Time":"2026-03-01T12:00:00","ENERGY":{"Total":3.1,"Power":23,"Voltage":231}}'


@pytest.mark.parametrize(
    ("payload", "key", "watts"),
    [
        (SHELLY_PLUS, "apower", 41.7),
        (TASMOTA, "ENERGY.Power", 23.0),
        (b"12.34", "", 12.34),
        (b'{"power": 0, "state": "ON"}', "power", 0.0),
    ],
)
def test_payloads_of_the_usual_makes(payload: bytes, key: str, watts: float) -> None:
    assert watts_in(payload, key) == watts


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        (b"", ""),
        (b"ON", ""),
        (b"NaN", ""),
        (b"-3", ""),
        (b"true", ""),
        (b'"12"', ""),
        (b"\xff\xfe", ""),
        (TASMOTA, "ENERGY.Watts"),
        (TASMOTA, "ENERGY"),
        (TASMOTA, "ENERGY.Power.Now"),
        (b"[1]", "0"),
    ],
)
def test_what_is_no_number_of_watts_is_refused(payload: bytes, key: str) -> None:
    with pytest.raises(ValueError, match=r"it |what stands"):
        watts_in(payload, key)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["", "a", "a.b"]))
def test_any_bytes_are_watts_or_refused(payload: bytes, key: str) -> None:
    try:
        assert watts_in(payload, key) >= 0.0
    except ValueError:
        return


def test_a_value_stands_for_a_while_and_silence_is_said_with_the_last_fault() -> None:
    clock = Clock()
    plug = PlugPower(
        BrokerAddress.parse("mqtt://plugs:1884"),
        "tele/p/SENSOR",
        "ENERGY.Power",
        max_age_s=20.0,
        clock=clock,
        connect=False,
    )
    assert plug.read() is None
    plug.receive(TASMOTA)
    clock.advance(19.0)
    assert plug.read() == 23.0
    plug.receive(b"offline")
    clock.advance(2.0)
    with pytest.raises(SensorUnavailable, match=r"'tele/p/SENSOR' of plugs:1884 for 20 s, .*neither a number nor JSON"):
        plug.read()
    plug.receive(TASMOTA)
    assert plug.read() == 23.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A Mosquitto; its URL."""
    with running_mosquitto(tmp_path) as url:
        yield url


def test_a_plug_behind_a_real_broker_is_heard(broker: str) -> None:
    address = BrokerAddress.parse(broker)
    plug = PlugPower(address, "shelly/status/switch:0", "apower", max_age_s=60.0)
    sender = mqtt.Client(CallbackAPIVersion.VERSION2)
    try:
        sender.connect_async(address.host, address.port)
        sender.loop_start()
        sender.publish("shelly/status/switch:0", SHELLY_PLUS, qos=1, retain=True)
        assert blocking_until(plug.read, "a figure") == 41.7
    finally:
        sender.disconnect()
        sender.loop_stop()
        plug.close()
