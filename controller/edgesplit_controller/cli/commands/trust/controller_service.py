"""The controller's systemd service, as `splitctl ca init --service` installs and starts it, with the broker's.

Owns: which unit that is, what has to hold before a fleet is made, and the order. Its rule: the text is that of `edgesplit-controller.service`
beside this module. Not here: installing a unit (`edgesplit.daemon.service_unit`), what is written before (`authority.py`).
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib.resources import files
from pathlib import Path

from edgesplit.daemon.service_unit import ServiceUnit
from edgesplit.errors import InvalidConfiguration

__all__ = ["CONFIGURATION", "check_service", "controller_unit", "start_services"]

CONFIGURATION = Path("/etc/edgesplit/controller.toml")
BROKER_UNIT = "mosquitto.service"
_STATE = Path("/var/lib/edgesplit")
"""The unit's StateDirectory=: all that its user may write."""
_PROGRAM = "edgesplit-controller"
_MARK = "# Installed by splitctl ca init; change it with systemctl edit edgesplit-controller."
_OVERRIDE = "EDGESPLIT_BROKER_"


def controller_unit() -> ServiceUnit:
    """Of the controller that is installed beside the Python that runs this."""
    shipped = files("edgesplit_controller.cli.commands.trust").joinpath(f"{_PROGRAM}.service").read_text("utf-8")
    return ServiceUnit(Path(sys.executable).parent / _PROGRAM, shipped, _MARK)


def check_service(unit: ServiceUnit, configuration: Path, folder: Path, *, is_root: bool | None = None) -> None:
    """Find out what keeps the service from running as the fleet's controller, before there is a fleet.

    Args:
        unit: The controller's.
        configuration: What it reads.
        folder: Of the authority and the controller's identity.
        is_root: Whether this process may install services; None: found out.

    Raises:
        InvalidConfiguration: The sentence says what, and what to do.
    """
    unit.check(configuration)
    if not (os.geteuid() == 0 if is_root is None else is_root):
        raise InvalidConfiguration("--service installs a systemd service, which needs root: run it with sudo")
    if not folder.is_relative_to(_STATE):
        raise InvalidConfiguration(
            f"{folder} is not below {_STATE}, the only folder that the service may write: leave --folder out, or --service"
        )
    variables = configuration.with_name("controller.env")
    with contextlib.suppress(FileNotFoundError):
        if _OVERRIDE in variables.read_text(encoding="utf-8", errors="replace"):
            raise InvalidConfiguration(
                f"{variables} sets {_OVERRIDE}... for the service, which would override the fleet's broker: remove these lines"
            )


def start_services(unit: ServiceUnit, configuration: Path, *, with_broker: bool) -> str:
    """Install the controller's unit and start it, after the broker that it needs; what was done, for people.

    Raises:
        InvalidConfiguration: systemd refuses, with its words.
    """
    if with_broker:
        unit.systemctl("restart", BROKER_UNIT)
    return unit.install(configuration, restart=True)
