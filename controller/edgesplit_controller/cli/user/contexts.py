"""Contexts of splitctl: the fleets that a user may speak to, as kubectl has them.

Owns: the user's folder, the file of contexts in it, and where an operator's identity lies. Its rule: what the command line or the environment says
goes before a context; files hold keys, so that they are the user's alone. Not here: what an identity is for (`identity.py`).

    ~/.config/edgesplit/contexts.json
    ~/.config/edgesplit/identities/CONTEXT/{authority,certificate,key}.pem
"""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec

from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.names import checked_name
from edgesplit.trust.files import TrustFiles, write_private
from edgesplit_controller.cli.common import DEFAULT_BROKER, Settings

__all__ = ["Context", "Contexts", "UserFolder", "settings_before"]


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet, and who the user is there.

    Attributes:
        broker: URL of its broker.
        identity: Folder of the operator's identity.
    """

    broker: str
    identity: str


class Contexts(msgspec.Struct, frozen=True, kw_only=True):
    """All of a user's.

    Attributes:
        current: Name of the one that holds where none is named; empty: none.
        contexts: By name.
    """

    current: str = ""
    contexts: dict[str, Context] = msgspec.field(default_factory=dict[str, Context])

    def named(self, name: str) -> Context:
        """One of them.

        Raises:
            InvalidInput: There is none of that name.
        """
        if name not in self.contexts:
            known = ", ".join(self.contexts) or "none: splitctl login makes one"
            raise InvalidInput(f"there is no context {name!r}; the known ones are {known}")
        return self.contexts[name]

    def applied(self, settings: Settings, name: str = "") -> Settings:
        """Settings with what a context says.

        Args:
            settings: As the command line has them.
            name: Of the context, which was asked for; empty: the current one, if there is one.

        Raises:
            InvalidInput: There is none of that name.
        """
        name = name or self.current
        if not name:
            return settings
        found = self.named(name)
        return replace(settings, broker=found.broker, identity=settings.identity or found.identity, context=name)


@dataclass(frozen=True)
class UserFolder:
    """Where a user keeps all that.

    Attributes:
        path: The folder.
        owner: User and group to whom it belongs, where that is another than who runs this; else None.
    """

    path: Path
    owner: tuple[int, int] | None = None

    @classmethod
    def own(cls) -> UserFolder:
        """Of who runs splitctl: with sudo, of the user who called it."""
        caller = os.environ.get("SUDO_UID", "")
        if os.geteuid() == 0 and caller.isdecimal() and caller != "0":
            with contextlib.suppress(KeyError):
                user = pwd.getpwuid(int(caller))
                return cls(Path(user.pw_dir) / ".config" / "edgesplit", (user.pw_uid, user.pw_gid))
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return cls(Path(base) / "edgesplit")

    @property
    def file(self) -> Path:
        """The file of contexts."""
        return self.path / "contexts.json"

    def identity(self, name: str) -> TrustFiles:
        """Where the identity of a context lies.

        Raises:
            InvalidInput: That cannot be a context's name.
        """
        return TrustFiles.of(self.path / "identities" / checked_name("context", name))

    def load(self) -> Contexts:
        """Read the contexts; none where there is no file.

        Raises:
            InvalidConfiguration: The file is damaged or cannot be read.
        """
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=Contexts)
        except FileNotFoundError:
            return Contexts()
        except OSError as error:
            raise InvalidConfiguration(f"{self.file} cannot be read: {error.strerror or error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(f"{self.file} is damaged ({error}): correct it, or log in again") from error

    def add(self, name: str, broker: str) -> Context:
        """Remember a context whose identity lies in its place, and make it the current one."""
        context = Context(broker=broker, identity=str(self.identity(name).certificate.parent))
        self.save(Contexts(current=name, contexts={**self.load().contexts, name: context}))
        return context

    def save(self, contexts: Contexts) -> None:
        """Write the contexts.

        Raises:
            InvalidConfiguration: The folder cannot be written.
        """
        try:
            write_private(self.file, msgspec.json.format(msgspec.json.encode(contexts), indent=2) + b"\n")
            self._give()
        except OSError as error:
            raise InvalidConfiguration(f"{self.file} cannot be written: {error.strerror or error}") from error

    def _give(self) -> None:
        if self.owner is not None:
            for path in (self.path, *self.path.rglob("*")):
                os.chown(path, *self.owner)


def settings_before(context: click.Context) -> Settings:
    """What stands before the command that a click context is of, or in the environment; else what the user's context says.

    Raises:
        InvalidInput: A context was asked for that there is none of.
    """
    root = context.find_root()
    said = {name: value or "" for name, value in root.params.items()}
    named, broker, as_json = said.pop("named"), said.pop("broker"), said.pop("as_json")
    settings = Settings(broker=broker or DEFAULT_BROKER, json=bool(as_json), **said)
    given = root.get_parameter_source("broker") is not click.core.ParameterSource.DEFAULT or settings.identity
    return UserFolder.own().load().applied(settings, named) if named or not given else settings
