"""`splitctl ca init` and `broker config`: make a secured fleet on the controller's machine.

Owns: these commands, which ask nobody: they write files. Its rule: what is there is never overwritten, but for copies of the broker's; each says what
to do next. Not here: certificates and Mosquitto's settings (`edgesplit_controller.trust`).
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import time
import tomllib
from pathlib import Path

import click
import msgspec

from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration
from edgesplit.mqtt.broker_address import TLS_PORT
from edgesplit.trust.credentials import Credentials
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.renewal import Lifetime
from edgesplit.trust.subjects import Subject
from edgesplit.wire.address import TcpAddress, is_loopback, is_numeric, parse_tcp
from edgesplit_controller.cli.commands.trust.controller_service import (
    CONFIGURATION,
    check_service,
    controller_unit,
    start_services,
)
from edgesplit_controller.cli.commands.trust.controller_settings import sections_of, settings_text, write_settings
from edgesplit_controller.cli.common import Settings, command_group, help_epilog, note, offline_options, print_json
from edgesplit_controller.cli.user.contexts import UserFolder
from edgesplit_controller.configuration import check_prefix
from edgesplit_controller.trust.authority import Authority
from edgesplit_controller.trust.broker_files import BrokerPlaces, find_plugin, write_broker_files
from edgesplit_controller.trust.identities import BROKER_FOLDER, found_fleet, make_identity
from edgesplit_controller.trust.trust_record import TrustRecord

__all__ = ["BrokerFilesDocument", "FoundedDocument", "authority", "broker"]

ARTIFACTS_PORT = 7480
_HERE = "127.0.0.1"


class BrokerFilesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl broker config`.

    Attributes:
        configuration: Mosquitto's settings.
        written: All files that were written.
        renewed: Whether the broker's certificate is a new one.
        expires_unix_s: When it ends. [s since the epoch]
    """

    configuration: str
    written: tuple[str, ...]
    renewed: bool
    expires_unix_s: float


class FoundedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl ca init`.

    Attributes:
        name: Of the fleet.
        folder: Of its authority and the controller's identity.
        authority: SHA-256 of the authority's certificate, in hexadecimal.
        operator: Name of the first operator.
        context: That operator's context, the current one.
        settings: What the controller's configuration has to say, in TOML.
        configuration: File that says it now; empty: none was written.
        service: Whether the controller's service was installed and runs.
        broker_files: Mosquitto's files that were written.
        next: What to do now, one step each.
    """

    name: str
    folder: str
    authority: str
    operator: str
    context: str
    settings: str
    configuration: str
    service: bool
    broker_files: tuple[str, ...]
    next: tuple[str, ...]


@command_group(
    "ca",
    epilog=help_epilog("splitctl ca init --mosquitto /etc/mosquitto", "see the help of each command."),
    offline=True,
)
def authority() -> None:
    """Make the authority of a secured fleet."""


@command_group(
    epilog=help_epilog("splitctl broker config --out ./mosquitto", "see the help of each command."), offline=True
)
def broker() -> None:
    """Write Mosquitto's settings for a secured fleet."""


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Of the authority and the controller's identity. Default: /var/lib/edgesplit/trust.",
)
_mosquitto = click.option(
    "--mosquitto",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Mosquitto's own folder on this machine, such as /etc/mosquitto: its settings are written there.",
)
_plugin = click.option(
    "--plugin",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Its dynamic security plugin, where it is not where distributions put it.",
)


@authority.command(
    epilog=help_epilog(
        "splitctl ca init --mosquitto /etc/mosquitto --service\n"
        "splitctl ca init --name shop --broker mqtt.shop.lan --advertise 10.9.0.1",
        "{name, folder, authority, operator, context, settings, configuration, service, broker_files: [FILE], next: [STEP]}; authority is "
        "the digest that join tokens carry.",
    ),
)
@click.option("--name", default="", help="Of the fleet. Default: this machine's name.")
@_folder
@click.option(
    "--advertise", metavar="HOST", default="", help="Where other machines find the controller. Default: found out."
)
@click.option(
    "--broker",
    "broker_at",
    metavar="HOST[:8883]",
    default="",
    help="Where other machines find the broker. Default: on this machine.",
)
@_mosquitto
@_plugin
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The controller's configuration, which is written if there is none, else completed if it says nothing of these sections.",
)
@click.option("--operator", "operator_name", default="", help="Name of the first operator. Default: the user's.")
@click.option(
    "--service",
    is_flag=True,
    help="Install the controller's systemd service and start it, after the broker where --mosquitto names one (root). Implies "
    "--config /etc/edgesplit/controller.toml.",
)
@offline_options
def init(
    settings: Settings,
    *,
    name: str,
    folder: Path | None,
    advertise: str,
    broker_at: str,
    mosquitto: Path | None,
    plugin: Path | None,
    config: Path | None,
    operator_name: str,
    service: bool,
) -> None:
    """Make a fleet's authority, and the identities of its controller, its broker and its first operator, on the controller's machine.

    Whoever has the folder is the fleet: back it up, and let nobody else read it.
    """
    name = name or _plain(socket.gethostname()) or "fleet"
    operator_name = operator_name or _plain(os.environ.get("SUDO_USER") or getpass.getuser()) or "operator"
    user = UserFolder.own()
    if name in user.load().contexts:
        raise InvalidConfiguration(f"there is a context {name} already: give this fleet another --name")
    folder = folder or SecuritySection().trust_folder
    broker_address = _address("--broker", broker_at, TLS_PORT)
    controller_address = _address("--advertise", advertise, ARTIFACTS_PORT)
    at = broker_address or TcpAddress(_HERE, TLS_PORT)
    text = settings_text(f"mqtts://{at}", folder, controller_address)
    unit = controller_unit() if service else None
    config = config or (CONFIGURATION if service else None)
    # What can be refused is refused before anything is made.
    if mosquitto is not None:
        _places(mosquitto, None)
    said = sections_of(config) & {*tomllib.loads(text)} if config is not None else frozenset[str]()
    if unit is not None and config is not None:
        check_service(unit, config, folder)
        if said:
            raise InvalidConfiguration(
                f"{config} has something to say of {', '.join(sorted(said))} already, so that the service would not be the fleet's: move "
                "it away, or leave --service out and complete it by hand"
            )
    founded = found_fleet(
        folder,
        name,
        controller_addresses=_hosts(controller_address),
        broker_addresses=_hosts(broker_address),
        operator=operator_name,
        operator_folder=user.identity(name).certificate.parent,
        now_s=time.time(),
    )
    user.add(name, f"mqtts://{at}")
    written: tuple[Path, ...] = ()
    if mosquitto is not None:
        written = _write_broker(mosquitto, None, founded.broker, Subject("controller", name), plugin, port=at.port)
    _give_to_owner(folder)
    configured = config is not None and not said
    if config is not None and configured:
        write_settings(config, text)
        if unit is not None:
            note(start_services(unit, config, with_broker=mosquitto is not None))
    document = FoundedDocument(
        name=name,
        folder=str(folder),
        authority=founded.authority.digest,
        operator=operator_name,
        context=name,
        settings=text,
        configuration=str(config) if configured else "",
        service=service,
        broker_files=tuple(map(str, written)),
        next=_next_steps(folder, config, configured=configured, has_broker=bool(written), runs=service),
    )
    if settings.json:
        print_json(document)
        return
    click.echo(
        f"the fleet {name} has an authority ({document.authority[:16]}…) in {folder}; you are its operator {operator_name}"
    )
    for step in document.next:
        click.echo(f"- {step}")
    if not configured:
        click.echo(f"\n{text}")


@broker.command(
    "config",
    epilog=help_epilog(
        "splitctl broker config --mosquitto /etc/mosquitto\nsplitctl broker config --out ./mosquitto",
        "{configuration, written: [FILE], renewed, expires_unix_s}; renewed says whether the broker's certificate is a new one.",
    ),
)
@_folder
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Write all of it here. Default: ./mosquitto."
)
@_mosquitto
@_plugin
@click.option(
    "--port", type=click.IntRange(1, 65535), default=TLS_PORT, show_default=True, help="That the broker listens on."
)
@click.option(
    "--home-assistant",
    "elsewhere",
    metavar="PREFIX",
    default="",
    help="Home Assistant's discovery prefix, such as homeassistant: the controller may write below it.",
)
@offline_options
def broker_config(
    settings: Settings,
    *,
    folder: Path | None,
    out: Path | None,
    mosquitto: Path | None,
    plugin: Path | None,
    port: int,
    elsewhere: str,
) -> None:
    """Write Mosquitto's settings and the broker's identity, on the controller's machine; the identity is renewed where it is due.

    The broker's certificate holds for two years, since Mosquitto takes a new one only when it is restarted or told to (SIGHUP).
    """
    folder = folder or SecuritySection().trust_folder
    controller = Credentials.load(TrustFiles.of(folder)).subject
    identity = TrustFiles.of(folder / BROKER_FOLDER)
    renewed = not identity.complete or _is_due(identity)
    if renewed:
        record, subject = TrustRecord(folder), Subject("broker", controller.name)
        held = record.trusted(subject, time.time())
        addresses = held[-1].addresses if held else ()
        make_identity(
            Authority.load(folder), record, subject, folder / BROKER_FOLDER, addresses=addresses, now_s=time.time()
        )
        _give_to_owner(folder)
    if elsewhere:
        check_prefix("--home-assistant", elsewhere)
    written = _write_broker(mosquitto, out, identity, controller, plugin, port=port, elsewhere=elsewhere)
    document = BrokerFilesDocument(
        configuration=str(written[-1]),
        written=tuple(map(str, written)),
        renewed=renewed,
        expires_unix_s=Credentials.load(identity).facts.expires_s,
    )
    if settings.json:
        print_json(document)
        return
    for path in document.written:
        click.echo(path)
    click.echo(
        "restart the broker" if mosquitto is not None else f"start the broker: mosquitto -c {document.configuration}"
    )


def _write_broker(
    mosquitto: Path | None,
    out: Path | None,
    identity: TrustFiles,
    controller: Subject,
    plugin: Path | None,
    *,
    port: int,
    elsewhere: str = "",
) -> tuple[Path, ...]:
    places = _places(mosquitto, out)
    plugin = plugin or find_plugin()
    return write_broker_files(places, identity, controller, plugin=plugin, port=port, elsewhere=elsewhere)


def _places(mosquitto: Path | None, out: Path | None) -> BrokerPlaces:
    if mosquitto is not None and out is not None:
        raise click.UsageError("--mosquitto and --out say different places: give one")
    if mosquitto is not None:
        return BrokerPlaces.of_installation(mosquitto.absolute())
    return BrokerPlaces.in_folder((out or Path("mosquitto")).absolute())


def _is_due(files: TrustFiles) -> bool:
    certificate = Credentials.load(files).certificate
    lifetime = Lifetime(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())
    return time.time() >= lifetime.due_s(0.0)


def _plain(text: str) -> str:
    """What of a host's or a user's name may name a fleet or an operator."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text.partition(".")[0]).strip("-")[:40]


def _address(option: str, text: str, port: int) -> TcpAddress | None:
    """Read HOST or HOST:PORT; None where nothing was said.

    Raises:
        click.UsageError: It is neither.
    """
    if not text:
        return None
    bare = text.removeprefix("[").removesuffix("]")
    found = TcpAddress(bare, port) if ":" not in text or is_numeric(bare) else parse_tcp(text)
    if found is None or not found.host or "/" in found.host or found.port == 0:
        raise click.UsageError(f"{option} is {text!r}: write it as HOST or HOST:{port}, an IPv6 address in brackets")
    return found


def _hosts(address: TcpAddress | None) -> tuple[str, ...]:
    """What stands in a certificate beside the names that each of its role has."""
    return () if address is None or is_loopback(address.host) else (address.host,)


def _next_steps(
    folder: Path, config: Path | None, *, configured: bool, has_broker: bool, runs: bool
) -> tuple[str, ...]:
    return tuple(
        filter(
            None,
            (
                ""
                if configured
                else f"put what is below into {config or '/etc/edgesplit/controller.toml'}, for [broker] and [security]",
                ""
                if has_broker
                else f"write the broker's settings: splitctl broker config --folder {folder}, and copy them to its machine",
                ""
                if runs and has_broker
                else "start the broker"
                if runs
                else "restart the broker and the controller: systemctl restart mosquitto edgesplit-controller",
                "let machines join: splitctl node add NAME",
            ),
        )
    )


def _give_to_owner(folder: Path) -> None:
    """Run by root, the files are for whoever runs the controller: the owner of the folder above, where there was one before."""
    if os.geteuid() != 0:
        return
    above = folder.parent.stat()
    for path in (folder, *folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, above.st_uid, above.st_gid)
