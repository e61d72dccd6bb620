"""The agent's systemd unit, as joining installs it and leaving removes it.

Owns: which unit that is. Its rule: the text is that of `edgesplit-agent.service` beside this module. Not here: installing and removing it
(`edgesplit.daemon.service_unit`).
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from edgesplit.daemon.service_unit import ServiceUnit

__all__ = ["agent_unit"]

_PROGRAM = "edgesplit-agent"
_MARK = "# Installed by edgesplit-agent join, removed by edgesplit-agent leave; change it with systemctl edit edgesplit-agent."


def agent_unit() -> ServiceUnit:
    """Of the agent that is installed beside the Python that runs this."""
    shipped = files("edgesplit_agent.joining").joinpath(f"{_PROGRAM}.service").read_text(encoding="utf-8")
    return ServiceUnit(Path(sys.executable).parent / _PROGRAM, shipped, _MARK)
