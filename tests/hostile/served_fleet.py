"""A secured fleet that serves, for attacks: processes, identities that its own authority signed, and what must not change.

Owns: agents of a fleet (`tests/trust/running_fleet.py`), its ledger of what stands on the broker, and the client that keeps asking. Its rule:
whatever an attack did, what stood before stands after, and no request failed. Not here: attackers (`attackers.py`).
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from paho.mqtt.enums import CallbackAPIVersion

import edgesplit
from demo.ports import free_port
from edgesplit.control.event_messages import EVENT
from edgesplit.control.plan_messages import DEPLOYMENT, DESIRED, OBSERVED
from edgesplit.control.profile_messages import MODEL_OFFER
from edgesplit.control.trust_messages import CLIENT_TOKENS
from edgesplit.mqtt.topic import ROOT
from edgesplit.mqtt.topic_filters import matches
from edgesplit.trust.files import TrustFiles
from edgesplit.trust.signing import in_envelope
from edgesplit.trust.tls import client_context
from edgesplit_controller.trust.authority import AUTHORITY_KEY
from tests.controller.tiny_models import convolutions
from tests.trust.running_fleet import Secured, running, secured
from tests.trust.secured_broker import broker_address
from tests.trust.signers import MadeFleet
from tests.waiting import blocking_until

MODEL = "tiny"
REQUEST = {"image": np.random.default_rng(1).random((1, 3, 16, 16), dtype=np.float32)}
NODES = ("device", "edge")
DAY = timedelta(days=1)
PLANNING = '[planning]\nfallbacks = "local"\nshadow_requests = 0\nshadow_every_s = 0.0\n'
_ASK_EVERY_S = 0.02
_FAR_S = 1e12
"""An attacker's events are of later times. [s since the epoch]"""
BRIEF = "brief"
"""A token that ends before the first attack, and leaves the list whenever that is told again."""
_STANDS = (MODEL_OFFER, DEPLOYMENT, DESIRED, OBSERVED, CLIENT_TOKENS)


class Ledger:
    """Everything that is said over the broker, heard as the controller's identity may.

    Attributes:
        stands: The latest payload of each retained topic.
        heard: All payloads in their order.
    """

    def __init__(self, url: str, files: TrustFiles) -> None:
        self.stands: dict[str, bytes] = {}
        self.heard: list[tuple[str, bytes]] = []
        address = broker_address(url, files)
        self._listening = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="ledger")
        self._client.tls_set_context(address.tls_context())
        self._client.on_message = self._hear
        self._client.on_subscribe = lambda *_told: self._listening.set()
        self._client.connect(address.host, address.port)
        self._client.subscribe(f"{ROOT}/#", 1)
        self._client.loop_start()
        assert self._listening.wait(10)

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload)))
        if message.payload:
            self.stands[message.topic] = bytes(message.payload)
        else:
            self.stands.pop(message.topic, None)

    def plans(self) -> dict[str, Any]:
        """What is offered, deployed, desired, observed and granted: the messages, whoever repeated them."""
        return {
            topic: _read(in_envelope(payload) or payload)
            for topic, payload in dict(self.stands).items()
            if any(matches(row.filter(), topic) for row in _STANDS)
        }

    def told(self, kind: str, since: int = 0) -> list[tuple[str, str]]:
        """Events of a kind, of all that was heard from a place on: who tells it, and the sentence; but for those that cannot be true."""
        said = [(topic, _read(in_envelope(payload) or payload)) for topic, payload in self.heard[since:]]
        return [
            (event["origin"], event["text"])
            for topic, event in said
            if isinstance(event, dict)
            and event.get("kind") == kind
            and topic == EVENT.of(event["origin"])
            and event["at_unix_s"] < _FAR_S
        ]

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()


def _read(message: bytes) -> Any:
    """What an attacker wrote need not be JSON."""
    try:
        found = json.loads(message)
        if isinstance(found, dict) and "tokens" in found:
            found["tokens"] = [token for token in found["tokens"] if token["name"] != BRIEF]
        return found
    except (ValueError, RecursionError):
        return message


