"""Who is a stranger to this node, and what becomes of what strangers send.

Owns: that judgement. Its rule: pure; whoever takes part in an epoch that is held here, or is a node this one keeps a
connection to, is known; tensors and aborts of an execution count only from those who take part in it. A name can be
claimed: this bounds what everybody may leave here, and keeps honest nodes' things from being pushed out. Not here: the
tables (`serving/machine/arrivals.py`), connections (`dataplane/incoming.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgesplit_agent.serving.machine.epochs import ModelEpochs

__all__ = ["LONGEST_DEADLINE_S", "MOST_EXECUTIONS", "is_known"]

MOST_EXECUTIONS = 4096
"""Requests of other sources that are under way here at a time."""
LONGEST_DEADLINE_S = 3600.0
"""Longest that tensors are worked on, whatever deadline came with them. [s]"""


def is_known(models: Mapping[str, ModelEpochs], peers_up: Collection[str], peer: str) -> bool:
    """Whether a node is one of ours."""
    return peer in peers_up or any(
        peer in held.spec.participants for model in models.values() for held in model.held.values()
    )
