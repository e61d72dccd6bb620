"""Paused re-planning: models that are not planned again by themselves for a while.

Owns: which, and since when. Its rule: a pause keeps nobody from planning who asks for it, and nodes from nothing: fallbacks
serve where one is lost. Not here: what a pause stops (`deciding/replanner.py`, `deciding/beside/shape_watch.py`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from edgesplit.errors import InvalidInput
from edgesplit.names import base_name
from edgesplit.operations.upkeep_operations import PausesDocument
from edgesplit_controller.answering.replies import Progress
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.event_log import EventLog
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.rollout.driver import Rollouts
from edgesplit_controller.storage.deployment_state import ALL_MODELS

__all__ = ["PlanningPauses"]


class PlanningPauses:
    """Of all models.

    Args:
        catalog: Knows the models.
        rollouts: Remember the pauses.
        deployer: Looks at models that are paused no more.
        events: Where it is told.
        unix_clock: [s since the epoch]
    """

    def __init__(
        self,
        catalog: Catalog,
        rollouts: Rollouts,
        deployer: Deployer,
        events: EventLog,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._rollouts = rollouts
        self._deployer = deployer
        self._events = events
        self._unix_clock = unix_clock

    async def pause(self, model: str | None, progress: Progress) -> PausesDocument:
        """Plan a model no more by itself, or all of them; one that is paused already stays so since then.

        Returns once what was being prepared serves or was given up.

        Raises:
            UnknownModel, InvalidInput: There is no such model, or it is a planning shape of one.
            StoreUnwritable: Nothing was changed.
            ChangeUnderWay: It is paused, and what was begun before has not ended yet.
        """
        paused, key = self._rollouts.state.paused, self._key(model)
        if key not in paused:
            self._rollouts.update(paused=paused | {key: self._unix_clock()})
            text = f"{model or 'no model'} is {'not ' if model else ''}planned again by itself until that is resumed"
            self._events.add("planning-paused", text, model=model or "")
        progress("waiting for what is being prepared", None)
        names = [name for name in self._deployer.deployments if model in (None, base_name(name))]
        await asyncio.gather(*map(self._deployer.change_ended, names))
        return self._document()

    def resume(self, model: str | None) -> PausesDocument:
        """Plan a model by itself again; without a name all, those too that were paused one by one.

        Raises:
            UnknownModel, InvalidInput: There is no such model, or it is not paused by itself.
            StoreUnwritable: Nothing was changed.
        """
        paused, key = self._rollouts.state.paused, self._key(model)
        if model is not None and model not in paused:
            if ALL_MODELS in paused:
                raise InvalidInput("re-planning of all models is paused: splitctl resume without a name ends that")
            raise InvalidInput(f"re-planning of {model} is not paused: there is nothing to resume")
        if not paused:
            raise InvalidInput("re-planning of no model is paused: there is nothing to resume")
        left = {} if model is None else {name: since for name, since in paused.items() if name != key}
        self._rollouts.update(paused=left)
        text = f"{model or 'every model'} is planned again by itself where that pays"
        self._events.add("planning-resumed", text, model=model or "")
        for name in self._catalog.records if model is None else self._catalog.shapes_of(model):
            self._deployer.look_anew(name)
        return self._document()

    def _key(self, model: str | None) -> str:
        """Under which a pause is remembered.

        Raises:
            UnknownModel, InvalidInput: There is no such model, or it is a planning shape of one.
        """
        return ALL_MODELS if model is None else self._catalog.shapes_of(model)[0]

    def _document(self) -> PausesDocument:
        paused = self._rollouts.state.paused
        models = {name: since for name, since in sorted(paused.items()) if name != ALL_MODELS}
        return PausesDocument(all_unix_s=paused.get(ALL_MODELS), models=models)
