"""Trust that ends: a stolen node's connections are cut within five seconds of its revocation, and a renewal cuts none."""

from __future__ import annotations

import shutil
import threading
import time
from datetime import timedelta

from edgesplit.release import PROTOCOL
from edgesplit.trust.credentials import Credentials
from edgesplit.wire.frames import encode_frame
from edgesplit.wire.headers import Failure, Hello
from tests.hostile.attackers import Intruder, ask_raw, dial, said_in_frames
from tests.hostile.served_fleet import ServedFleet
from tests.hostile.test_http import ZEROS, request
from tests.waiting import blocking_until

PROMISE_S = 5.0
"""Within which a revocation ends open connections (docs/security.md)."""


def test_revocation_ends_open_connections_of_every_kind_within_the_promise(fleet: ServedFleet) -> None:
    files = fleet.files("stolen")
    context = fleet.context(files)
    broker = Intruder(fleet.secured.broker, files)
    frames = dial(fleet.data["device"], context)
    frames.sendall(
        b"".join(encode_frame(Hello(protocol=PROTOCOL, role="agent", node="stolen", version="9", instance="i")))
    )
    assert frames.recv(1 << 16)
    kept = {}
    for place, address in (("agent's HTTPS", fleet.http["device"]), ("controller's HTTPS", fleet.controller)):
        kept[place] = dial(address, context)
        kept[place].sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept[place].recv(15).startswith(b"HTTP/1.1 200")
    kept["data plane"] = frames
    ended_s: dict[str, float] = {}

    def watch(place: str) -> None:
        try:
            while kept[place].recv(1 << 16):
                pass
        except OSError:
            pass  # reset is an end, too
        ended_s[place] = time.monotonic()

    watching = [threading.Thread(target=watch, args=(place,)) for place in kept]
    for thread in watching:
        thread.start()
    began_s = time.monotonic()
    fleet.secured.run("node", "revoke", "stolen")
    assert broker.gone.wait(PROMISE_S)
    ended_s["broker"] = time.monotonic()
    for thread in watching:
        thread.join(timeout=2 * PROMISE_S)
    taken_s = {place: at_s - began_s for place, at_s in ended_s.items()}
    print("revocation took [s]:", {place: round(seconds, 2) for place, seconds in taken_s.items()})  # noqa: T201 - a figure of the product
    assert taken_s.keys() == {*kept, "broker"}
    assert max(taken_s.values()) <= PROMISE_S


def test_whoever_was_revoked_comes_in_nowhere(fleet: ServedFleet) -> None:
    context = fleet.context(fleet.files("stolen"))
    before = fleet.counted("device").get("not-trusted", 0)
    (*_, failure) = said_in_frames(
        fleet.data["device"],
        context,
        [Hello(protocol=PROTOCOL, role="agent", node="stolen", version="9", instance="i")],
    )
    assert isinstance(failure, Failure) and "was revoked" in failure.message
    blocking_until(lambda: fleet.counted("device")["not-trusted"] > before, "it is counted")
    for address in (fleet.http["device"], fleet.controller):
        status, body = ask_raw(address, context, request("GET", f"/blobs/{ZEROS}"), "127.0.0.6")
        assert (status in {401, 403}, b"was revoked" in body) == (True, True)
    attacker = Intruder(fleet.secured.broker, fleet.files("stolen"))
    topics = [f"edgesplit/1/nodes/stolen/{name}" for name in ("status", "metrics")]
    assert not any(attacker.write(topics).values())
    assert not any(attacker.read([*topics, "edgesplit/1/models/+"]).values())
    attacker.close()


def test_a_certificate_is_renewed_under_load_with_no_request_failed(fleet: ServedFleet) -> None:
    """The source's certificate is replaced by one of which two thirds are over; the agent takes it and asks for the next."""
    assert fleet.asker is not None
    answered, failed = fleet.asker.answered, len(fleet.asker.failed)
    files, old = fleet.files("device"), timedelta(days=25)
    before = Credentials.load(files).facts.serial
    nearly_over = fleet.made.files("node", "device", begins=-old, ends=timedelta(days=5))
    for ours, made in ((files.key, nearly_over.key), (files.certificate, nearly_over.certificate)):
        beside = ours.with_suffix(".next")
        shutil.copyfile(made, beside)
        beside.chmod(0o600)
        beside.replace(ours)
    shown = Credentials.load(files).facts.serial
    blocking_until(lambda: Credentials.load(files).facts.serial not in {before, shown}, "the next one has come")
    renewed = Credentials.load(files)
    assert renewed.facts.expires_s - time.time() > timedelta(days=29).total_seconds()
    fleet.asker.goes_on()
    assert len(fleet.asker.failed) == failed
    print("requests answered during renewal:", fleet.asker.answered - answered)  # noqa: T201 - a figure of the product
