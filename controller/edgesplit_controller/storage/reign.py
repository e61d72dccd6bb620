"""Reign: which controller's store holds what was decided last.

Owns: the identity of a store, and the count of starts over all controllers that took over from each other. Its rule: pure
values; a store is behind when another one, or a copy of itself, was in charge since. Not here: the list on the broker that
carries it (`edgesplit.control.archive_messages`), taking over (`succession`).
"""

from __future__ import annotations

import msgspec

from edgesplit.control.archive_messages import Archive

__all__ = ["MOST_BEFORE", "Reign"]

MOST_BEFORE = 16
"""Stores of the past that are remembered."""


class Reign(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a controller.

    Attributes:
        store: Drawn when the folder was made; empty before.
        number: Of this start; 0 before the first.
        before: Earlier stores whose records this one took over, latest first.
        passed_over: Another store and the number of its list, which nobody kept any more when something was first remembered here; of
            its records this store has none, and who comes back with them finds another controller in charge.
    """

    store: str
    number: int = 0
    before: tuple[str, ...] = ()
    passed_over: tuple[str, int] | None = None

    @property
    def is_first(self) -> bool:
        """Whether no controller ever was in charge with this store."""
        return self.number == 0

    def begun(self) -> Reign:
        """The next start with the same store."""
        return msgspec.structs.replace(self, number=self.number + 1)

    def after(self, archive: Archive) -> Reign:
        """This store once it has taken over what an archive holds."""
        known = dict.fromkeys((archive.store, *archive.before, *self.before))
        before = tuple(store for store in known if store != self.store)[:MOST_BEFORE]
        return msgspec.structs.replace(self, number=max(self.number, archive.number), before=before)

    def is_behind(self, archive: Archive) -> bool:
        """Whether somebody else was in charge since this store was: before its next start begins.

        A list of an equal number is the store's own, from its last start. A higher one was made with a copy of the folder, or
        this is an old copy.
        """
        if archive.store == self.store or archive.store in self.before:
            return archive.number > self.number
        return self.passed_over is None or archive.store != self.passed_over[0] or archive.number > self.passed_over[1]

    def passing_over(self, archive: Archive) -> Reign:
        """This store once it has something of its own, beside a list that nobody keeps."""
        return msgspec.structs.replace(self, passed_over=(archive.store, archive.number))

    def descends_from(self, archive: Archive) -> bool:
        """Whether the controllers of an archive once took over from this store: what they lack of it was removed."""
        return self.store == archive.store or self.store in archive.before
