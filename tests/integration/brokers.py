"""A Mosquitto of the tests' own."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

__all__ = ["start_mosquitto"]


def start_mosquitto(port: int, folder: Path, settings: str = "allow_anonymous true") -> subprocess.Popen[bytes]:
    """Start Mosquitto on loopback; skips the test where none is installed, fails it in CI.

    Args:
        port: To listen on.
        folder: For its configuration.
        settings: Lines of its configuration behind the listener's.
    """
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        message = "mosquitto is not installed (sh tests/ensure_mosquitto.sh)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    config = folder / "mosquitto.conf"
    config.write_text(f"user {getpass.getuser()}\npersistence false\nlistener {port} 127.0.0.1\n{settings}\n")
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    if process.poll() is not None:
        pytest.fail(f"mosquitto ended at once with {process.returncode}")
    return process
