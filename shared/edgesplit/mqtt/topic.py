"""A kind of MQTT topic: its pattern, the type of its messages, who writes, reads and clears them.

Owns: what one row of the table of topics says, and how a topic is made of names and read back. Its rule: what is
published, subscribed to, decoded, defended and removed follows from the row; nobody else spells a topic. Not here: the rows
(each beside the type of its messages, `control/*_messages.py`), the table (`topic_table.py`), the connection
(`mqtt/bus.py`).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import msgspec

from edgesplit.trust.subjects import Role

__all__ = ["LARGE_BYTES", "PAYLOAD_LIMIT_BYTES", "QUALITY_OF_SERVICE", "ROOT", "SMALL_BYTES", "Program", "Topic"]

M = TypeVar("M", bound=msgspec.Struct)
Program = Literal["agent", "controller", "splitctl"]

ROOT = "edgesplit/1"
"""Above all topics; its number is that of the tree and its payloads, which has never changed."""
QUALITY_OF_SERVICE = 1
"""Of every topic: at least once, MQTT 3.1.1 section 4.3.2."""
PAYLOAD_LIMIT_BYTES = 16 << 20
"""No message of a fleet comes near; decoding one of this size takes some tenths of a second."""
SMALL_BYTES, LARGE_BYTES = 64 << 10, 4 << 20
"""What messages of a few figures, and of a few figures per peer or component, may take."""


@dataclass(frozen=True, eq=False)
class Topic(Generic[M]):
    """One row of the table of topics.

    Attributes:
        pattern: Levels below `ROOT`; one in braces stands for a name, as in `nodes/{node}/status`.
        payload: Type of its messages, in JSON. An empty payload removes a retained message.
        says: What it is for, for people.
        writers: Programs that publish on it; everybody else's messages are forgeries.
        readers: Programs that subscribe to it; agents to what is about their own node, and to every registration.
        retained: The broker keeps the last message, and the writer repeats it on each new connection; else a message is
            sent once, or not at all while the broker is away.
        lives_with: Retained per node and model: the topic whose message of the same model its own must not outlast. The
            writer clears it.
        cleared: Who clears it else, and when, for people; with `lives_with`, what has to be besides.
        defended: The writer puts right what others publish on it.
        signer: Who alone may sign its messages in a fleet with an authority; None: they are not signed, and decide nothing.
        has_will: The broker publishes a last message on it when its writer vanishes.
        signed: Keys whose figures may be below zero; no other figure is believed that is.
        limit_bytes: Larger payloads are not read. [B]
    """

    pattern: str
    payload: type[M]
    _: KW_ONLY
    says: str = ""
    writers: tuple[Program, ...] = ()
    readers: tuple[Program, ...] = ()
    retained: bool = False
    lives_with: Topic[Any] | None = None
    cleared: str = ""
    defended: bool = False
    signer: Role | None = None
    has_will: bool = False
    signed: frozenset[str] = frozenset()
    limit_bytes: int = PAYLOAD_LIMIT_BYTES

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """What the names in it are of, outermost first: `node`, `model` ..."""
        return tuple(level[1:-1] for level in self.pattern.split("/") if level.startswith("{"))

    @cached_property
    def _levels(self) -> tuple[int, ...]:
        """Where the names stand in a topic."""
        return tuple(at for at, level in enumerate(f"{ROOT}/{self.pattern}".split("/")) if level.startswith("{"))

    def of(self, *names: str) -> str:
        """The topic of these names, one for each placeholder.

        Raises:
            ValueError: There are more placeholders, or fewer.
        """
        if len(names) != len(self.placeholders):
            raise ValueError(f"{self.pattern} takes {len(self.placeholders)} names, and {len(names)} were given")
        levels = f"{ROOT}/{self.pattern}".split("/")
        for at, name in zip(self._levels, names, strict=True):
            levels[at] = name
        return "/".join(levels)

    def filter(self, *names: str) -> str:
        """The MQTT topic filter of all topics of this kind that begin with these names."""
        return self.of(*names, *"+" * (len(self.placeholders) - len(names)))

    def names(self, topic: str) -> tuple[str, ...]:
        """The names that a topic of this kind was made of."""
        levels = topic.split("/")
        return tuple(levels[at] for at in self._levels)
