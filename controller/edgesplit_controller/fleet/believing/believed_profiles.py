"""Believed profiles: execution profiles of all nodes, with unit times moved towards what other nodes say of them.

Owns: when beliefs are formed anew. Its rule: only where a profile is another; the same object is given as long as nothing
changed, for whoever watches compares by that. Not here: the estimate (`believed_unit_times.py`), a node's speed (`node_speeds.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edgesplit.control.profile_messages import ExecutionProfile
from edgesplit_controller.fleet.believing.believed_unit_times import Beliefs, as_believed, beliefs

__all__ = ["BelievedProfiles"]


@dataclass
class _Formed:
    """Of one model.

    Attributes:
        sha256: Of the model.
        said: By node, the profile as it was measured.
        beliefs: By node, formed of these.
        given: By node, what was last asked about and what was answered.
    """

    sha256: str
    said: dict[str, ExecutionProfile]
    beliefs: dict[str, Beliefs]
    given: dict[str, tuple[ExecutionProfile, ExecutionProfile]] = field(
        default_factory=dict[str, tuple[ExecutionProfile, ExecutionProfile]]
    )


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
        before = formed.said.get(node) if formed is not None and formed.sha256 == sha256 else None
        # A node says the same profile again whenever it reconnects.
        if formed is None or before is None or (before is not said and before != said):
            formed = self._formed[model] = self._form(model, sha256)
        given = formed.given.get(node)
        if given is None or given[0] is not now:
            given = formed.given[node] = now, as_believed(now, formed.beliefs.get(node))
        return given[1]

    def forget_model(self, model: str) -> None:
        """A model is gone."""
        self._formed.pop(model, None)

    def _form(self, model: str, sha256: str) -> _Formed:
        said = self._measured(model, sha256)
        return _Formed(sha256, dict(said), beliefs(said))
