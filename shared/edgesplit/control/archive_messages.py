"""Control-plane messages about the archive: the controller's own records, which some nodes keep for it as blobs.

Owns: the list of what the archive holds, and which nodes keep it. Its rule: that of `control/messages.py`, a released message
is never changed; a list is complete, and of two the one of the higher `order` holds. Not here: what the blobs hold (the
controller), keeping them (agents).
"""

from __future__ import annotations

from edgesplit.control.messages import Message
from edgesplit.mqtt.topic import LARGE_BYTES, Topic

__all__ = ["ARCHIVE", "KEPT_ARCHIVE", "Archive", "ArchiveEntry", "KeptArchive"]


class ArchiveEntry(Message, frozen=True, kw_only=True):
    """One record of the controller's, as a blob.

    Attributes:
        name: What it is: `state`, `models/NAME` or `deployments/NAME`.
        digest: SHA-256 of its bytes, the blob's name.
        nbytes: Size of that blob. [B]
    """

    name: str
    digest: str
    nbytes: int


class Archive(Message, frozen=True, kw_only=True):
    """All records of a controller, complete: what a list does not name is gone.

    Attributes:
        store: Drawn when the controller's folder was made: which folder this is a copy of.
        number: Of the controller's start, counted over all controllers that took over from each other.
        edition: Counts the lists of one start.
        before: Earlier folders whose records this one took over, latest first.
        keepers: Nodes that shall keep the blobs.
        entries: What there is.
    """

    store: str
    number: int
    edition: int
    before: tuple[str, ...] = ()
    keepers: tuple[str, ...] = ()
    entries: tuple[ArchiveEntry, ...] = ()

    @property
    def order(self) -> tuple[int, int]:
        """Of two lists the later one has the higher order."""
        return self.number, self.edition

    @property
    def is_empty(self) -> bool:
        """Whether no model and no deployment is in it."""
        return all(entry.name == "state" for entry in self.entries)

    @property
    def sizes(self) -> dict[str, int]:
        """Digest to bytes of every blob. [B]"""
        return {entry.digest: entry.nbytes for entry in self.entries}


class KeptArchive(Archive, frozen=True, kw_only=True):
    """A list of which a node has every blob.

    Attributes:
        node: Who says this.
    """

    node: str


ARCHIVE = Topic(
    "controller/archive",
    Archive,
    says="which blobs hold the controller's own records, and who keeps them",
    writers=("controller",),
    readers=("agent", "controller"),
    retained=True,
    cleared="never: it says which controller's store was the last",
    defended=True,
    signer="controller",
    limit_bytes=LARGE_BYTES,
)
KEPT_ARCHIVE = Topic(
    "nodes/{node}/archive",
    KeptArchive,
    says="the records of a controller that a node keeps whole",
    writers=("agent",),
    readers=("controller", "agent"),
    retained=True,
    cleared="by the agent: the controller names it as a keeper no more",
    defended=True,
    limit_bytes=LARGE_BYTES,
)
