"""The planner: a problem in, a proven plan out.

Owns: deciding which operator runs where, in which precision, and how cut tensors travel. Its rule: pure; no clock
but the deadline it is given, no MQTT, no ONNX. Not here: making problems, activating plans.

Its rooms, each importing only those before it: `meaning` (what a problem file means: limits, costs, exact sums, components,
timeline; `evaluate` is the independent referee), `bounds` (Lagrangian relaxation solved by bucket elimination, Pareto labels,
presolve), `cpsat` (variables, constraints, objective, search, decoding), `solving` (one objective in `session`, the score in
`weighted_score`, why there is no plan in `infeasible`) and `studies` (variations, frontier, explanation).

A limit on a sum of costs is described once, in `meaning.limiting.limits`. `errors.PlanningTimedOut` says that nothing is known yet; a
`Solution` that is `infeasible` is proven to be.
"""

from __future__ import annotations

from edgesplit_controller.planner.meaning.evaluation import energy_per_node, evaluate, noise_of, score
from edgesplit_controller.planner.solving.weighted_score import solve

__all__ = ["energy_per_node", "evaluate", "noise_of", "score", "solve"]
