"""Reading numbers and texts of sysfs files.

Owns: text and numbers out of sysfs. Its rule: a file that cannot be read is `SensorUnavailable` with path and cause.
Not here: what the files mean.
"""

from __future__ import annotations

from pathlib import Path

from edgesplit_agent.reporting.collectors.sensor_errors import SensorForbidden, SensorUnavailable

__all__ = ["optional_number", "optional_text", "read_number"]


def read_number(path: Path) -> int:
    """A file's whole number.

    Raises:
        SensorUnavailable: It is missing, may not be read, or holds none.
    """
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError as error:
        raise SensorForbidden(f"{path} cannot be read: let the agent's user read it") from error
    except OSError as error:
        # Drivers answer with any error number (ENODATA, EIO, ENXIO); their words are the best explanation there is.
        raise SensorUnavailable(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SensorUnavailable(f"{path} cannot be read: it holds no number") from error


def optional_number(path: Path) -> int | None:
    """A file's whole number, or None where there is none."""
    try:
        return read_number(path)
    except SensorUnavailable:
        return None


def optional_text(path: Path) -> str:
    """A file's text without surrounding space, empty where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
