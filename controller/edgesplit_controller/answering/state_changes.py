"""Write-ahead guard of changes: the write before an operation that changes something, the blobs freed after it.

Owns: the write before a change, and freeing blobs after it. Its rule: a change begins with a write; where that fails,
nothing else was done. Not here: the changes.
"""

from __future__ import annotations

from collections.abc import Callable

from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.archive.fleet_archive import FleetArchive
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.rollout.driver import Rollouts

__all__ = ["StateChanges"]


class StateChanges:
    """Of one controller.

    Args:
        rollouts: Hold the state that is written.
        catalog: Frees blobs.
        when_written: Does something once no blobs are being written that nobody names yet.
        archive: Has blobs of its own.
    """

    def __init__(
        self,
        rollouts: Rollouts,
        catalog: Catalog,
        when_written: Callable[[Callable[[], None]], None],
        archive: FleetArchive,
    ) -> None:
        self._rollouts = rollouts
        self._catalog = catalog
        self._when_written = when_written
        self._archive = archive

    def begin(self, model: str, progress: Progress) -> None:
        """Write the state as it is: a change that the store could not take is not even begun.

        Args:
            model: That is changed; empty for several.
            progress: Told what is still being prepared of it.

        Raises:
            StoreUnwritable: It takes no writes.
        """
        self._rollouts.update()
        if unfinished := self._rollouts.unfinished(model):
            progress(unfinished, None)

    def collect(self) -> None:
        """Free blobs that nobody needs any more."""
        self._when_written(lambda: self._catalog.collect(self._needed))

    def _needed(self) -> set[str]:
        held = {digest for kept in self._rollouts.state.deployments.values() for digest in kept.digests}
        return held | self._archive.digests
