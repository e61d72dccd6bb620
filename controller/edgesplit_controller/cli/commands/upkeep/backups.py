"""`splitctl backup` and `restore`: what the controller keeps, in a file of the user's.

Owns: these commands, and keys, which never travel: they are read and written on the machine where splitctl runs. Its rule: a
backup is looked through before it counts as one, and before anything of it is sent. Not here: what is in one, and what restoring
changes (the controller), its form (`edgesplit.backup_archive`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import msgspec

from edgesplit.backup_archive import BackupManifest, add_keys, check_archive, copy_without_keys, keys_of
from edgesplit.daemon.security_section import SecuritySection
from edgesplit.errors import InvalidConfiguration, InvalidInput
from edgesplit.formatting import clock, size
from edgesplit.operations.upkeep_operations import BackupOffer, MakeBackup, RestoreBackup, RestoreDocument
from edgesplit.trust.files import write_private
from edgesplit_controller.cli.ask import Conversation
from edgesplit_controller.cli.common import Settings, common_options, help_epilog, note, print_json
from edgesplit_controller.cli.progress import progress_display

__all__ = ["BackupDocument", "backup", "restore"]

_AUTHORITY_KEY = "authority-key.pem"


class BackupDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`splitctl backup FILE`.

    Attributes:
        file: Where it is.
        size_bytes: How long it is. [B]
        made_unix_s: When it was made. [s since the epoch]
        models: Models that it holds.
        keys: Whether the keys of the fleet's authority are in it.
    """

    file: str
    size_bytes: int
    made_unix_s: float
    models: tuple[str, ...]
    keys: bool


@click.command(
    epilog=help_epilog(
        "splitctl backup fleet.tar\nsudo splitctl backup fleet.tar --with-keys",
        "{file, size_bytes, made_unix_s, models: [NAME], keys}; keys says whether those of the fleet's authority are in it.",
    )
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--with-keys",
    is_flag=True,
    help="Add the keys of the fleet's authority and of its controller, read on this machine, which must be the controller's.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where those keys lie. Default: /var/lib/edgesplit/trust.",
)
@common_options
def backup(settings: Settings, file: Path, *, with_keys: bool, folder: Path | None) -> None:
    """Save models with their weights, goals and deployments to FILE, while everything serves on.

    FILE is a tar archive that its owner alone may read, and replaces one of its name once it is whole. What nodes measure
    and what happened are not in it. Whoever has the authority's keys is the fleet: a backup with them is to be kept as they are.
    """
    keys = _keys(folder or SecuritySection().trust_folder) if with_keys else {}
    manifest, nbytes = asyncio.run(_fetch(settings, file, keys))
    document = BackupDocument(
        file=str(file),
        size_bytes=nbytes,
        made_unix_s=manifest.made_unix_s,
        models=manifest.models,
        keys=bool(keys),
    )
    if settings.json:
        print_json(document)
        return
    models = f"{len(document.models)} models" if len(document.models) != 1 else f"the model {document.models[0]}"
    secret = " and the authority's keys" if document.keys else ""
    click.echo(f"{file} holds {models}{secret}, {size(nbytes)}")


@click.command(
    epilog=help_epilog(
        "splitctl restore fleet.tar\nsplitctl restore fleet.tar --replace\n"
        "sudo splitctl restore fleet.tar --keys /var/lib/edgesplit/trust",
        "{made_unix_s, models: [{model, replaced, source, epoch, pending}], drained: [NODE], keys: [FILE]}; pending says why a "
        "plan does not serve yet; keys lists what --keys wrote.",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path))
