"""What a real Mosquitto refuses, and the one sentence that says why: TLS, credentials, access rights, packet limits."""

from __future__ import annotations

import datetime
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trustme

from demo.ports import free_port
from edgesplit.errors import BrokerUnreachable, InvalidConfiguration
from edgesplit.mqtt.broker_address import NO_FILES, BrokerAddress, TlsFiles
from edgesplit.mqtt.bus import MessageBus
from edgesplit.mqtt.packet_limit import Oversize
from edgesplit.mqtt.topic import Topic
from tests.brokers import start_mosquitto
from tests.waiting import until


class Note(msgspec.Struct, frozen=True):
    text: str


STATE = Topic("state/{name}", Note, retained=True)
OTHER = Topic("other", Note)


Start = Callable[..., int]


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Start]:
    """Starts brokers with the given settings; returns their port."""
    running: list[subprocess.Popen[bytes]] = []

    def start(settings: str = "allow_anonymous true") -> int:
        port = free_port()
        running.append(start_mosquitto(port, tmp_path, settings))
        return port

    yield start
    for process in running:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Signs the broker's certificates."""
    return trustme.CA()


def certificate(
    authority: trustme.CA, folder: Path, name: str, *, expired: bool = False, early: bool = False
) -> tuple[Path, Path, Path]:
    """Files of the authority, a certificate for `name` and its key."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    begins = now - 3 * day if not early else now + day
    issued = authority.issue_cert(name, not_before=begins, not_after=now - day if expired else now + 3 * day)
    files = folder / "ca.pem", folder / "broker.pem", folder / "broker.key"
    authority.cert_pem.write_to_path(str(files[0]))
    files[1].write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(files[2]))
    return files


def encrypted(files: tuple[Path, Path, Path], more: str = "") -> str:
    return f"allow_anonymous true\ncertfile {files[1]}\nkeyfile {files[2]}\n{more}"


async def refusal(url: str, files: TlsFiles = NO_FILES) -> str:
    """Why a connection is not to be had."""
    bus = MessageBus(BrokerAddress.parse(url, files), client_id="asks")
    with pytest.raises(BrokerUnreachable) as caught:
        await bus.connect(8.0)
    return str(caught.value)


async def accepted(url: str, files: TlsFiles = NO_FILES) -> bool:
    bus = MessageBus(BrokerAddress.parse(url, files), client_id="asks")
    await bus.connect(8.0)
    connected = bus.connected
    await bus.close()
    return connected


async def test_a_certificate_of_an_own_authority_is_trusted_by_its_file(
    mosquitto: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    files = certificate(authority, tmp_path, "127.0.0.1")
    port = mosquitto(encrypted(files))
    assert await accepted(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(files[0])))
    assert "signed by nobody that is trusted here" in await refusal(f"mqtts://127.0.0.1:{port}")
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    told = await refusal(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(other)))
    assert "signed by nobody that is trusted here" in told
    assert str(other) in told
    assert "[broker] ca_file" in told


async def test_a_certificate_for_another_name_says_so_and_takes_that_name(
    mosquitto: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    files = certificate(authority, tmp_path, "broker.example")
    port = mosquitto(encrypted(files))
    told = await refusal(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(files[0])))
    assert "is for another name than '127.0.0.1'" in told
    assert "server_name" in told
    assert "another name than 'localhost'" in await refusal(f"mqtts://localhost:{port}", TlsFiles(str(files[0])))
    named = TlsFiles(ca_file=str(files[0]), server_name="broker.example")
    assert await accepted(f"mqtts://127.0.0.1:{port}", named)


@pytest.mark.parametrize(("expired", "said"), [(True, "has expired"), (False, "is not valid yet")])
async def test_a_certificate_out_of_its_time_says_so(
    mosquitto: Start, authority: trustme.CA, tmp_path: Path, expired: bool, said: str
) -> None:
    files = certificate(authority, tmp_path, "127.0.0.1", expired=expired, early=not expired)
    port = mosquitto(encrypted(files))
    assert said in await refusal(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(files[0])))


async def test_tls_against_plain_and_plain_against_tls_are_told_apart(
    mosquitto: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    files = certificate(authority, tmp_path, "127.0.0.1")
    plain, tls = mosquitto(), mosquitto(encrypted(files))
    assert "does not speak TLS" in await refusal(f"mqtts://127.0.0.1:{plain}", TlsFiles(ca_file=str(files[0])))
    assert "speaks TLS: write mqtts://" in await refusal(f"mqtt://127.0.0.1:{tls}")


async def test_a_broker_that_asks_for_a_certificate_gets_one_or_says_so(
    mosquitto: Start, authority: trustme.CA, tmp_path: Path
) -> None:
    files = certificate(authority, tmp_path, "127.0.0.1")
    port = mosquitto(encrypted(files, f"cafile {files[0]}\nrequire_certificate true"))
    told = await refusal(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(files[0])))
    assert "wants a certificate" in told
    assert "cert_file" in told
    mine = authority.issue_cert("agent")
    both = tmp_path / "agent.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(str(both))
    assert await accepted(f"mqtts://127.0.0.1:{port}", TlsFiles(ca_file=str(files[0]), cert_file=str(both)))


@pytest.mark.parametrize("key", ["ca_file", "cert_file"])
def test_a_file_that_is_missing_or_no_certificate_is_named(tmp_path: Path, key: str) -> None:
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    for path, said in ((missing, "cannot be read"), (wrong, "PEM")):
        with pytest.raises(InvalidConfiguration, match=said) as caught:
            BrokerAddress.parse("mqtts://host", TlsFiles(**{key: str(path)})).tls_context()
        assert f"{key} {path}" in str(caught.value)


async def test_a_wrong_password_and_none_at_all_are_said(mosquitto: Start, tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "p@ss/word#1?"], check=True)
    port = mosquitto(f"allow_anonymous false\npassword_file {passwords}")
    assert "it wants a password" in await refusal(f"mqtt://127.0.0.1:{port}")
    told = await refusal(f"mqtt://me:wrong@127.0.0.1:{port}")
    assert "refuses user 'me': its password is wrong" in told
    assert "wrong@" not in told
    assert await accepted(f"mqtt://me:p%40ss%2Fword%231%3F@127.0.0.1:{port}")


@pytest.mark.parametrize("password", ["p@ss/sesame", "p#sesame", "p?sesame", "sesame/ss@x"])
def test_a_password_that_must_be_encoded_is_said_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidConfiguration, match="percent-encoding") as caught:
        BrokerAddress.parse(f"mqtt://me:{password}@broker.example:1883")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "no MQTT broker"), (b"", "closes connections without a word")],
)
async def test_what_is_no_broker_is_said(answer: bytes, said: str) -> None:
    def converse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1024)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=converse, daemon=True)
        thread.start()
        assert said in await refusal(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


async def test_a_host_that_does_not_resolve_is_said() -> None:
    assert "'nobody.invalid' does not resolve" in await refusal("mqtt://nobody.invalid")


SILENT = """
import asyncio, socket, threading
from edgesplit.mqtt.bus import MessageBus

