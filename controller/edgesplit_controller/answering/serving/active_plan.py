"""Active plan of a model, or the error for one that does not serve."""

from __future__ import annotations

from edgesplit.errors import NotDeployed
from edgesplit_controller.deciding.deployer import Deployer
from edgesplit_controller.models.catalog import Catalog
from edgesplit_controller.storage.deployment_state import PlanRecord

__all__ = ["active_plan"]


def active_plan(catalog: Catalog, deployer: Deployer, name: str) -> PlanRecord:
    """The plan that serves a model.

    Raises:
        UnknownModel: There is no such model.
        NotDeployed: It does not serve.
    """
    catalog.get(name)
    deployment = deployer.deployments.get(name)
    if deployment is None or deployment.active is None:
        raise NotDeployed(f"{name} is not deployed: run splitctl deploy {name} --source NODE")
    return deployment.active