class Asker:
    """A client that sends one request after another in a thread.

    Attributes:
        answered: How many were.
        failed: Why others were not.
    """

    def __init__(self, address: str, files: TrustFiles) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._address, self._files = address, files
        self._ended = threading.Event()
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="asker")
        self._thread.start()

    def _ask(self) -> None:
        proof = {
            "ca_file": self._files.authority,
            "cert_file": self._files.certificate,
            "key_file": self._files.key,
        }
        with edgesplit.connect(self._address, **proof) as node:  # type: ignore[arg-type]  # the keywords of proof
            while not self._ended.wait(_ASK_EVERY_S):
                self._wanted.wait()
                try:
                    node.infer(MODEL, REQUEST)
                    self.answered += 1
                except edgesplit.errors.EdgesplitError as error:
                    self.failed.append(str(error))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Ask while the block runs: between attacks, and after the last, other tests need the processor."""
        self._wanted.set()
        yield
        self._wanted.clear()

    def goes_on(self) -> None:
        """Wait until more requests were answered, after whatever just happened; none may have failed."""
        before = self.answered
        blocking_until(lambda: self.answered >= before + 5 or self.failed, "requests are answered")
        assert not self.failed

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self._wanted.set()
        self._thread.join(timeout=30)


@dataclass
class ServedFleet:
    """Controller and two agents as processes, one model split over both nodes.

    Attributes:
        secured: The fleet as its operator sees it.
        made: Signs whatever a test asks for with the fleet's own authority.
        data: Data plane of each node, host:port, on loopback.
        http: Likewise HTTP.
        tokens: Of clients, by their names.
        strangers: Other fleets, which go with this one.
    """

    secured: Secured
    made: MadeFleet
    ledger: Ledger
    data: dict[str, str]
    http: dict[str, str]
    tokens: dict[str, str]
    asker: Asker | None = None
    strangers: list[MadeFleet] = field(default_factory=list[MadeFleet])

    def files(self, node: str) -> TrustFiles:
        """Identity of a node that joined."""
        return TrustFiles.of(self.secured.folder / "nodes" / node)

    @property
    def operator(self) -> TrustFiles:
        """Identity of the first operator."""
        (found,) = (self.secured.folder / "config").rglob("key.pem")
        return TrustFiles.of(found.parent)

    @property
    def authority(self) -> Path:
        """The fleet's authority.pem."""
        return self.secured.folder / "trust" / "authority.pem"

    @property
    def controller(self) -> str:
        """host:port of the controller's HTTPS."""
        return self.secured.artifacts.removeprefix("https://")

    def log(self, program: str) -> str:
        """What a process wrote so far."""
        return (self.secured.folder / f"{program}.log").read_text(errors="replace")

    def counted(self, program: str) -> dict[str, int]:
        """Counts of what was refused, as /metrics of a node or of the controller shows them: by kind or topic or reason."""
        address = self.controller if program == "controller" else self.http[program]
        page = urllib.request.urlopen(
            f"https://{address}/metrics", context=client_context(self.authority), timeout=10
        ).read()
        pattern = r"^edgesplit_\w*(?:limited|untrusted_messages|ignored_messages)(?:_total)?\{(.*)\} (\S+)$"
        counts: dict[str, int] = {}
        for labels, count in re.findall(pattern, page.decode(), re.MULTILINE):
            (kind,) = [value for name, value in re.findall(r'(\w+)="([^"]*)"', labels) if name != "node"]
            counts[kind] = int(float(count))
        return counts

    def ignored(self) -> int:
        """Messages that the controller did not take in, malformed or not to be true."""
        return sum(self.counted("controller").get(reason, 0) for reason in ("malformed", "implausible"))

    def context(self, files: TrustFiles | None) -> ssl.SSLContext:
        """TLS of the holder of an identity; None: of somebody who knows the authority alone."""
        if files is None:
            return client_context(self.authority)
        context = client_context(self.authority, files.certificate, files.key)
        context.verify_mode = ssl.CERT_NONE  # an attacker need not believe anybody
        return context