socket.getaddrinfo = lambda *_args, **_more: threading.Event().wait()

async def ask():
    await MessageBus("mqtt://slow.example", client_id="asks").connect(20.0)

asyncio.run(ask())
"""


def test_a_name_server_that_does_not_answer_is_said_and_waited_for_by_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, timeout=60, check=False)
    assert "name server does not answer for the broker's host name 'slow.example'" in done.stderr


async def test_a_denied_subscription_is_said_and_tried_again(mosquitto: Start, tmp_path: Path) -> None:
    """The dynamic security plugin answers a subscription that it denies with a failure code."""
    plugin = next(iter(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")), None)
    if plugin is None:
        pytest.skip("this Mosquitto comes without its dynamic security plugin")
    config = tmp_path / "dynsec.json"
    roles = [
        {
            "rolename": "some",
            "acls": [{"acltype": "subscribePattern", "topic": "edgesplit/1/allowed/#", "priority": 0, "allow": True}],
        }
    ]
    access = dict.fromkeys(("publishClientSend", "subscribe"), False) | dict.fromkeys(
        ("publishClientReceive", "unsubscribe"), True
    )
    document = {
        "defaultACLAccess": access,
        "clients": [],
        "groups": [{"groupname": "all", "roles": [{"rolename": "some"}]}],
        "roles": roles,
        "anonymousGroup": "all",
    }
    config.write_bytes(msgspec.json.encode(document))
    port = mosquitto(f"allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {config}")
    told: list[tuple[bool, str]] = []
    bus = MessageBus(
        f"mqtt://127.0.0.1:{port}", client_id="asks", on_connection=lambda up, reason: told.append((up, reason))
    )
    bus.subscribe(Topic("allowed/a", Note), lambda _topic, _note: None)
    bus.subscribe(Topic("denied/b", Note), lambda _topic, _note: None)
    with pytest.raises(BrokerUnreachable, match="the topics edgesplit/1/denied/b: allow reading them"):
        await bus.connect(8.0)
    assert [up for up, _ in told] == [False]


async def test_a_message_over_the_brokers_limit_is_named_held_back_and_the_rest_goes_on(mosquitto: Start) -> None:
    port = mosquitto("allow_anonymous true\nmax_packet_size 4000")
    oversizes: list[Oversize] = []
    heard: list[str] = []
    url = f"mqtt://127.0.0.1:{port}"
    observer = MessageBus(url, client_id="observer")
    observer.subscribe(STATE, lambda topic, _note: heard.append(topic))
    await observer.connect(8.0)
    bus = MessageBus(url, client_id="asks", on_oversize=oversizes.append)
    await bus.connect(8.0)
    bus.publish(STATE, Note("x" * 5000), "large")
    bus.publish(STATE, Note("small"), "small")
    await until(lambda: STATE.of("small") in heard and oversizes and bus.connected)
    assert [oversize.topic for oversize in oversizes] == [STATE.of("large")]
    assert oversizes[0].nbytes > 5000
    assert "max_packet_size" in oversizes[0].sentence("broker")
    assert not bus.publish(OTHER, Note("y" * 6000))
    assert bus.publish(OTHER, Note("y" * 600))
    assert STATE.of("large") not in heard
    await bus.close()
    await observer.close()
