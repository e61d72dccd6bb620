"""What a machine must have to carry the testbed.

Owns: the checks and the error they end in. Its rule: what is missing is said in one sentence that names the remedy,
before anything is made. Not here: the parts themselves.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from lab.testbed import cgroups

__all__ = ["TestbedUnavailable", "only_one", "program", "unavailable"]

_LOCK = Path("/run/lock/edgesplit-testbed")
_TOOLS = {"ip": "iproute2", "nsenter": "util-linux", "sysctl": "procps", "mosquitto": "mosquitto"}


class TestbedUnavailable(Exception):
    """This machine cannot carry the testbed, or another one runs."""

    __test__: ClassVar[bool] = False


def unavailable() -> str:
    """Why this machine cannot carry a testbed, in one sentence, or empty."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "the testbed makes network namespaces and control groups: run it as root on Linux"
    for tool, package in _TOOLS.items():
        if program(tool) is None:
            return f"the testbed needs `{tool}`, which is not installed: apt-get install {package}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
        cgroups.hierarchy()
    except OSError as error:
        return f"the testbed needs TUN devices and /dev/net/tun cannot be opened ({error.strerror}): modprobe tun"
    except cgroups.CgroupsMissing as error:
        return str(error)
    return ""


def program(name: str) -> str | None:
    """Where a tool is, also where PATH lacks the administrator's folders."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def only_one() -> Generator[None]:
    """Two testbeds would remove each other's namespaces; the lock ends with this process, however that ends.

    Raises:
        TestbedUnavailable: Another one runs.
    """
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TestbedUnavailable("another testbed runs on this machine: wait until it has ended") from None
        yield
