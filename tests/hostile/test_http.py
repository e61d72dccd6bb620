"""Attackers at the HTTP of agents and controller: tokens, roles, paths, and requests larger than anybody reads."""

from __future__ import annotations

import hashlib
import json
import threading
from urllib.parse import quote

import pytest

from edgesplit.control.profile_messages import MODEL_OFFER
from edgesplit.trust.credentials import certificate_request, new_key
from edgesplit.trust.subjects import Role, Subject
from tests.hostile.attackers import ask_raw
from tests.hostile.served_fleet import MODEL, ServedFleet
from tests.waiting import blocking_until

ZEROS = "0" * 64
SECRET = "etc/passwd"
CLIMBING = [f"{up * 8}{SECRET}" for up in ("../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..%252f", "//../")]
AGENT_ROUTES = ["/blobs/{}", "/v2/models/{}", "/v2/models/{}/infer", f"/v2/models/{MODEL}/versions/{{}}"]
CONTROLLER_ROUTES = ["/blobs/{}", "/uploads/{}", "/metrics/{}", "/trust/{}"]


def request(method: str, path: str, body: bytes = b"", *lines: str) -> bytes:
    """HTTP, byte for byte as it is given."""
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join((*head, "", "")).encode() + body


def joining(token: str, name: str = "camera", kind: str = "node") -> bytes:
    """A question to join."""
    asked = certificate_request(new_key(), Subject("node", name)).decode()
    document = {"token": token, "kind": kind, "name": name, "request": asked}
    return request("POST", "/trust/join", json.dumps(document).encode())


@pytest.mark.parametrize("climb", CLIMBING)
def test_no_path_leaves_its_folder(fleet: ServedFleet, climb: str) -> None:
    operator, node = (fleet.context(files) for files in (fleet.operator, fleet.files("spare")))
    for routes, address, context in (
        (AGENT_ROUTES, fleet.http["device"], node),
        (CONTROLLER_ROUTES, fleet.controller, operator),
    ):
        for route in routes:
            for method in ("GET", "PUT", "POST"):
                status, body = ask_raw(address, context, request(method, route.format(climb), b"{}"))
                assert 400 <= status < 500, (route, method, status)
                assert b"root:" not in body


def test_a_route_is_what_is_served_however_it_is_spelt(fleet: ServedFleet) -> None:
    """Rights by path hold for the handler that answers, not for another spelling of it."""
    digest = str(fleet.ledger.plans()[MODEL_OFFER.of(MODEL)]["sha256"])
    client = fleet.context(fleet.made.files("client", "till"))
    for path in (
        "/%62lobs/",
        "//blobs/",
        "/metrics/../blobs/",
        "/./blobs/",
        "/blobs%2f",
        "/trust/authority/../../blobs/",
    ):
        for address in (fleet.http["device"], fleet.controller):
            status, _ = ask_raw(address, client, request("GET", f"{path}{digest}"))
            assert status in {400, 403, 404}, (path, status)


@pytest.mark.parametrize("role", ["client", "node", "broker", None])
def test_only_operators_upload(fleet: ServedFleet, role: Role | None) -> None:
    body = b"weights"
    context = fleet.context(None if role is None else fleet.made.files(role, "eve"))
    before = fleet.counted("controller").get("http-not-trusted", 0)
    status, answer = ask_raw(
        fleet.controller, context, request("PUT", f"/uploads/{hashlib.sha256(body).hexdigest()}", body), "127.0.0.9"
    )
    assert (status, b"is for operators" in answer or b"needs a certificate" in answer) == (403, True)
    assert fleet.counted("controller")["http-not-trusted"] == before + 1


@pytest.mark.parametrize("role", ["client", "operator", None])
def test_only_nodes_fetch_blobs_from_agents(fleet: ServedFleet, role: Role | None) -> None:
    context = fleet.context(None if role is None else fleet.made.files(role, "eve"))
    before = fleet.counted("device").get("http-not-trusted", 0)
    status, answer = ask_raw(fleet.http["device"], context, request("GET", f"/blobs/{ZEROS}"))
    assert (status in {401, 403}, b"node" in answer) == (True, True)
    assert fleet.counted("device")["http-not-trusted"] == before + 1


