"""Upload of a model's files to the controller, and what else is exchanged over its HTTP.

Owns: the look at a model file before it leaves, hashes, and streaming uploads and downloads. Its rule: bytes the
controller already holds are not sent, and no file is read into memory whole. Not here: judging models (the
controller imports them).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import zipfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp

from edgesplit.errors import (
    ArtifactError,
    ControllerUnreachable,
    InvalidCalibration,
    InvalidConfiguration,
    InvalidModel,
)
from edgesplit.formatting import size
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.subjects import CONTROLLER_HOST
from edgesplit.trust.tls import TlsContexts

__all__ = ["ModelFiles", "Uploader", "check_calibration", "find_model_files"]

OnProgress = Callable[[str, float | None], None]

CHUNK_BYTES = 1 << 20
CONNECT_S = 4.8
"""For the artifact server to accept a connection. [s]"""
SILENCE_S = 60.0
"""For it to take or give the next bytes. [s]"""


@dataclass(frozen=True)
class ModelFiles:
    """A model as it lies on disk.

    Attributes:
        file: The .onnx file.
        external: External data location, as the file names it, to the file that holds it.
    """

    file: Path
    external: Mapping[str, Path]


def find_model_files(file: Path) -> ModelFiles:
    """Read the model's structure, without its external data, and find the files it refers to.

    Raises:
        InvalidModel: It is no ONNX model, or an external file is missing or lies outside the model's folder.
    """
    import onnx  # noqa: PLC0415 - half a second that only this needs
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    try:
        model = onnx.load(file, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise InvalidModel(f"{file} is no ONNX model ({error}): export it again") from error
    if not model.graph.node and not model.graph.output:
        raise InvalidModel(f"{file} holds no ONNX graph: export it again")
    locations = dict.fromkeys(_external_locations(model.graph))
    for function in model.functions:
        locations |= dict.fromkeys(_external_in_nodes(function.node))
    return ModelFiles(file, {location: _external_file(file, location) for location in locations})


def check_calibration(file: Path) -> None:
    """Make sure that a file can be calibration data.

    Raises:
        InvalidCalibration: It is no .npz archive.
    """
    if not zipfile.is_zipfile(file):
        raise InvalidCalibration(f"{file} is no .npz archive: write it with numpy.savez, one array for each input")


def _external_locations(graph: Any) -> Iterator[str]:
    for tensor in graph.initializer:
        yield from _location(tensor)
    for sparse in graph.sparse_initializer:
        yield from _location(sparse.values)
        yield from _location(sparse.indices)
    yield from _external_in_nodes(graph.node)


def _external_in_nodes(nodes: Any) -> Iterator[str]:
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        for tensor in (attribute.t, *attribute.tensors):
            yield from _location(tensor)
        for body in (attribute.g, *attribute.graphs):
            yield from _external_locations(body)


def _location(tensor: Any) -> Iterator[str]:
    if tensor.data_location == type(tensor).EXTERNAL:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _external_file(model: Path, location: str) -> Path:
    # A model file may come from anywhere; it must not make this side send files from elsewhere on the disk.
    if PurePosixPath(location).is_absolute() or ".." in PurePosixPath(location).parts:
        raise InvalidModel(
            f"{model} refers to {location!r} outside its folder: put its data beside it and save it again"
        )
    found = model.parent / location
    if not found.is_file():
        raise InvalidModel(f"{model} keeps weights in {location!r}, which is not beside it: put that file there")
    return found


def _nbytes(file: Path) -> int:
    return file.stat().st_size


class Uploader:
    """Exchanges files with the controller's artifact server; an async context manager.

    Args:
        artifacts: Base URL of the artifact server.
        on_progress: Told what is being done, and the done share.
        identity: Folder of this operator's identity, for a server that speaks TLS; it is sent to the fleet's controller alone.

    Raises:
        InvalidConfiguration: On entering: a file of the identity is missing or holds something else.
    """

    def __init__(self, artifacts: str, on_progress: OnProgress, *, identity: Path | None = None) -> None:
        self._artifacts = artifacts.rstrip("/")
        self._on_progress = on_progress
        self._identity = identity
        self._host = CONTROLLER_HOST if self._artifacts.startswith("https://") else None

    async def __aenter__(self) -> Uploader:
        """Open the HTTP session."""
        limits = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
        connector = aiohttp.TCPConnector(ssl=self._tls()) if self._host is not None else None
        self._session = aiohttp.ClientSession(timeout=limits, connector=connector)
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close it."""
        await self._session.close()

    def _tls(self) -> ssl.SSLContext:
        if self._identity is None:
            raise InvalidConfiguration(
                "this fleet is secured: log in first (splitctl login, with the line of operator add)"
            )
        context = TlsContexts.load(TrustFiles.of(self._identity)).client
        context.check_hostname = True
        return context

    async def upload(self, file: Path) -> str:
        """Bring one file over unless the controller has it, and return its SHA-256.

        Raises:
            ArtifactError: The controller refused it, or the transfer broke.
            ControllerUnreachable: Its artifact server does not answer.
        """
        digest = await self._digest(file)
        url = f"{self._artifacts}/uploads/{digest}"
        with self._explained(f"the upload of {file.name}"):
            async with self._session.head(url, server_hostname=self._host) as held:
                if held.status == HTTPStatus.OK:
                    self._on_progress(f"{file.name} is already at the controller", 1.0)
                    return digest
            length = {"Content-Length": str(_nbytes(file))}
            body = self._chunks(file)
            async with self._session.put(url, data=body, headers=length, server_hostname=self._host) as answer:
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    said = " ".join((await answer.text()).split())[:500]
                    raise ArtifactError(
                        f"the controller refused {file.name} ({answer.status}: {said or answer.reason})"
                    )
        return digest

    async def download(self, path: str, file: Path, nbytes: int) -> None:
        """Fetch what lies at a path of the server into a file.

        Raises:
            ArtifactError: The controller refused it, or the transfer broke.
            ControllerUnreachable: Its artifact server does not answer.
        """
        text = f"fetching {size(nbytes)}"
        with self._explained("the download"), file.open("wb") as stream:
            async with self._session.get(f"{self._artifacts}{path}", server_hostname=self._host) as answer:
                if answer.status != HTTPStatus.OK:
                    said = " ".join((await answer.text()).split())[:500]
                    raise ArtifactError(f"the controller refused it ({answer.status}: {said or answer.reason})")
                done = 0
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    await asyncio.to_thread(stream.write, chunk)
                    done += len(chunk)
                    self._on_progress(text, done / max(nbytes, 1))

    @contextlib.contextmanager
    def _explained(self, what: str) -> Generator[None, None, None]:
        """Exchange bytes with the server within this context."""
        try:
            yield
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise ControllerUnreachable(
                f"the controller's artifact server does not answer at {self._artifacts} ({error}): "
                "check [artifacts] advertise in its configuration and the network between"
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            cause = str(error) or type(error).__name__
            raise ArtifactError(f"{what} broke off ({cause}): run the command again") from error

    async def _digest(self, file: Path) -> str:
        digest = hashlib.sha256()
        total, done = max(_nbytes(file), 1), 0
        with file.open("rb") as stream:
            while chunk := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                await asyncio.to_thread(digest.update, chunk)
                done += len(chunk)
                self._on_progress(f"hashing {file.name}", done / total)
        return digest.hexdigest()

    async def _chunks(self, file: Path) -> AsyncIterator[bytes]:
        total, done = max(_nbytes(file), 1), 0
        text = f"uploading {file.name} ({size(total)})"
        self._on_progress(text, 0.0)
        with file.open("rb") as stream:
            while chunk := await asyncio.to_thread(stream.read, CHUNK_BYTES):
                yield chunk
                done += len(chunk)
                self._on_progress(text, done / total)