@click.option("--replace", is_flag=True, help="Models of the same names, and the default goals, may be overwritten.")
@click.option(
    "--keys",
    "keys_to",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the keys of the backup here and do nothing else, before the controller is started.",
)
@common_options
def restore(settings: Settings, file: Path, *, replace: bool, keys_to: Path | None) -> None:
    """Take over the backup in FILE, all of it or nothing.

    Models that are not in it stay. Without --replace it is refused where it would overwrite something, and nothing is changed. What
    serves under a name of the backup serves on until a plan of the restored model does. Plans of a model that was not deployed here
    come to serve as soon as their nodes are there.
    """
    manifest = check_archive(file)
    if keys_to is not None:
        document = RestoreDocument(made_unix_s=manifest.made_unix_s, keys=_write_keys(file, keys_to))
    else:
        document = asyncio.run(_send(settings, file, replace=replace))
    if settings.json:
        print_json(document)
        return
    for path in document.keys:
        click.echo(path)
    for row in document.models:
        what = "not deployed" if row.source is None else f"epoch {row.epoch} from {row.source}"
        click.echo(f"{row.model} is {'replaced' if row.replaced else 'restored'}, {what}")
        if row.pending:
            note(row.pending)
    if document.drained:
        click.echo(f"drained nodes: {', '.join(document.drained)}")
    click.echo(
        f"the backup of {clock(document.made_unix_s)[:16]} {'is restored' if keys_to is None else 'had these keys'}"
    )


async def _fetch(settings: Settings, file: Path, keys: Mapping[str, bytes]) -> tuple[BackupManifest, int]:
    """Fetch a backup, and look through it before it takes the place of `file`."""
    from edgesplit_controller.cli.files import filled_beside  # noqa: PLC0415 - numpy, which no other command of these needs
    from edgesplit_controller.cli.model_files.uploads import Uploader  # noqa: PLC0415 - aiohttp, likewise

    identity = Path(settings.identity) if settings.identity else None
    with filled_beside(file) as beside:
        async with Conversation.of(settings) as conversation:
            with progress_display() as display:
                offer = await conversation.ask(MakeBackup(), BackupOffer, display.step)
                async with Uploader(conversation.controller.artifacts, display.step, identity=identity) as exchange:
                    await exchange.download(offer.path, beside, offer.nbytes)
                display.step("checking it", None)
                manifest = await asyncio.to_thread(check_archive, beside)
        if keys:
            add_keys(beside, keys, time.time())
            check_archive(beside)
        return manifest, beside.stat().st_size


async def _send(settings: Settings, file: Path, *, replace: bool) -> RestoreDocument:
    from edgesplit_controller.cli.model_files.uploads import Uploader  # noqa: PLC0415 - aiohttp, which no other command of these needs

    identity = Path(settings.identity) if settings.identity else None
    async with Conversation.of(settings) as conversation:
        with progress_display() as display, TemporaryDirectory(prefix="edgesplit-") as folder:
            if keys_of(file):  # no machine but the controller's should get those, and not this way
                without = Path(folder) / file.name
                await asyncio.to_thread(copy_without_keys, file, without)
                file = without
            async with Uploader(conversation.controller.artifacts, display.step, identity=identity) as exchange:
                digest = await exchange.upload(file)
            return await conversation.ask(RestoreBackup(file=digest, replace=replace), RestoreDocument, display.step)


def _keys(folder: Path) -> dict[str, bytes]:
    """Files of an authority, and of the identities beside it.

    Raises:
        InvalidConfiguration: There is no authority.
    """
    if not (folder / _AUTHORITY_KEY).is_file():
        raise InvalidConfiguration(
            f"{folder} holds no authority's key: run this where the controller runs, as one who may read it, or name another --folder"
        )
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _write_keys(file: Path, folder: Path) -> tuple[str, ...]:
    """Write a backup's keys to a folder that has none.

    Raises:
        InvalidInput: There are none in it.
        InvalidConfiguration: There is something in the folder.
    """
    keys = keys_of(file)
    if not keys:
        raise InvalidInput(f"{file} holds no keys: it was made without --with-keys")
    if folder.exists() and any(folder.iterdir()):
        raise InvalidConfiguration(
            f"{folder} is not empty, and keys are never overwritten: name another folder, or move it away"
        )
    for name, content in keys.items():
        write_private(folder / name, content)
    return tuple(str(folder / name) for name in keys)