def start_agent(fleet: Secured, name: str, lines: str, broker: str = "") -> contextlib.AbstractContextManager[None]:
    """An agent's process while the block runs, from when it has registered.

    Args:
        fleet: Which it joined.
        name: Its.
        lines: Of its configuration, sections [data] and [http] and whatever follows.
        broker: URL; empty: the fleet's.
    """
    config = fleet.folder / f"{name}.toml"
    config.write_text(
        f'name = "{name}"\n[broker]\nurl = "{broker or fleet.broker}"\n{lines}'
        f'[cache]\npath = "{fleet.folder / "cache" / name}"\n'
        f'[power]\nsource = "constant"\n[runtime]\nthreads = 1\n'
        f'[security]\nmode = "fleet"\nfolder = "{fleet.folder / "nodes" / name}"\n'
    )
    command = [sys.executable, "-m", "edgesplit_agent.main", "--config", str(config)]
    return running(command, fleet.folder / f"{name}.log", b"broker-connected")


@contextlib.contextmanager
def served_fleet(folder: Path) -> Iterator[ServedFleet]:
    """The fleet while the block runs."""
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(secured(folder, PLANNING))
        for line in fleet.run("node", "add", *NODES, "spare", "stolen", "astray"):
            fleet.join(line["command"])
        data, http = ({name: f"127.0.0.1:{free_port()}" for name in NODES} for _ in range(2))
        for name in NODES:
            ports = f'[data]\nlisten = "0.0.0.0:{data[name].rpartition(":")[2]}"\nadvertise = "{data[name]}"\n'
            ports += f'[http]\nlisten = "0.0.0.0:{http[name].rpartition(":")[2]}"\nadvertise = "{http[name]}"\n'
            stack.enter_context(start_agent(fleet, name, ports))
        model = folder / "tiny.onnx"
        model.write_bytes(convolutions(4))
        fleet.run("model", "add", "--wait", "all", MODEL, str(model))
        fleet.run("deploy", MODEL, "--source", "device")
        _split(fleet, folder)
        tokens = {
            name: fleet.run("token", "add", name, *options)["token"]
            for name, options in {
                "all": ("--expires", "1h"),
                "other-model": ("--model", "elsewhere", "--expires", "1h"),
                "slow": ("--rate", "0.1", "--expires", "1h"),
                "withdrawn": ("--expires", "1h"),
            }.items()
        }
        fleet.run("token", "remove", "withdrawn")
        made = _signing(folder)
        stack.callback(made.close)
        ledger = Ledger(fleet.broker, TrustFiles.of(folder / "trust"))
        stack.callback(ledger.close)
        served = ServedFleet(fleet, made, ledger, data, http, tokens)
        asker = served.asker = Asker(data["device"], made.files("client"))
        stack.callback(asker.end)
        with asker.asking():
            asker.goes_on()
        yield served
        for stranger in served.strangers:
            stranger.close()


def _split(fleet: Secured, folder: Path) -> None:
    """A plan of which every request crosses the network, and that stays until somebody who may asks for another."""
    exported = folder / "problem.json"
    fleet.run("plan", MODEL, "--export", str(exported))
    names = [
        entry["name"] for entry in msgspec.json.decode(exported.read_bytes())["operators"] if not entry.get("role")
    ]
    half = len(names) // 2
    plan = {name: "device" if at < half else "edge" for at, name in enumerate(names)}
    chosen = folder / "plan.json"
    chosen.write_text(json.dumps({"assignment": plan}))
    fleet.run("deploy", MODEL, "--source", "device", "--plan", str(chosen))


def _signing(folder: Path) -> MadeFleet:
    """Certificates of any content, signed by the fleet's own authority."""
    made = MadeFleet()
    key = load_pem_private_key((folder / "trust" / AUTHORITY_KEY).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made.authority.key = key
    made.authority.certificate = x509.load_pem_x509_certificate((folder / "trust" / "authority.pem").read_bytes())
    return made
