"""The Debian packages of this checkout, built once a run, and what a machine has beside what it had.

Owns: building them, and listings of a machine. Its rule: a listing leaves out what apt, dpkg, systemd and Python keep for themselves and nothing
else. Not here: the machines (`fleet.py`), what is proven (`test_packages.py`).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.services.fleet import Machine
from tests.services.material import REPOSITORY, locked
from tests.services.sandbox import run

__all__ = ["build_packages", "listing", "users"]

_KEPT = (
    # apt's and dpkg's own, of every package.
    *(
        "/var/lib/dpkg/*",
        "/var/lib/apt/*",
        "/var/cache/apt/*",
        "/var/log/*",
        "/var/cache/debconf/*",
        "/var/cache/ldconfig/*",
    ),
    # systemd's own: the journal, random seed, timers.
    *("/var/lib/systemd/*", "/var/tmp/systemd-private-*", "/tmp/*", "/etc/machine-id"),
    # The broker's own store of messages, written when it ends.
    "/var/lib/mosquitto/mosquitto.db",
    # What tools that change users leave as a copy of before.
    *("/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock"),
    # What Python compiles of Debian's own modules.
    *("*/__pycache__*",),
)
_FOLDERS = "/etc /usr /var /opt /root /srv /home /tmp"


def build_packages(into: Path) -> dict[str, Path]:
    """Both, by name: built, which takes minutes, or those of the folder that `EDGESPLIT_PACKAGES` names, as `make packages` left them."""
    if built := os.environ.get("EDGESPLIT_PACKAGES"):
        return _of(Path(built))
    with locked("packages"):
        run(["sh", str(REPOSITORY / "deb/build.sh"), sys.executable, str(into)], timeout_s=900)
    return _of(into)


def _of(folder: Path) -> dict[str, Path]:
    found = {path.name.partition("_")[0]: path for path in folder.glob("*.deb")}
    assert set(found) == {"edgesplit-agent", "edgesplit-controller"}
    return found


def listing(machine: Machine) -> set[str]:
    """Every file and folder of a machine."""
    left_out = " ".join(f"! -path '{pattern}'" for pattern in _KEPT)
    return set(machine.run("sh", "-c", f"find {_FOLDERS} -xdev {left_out}").splitlines())


def users(machine: Machine) -> set[str]:
    """Every user and group of a machine."""
    return set(machine.run("sh", "-c", "getent passwd; getent group").splitlines())
