"""Files of a node that joined: its identity, its configuration, and what the latter was before.

Owns: where they lie, writing them whole, giving them to the service's user, and taking all of it back. Its rule: what cannot be written
is found before a token is used up. Not here: the configuration's text (`configuration_text.py`), the service (`service_unit.py`).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from edgesplit.errors import EdgesplitError, InvalidConfiguration
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit_agent.joining.configuration_text import MARK, Changes, edited, new_text

__all__ = ["CONFIGURATION", "STATE", "NodeFiles"]

CONFIGURATION = Path("/etc/edgesplit/agent.toml")
STATE = Path("/var/lib/edgesplit-agent")
"""The unit's StateDirectory=."""
_READABLE = 0o644


@dataclass(frozen=True)
class NodeFiles:
    """Where one node keeps what joining writes.

    Attributes:
        configuration: agent.toml.
        folder: Of its identity.
    """

    configuration: Path
    folder: Path

    @classmethod
    def of(cls, configuration: Path | None) -> NodeFiles:
        """Of a configuration file: where its `[security] folder` says, else the usual place of the service's, else beside it."""
        path = (configuration or CONFIGURATION).absolute()
        named = ""
        with contextlib.suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError):
            named = str(tomllib.loads(path.read_text(encoding="utf-8")).get("security", {}).get("folder", ""))
        usual = STATE / "trust" if path == CONFIGURATION else path.parent / "trust"
        return cls(path, Path(named) if named else usual)

    @property
    def trust(self) -> TrustFiles:
        """The identity's files."""
        return TrustFiles.of(self.folder)

    @property
    def backup(self) -> Path:
        """The configuration as it was before joining."""
        return self.configuration.with_name(f"{self.configuration.name}.before-join")

    def identity(self) -> Credentials | None:
        """The present one; None where there is none, or a part of one."""
        if not self.trust.complete:
            return None
        try:
            return Credentials.load(self.trust)
        except EdgesplitError:
            return None  # what is damaged is made anew

    def check_writable(self) -> None:
        """Find out what cannot be written, before anything is asked of anybody.

        Raises:
            InvalidConfiguration: The sentence says where, and what to do.
        """
        for folder in (self.folder, self.configuration.parent):
            try:
                folder.mkdir(mode=0o700 if folder == self.folder else 0o755, parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise InvalidConfiguration(
                    f"{folder} cannot be written ({error.strerror or error}): joining needs root, or --config with a file in a folder of yours"
                ) from error
        variables = self.configuration.with_name("agent.env")
        with contextlib.suppress(OSError):
            if "EDGESPLIT_BROKER_" in variables.read_text(encoding="utf-8", errors="replace"):
                raise InvalidConfiguration(
                    f"{variables} sets EDGESPLIT_BROKER_... for the service, which would override the fleet's broker: remove these lines"
                )

    def write_configuration(self, name: str, broker: str) -> None:
        """Write a new configuration, or the few keys of an existing one; that is kept beside it as it was.

        Raises:
            InvalidConfiguration: An existing one cannot be changed.
        """
        path, folder = self.configuration, str(self.folder)
        try:
            before = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            _write_readable(path, new_text(str(path), name, broker, folder))
            return
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(f"{path} cannot be read: {error}") from error
        changes: Changes = {
            ("", "name"): name,
            ("broker", "url"): broker,
            **{("broker", key): None for key in ("ca_file", "cert_file", "key_file", "server_name")},
            ("security", "mode"): "fleet",
            ("security", "folder"): folder,
            ("security", "insecure_network"): None,
        }
        try:
            after = edited(before, changes)
        except InvalidConfiguration as error:
            raise InvalidConfiguration(f"{path}: {error}") from error
        if not self.backup.exists() and MARK not in before.partition("\n")[0]:
            _write_readable(self.backup, before)
        _write_readable(path, after)

    def write_identity(self, authority: str, certificate: str, key: bytes) -> None:
        """Write who this node is, the certificate last: with it, joining is done."""
        write_private(self.trust.key, key)
        write_private(self.trust.authority, authority.encode())
        write_private(self.trust.certificate, certificate.encode())
        self._hand_over()

    def _hand_over(self) -> None:
        """Give what root wrote to whose folder it is: the service's user, once that was there."""
        owner = self.folder.parent.stat()
        if os.geteuid() != 0 or owner.st_uid == 0 or self.folder.parent.resolve() == Path("/"):
            return
        for path in (self.folder, self.trust.key, self.trust.authority, self.trust.certificate):
            os.chown(path, owner.st_uid, owner.st_gid)

    def remove(self) -> list[str]:
        """Take everything back; what was done, for people. Nothing there is nothing done.

        Raises:
            OSError: It cannot be removed.
        """
        done: list[str] = []
        identity = [path for path in (self.trust.certificate, self.trust.key, self.trust.authority) if path.exists()]
        for path in identity:
            path.unlink()
        if identity:
            done.append(f"removed the identity in {self.folder}")
        with contextlib.suppress(OSError):  # not there, or somebody else keeps something in it
            self.folder.rmdir()
        if self.backup.exists():
            self.backup.replace(self.configuration)
            done.append(f"put {self.configuration} back as it was before joining")
        elif self.configuration.is_file() and MARK in self.configuration.read_text(encoding="utf-8").partition("\n")[0]:
            self.configuration.unlink()
            done.append(f"removed {self.configuration}")
            if self.configuration == CONFIGURATION:
                with contextlib.suppress(OSError):  # others have settings there too
                    self.configuration.parent.rmdir()
        return done


def _write_readable(path: Path, text: str) -> None:
    """Write a file that everybody may read, whole or not at all."""
    write_private(path, text.encode())
    path.chmod(_READABLE)
