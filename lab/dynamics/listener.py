"""MQTT listener at the testbed's broker: events, and what serving costs, as they are said.

Owns: this program; a JSON line for each. Its rule: it only listens, and ends when its standard input does. Not here:
what is made of the lines (`observations.py`).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.control.event_messages import EVENT
from edgesplit.control.figure_messages import USAGE
from edgesplit.mqtt.broker_address import BrokerAddress

__all__ = ["main"]


def _tell(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
    if message.retain or not message.payload:
        return
    what = "event" if mqtt.topic_matches_sub(EVENT.filter(), message.topic) else "usage"
    line = {"at_unix_s": time.time(), what: json.loads(message.payload)}
    print(json.dumps(line), flush=True)


@click.command()
@click.option("--broker", required=True, metavar="URL")
def main(broker: str) -> None:
    """Print what happens and what serving costs until standard input ends."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = _tell
    address = BrokerAddress.parse(broker)
    client.connect(address.host, address.port)
    for topic in (EVENT, USAGE):
        client.subscribe(topic.filter(), qos=1)
    client.loop_start()
    sys.stdin.read()
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
