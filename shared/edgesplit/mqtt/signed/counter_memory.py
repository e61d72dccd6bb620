"""Replay protection of state: the highest counter that was heard on each signed topic, remembered over restarts.

Owns: what an older message is, and the file. Its rule: a lower counter is an older message, whoever sends it again; an equal one with
equal bytes is the broker's repetition. Only what a good signature names takes room here. The file is replaced whole, and read by its owner
alone. Not here: signatures (`edgesplit.trust.signing`), requests, which have no order among each other
(`mqtt/signed/request_freshness.py`).
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import msgspec

from edgesplit.errors import InvalidConfiguration, NotTrusted
from edgesplit.trust.files import write_private

__all__ = ["CounterMemory", "HeardCounter"]

REMEMBERED = 1 << 14
"""Topics; of more, the one that was heard longest ago is forgotten. Of a node, each model has three."""


class HeardCounter(msgspec.Struct, frozen=True):
    """The newest message of a topic.

    Attributes:
        counter: Its signer's.
        digest: Of its bytes.
    """

    counter: int
    digest: str


class CounterMemory:
    """Highest counters by topic.

    Args:
        path: The file; None: nothing outlives the program.

    Attributes:
        damage: What was wrong with the file and what became of it, one sentence; empty where it could be read.

    Raises:
        InvalidConfiguration: The file is damaged, and cannot be set aside.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._heard: dict[str, HeardCounter] = {}
        self.changed = False
        """Whether something is not in the file yet."""
        self.damage = ""
        if path is not None and path.exists():
            try:
                self._heard = msgspec.json.decode(path.read_bytes(), type=dict[str, HeardCounter])
            except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
                self.damage = _set_aside(path, error)

    def take(self, topic: str, counter: int, payload: bytes) -> None:
        """Take in a message whose signature is good.

        Raises:
            NotTrusted: A newer one was heard before.
        """
        digest = hashlib.blake2b(payload, digest_size=16).hexdigest()
        newest = self._heard.get(topic)
        if newest is not None and counter <= newest.counter:
            if (counter, digest) == (newest.counter, newest.digest):
                return
            raise NotTrusted("it is an old message sent again: a newer one was heard on this topic")
        self._heard.pop(topic, None)
        while len(self._heard) >= REMEMBERED:
            del self._heard[next(iter(self._heard))]
        self._heard[topic] = HeardCounter(counter, digest)
        self.changed = self._path is not None

    def save(self) -> bool:
        """Write the file, from any thread; returns False where it cannot be written now: it is with the next change."""
        if self._path is None or not self.changed:
            return True
        self.changed = False
        content = msgspec.json.encode(dict(self._heard))
        try:
            write_private(self._path, content)
        except OSError as error:
            self.changed = True
            # Until it can be written, a restart would believe older messages; what is heard meanwhile is judged all the same.
            logging.getLogger(__name__).warning("%s cannot be written: %s", self._path, error.strerror or error)
            return False
        return True


def _set_aside(path: Path, damage: Exception) -> str:
    """Give a damaged file another name, so that no start fails for it, and say so."""
    aside = path.with_name(path.name + ".set-aside")
    try:
        path.replace(aside)
    except OSError as error:
        raise InvalidConfiguration(
            f"{path} is damaged ({damage}) and cannot be set aside ({error.strerror}): delete it to believe again whatever the "
            "controller ever signed, the newest first"
        ) from error
    return (
        f"{path} is damaged ({damage}) and is called {aside.name} now: where nothing else says which message came last, the first that "
        "is heard is believed, were it an old one"
    )
