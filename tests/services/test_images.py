"""The images and the compose file, built and run (`make test-docker`): healthy services that serve a split model."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.services.images import NODES, SERVICES, DockerEngine, Engine, PodmanEngine, docker_answers
from tests.services.material import install_tools
from tests.services.proofs import Proofs, say
from tests.services.sandbox import eventually
from tests.services.tls_probe import PROBE, takes_tls_alone
from tests.services.traffic import MODEL, Request, helper_of, nodes_online, prepare_request

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

TOOLS = {
    "buildah": "buildah",
    "podman": "podman netavark aardvark-dns",
    "crun": "crun",
    "iptables": "iptables",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
MOST_SECONDS = 60.0
IMAGE_LIMIT_BYTES = {"agent": 700e6, "controller": 1100e6}


@pytest.fixture(scope="module")
def proofs() -> Iterator[Proofs]:
    """Collects what is shown; printed when the last test is done."""
    proofs = Proofs()
    yield proofs
    proofs.show("proven with images and compose file")


@pytest.fixture(scope="module")
def engine(proofs: Proofs) -> Iterator[Engine]:
    """The engine, with both images built."""
    if docker_answers():
        engine: Engine = DockerEngine()
    elif reason := install_tools(TOOLS):
        pytest.fail(f"no docker daemon answers, and for podman: {reason}", pytrace=False)
    else:
        engine = PodmanEngine()
    try:
        started_s = time.monotonic()
        for target in ("agent", "controller"):
            engine.build(target)
        proofs.add("images built", f"{engine.name}, {time.monotonic() - started_s:.0f} s")
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def started_s() -> float:
    """When the first command was given, on the clock of `time.monotonic`. [s]"""
    return time.monotonic()


@pytest.fixture(scope="module")
def running(engine: Engine, started_s: float, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine with all services up and healthy; their logs are printed when something failed."""
    assert started_s
    try:
        engine.up()
        for service in SERVICES:
            eventually(lambda service=service: engine.is_healthy(service), f"{service} is healthy")  # type: ignore[misc]
    except BaseException:
        say(engine.logs())
        raise
    yield engine
    if request.session.testsfailed:
        say(engine.logs())


@pytest.fixture(scope="module")
def request_file(running: Engine) -> Request:
    """The demo model, added and deployed, and a request to it."""
    prepared = prepare_request(running.shared)
    eventually(lambda: nodes_online(running.splitctl) == set(NODES), "all nodes online")
    options = ["--calibration", "calibration.npz", "--max-quantizable", "4"]
    running.splitctl("model", "add", "--wait", "all", MODEL, "model.onnx", *options)
    running.splitctl("deploy", MODEL, "--source", "device")
    return prepared


def serves(engine: Engine, request: Request, count: int = 3) -> bool:
    """Whether requests are answered with what the whole model gives."""
    files = ["--input", "input.npz", "--output", "output.npz"]
    answer = engine.splitctl("infer", MODEL, *files, "--count", str(count))
    assert answer["failed"] == 0
    request.check_output()
    return True


def test_images_are_small_and_hold_no_tools_to_build(engine: Engine, proofs: Proofs) -> None:
    sizes = []
    for target, limit_bytes in IMAGE_LIMIT_BYTES.items():
        size_bytes = engine.image_bytes(target)
        assert size_bytes <= limit_bytes
        sizes.append(f"{target} {size_bytes / 1e6:.0f} MB")
        found = engine.run_in_image(
            target, "sh", "-c", "ls /opt/edgesplit/bin/pip /source 2>/dev/null; command -v gcc cc make; true"
        )
        assert found == ""
    proofs.add("small images", ", ".join(sizes) + ", neither pip nor compiler nor sources")


def test_the_agent_image_lacks_what_only_the_controller_needs(engine: Engine) -> None:
    script = "import importlib.util as u; print([n for n in ('onnx', 'ortools', 'networkx') if u.find_spec(n)])"
    assert engine.run_in_image("agent", "python", "-c", script).strip() == "[]"


def test_four_commands_and_a_minute(engine: Engine, started_s: float, running: Engine, proofs: Proofs) -> None:
    prepared = prepare_request(running.shared)
    eventually(lambda: nodes_online(running.splitctl) == set(NODES), "all nodes online")
    running.splitctl("model", "add", "first", "model.onnx")
    running.splitctl("deploy", "first", "--source", "device")
    answer = running.splitctl("infer", "first", "--input", "input.npz", "--output", "output.npz")
    took_s = time.monotonic() - started_s
    assert answer["failed"] == 0
    prepared.check_output()
    say(f"up, model add, deploy, infer: {took_s:.1f} s")
    assert took_s <= MOST_SECONDS
    assert {row["insecure"] for row in running.splitctl("nodes")} == {False}
    running.splitctl("undeploy", "first")
    proofs.add("up, model add, deploy, infer", f"{took_s:.1f} s, images built before; equal to the whole model's")


def test_containers_speak_tls_alone_with_each_other(running: Engine, proofs: Proofs) -> None:
    ports = {"broker": 8883, "controller": 7480, "device": 7400, "cloud": 7400}
    for service, port in ports.items():
        said = running.engine("exec", running.container("edge"), "python", "-c", PROBE, service, str(port))
        assert takes_tls_alone(said), (service, said)
    told = ", ".join(f"{service}:{port}" for service, port in ports.items())
    proofs.add("TLS 1.3 alone", f"{told}: TLS 1.2, plain HTTP and plain MQTT refused")


def test_services_run_without_privileges(running: Engine, proofs: Proofs) -> None:
    for service in ("controller", "device", "edge", "cloud"):
        status = running.engine("exec", running.container(service), "cat", "/proc/1/status")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert set(fields["Uid"].split()) == {"10400"}
        assert fields["CapEff"].strip() == "0" * 16
        assert fields["NoNewPrivs"].strip() == "1"
    proofs.add("all services healthy", f"{', '.join(SERVICES)}; uid 10400, no capability, read-only root")


def test_a_model_runs_split_over_containers(running: Engine, request_file: Request, proofs: Proofs) -> None:
    eventually(lambda: helper_of(running.splitctl), "a plan that uses another container", timeout_s=90)
    assert serves(running, request_file, count=20)
    per_node = running.splitctl("plan", MODEL)["per_node"]
    parts = ", ".join(f"{node} {part['operators']}" for node, part in per_node.items() if part["operators"])
    proofs.add("splitctl add, deploy, infer", f"20 requests, 0 failed, equal to the whole model; operators: {parts}")


def test_a_killed_agent_is_started_again(running: Engine, request_file: Request, proofs: Proofs) -> None:
    victim = eventually(lambda: helper_of(running.splitctl), "a plan that uses another container", timeout_s=90)
    before = running.inspect("container", running.container(victim), "{{.State.Pid}}")
    started_s = time.monotonic()
    running.kill_process(victim)
    eventually(
        lambda: running.inspect("container", running.container(victim), "{{.State.Pid}}") not in {before, "0"},
        f"{victim} is started again",
    )
    eventually(lambda: running.is_healthy(victim), f"{victim} is healthy")
    eventually(lambda: nodes_online(running.splitctl) == set(NODES), "all nodes online")
    back_s = time.monotonic() - started_s
    eventually(lambda: serves(running, request_file), "the model serves", timeout_s=90)
    proofs.add("kill -9 of an agent", f"{victim}: healthy and online after {back_s:.1f} s, infer works")
