"""The broker's access rules of docs/protocol.md: every program can say and hear what is its own, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgesplit.mqtt.topic import ROOT, Program, Topic
from edgesplit.topic_table import TABLE
from tests.brokers import running_mosquitto
from tests.waiting import blocking_until

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
USERS: dict[str, Program] = {"device": "agent", "controller": "controller", "operator": "splitctl"}
EVERY = [
    row.of(*({"model": "m", "client": "c"}.get(name, node) for name in row.placeholders))
    for row in TABLE
    for node in ("device", "edge")
]


class User:
    """A client under a name, and what it heard."""

    def __init__(self, url: str, name: str) -> None:
        self.heard: list[str] = []
        self._subscribed = False
        client = self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv311)
        client.username_pw_set(name, "any")
        client.on_message = lambda _client, _data, message: self.heard.append(message.topic)
        client.on_subscribe = self._on_subscribed
        host, _, port = url.removeprefix("mqtt://").rpartition(":")
        client.connect(host, int(port))
        client.subscribe(f"{ROOT}/#", 1)
        client.loop_start()
        blocking_until(lambda: self._subscribed, f"{name} listens")

    def _on_subscribed(self, *_told: Any) -> None:
        self._subscribed = True

    def publish(self, topics: list[str]) -> None:
        """Publish on each; returns when the broker has confirmed all."""
        for sent in [self.client.publish(topic, b"{}", qos=1) for topic in topics]:
            sent.wait_for_publish(20.0)


@contextmanager
def users(url: str) -> Iterator[dict[str, User]]:
    """All users, connected."""
    connected = {name: User(url, name) for name in USERS}
    try:
        yield connected
    finally:
        for user in connected.values():
            user.client.disconnect()
            user.client.loop_stop()


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Mosquitto with the page's rules."""
    rules = re.search(r"<!-- made: rights -->\n```\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    assert rules is not None
    (tmp_path / "acl").write_text(f"{rules[1]}\n")
    with running_mosquitto(tmp_path, f"allow_anonymous true\nacl_file {tmp_path / 'acl'}") as running:
        yield running


def may(row: Topic[Any], topic: str, user: str, right: str) -> bool:
    """Whether the table gives a user a right to a topic; Mosquitto's patterns, the rights of agents, are everybody's."""
    programs = row.writers if right == "write" else row.readers
    if USERS[user] == "controller" or (USERS[user] == "splitctl" and "splitctl" in programs):
        return True
    own = not {"node", "origin"} & {*row.placeholders} or f"/{user}" in topic
    everybody = right == "read" and row.pattern == "nodes/{node}/status"
    return "agent" in programs and (own or everybody)


def allowed(user: str, right: str) -> list[str]:
    """All topics that a user may write or read."""
    rows = [row for row in TABLE for _ in ("device", "edge")]
    return [topic for row, topic in zip(rows, EVERY, strict=True) if may(row, topic, user, right)]


@pytest.mark.parametrize("user", USERS)
def test_everybody_is_heard_on_its_own_topics_and_on_no_other(url: str, user: str) -> None:
    with users(url) as connected:
        last = {"device": "nodes/device/claim", "controller": "controller/claim", "operator": "requests/last"}[user]
        connected[user].publish([*EVERY, f"{ROOT}/{last}"])
        listener = connected["controller"]
        wanted = [*allowed(user, "write"), f"{ROOT}/{last}"]
        blocking_until(lambda: len(listener.heard) >= len(wanted), "the last message is heard")
        assert sorted(listener.heard) == sorted(wanted)


@pytest.mark.parametrize("user", ["device", "operator"])
def test_everybody_hears_its_own_topics_and_no_other(url: str, user: str) -> None:
    with users(url) as connected:
        last = {"device": "models/last", "operator": "replies/last"}[user]
        connected["controller"].publish([*EVERY, f"{ROOT}/{last}"])
        listener = connected[user]
        blocking_until(lambda: f"{ROOT}/{last}" in listener.heard, "the last message is heard")
        assert sorted(listener.heard) == sorted([*allowed(user, "read"), f"{ROOT}/{last}"])
