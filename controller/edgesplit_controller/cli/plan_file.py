"""Plan files: a plan that is to be served as it is.

Owns: reading one. Its rule: a document of `splitctl solve --json` is one as it stands; keys beside its own are ignored. Not here:
what its names mean (the controller knows the model).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgesplit.errors import InvalidInput
from edgesplit.planning.plan import FixedPlan

__all__ = ["read_plan"]


def read_plan(file: Path) -> FixedPlan:
    """Read a plan.

    Raises:
        InvalidInput: It is no JSON document with an assignment, or an empty one, as of a problem without a plan.
    """
    try:
        plan = msgspec.json.decode(file.read_bytes(), type=FixedPlan)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput(f"{file} is no plan ({error}): write one with splitctl solve FILE --json") from error
    if not plan.assignment:
        raise InvalidInput(f"{file} assigns no operator to a node: there is nothing to serve")
    return plan
