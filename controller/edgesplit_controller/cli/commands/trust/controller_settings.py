"""The controller's configuration, as far as `splitctl ca init` writes it.

Owns: what it has to say of a fleet, and adding that to a file. Its rule: a file that says something of a section already is not changed.
Not here: what the keys mean (`edgesplit_controller.configuration`).
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from edgesplit.errors import InvalidConfiguration
from edgesplit.wire.address import TcpAddress
from edgesplit_controller.cli.files import write_whole

__all__ = ["sections_of", "settings_text", "write_settings"]


def settings_text(url: str, folder: Path, advertise: TcpAddress | None) -> str:
    """What the configuration of a fleet's controller has to say, in TOML."""
    lines = [
        "[broker]",
        f'url = "{url}"',
        "",
        "[security]",
        'mode = "fleet"',
        f'folder = "{folder}"',
    ]
    if advertise is not None:
        lines += ["", "[artifacts]", f'advertise = "{advertise}"']
    return "\n".join((*lines, ""))


def sections_of(path: Path) -> frozenset[str]:
    """What a configuration has something to say about; nothing where there is none.

    Raises:
        InvalidConfiguration: It is no TOML, or cannot be read.
    """
    try:
        return frozenset(tomllib.loads(path.read_text())) if path.exists() else frozenset()
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfiguration(f"{path} is not valid TOML: {error}") from error


def write_settings(path: Path, text: str) -> None:
    """Write the controller's configuration, or add what it lacks.

    Raises:
        InvalidConfiguration: It cannot be written.
    """
    try:
        held = path.read_text().rstrip() if path.exists() else ""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, (f"{held}\n\n{text}" if held else text).encode())
        path.chmod(0o644)
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be written: {error.strerror or error}") from error
