"""HTTP answers: JSON documents, failures, and inference responses with raw outputs.

Owns: headers, the choice of a compression, and the pace of a client that reads. Its rule: outputs leave from their own
memory in slices, and a client that takes nothing for `STALL_S` is cut off. Not here: what is answered (`openinference/inference_response.py`,
`openinference/metadata.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from edgesplit.errors import EdgesplitError, RequestFailed
from edgesplit.trust.tokens import RateExhausted
from edgesplit_agent.openinference.bodies import STALL_S, compressed
from edgesplit_agent.openinference.failures import failure_document, status_of
from edgesplit_agent.openinference.inference_response import InferenceResponse
from edgesplit_agent.openinference.receiving import HEADER_LENGTH

__all__ = ["answer_failures", "chosen_encoding", "json_answer", "send"]

RETRY_AFTER_S = 1
_ENCODINGS = ("gzip", "deflate")
_RETRYABLE = frozenset({429, 503})
_UNPROVEN = 401
_WRITE_BYTES = 1 << 18
_COMPRESS_FROM_BYTES = 1 << 10

_log = structlog.get_logger(part="http")


def json_answer(document: Any, status: int = 200) -> web.Response:
    """A document."""
    return web.Response(body=msgspec.json.encode(document), status=status, content_type="application/json")


@web.middleware
async def answer_failures(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every error of a `/v2` route as the protocol does, also those of paths that do not exist."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if not request.path.startswith("/v2"):
            raise
        document = {"error": f"{request.method} {request.path[:200]}: {error.reason}", "code": "invalid-input"}
        answer = json_answer(document, error.status)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except EdgesplitError as error:
        return _failure(error)
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        _log.exception("http-request-failed", path=request.path[:200])
        return _failure(RequestFailed("the request failed for a reason of the node's own: see its log"))


async def send(request: web.Request, response: InferenceResponse) -> web.StreamResponse:
    """Send an inference response.

    Raises:
        ConnectionError: The client is gone, or takes nothing.
    """
    parts: list[bytes | memoryview] = [response.head, *response.payloads]
    answer = web.StreamResponse()
    answer.content_type = "application/octet-stream" if response.binary else "application/json"
    if response.binary:
        answer.headers[HEADER_LENGTH] = str(len(response.head))
    encoding = chosen_encoding(request.headers.get("Accept-Encoding", ""), binary=response.binary)
    if encoding and response.nbytes >= _COMPRESS_FROM_BYTES:
        parts = list(await asyncio.to_thread(compressed, parts, encoding))
        answer.headers["Content-Encoding"] = encoding
    answer.content_length = sum(memoryview(part).nbytes for part in parts)
    await answer.prepare(request)
    for part in parts:
        await _write(request, answer, memoryview(part))
    await answer.write_eof()
    return answer


def chosen_encoding(accepted: str, *, binary: bool) -> str:
    """The compression of an answer, or none.

    Tensors of floats hardly shrink, and every general HTTP client accepts gzip unasked; so an answer with raw outputs is
    compressed only for a client that names one encoding and nothing else, as tritonclient does when told to.

    Args:
        accepted: The header `Accept-Encoding`.
        binary: Whether the answer has raw outputs.
    """
    names = [entry.partition(";")[0].strip().lower() for entry in accepted.split(",") if "q=0" not in _q(entry)]
    if binary and len(names) != 1:
        return ""
    return next((name for name in names if name in _ENCODINGS), "")


def _q(entry: str) -> list[str]:
    """Parameters of one entry, where `q=0` forbids it."""
    return [part.strip().lower().removesuffix(".0") for part in entry.split(";")[1:]]


def _failure(error: EdgesplitError) -> web.Response:
    status = status_of(error)
    headers = {}
    if status in _RETRYABLE:
        after_s = error.retry_after_s if isinstance(error, RateExhausted) else RETRY_AFTER_S
        headers["Retry-After"] = str(max(math.ceil(after_s), RETRY_AFTER_S))
    elif status == _UNPROVEN:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=failure_document(error), status=status, content_type="application/json", headers=headers)


async def _write(request: web.Request, answer: web.StreamResponse, part: memoryview) -> None:
    for start in range(0, part.nbytes, _WRITE_BYTES):
        try:
            async with asyncio.timeout(STALL_S):
                await answer.write(part[start : start + _WRITE_BYTES])
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the client takes nothing of its answer") from None