def test_join_tokens_are_refused_with_a_reason_each(fleet: ServedFleet) -> None:
    (line,) = fleet.secured.run("node", "add", "camera")
    token = line["command"].split()[-1]
    for asked, says in (
        (joining("esj_nonsense"), "no join token"),
        (joining("esj_" + "A" * 64), "another fleet"),
        (joining(token, "edge"), "is for node camera"),
        (joining(token, "../../etc"), "is for node camera"),
        (joining(token, kind="operator"), "is for node camera"),
    ):
        status, answer = ask_raw(fleet.controller, fleet.context(None), asked, "127.0.0.8")
        assert (status, says in json.loads(answer)["error"]["message"]) == (401, True), answer
    answers: list[int] = []
    together = [
        threading.Thread(
            target=lambda: answers.append(
                ask_raw(fleet.controller, fleet.context(None), joining(token), "127.0.0.8")[0]
            )
        )
        for _ in range(2)
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert sorted(answers) == [200, 401]
    assert fleet.counted("controller")["join-refused"] >= 6
    assert len([text for _, text in fleet.ledger.told("connection-refused") if "127.0.0.8" in text]) == 1


@pytest.mark.parametrize("token", ["est_wrong", "withdrawn", "other-model"])
def test_http_refuses_tokens_that_do_not_allow_it(fleet: ServedFleet, token: str) -> None:
    shown = fleet.tokens.get(token, token)
    before = fleet.counted("device").get("http-not-trusted", 0)
    path = f"/v2/models/{quote(MODEL)}/infer"
    status, answer = ask_raw(
        fleet.http["device"], fleet.context(None), request("POST", path, b"{}", f"Authorization: Bearer {shown}")
    )
    assert (status, b"token" in answer) == (403 if token == "other-model" else 401, True)
    assert fleet.counted("device")["http-not-trusted"] == before + 1


def test_a_token_for_one_model_learns_of_no_other(fleet: ServedFleet) -> None:
    bearer = f"Authorization: Bearer {fleet.tokens['other-model']}"
    status, answer = ask_raw(
        fleet.http["device"], fleet.context(None), request("POST", "/v2/repository/index", b"{}", bearer)
    )
    assert (status, MODEL.encode() in answer) == (200, False)


def test_http_tells_a_token_that_is_used_up_to_wait(fleet: ServedFleet) -> None:
    bearer = f"Authorization: Bearer {fleet.tokens['slow']}"
    statuses = [
        ask_raw(fleet.http["device"], fleet.context(None), request("POST", f"/v2/models/{MODEL}/infer", b"{}", bearer))[
            0
        ]
        for _ in range(3)
    ]
    assert statuses[-1] == 429


def test_requests_larger_than_anybody_reads_end_early(fleet: ServedFleet) -> None:
    long_header = request("GET", "/metrics", b"", f"X-Long: {'x' * 200_000}")
    many_headers = request("GET", "/metrics", b"", *(f"X-{number}: {'y' * 5000}" for number in range(200)))
    for address in (fleet.http["device"], fleet.controller):
        for asked in (long_header, many_headers, request("GET", "/" + "z" * 100_000)):
            status, _ = ask_raw(address, fleet.context(None), asked)
            assert status in {0, 400, 403, 404, 431}
    body = request("POST", "/trust/join", b"x" * 100_000)
    status, answer = ask_raw(fleet.controller, fleet.context(None), body, "127.0.0.7")
    assert (status, b"at most 65536 bytes" in answer) == (400, True)


def test_plain_http_gets_no_answer(fleet: ServedFleet) -> None:
    before = {name: fleet.counted(name) for name in ("device", "controller")}
    for address in (fleet.http["device"], fleet.controller):
        assert ask_raw(address, None, request("GET", "/metrics"))[0] == 0
    kinds = {"device": "http-failed-handshakes", "controller": "http-failed-handshakes"}
    for name, kind in kinds.items():
        blocking_until(
            lambda name=name, kind=kind: fleet.counted(name).get(kind, 0) > before[name].get(kind, 0),  # type: ignore[misc]  # bound now
            "it is counted",
        )
