"""A listener at a fleet's broker, as a process that can be placed where the broker is.

Owns: one line on standard output for each message that is published, with the payload of events. Its rule: what was
retained before is not told. Not here: counting (`idle.py`).
"""

from __future__ import annotations

import sys
from typing import Any

import click
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.control.event_messages import EVENT
from edgesplit.mqtt.broker_address import BrokerAddress
from edgesplit.mqtt.topic import ROOT

__all__ = ["main"]


def _tell(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
    if not message.retain:
        is_event = message.topic.startswith(EVENT.of(""))
        payload = message.payload.decode("utf-8", "replace") if is_event else ""
        print(message.topic.removeprefix(f"{ROOT}/"), payload, file=sys.stdout, flush=True)


@click.command()
@click.option("--broker", required=True, metavar="URL")
def main(broker: str) -> None:
    """Print what is published, a message a line, until SIGTERM."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = _tell
    address = BrokerAddress.parse(broker)
    client.connect(address.host, address.port)
    client.subscribe(f"{ROOT}/#")
    client.loop_forever()


if __name__ == "__main__":
    main()
