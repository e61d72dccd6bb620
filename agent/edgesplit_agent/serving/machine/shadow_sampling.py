"""Shadow sampling: which served requests are run again on the float model, and what came of it.

Owns: the choice, and the figures of the epoch that serves. Its rule: a request is chosen only after it was answered, one
at a time, and only where the epoch it ran on is the one that serves. Not here: running and comparing
(`serving/shadow_runs.py`), the rule that judges the figures (`edgesplit.control.noise_messages`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgesplit.control.noise_messages import in_doubt
from edgesplit.control.plan_messages import Shadowing
from edgesplit_agent.serving.machine.actions import PublishNoise

__all__ = ["ShadowSampling"]

PAUSE_S = 30.0
"""After a check that came to nothing; doubled each time until one succeeds. [s]"""
LONGEST_PAUSE_S = 600.0


@dataclass(slots=True)
class _Figures:
    """Of the checked requests of one epoch, in one measure."""

    measure: str = "rho"
    samples: int = 0
    mean: float = 0.0
    squares: float = 0.0
    max: float = 0.0
    last: float = 0.0

    def add(self, noise: float) -> None:
        self.samples += 1
        # Welford's update of the mean and of the squared deviations from it.
        off = noise - self.mean
        self.mean += off / self.samples
        self.squares += off * (noise - self.mean)
        self.max, self.last = max(self.max, noise), noise

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / (self.samples - 1)) if self.samples > 1 else 0.0


@dataclass(slots=True)
class _Progress:
    """Of the checks of one epoch."""

    chosen_s: float = float("-inf")
    not_before_s: float = float("-inf")
    pause_s: float = PAUSE_S
    dropped: int = 0
    detail: str = ""


class ShadowSampling:
    """Checks of one model at its source.

    Attributes:
        epoch: Whose requests are counted; another one starts from nothing.
        under_way: Epoch of the request that is being checked, or None; it may be an earlier one's.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.epoch: int | None = None
        self.under_way: int | None = None
        self._figures = _Figures()
        self._progress = _Progress()

    def choose(self, epoch: int, policy: Shadowing, now_s: float) -> bool:
        """Whether to check the request that was just answered; if so, one is under way until told otherwise.

        Args:
            epoch: It ran on.
            policy: What the controller asks for.
            now_s: The machine's clock. [s]
        """
        if epoch != self.epoch:
            self.epoch, self._figures, self._progress = epoch, _Figures(), _Progress()
        if self.under_way is not None or now_s < self._progress.not_before_s or not self._due(policy, now_s):
            return False
        self.under_way = epoch
        self._progress.chosen_s = now_s
        return True

    def checked(self, epoch: int, noise: float, measure: str, detail: str) -> list[PublishNoise]:
        """Take a check's result in; one of an earlier epoch says nothing any more.

        Args:
            epoch: It is of.
            noise: Finite.
            measure: What it is, see `NoiseReport.measure`.
            detail: See `NoiseReport.detail`.
        """
        if not self._ended(epoch):
            return []
        if measure != self._figures.measure:
            self._figures = _Figures(measure)
        self._figures.add(noise)
        self._progress.pause_s, self._progress.detail = PAUSE_S, detail
        return [self._report(epoch)]

    def dropped(self, epoch: int, detail: str, now_s: float) -> list[PublishNoise]:
        """A check came to nothing: pause.

        Args:
            epoch: It was of.
            detail: Why nothing can be checked; empty where the node merely had no time.
            now_s: The machine's clock. [s]
        """
        if not self._ended(epoch):
            return []
        progress = self._progress
        progress.dropped += 1
        progress.detail = detail
        progress.not_before_s = now_s + progress.pause_s
        progress.pause_s = min(2 * progress.pause_s, LONGEST_PAUSE_S)
        return [self._report(epoch)]

    def _ended(self, epoch: int) -> bool:
        """A check is over; whether it was of the epoch that counts."""
        if epoch != self.under_way:
            return False
        self.under_way = None
        return epoch == self.epoch

    def _due(self, policy: Shadowing, now_s: float) -> bool:
        samples = self._figures.samples
        mean = self._figures.mean if samples else None
        if samples < policy.requests or (policy.requests > 0 and in_doubt(samples, mean, policy.bound)):
            return True
        return policy.every_s > 0 and now_s >= self._progress.chosen_s + policy.every_s

    def _report(self, epoch: int) -> PublishNoise:
        figures, progress = self._figures, self._progress
        known = figures.samples > 0
        return PublishNoise(
            self.model,
            epoch,
            samples=figures.samples,
            mean=figures.mean if known else None,
            deviation=figures.deviation,
            max=figures.max if known else None,
            last=figures.last if known else None,
            dropped=progress.dropped,
            measure=figures.measure,
            detail=progress.detail,
        )
