"""The agent's systemd unit as joining installs it, and leaving removes it.

Owns: the unit's file, and the calls of systemctl. Its rule: a unit that somebody else installed is started and stopped, never changed or
removed. Not here: what stands in the unit (`edgesplit-agent.service` beside this module).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from edgesplit.errors import InvalidConfiguration

__all__ = ["ServiceUnit"]

NAME = "edgesplit-agent.service"
UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""There where systemd manages the machine (sd_booted(3))."""
PROGRAM = "edgesplit-agent"
MARK = "# Installed by edgesplit-agent join, removed by edgesplit-agent leave; change it with systemctl edit edgesplit-agent."
_HIDDEN = tuple(Path(folder) for folder in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108 - compared, not used
"""What the unit's service does not see (ProtectHome=, PrivateTmp=)."""
STARTS_WITHIN_S = 200.0

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=STARTS_WITHIN_S)


@dataclass(frozen=True)
class ServiceUnit:
    """The unit of this machine's agent.

    Attributes:
        units: Folder of units.
        booted: There where systemd manages the machine.
        program: The agent's command line program.
        run: Calls a program.
    """

    units: Path = UNITS
    booted: Path = BOOTED
    program: Path = Path(sys.executable).parent / PROGRAM
    run: Run = _run

    @property
    def path(self) -> Path:
        """Of the unit."""
        return self.units / NAME

    @property
    def is_ours(self) -> bool:
        """Whether joining installed it."""
        return self.path.is_file() and MARK in self.path.read_text(encoding="utf-8")

    def check(self, configuration: Path) -> None:
        """Find out what keeps a service from running, before a token is used up.

        Raises:
            InvalidConfiguration: The sentence says what.
        """
        if not self.booted.exists() or shutil.which("systemctl") is None:
            raise InvalidConfiguration(
                "systemd does not manage this machine, so that --service cannot install one: join without it, and run "
                f"{PROGRAM} --config {configuration}"
            )
        if not self.program.is_file():
            raise InvalidConfiguration(f"{self.program} is not there: install edgesplit with pip, which makes it")
        for path in (self.program, configuration):
            hidden = next((folder for folder in _HIDDEN if path.resolve().is_relative_to(folder)), None)
            if hidden is not None:
                raise InvalidConfiguration(
                    f"{path} lies below {hidden}, which a service does not see: install edgesplit in /opt/edgesplit, and leave --config out"
                )

    def install(self, configuration: Path, *, restart: bool) -> str:
        """Install the unit unless there is one, and have it run now and at every start; what was done, for people.

        Args:
            configuration: What it reads.
            restart: Whether a running one reads it anew.

        Raises:
            InvalidConfiguration: systemd refuses, with its words.
        """
        installed = self.is_ours or not self.path.exists()
        if installed:
            self.path.write_text(unit_text(self.program, configuration), encoding="utf-8")
            self.path.chmod(0o644)
        self._call("daemon-reload")
        self._call("enable", NAME)
        self._call("restart" if restart else "start", NAME)
        return f"{'installed' if installed else 'found'} {self.path} and started it"

    def remove(self) -> list[str]:
        """Stop the service and remove its unit, if joining installed it; what was done, for people."""
        if not self.path.exists() or not self.booted.exists():
            return []
        self._call("disable", "--now", NAME)
        if not self.is_ours:
            return [f"stopped and disabled {NAME}"]
        self.path.unlink()
        self._call("daemon-reload")
        return [f"stopped {NAME} and removed its unit"]

    def clean(self) -> None:
        """Have systemd remove the service's cache and state; before the unit goes."""
        if self.path.exists() and self.booted.exists():
            self._call("stop", NAME)
            self._call("clean", "--what=cache", "--what=state", NAME)

    def _call(self, *words: str) -> None:
        done = self.run(("systemctl", *words))
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
            raise InvalidConfiguration(
                f"systemctl {' '.join(words)} failed: {said} (systemctl status {PROGRAM} and journalctl -u {PROGRAM} say more)"
            )


def unit_text(program: Path, configuration: Path) -> str:
    """The unit for a program and a configuration in other places than the usual ones."""
    shipped = files("edgesplit_agent.joining").joinpath(NAME).read_text(encoding="utf-8")
    lines = [
        f"ExecStart={_quoted(program)} --config {_quoted(configuration)}" if line.startswith("ExecStart=") else line
        for line in shipped.splitlines()
    ]
    return "\n".join((MARK, *lines)) + "\n"


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(sign in text for sign in ' "\\;') else text
