"""A place that takes everything with it when it goes: private mounts, network and processes for the root tests.

Owns: one keeper process in its own mount, network, pid and ipc namespaces, and the ways to run commands beside it. Its
rule: nothing started here outlives it, not even after `kill -9` of the test, for the keeper dies with its parent and
the kernel ends what is left in its pid namespace. Not here: what runs inside (`fleet.py`, `images.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

import psutil

__all__ = ["CommandFailed", "Sandbox", "eventually", "missing_tools", "run"]

T = TypeVar("T")

# /run is hidden so that container engines and systemd-nspawn see none of this machine's state and leave none in it;
# cgroup2 alone is what they can use whatever layout this machine has.
_SET_UP = """
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/netns /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# What a killed run left is empty; groups in use cannot be removed.
find /sys/fs/cgroup -depth -type d -path "/sys/fs/cgroup/edgesplit-*" -exec rmdir {} + 2>/dev/null || true
mkdir -p "/sys/fs/cgroup/$1"
ip link set lo up
# No name server of the machine can be reached from inside, and whoever asks one there waits for half a minute.
mount --bind /dev/null /etc/resolv.conf
echo ready
exec sleep infinity
"""


class CommandFailed(AssertionError):
    """A command the proof needs ended with an error."""


def run(command: Sequence[str], *, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return its standard output.

    Raises:
        CommandFailed: It ended with another status than 0, or took longer.
    """
    try:
        done = subprocess.run(
            list(command),
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env=None if environment is None else {**os.environ, **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)} took longer than {timeout_s:g} s") from error
    if done.returncode != 0:
        said = f"{done.stdout[-2000:]}{done.stderr[-4000:]}".strip()
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


def missing_tools(*names: str) -> list[str]:
    """Which of these programs are not installed."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [name for name in names if shutil.which(name, path=path) is None]


def eventually(question: Callable[[], T], what: str, *, timeout_s: float = 60.0, pause_s: float = 0.5) -> T:
    """Ask until the answer is true or something else than None, False and an error; return it.

    Raises:
        CommandFailed: The time is over; says what was waited for and the last error.
    """
    until_s = time.monotonic() + timeout_s
    last = "no error, the answer was no"
    while time.monotonic() < until_s:
        try:
            if answer := question():
                return answer
        except (CommandFailed, OSError, ValueError) as error:
            last = str(error)
        time.sleep(pause_s)  # what systemd does is only to be asked for
    raise CommandFailed(f"{what}: not within {timeout_s:g} s ({last})")


class Sandbox:
    """Namespaces kept open by one process.

    Args:
        name: Of the cgroup in which everything runs.
    """

    def __init__(self, name: str) -> None:
        self.name = f"{name}-{os.getpid()}"
        self.cgroup = Path("/sys/fs/cgroup") / self.name
        namespaces = ["--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        unshare = ["unshare", *namespaces, "--propagation", "private"]
        self._keeper = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *unshare, "sh", "-c", _SET_UP, "sh", self.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._keeper.stdout is not None and self._keeper.stderr is not None
        if self._keeper.stdout.readline() != "ready\n":
            said = self._keeper.stderr.read()
            self._keeper.kill()
            raise CommandFailed(f"namespaces cannot be made on this machine: {said.strip()}")
        (inner,) = psutil.Process(self._keeper.pid).children()
        self._enter = ["nsenter", "-t", str(inner.pid), "-m", "-n", "-p", "-i", "--"]

    def inside(self, *command: str) -> list[str]:
        """The command line that runs a command inside."""
        return [*self._enter, *command]

    def run(self, *command: str, timeout_s: float = 120.0, environment: Mapping[str, str] | None = None) -> str:
        """Run a command inside and return its standard output.

        Raises:
            CommandFailed: It ended with another status than 0, or took longer.
        """
        return run(self.inside(*command), timeout_s=timeout_s, environment=environment)

    def start(
        self, *command: str, output: IO[bytes] | int, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command inside without waiting for it."""
        return subprocess.Popen(
            self.inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )

    def close(self) -> None:
        """End every process inside, then the namespaces with their mounts and links."""
        # From inside a pid namespace, -1 means everyone but its first process, which is the keeper's sleep.
        subprocess.run(self.inside("sh", "-c", "kill -KILL -1"), check=False, capture_output=True)
        sweep = f"for i in 1 2 3 4 5; do find {self.cgroup} -depth -type d -exec rmdir {{}} + && break; sleep 0.2; done"
        subprocess.run(self.inside("sh", "-c", sweep), check=False, capture_output=True)
        self._keeper.kill()
        self._keeper.communicate()

    def __enter__(self) -> Sandbox:
        """The namespaces are made already."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Take everything down."""
        self.close()
