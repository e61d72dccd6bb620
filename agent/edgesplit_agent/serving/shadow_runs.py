"""Shadow runs: an answered request once more on the float model, behind everything else.

Owns: one check from its arrays to its noise. Its rule: it gives way to whatever else wants to compute, within one kernel
of the float model, and tries again later; it never raises. Not here: which requests are checked (`serving/machine/shadow_sampling.py`),
what the noise leads to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from msgspec.structs import replace

from edgesplit.control.plan_messages import EpochSpec
from edgesplit.errors import EdgesplitError, InvalidMetric, first_line
from edgesplit.late_libraries import np
from edgesplit.planning.output_noise import Measure, comparable, load_metric
from edgesplit.wire.tensors import Array
from edgesplit_agent.compute.interruption import Interruption
from edgesplit_agent.compute.session_pool import LoadedComponent
from edgesplit_agent.compute.worker import PROFILING_PRIORITY, Worker
from edgesplit_agent.serving.machine.actions import ShadowRequest
from edgesplit_agent.serving.machine.events import ShadowChecked, ShadowDropped
from edgesplit_agent.serving.machine.execution import request_tensors

__all__ = ["SHADOW_PRIORITY", "ShadowRunner"]

SHADOW_PRIORITY = PROFILING_PRIORITY + 1
"""After every request and after profiling, which ends while this goes on for as long as the node serves."""
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)
"""Before each attempt: a burst of requests passes. [s]"""


class ShadowRunner:
    """Checks one request at a time.

    Args:
        worker: Of the node's computations.
        metrics: Metrics of users that may be imported here (`[runtime] metrics`).
    """

    def __init__(self, worker: Worker, metrics: Sequence[str] = ()) -> None:
        self._worker = worker
        self._metrics = tuple(metrics)
        self._log = structlog.get_logger(part="shadowing")

    async def check(
        self,
        request: ShadowRequest,
        spec: EpochSpec,
        components: Mapping[int, LoadedComponent],
        wanted: Callable[[], bool],
    ) -> ShadowChecked | ShadowDropped:
        """Run the float model and compare.

        Args:
            request: What was answered.
            spec: Of the float model's epoch.
            components: Prepared for it.
            wanted: Whether the check still is, asked before every attempt, in any thread.
        """
        try:
            # In a thread: a user's module may take its time to be imported.
            measure, detail = await asyncio.to_thread(self._measure, request)
            reference = await self._reference(request, spec, components, wanted)
            if reference is None:
                return ShadowDropped(request.model, request.epoch)
            noise = await asyncio.to_thread(measure.noise, reference, request.outputs)
        except EdgesplitError as error:
            return self._failed(request, str(error))
        except Exception as error:  # onnxruntime raises many types, and a check must not end the agent
            return self._failed(request, f"the float model failed ({first_line(error)})")
        if not np.isfinite(noise):
            # JSON has no infinity; this is as far above any bound.
            noise = float(np.finfo(np.float32).max)
        return ShadowChecked(request.model, request.epoch, noise, measure.name, detail)

    async def _reference(
        self,
        request: ShadowRequest,
        spec: EpochSpec,
        components: Mapping[int, LoadedComponent],
        wanted: Callable[[], bool],
    ) -> dict[str, Array] | None:
        """The float model's outputs; None where there was no time for it, or nobody wants them any more."""
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            interruption = Interruption()

            def run(interruption: Interruption = interruption) -> dict[str, Array] | None:
                return _run(request_tensors(spec, request.arrays), spec, components, interruption) if wanted() else None

            try:
                return await self._worker.run(run, priority=SHADOW_PRIORITY, make_way=interruption.ask)
            except asyncio.CancelledError:
                interruption.ask()
                raise
            except Exception:
                if not interruption.asked:
                    raise
        return None

    def _measure(self, request: ShadowRequest) -> tuple[Measure, str]:
        # An open size is one that is known of every request; what depends on the data cannot be compared.
        ranked = [spec for spec in request.specs if not spec.any_rank]
        names = comparable(replace(spec, shape=spec.typical or spec.shape) for spec in ranked)
        detail = ""
        if request.metric:
            try:
                metric = load_metric(request.metric, self._metrics, "[runtime] metrics of the source's agent")
                return Measure(names, metric, request.metric), ""
            except InvalidMetric as error:
                detail = f"{error}; what was measured is rho, which the bound does not speak of"
        if not names:
            raise InvalidMetric(detail or "no output of the model has a fixed size, so noise is undefined")
        return Measure(names), detail

    def _failed(self, request: ShadowRequest, detail: str) -> ShadowDropped:
        self._log.warning("check-failed", model=request.model, epoch=request.epoch, cause=detail)
        return ShadowDropped(request.model, request.epoch, detail)


def _run(
    arrays: Mapping[str, Array], spec: EpochSpec, components: Mapping[int, LoadedComponent], interruption: Interruption
) -> dict[str, Array]:
    """Every component of a plan that needs nobody else, in its order."""
    tensors = dict(arrays)
    for part in spec.components:
        inputs = {entry.name: tensors[entry.name] for entry in part.inputs}
        tensors |= components[part.component].run_alone(inputs, interruption.options)
    return {name: tensors[name] for name in spec.outputs}
