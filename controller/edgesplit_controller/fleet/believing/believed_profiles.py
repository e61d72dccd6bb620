"""Believed profiles: execution profiles of all nodes, with unit times moved towards what other nodes say of them.

Owns: when beliefs are formed anew, and of whom. Its rule: only where a profile is another; the same object is given as long as nothing
changed, for whoever watches compares by that. In a large fleet only the nodes that somebody asked about are compared, each with each, and
of more than a few dozen the first. Not here: the estimate (`believed_unit_times.py`), a node's speed (`node_speeds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit_controller.fleet.believing.believed_unit_times import Beliefs, as_believed, beliefs

__all__ = ["BelievedProfiles"]

MOST_COMPARED = 48
"""Nodes of one model whose profiles are compared, each with each; a comparison takes some tens of microseconds."""


@dataclass
class _Formed:
    """Of one model.

    Attributes:
        sha256: Of the model.
        asked: Nodes that somebody asked about, in that order.
        said: By node, the profile as it was measured, of those that were compared.
        beliefs: By node, formed of these.
        given: By node, what was last asked about and what was answered.
    """

    sha256: str
    asked: dict[str, None]
    said: dict[str, ExecutionProfile] = field(default_factory=dict[str, ExecutionProfile])
    beliefs: dict[str, Beliefs] = field(default_factory=dict[str, Beliefs])
    given: dict[str, tuple[ExecutionProfile, ExecutionProfile]] = field(
        default_factory=dict[str, tuple[ExecutionProfile, ExecutionProfile]]
    )

    def lacks(self, node: str, said: ExecutionProfile) -> bool:
        """Whether beliefs are not formed of a profile, and would be."""
        before = self.said.get(node)
        if before is None:
            return len(self.said) < MOST_COMPARED or (node not in self.asked and len(self.asked) < MOST_COMPARED)
        # A node says the same profile again whenever it reconnects.
        return before is not said and before != said


class BelievedProfiles:
    """All models'.

    Args:
        measured: All nodes' profiles of a model and its digest, as they were measured.
    """

    def __init__(self, measured: Callable[[str, str], Mapping[str, ExecutionProfile]]) -> None:
        self._measured = measured
        self._formed: dict[str, _Formed] = {}

    def profile(
        self, node: str, model: str, sha256: str, said: ExecutionProfile, now: ExecutionProfile
    ) -> ExecutionProfile:
        """A node's profile with its units as they are believed.

        Args:
            node: Whose.
            model: Its name.
            sha256: Of the model.
            said: As it was measured.
            now: The same as the node computes now: all its times times a factor.
        """
        formed = self._formed.get(model)
        if formed is None or formed.sha256 != sha256:
            formed = self._formed[model] = _Formed(sha256, {})
        if formed.lacks(node, said):
            formed = self._formed[model] = self._form(model, sha256, {**formed.asked, node: None})
        if len(formed.asked) < MOST_COMPARED:
            formed.asked[node] = None
        given = formed.given.get(node)
        if given is None or given[0] is not now:
            given = formed.given[node] = now, as_believed(now, formed.beliefs.get(node))
        return given[1]

    def forget_model(self, model: str) -> None:
        """A model is gone."""
        self._formed.pop(model, None)

    def _form(self, model: str, sha256: str, asked: dict[str, None]) -> _Formed:
        said = dict(self._measured(model, sha256))
        if len(said) > MOST_COMPARED:
            said = {name: said[name] for name in list(asked)[:MOST_COMPARED] if name in said}
        return _Formed(sha256, asked, said, beliefs(said))
