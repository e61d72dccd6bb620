"""Mosquitto's settings for a secured fleet: its configuration, its identity, and the first users of its dynamic security plugin.

Owns: these files, where they lie, and whose they are. Its rule: what is written works with Mosquitto 2.0 and 2.1 as it is: nothing that
either calls deprecated; the plugin's own file, which the broker changes, is written again only where the controller's rights differ. Not here: rights (`trust/broker_rights.py`),
who the broker is (`trust/identities.py`).
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import msgspec

from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.topic import PAYLOAD_LIMIT_BYTES
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit.trust.subjects import Subject
from edgesplit_controller.trust.broker_rights import changed_configuration, first_configuration, role_of

__all__ = ["BROKER_USER", "PLUGINS", "BrokerPlaces", "find_plugin", "mosquitto_configuration", "write_broker_files"]

BROKER_USER = "mosquitto"
TLS_PORT = 8883
PLUGINS = (
    "/usr/lib/*/mosquitto_dynamic_security.so",
    "/usr/lib/mosquitto_dynamic_security.so",
    "/usr/lib64/mosquitto_dynamic_security.so",
    "/usr/local/lib/mosquitto_dynamic_security.so",
    "/opt/homebrew/opt/mosquitto/lib/mosquitto_dynamic_security.so",
)
"""Where distributions and Mosquitto's own image put the plugin."""
_STATE = {Path("/etc/mosquitto"): Path("/var/lib/mosquitto")}
"""Where a broker with its settings there keeps what it writes."""
_LARGEST_PACKET_BYTES = PAYLOAD_LIMIT_BYTES + (64 << 10)
"""The largest payload that programs of a fleet read, with its topic."""


@dataclass(frozen=True)
class BrokerPlaces:
    """Where the broker's files go.

    Attributes:
        configuration: Mosquitto's settings.
        identity: Folder of its certificate and key.
        users: The plugin's file, in a folder that the broker may write.
    """

    configuration: Path
    identity: Path
    users: Path

    @classmethod
    def in_folder(cls, folder: Path) -> BrokerPlaces:
        """All in one: for a broker that is started with this configuration alone."""
        return cls(folder / "mosquitto.conf", folder, folder / "dynamic-security.json")

    @classmethod
    def of_installation(cls, folder: Path) -> BrokerPlaces:
        """Within Mosquitto's own folder, as distributions lay it out: /etc/mosquitto with conf.d, and /var/lib/mosquitto for what it writes.

        Raises:
            InvalidConfiguration: It is not laid out so.
        """
        if not (folder / "conf.d").is_dir():
            raise InvalidConfiguration(
                f"{folder} has no folder conf.d: name Mosquitto's own folder, such as /etc/mosquitto, or write elsewhere with --out"
            )
        own = folder / "edgesplit"
        state = _STATE.get(folder, own)
        users = (state if state.is_dir() else own) / "edgesplit-dynamic-security.json"
        return cls(folder / "conf.d" / "edgesplit.conf", own, users)


def find_plugin(patterns: Iterable[str] = PLUGINS) -> Path:
    """Where the dynamic security plugin is; the first place named where it is not on this machine."""
    found = [path for pattern in patterns for path in sorted(glob(pattern))]  # noqa: PTH207 - patterns are absolute
    return Path(found[0] if found else "/usr/lib/mosquitto_dynamic_security.so")


def mosquitto_configuration(places: BrokerPlaces, plugin: Path, *, port: int = TLS_PORT) -> str:
    """Mosquitto's settings; what is set for a listener stands behind it."""
    files = TrustFiles.of(places.identity)
    return "\n".join(
        (
            "# Written by splitctl broker config: a broker that programs with a certificate of this fleet may use, each within its rights.",
            f"listener {port}",
            f"cafile {files.authority}",
            f"certfile {files.certificate}",
            f"keyfile {files.key}",
            "tls_version tlsv1.3",
            "require_certificate true",
            "use_identity_as_username true",
            "allow_anonymous false",
            f"plugin {plugin}",
            f"plugin_opt_config_file {places.users}",
            f"max_packet_size {_LARGEST_PACKET_BYTES}",
            "",
        )
    )


def write_broker_files(
    places: BrokerPlaces,
    identity: TrustFiles,
    controller: Subject,
    *,
    plugin: Path,
    port: int = TLS_PORT,
    elsewhere: str = "",
) -> tuple[Path, ...]:
    """Write all of them; returns what was written.

    What lies there is replaced, but for the plugin's file, in which other users stay as they are. Run by root they become the broker's.

    Args:
        places: Where.
        identity: The broker's, of which copies are made.
        controller: Who administers rights.
        plugin: The dynamic security plugin on the broker's machine.
        port: That the broker listens on.
        elsewhere: A prefix of topics of another program, below which the controller may write, too.

    Raises:
        InvalidConfiguration: A file cannot be read or written.
    """
    own = TrustFiles.of(places.identity)
    copies = ((identity.authority, own.authority), (identity.certificate, own.certificate), (identity.key, own.key))
    written: list[Path] = []
    try:
        for source, target in copies:
            write_private(target, source.read_bytes())
            written.append(target)
        if not _knows(places.users, controller, elsewhere):
            write_private(places.users, _users(places.users, controller, elsewhere))
            written.append(places.users)
        for path in (places.identity, *written):
            _give(path)
        write_private(places.configuration, mosquitto_configuration(places, plugin, port=port).encode())
        places.configuration.chmod(0o644)
    except OSError as error:
        raise InvalidConfiguration(
            f"{error.filename or places.identity} cannot be used: {error.strerror or error}"
        ) from error
    return (*written, places.configuration)


def _users(there: Path, controller: Subject, elsewhere: str) -> bytes:
    """The plugin's file with the controller's rights: made of the one that is there, or anew where that is none."""
    try:
        return changed_configuration(there.read_bytes(), controller, elsewhere)
    except (OSError, ValueError):
        return first_configuration(controller, elsewhere)


def _knows(users: Path, controller: Subject, elsewhere: str) -> bool:
    """Whether the plugin's file gives this controller the rights that it needs."""
    role = role_of(controller, elsewhere=elsewhere)
    try:
        held = msgspec.json.decode(users.read_bytes())
        return role is not None and any(
            client["username"] == role.user and {"rolename": role.name} in [_named(given) for given in client["roles"]]
            for client in held["clients"]
        )
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return False


def _named(given: dict[str, object]) -> dict[str, object]:
    return {"rolename": given.get("rolename")}


def _give(path: Path) -> None:
    """A file of the broker's, where root writes it and the broker has a user."""
    if os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(BROKER_USER)
            os.chown(path, user.pw_uid, user.pw_gid)
