"""Discrete-event simulation of streams of requests on shared nodes and links, with the queues that agents have.

Owns: what analyses of waiting are held against. Its rule: pieces are not interrupted; a node takes them by the agents' own fair queue, older
requests of a model first, a link as they come; requests begin at the moments given.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from edgesplit_agent.compute.fair_queue import FairQueue
from edgesplit_controller.planner.studies.waiting.periodic_streams import PeriodicStream, Resource

__all__ = ["simulated_waits"]

_Happened = tuple[str, int]
"""A piece, by its place, has `left` its node or link, or is `done`."""


@dataclass
class _Request:
    """One on its way.

    Attributes:
        missing: Of each piece, what must happen before it may start.
    """

    stream: PeriodicStream
    begun_s: float
    model: str
    missing: list[set[_Happened]]
    ended_s: float = 0.0


_Job = tuple[_Request, int]


class _Server:
    """A node, or a direction of a link."""

    def __init__(self, *, link: bool) -> None:
        self._queue: FairQueue[_Job] = FairQueue()
        self._orders: dict[int, int] = {}
        self._numbers = itertools.count()
        self._link = link
        self.busy = False

    def put(self, job: _Job) -> None:
        number = next(self._numbers)
        order = self._orders.setdefault(id(job[0]), number)
        self._queue.put(job, self._share(job), number if self._link else order)

    def take(self) -> _Job | None:
        taken = self._queue.take()
        self.busy = taken is not None
        return None if taken is None else taken[0]

    def spent(self, job: _Job, seconds: float) -> None:
        self._queue.spent(self._share(job), seconds)

    def _share(self, job: _Job) -> str:
        return "all" if self._link else job[0].model


class _Simulation:
    """One run."""

    def __init__(self) -> None:
        self._servers: dict[Resource, _Server] = {}
        self._events: list[tuple[float, int, str, _Request, int]] = []
        self._numbers = itertools.count()

    def happens(self, at_s: float, what: str, request: _Request, place: int) -> None:
        """Something will."""
        heapq.heappush(self._events, (at_s, next(self._numbers), what, request, place))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._events:
            now_s, _, what, request, place = heapq.heappop(self._events)
            piece = request.stream.pieces[place]
            server = self._servers.setdefault(piece.resource, _Server(link=isinstance(piece.resource, tuple)))
            if what == "ready" and piece.seconds > 0.0:
                server.put((request, place))
                if not server.busy:
                    self._serve(server, now_s)
                continue
            if what == "left":
                server.spent((request, place), piece.seconds)
                # The thread that computes takes what waits before it hears what becomes of a result.
                self._serve(server, now_s)
            if what == "done":
                request.ended_s = max(request.ended_s, now_s - request.begun_s)
            else:
                self.happens(now_s + piece.lag_s, "done", request, place)
            for other, missing in enumerate(request.missing):
                if (what, place) in missing:
                    missing.remove((what, place))
                    if not missing:
                        self.happens(now_s, "ready", request, other)

    def _serve(self, server: _Server, now_s: float) -> None:
        job = server.take()
        if job is not None:
            self.happens(now_s + job[0].stream.pieces[job[1]].seconds, "left", *job)


def simulated_waits(
    streams: Sequence[PeriodicStream], begins_s: Sequence[Sequence[float]], models: Sequence[str]
) -> list[list[float]]:
    """How much longer each request took than its stream's requests take alone. [s]

    Args:
        streams: Whose requests.
        begins_s: Of each stream, when its requests begin, rising. [s]
        models: Of each stream, who shares a node's time by.
    """
    simulation = _Simulation()
    requests: list[list[_Request]] = []
    for stream, moments, model in zip(streams, begins_s, models, strict=True):
        requests.append([])
        for begin_s in moments:
            missing = [
                {("done", place) for place in piece.before}
                | (set() if piece.behind is None else {("left", piece.behind)})
                for piece in stream.pieces
            ]
            requests[-1].append(_Request(stream, begin_s, model, missing))
            for place, nothing in enumerate(missing):
                if not nothing:
                    simulation.happens(begin_s + stream.begin_s, "ready", requests[-1][-1], place)
    simulation.run()
    assert all(not any(request.missing) for mine in requests for request in mine)
    return [[request.ended_s - request.stream.latency_s for request in mine] for mine in requests]
