"""A fleet founded in a folder, and a real Mosquitto secured for it."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from demo.ports import free_port
from edgesplit.mqtt.broker_address import BrokerAddress, TlsFiles
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import BROKER_HOST, Subject
from edgesplit_controller.trust.broker_files import BrokerPlaces, find_plugin, write_broker_files
from edgesplit_controller.trust.identities import Founded, found_fleet, make_identity
from edgesplit_controller.trust.trust_record import TrustRecord
from tests.brokers import find_mosquitto

FLEET = "shop"


@dataclass(frozen=True)
class SecuredFleet:
    """Files of a fleet, and where its broker listens."""

    folder: Path
    founded: Founded
    port: int

    @property
    def url(self) -> str:
        """Of the broker."""
        return f"mqtts://127.0.0.1:{self.port}"

    @property
    def record(self) -> TrustRecord:
        """The authority's memory as it is on disk."""
        return TrustRecord(self.folder / "trust")

    def address(self, files: TrustFiles) -> BrokerAddress:
        """The broker, for the holder of an identity."""
        return broker_address(self.url, files)

    def identity(self, subject: Subject) -> TrustFiles:
        """A further identity of this fleet's authority."""
        return make_identity(
            self.founded.authority, self.record, subject, self.folder / subject.common_name, now_s=time.time()
        )


def broker_address(url: str, files: TrustFiles) -> BrokerAddress:
    """A secured broker, for the holder of an identity."""
    return BrokerAddress.parse(url, TlsFiles(str(files.authority), str(files.certificate), str(files.key), BROKER_HOST))


def found(folder: Path) -> Founded:
    """A fleet's files below a folder."""
    return found_fleet(
        folder / "trust",
        FLEET,
        controller_addresses=(),
        broker_addresses=(),
        operator="ann",
        operator_folder=folder / "operator",
        now_s=time.time(),
    )


@contextlib.contextmanager
def secured_fleet(folder: Path, *, elsewhere: str = "", further: str = "") -> Iterator[SecuredFleet]:
    """A fleet with its Mosquitto, running as whoever runs the test.

    Args:
        folder: For its files.
        elsewhere: The controller may write below it, too.
        further: Lines of Mosquitto's settings behind the fleet's.
    """
    program, plugin = find_mosquitto(), find_plugin()
    if not plugin.exists():
        pytest.skip("mosquitto has no dynamic security plugin here")
    founded, port = found(folder), free_port()
    places = BrokerPlaces.in_folder(folder / "mosquitto")
    controller = Subject("controller", FLEET)
    write_broker_files(places, founded.broker, controller, plugin=plugin, port=port, elsewhere=elsewhere)
    text = places.configuration.read_text()
    places.configuration.write_text(f"user {getpass.getuser()}\n{text}{further}\n")
    log = folder / "mosquitto.log"
    with log.open("wb") as stream:
        process = subprocess.Popen([program, "-v", "-c", str(places.configuration)], stdout=stream, stderr=stream)
    try:
        deadline_s = time.monotonic() + 20
        while b" running" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"mosquitto does not start: {log.read_text()}")
            time.sleep(0.02)
        yield SecuredFleet(folder, founded, port)
    finally:
        process.terminate()
        process.wait(timeout=10)


class Holder:
    """Whoever holds an identity, at the broker, without a program of edgesplit."""

    def __init__(self, address: BrokerAddress) -> None:
        self.heard: list[str] = []
        self.denied: list[str] = []
        self.connected = threading.Event()
        self.gone = threading.Event()
        self._asked: dict[int, str] = {}
        self._answered = threading.Condition()
        client = self.client = mqtt.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.tls_set_context(address.tls_context())
        client.on_connect = lambda *_told: self.connected.set()
        client.on_disconnect = lambda *_told: self.gone.set()
        client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        client.on_subscribe = self._on_subscribed
        client.connect(address.host, address.port)
        client.loop_start()
        assert self.connected.wait(10)

    def _on_subscribed(self, _client: Any, _data: Any, identifier: int, codes: Any, _properties: Any) -> None:
        with self._answered:
            topic = self._asked.pop(identifier)
            if any(code.is_failure for code in codes):
                self.denied.append(topic)
            self._answered.notify_all()

    def subscribe(self, *topics: str) -> None:
        """Ask for topics, and wait for the answers."""
        with self._answered:
            for topic in topics:
                _, identifier = self.client.subscribe(topic, 1)
                assert identifier is not None
                self._asked[identifier] = topic
            assert self._answered.wait_for(lambda: not self._asked, 10)

    def publish(self, *topics: str) -> None:
        """Publish on each; returns when the broker has confirmed all, whatever it did with them."""
        for sent in [self.client.publish(topic, b"{}", qos=1) for topic in topics]:
            sent.wait_for_publish(10)

    def close(self) -> None:
        """Say goodbye."""
        self.client.disconnect()
        self.client.loop_stop()
