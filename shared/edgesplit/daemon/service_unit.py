"""A daemon's systemd unit as a command with `--service` installs it, and another one removes it.

Owns: the unit's file, and the calls of systemctl. Its rule: a unit that somebody else installed is started and stopped, never changed or
removed. Not here: what stands in the unit (a file beside the command that installs it).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import InvalidConfiguration

__all__ = ["ServiceUnit", "unit_text"]

UNITS = Path("/etc/systemd/system")
PACKAGED = Path("/usr/lib/systemd/system")
"""Units that a distribution's package brought; of one name, that in `UNITS` counts (systemd.unit(5))."""
BOOTED = Path("/run/systemd/system")
"""There where systemd manages the machine (sd_booted(3))."""
_HIDDEN = tuple(Path(folder) for folder in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108 - compared, not used
"""What the unit's service does not see (ProtectHome=, PrivateTmp=)."""
STARTS_WITHIN_S = 200.0

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=STARTS_WITHIN_S)


@dataclass(frozen=True)
class ServiceUnit:
    """The unit of one of this machine's daemons.

    Attributes:
        program: The daemon's command line program, after which the unit is named.
        shipped: The unit's text, for the usual places.
        mark: First line of an installed unit: who installed it, as a comment.
        units: Folder of units that are installed by hand or by these commands.
        packaged: Folder of units of packages.
        booted: There where systemd manages the machine.
        run: Calls a program.
    """

    program: Path
    shipped: str
    mark: str
    units: Path = UNITS
    packaged: Path = PACKAGED
    booted: Path = BOOTED
    run: Run = _run

    @property
    def name(self) -> str:
        """Of the unit, as systemctl knows it."""
        return f"{self.program.name}.service"

    @property
    def path(self) -> Path:
        """Of the unit: where one is, else where it would be installed."""
        installed, packaged = self.units / self.name, self.packaged / self.name
        return packaged if packaged.exists() and not installed.exists() else installed

    @property
    def is_ours(self) -> bool:
        """Whether a command with `--service` installed it."""
        return self.path.is_file() and self.mark in self.path.read_text(encoding="utf-8")

    def check(self, configuration: Path) -> None:
        """Find out what keeps a service from running, before anything is done.

        Raises:
            InvalidConfiguration: The sentence says what.
        """
        if not self.booted.exists() or shutil.which("systemctl") is None:
            raise InvalidConfiguration(
                "systemd does not manage this machine, so that --service cannot install one: leave it out, and run "
                f"{self.program.name} --config {configuration}"
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
            self.path.write_text(unit_text(self, configuration), encoding="utf-8")
            self.path.chmod(0o644)
        self.systemctl("daemon-reload")
        self.systemctl("enable", self.name)
        self.systemctl("restart" if restart else "start", self.name)
        return f"{'installed' if installed else 'found'} {self.path} and started it"

    def remove(self) -> list[str]:
        """Stop the service and remove its unit, if a command installed it; what was done, for people."""
        if not self.path.exists() or not self.booted.exists():
            return []
        self.systemctl("disable", "--now", self.name)
        if not self.is_ours:
            return [f"stopped and disabled {self.name}"]
        self.path.unlink()
        self.systemctl("daemon-reload")
        return [f"stopped {self.name} and removed its unit"]

    def clean(self) -> None:
        """Have systemd remove the service's cache and state; before the unit goes."""
        if self.path.exists() and self.booted.exists():
            self.systemctl("stop", self.name)
            self.systemctl("clean", "--what=cache", "--what=state", self.name)

    def systemctl(self, *words: str) -> None:
        """Have systemd do something.

        Raises:
            InvalidConfiguration: It refuses, with its words.
        """
        done = self.run(("systemctl", *words))
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
            about = words[-1] if len(words) > 1 else self.name
            raise InvalidConfiguration(
                f"systemctl {' '.join(words)} failed: {said} (systemctl status {about} and journalctl -u {about} say more)"
            )


def unit_text(unit: ServiceUnit, configuration: Path) -> str:
    """The unit for a program and a configuration in other places than the usual ones."""
    command = f"ExecStart={_quoted(unit.program)} --config {_quoted(configuration)}"
    lines = [command if line.startswith("ExecStart=") else line for line in unit.shipped.splitlines()]
    return "\n".join((unit.mark, *lines)) + "\n"


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(sign in text for sign in ' "\\;') else text
