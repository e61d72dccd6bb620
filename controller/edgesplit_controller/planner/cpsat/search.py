"""One CP-SAT solve: parameters, time limit, status.

Owns: the solver's parameters and the translation between its answer and values. Its rule: deterministic, one
worker. Not here: which objectives are solved in which order.

The parameters matter: CP-SAT's defaults add the relaxation's rows lazily and drop most of them, and do not finish
on the reference problem; with all rows in the relaxation it proves one objective in under a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgesplit.errors import SolverRefused
from edgesplit_controller.planner.cpsat.solver_library import cp_model

__all__ = ["SolverAnswer", "run_solver"]


@dataclass(frozen=True, slots=True)
class SolverAnswer:
    """What CP-SAT found.

    Attributes:
        values: Variable index to value of the best solution; None when there is none.
        bound: Proven lower bound in model units; says nothing where there is proven to be no solution.
        proven: The solution is optimal, or there is proven to be none.
        seconds: Spent in the solver. [s]
    """

    values: Sequence[int] | None
    bound: float
    proven: bool
    seconds: float


def run_solver(model: cp_model.CpModel, time_limit_s: float) -> SolverAnswer:
    """Solve a model.

    Args:
        model: With or without objective and hints.
        time_limit_s: Wall-clock limit. [s]

    Raises:
        SolverRefused: The model is invalid, for instance because its integers may overflow.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.linearization_level = 2
    solver.parameters.add_lp_constraints_lazily = False
    # Presolve by bounds has found what probing would, and it takes half the time of a small model.
    solver.parameters.cp_model_probing_level = 0
    # OR-Tools 9.15's detection of included constraints lost optima of models with coefficients around 1e11.
    solver.parameters.presolve_inclusion_work_limit = 0
    # The flow formulation's relaxation is almost integral; cutting planes take longer than the branches they save.
    solver.parameters.cut_level = 0
    solver.parameters.max_time_in_seconds = max(time_limit_s, 0.01)
    status = solver.solve(model)
    if status == cp_model.MODEL_INVALID:
        raise SolverRefused(f"The solver does not take the planner's model ({model.validate() or 'no reason given'}).")
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return SolverAnswer(
        values=list(solver.response_proto.solution) if found else None,
        bound=solver.best_objective_bound if status in (cp_model.OPTIMAL, cp_model.FEASIBLE, cp_model.UNKNOWN) else 0.0,
        proven=status in (cp_model.OPTIMAL, cp_model.INFEASIBLE),
        seconds=solver.wall_time,
    )
