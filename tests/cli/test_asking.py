"""Commands that ask the controller, over a real broker."""

from __future__ import annotations

import gzip
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgesplit.errors import PlanInfeasible, UnknownModel, UnknownNode
from edgesplit.operations.fleet_operations import LinkRow, ListLinks, ListNodes, NodeRow, SpeedRow
from edgesplit.operations.goal_operations import LimitChange, SetWeights, WeightsRow
from edgesplit.operations.model_operations import ListModels, ModelDocument, NoiseModelDocument, RemoveModel, ShowModel
from edgesplit.operations.plan_operations import (
    ComponentRow,
    DeployDocument,
    DeployModel,
    ExportProblem,
    MeasuredDocument,
    PlanDocument,
    ShowPlan,
    SourceRow,
    UndeployModel,
)
from edgesplit.operations.waiting_document import WaitingDocument, WaitingRow
from edgesplit.planning.goals import Goals
from edgesplit.planning.plan import FixedPlan, NodeShare, TimelineEntry
from edgesplit.wire.tensor_spec import TensorSpec
from tests.cli.conftest import Run
from tests.cli.fakes import FakeController

NODES = [
    NodeRow(
        name="device",
        online=True,
        advertise="10.9.0.1:7400",
        cpu_percent=12.5,
        memory_available_bytes=4_000_000_000,
        compute_w=2.9165,
        transmit_w=3.507,
        power_origin="configured",
        version="0.1.0",
        emulated=True,
        insecure=True,
        speeds={
            "yolo": SpeedRow(
                whole_s=0.0412, profiled_s=0.0201, factor=2.05, int8_factor=2.05, origin="live timings", age_s=3.0
            ),
            "other": SpeedRow(whole_s=0.0412, profiled_s=0.04, factor=1.03, int8_factor=1.01, origin="timed again"),
        },
    ),
    NodeRow(
        name="old",
        online=False,
        advertise="",
        cpu_percent=None,
        memory_available_bytes=None,
        compute_w=None,
        transmit_w=None,
        power_origin=None,
        refused="it speaks protocol 0",
    ),
]
MODEL = ModelDocument(
    name="yolo",
    sha256="ab" * 32,
    operators=654,
    units=120,
    tensors=130,
    quantizable=("conv1", "[bold]conv2"),
    noise_model=NoiseModelDocument(degree=2, r2_train=0.99, r2_test=0.98, seconds=3.5, patterns=64, full_noise=0.4),
    inputs=(TensorSpec(name="images", dtype="float32", shape=(1, 3, 640, 640)),),
    outputs=(TensorSpec(name="out", dtype="float32", shape=(1, 116, 8400)),),
    weight_bytes=248_000_000,
    deployed=True,
    source="device",
    epoch=3,
    profiled=("device", "edge"),
    goals=Goals(energy_weight=1.0, max_noise=0.5),
)
PLAN = PlanDocument(
    model="yolo",
    epoch=3,
    status="optimal",
    latency_s=0.65,
    energy_j=3.83,
    latency_interval_s=(0.628, 0.681),
    energy_interval_j=(3.71, 3.97),
    device_energy_j=1.1,
    noise=0.04,
    score=0.25,
    gap=0.0,
    per_node={
        "device": NodeShare(operators=10, components=1, quantized=2),
        "cloud": NodeShare(operators=644, components=1, quantized=0),
    },
    components=(
        ComponentRow(id=0, node="device", operators=("conv1",), inputs=("images",), outputs=("t1",)),
        ComponentRow(
            id=1,
            node="cloud",
            operators=("conv2",),
            inputs=("t1",),
            outputs=("out",),
            predicted_s=0.15,
            measured_s=0.153,
        ),
    ),
    quantized=("conv1",),
    codecs={"t1": "fp16"},
    timeline=(
        TimelineEntry(kind="compute", start_s=0.0, end_s=0.2, node="device", component=0),
        TimelineEntry(kind="transfer", start_s=0.2, end_s=0.5, source="device", target="cloud", tensor="t1"),
        TimelineEntry(kind="compute", start_s=0.5, end_s=0.65, node="cloud", component=1),
    ),
    solve_s=0.3,
    reason="the goals changed",
    source="device",
    goals=Goals(energy_weight=1.0, max_noise=0.5),
    measured=MeasuredDocument(
        requests=12, failed=1, latency_s=0.67, energy_j=4.0, device_energy_j=1.2, energy_origin="configured"
    ),
    serving=3,
    speeds={"cloud": SpeedRow(whole_s=0.2, profiled_s=0.4, factor=0.5, int8_factor=0.6, origin="timed again")},
)


def raising(error: Exception) -> Any:
    def answer(_operation: object) -> object:
        raise error

    return answer


def test_nodes_for_programs_and_people(run: Run, controller: FakeController) -> None:
    controller.answers[ListNodes] = lambda _operation: NODES
    programs = run("nodes", "--json")
    assert (programs.status, programs.err) == (0, "")
    assert programs.document[0]["memory_available_bytes"] == 4_000_000_000
    assert programs.document[1]["compute_w"] is None
    assert run("--json", "nodes").document == programs.document
    people = run("nodes").out
    for text in (
        "online",
        "emulated speed and links, not the machine's own: device",
        "open to whoever reaches them (insecure_network = true): device",
        "12 %",
        "4 GB",
        "2.92 W",
        "configured",
        "refused",
        "it speaks protocol 0",
        "device computes yolo in 41.2 ms, 2.05 times its profile's 20.1 ms (live timings, 3 s ago)",
    ):
        assert text in people
    assert "other" not in people


def test_links_for_programs_and_people(run: Run, controller: FakeController) -> None:
    row = LinkRow(
        from_="device",
        to="edge",
        bandwidth_bytes_per_s=4735369.2,
        latency_s=0.005,
        age_s=1.5,
        origin="measured",
        error=0.021,
        latency_error_s=0.0002,
    )
    controller.answers[ListLinks] = lambda _operation: [row, msgspec.structs.replace(row, to="cloud", up=False)]
    document = run("links", "--json").document[0]
    assert (document["from"], document["error"], document["latency_error_s"]) == ("device", 0.021, 0.0002)
    people = run("links").out
    for text in ("4.74 MB/s", "2.1 %", "5 ms", "1.5 s", "measured", "down"):
        assert text in people


def test_empty_fleets_are_explained(run: Run, controller: FakeController) -> None:
    for operation, command in ((ListNodes, "nodes"), (ListLinks, "links"), (ListModels, "model list")):
        controller.answers[operation] = lambda _operation: []
        assert run(*command.split(), "--json").document == []
        assert len(run(*command.split()).out) > 20


def test_models_are_listed_shown_and_removed(run: Run, controller: FakeController) -> None:
    controller.answers |= {
        ListModels: lambda _operation: [MODEL],
        ShowModel: lambda _operation: MODEL,
        RemoveModel: lambda _operation: MODEL,
    }
    assert run("model", "--json", "list").document[0]["name"] == "yolo"
    assert run("model", "show", "yolo", "--json").document["noise_model"]["r2_test"] == 0.98
    assert "epoch 3 from device" in run("model", "list").out
    shown = run("model", "show", "yolo").out
    for text in ("images float32[1×3×640×640]", "[bold]conv2", "248 MB", "R² 0.99", "noise at most 0.5"):
        assert text in shown
    assert run("model", "remove", "yolo").out == "yolo is removed; serving from device was ended first\n"


def test_deploy_says_which_epoch_serves_and_shows_progress_on_stderr(run: Run, controller: FakeController) -> None:
    controller.progress = [("planning", None), ("preparing epoch 4", 0.2), ("preparing epoch 4", 0.9)]
    controller.answers[DeployModel] = lambda _operation: DeployDocument(model="yolo", epoch=4, seconds=1.5)
    told = run("deploy", "yolo", "--source", "device", "--wait", "30")
    assert told.out == "yolo serves epoch 4 after 1.5 s\n"
    assert told.err == "splitctl: planning\nsplitctl: preparing epoch 4\n"
    assert controller.operations == [DeployModel(name="yolo", source="device", wait_s=30.0)]
    assert run("deploy", "yolo", "--source", "device", "--json").document == {
        "model": "yolo",
        "epoch": 4,
        "seconds": 1.5,
        "reason": "",
        "warnings": [],
        "sources": [],
    }


def test_deploy_at_several_sources_shows_what_serves_at_each(run: Run, controller: FakeController) -> None:
    rows = tuple(
        SourceRow(source=f"cam{number}", name=name, epoch=4 + number, latency_s=0.12, energy_j=3.0, nodes=("edge",))
        for number, name in enumerate(("yolo", "yolo~cam1"))
    )
    late = "cam2 has no plan of yolo yet: it is under way"
    controller.answers[DeployModel] = lambda _operation: DeployDocument(
        model="yolo", epoch=4, seconds=1.5, sources=rows, warnings=(late,)
    )
    told = run("deploy", "yolo", "--source", "cam*")
    assert controller.operations == [DeployModel(name="yolo", source="cam*")]
    assert late in told.err
    for text in ("yolo serves epoch 4", "cam0", "cam1", "yolo~cam1", "edge", "120 ms", "3 J"):
        assert text in told.out


def test_a_plan_is_served_as_a_file_says_it(run: Run, controller: FakeController, tmp_path: Path) -> None:
    document = DeployDocument(model="yolo", epoch=4, seconds=1.5, reason="the plan is fixed")
    controller.answers[DeployModel] = lambda _operation: document
    file = tmp_path / "plan.json"
    file.write_text(
        '{"status": "optimal", "assignment": {"conv": "edge"}, "quantized": ["conv"], "codecs": {"t": "fp16"}}'
    )
    told = run("deploy", "yolo", "--source", "device", "--plan", str(file))
    assert told.out == "yolo serves epoch 4 after 1.5 s (the plan is fixed)\n"
    (operation,) = controller.operations
    assert isinstance(operation, DeployModel)
    assert operation.plan == FixedPlan(assignment={"conv": "edge"}, quantized=("conv",), codecs={"t": "fp16"})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"assignment": {}}', '{"assignment": {"conv": 3}}', '{"assignment": 1']
)
def test_what_is_no_plan_is_refused_before_anybody_is_asked(
    run: Run, controller: FakeController, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(text)
    told = run("deploy", "yolo", "--source", "device", "--plan", str(file))
    assert (told.status, told.out, controller.operations) == (1, "", [])
    assert "plan.json" in told.err
    assert run("deploy", "yolo", "--source", "device", "--plan", str(tmp_path / "none.json")).status == 2


def test_a_bound_that_will_not_be_checked_is_warned_of(run: Run, controller: FakeController) -> None:
    why = "the noise of m is not checked against its bound 0.01, only predicted: d does not hold the float model"
    document = DeployDocument(model="m", epoch=4, seconds=1.5, warnings=(why,))
    controller.answers[DeployModel] = lambda _operation: document
    controller.answers[SetWeights] = lambda _operation: [WeightsRow(model="m", epoch=5, changed=True, warnings=(why,))]
    assert f"warning: {why}" in run("deploy", "m", "--source", "d").err
    assert f"warning: {why}" in run("set-weights", "--max-noise", "0.01").err


def test_undeploy(run: Run, controller: FakeController) -> None:
    controller.answers[UndeployModel] = lambda _operation: DeployDocument(model="yolo", epoch=4, seconds=0.1)
    assert run("undeploy", "yolo").out == "yolo no longer serves; its last epoch was 4\n"


@pytest.mark.parametrize(
    ("arguments", "operation"),
    [
        (("--energy", "1.0", "--max-noise", "0.5"), SetWeights(energy=1.0, max_noise=LimitChange(0.5))),
        (("--latency", "0", "--energy", "2"), SetWeights(latency=0.0, energy=2.0)),
        (("--max-noise", "none"), SetWeights(max_noise=LimitChange(None))),
        (("--device-energy", "none", "--model", "m"), SetWeights(device_energy_j=LimitChange(None), model="m")),
        (("--device-energy", "2.5"), SetWeights(device_energy_j=LimitChange(2.5))),
        (("--min-rate", "12.5"), SetWeights(min_rate=LimitChange(12.5))),
        (("--min-rate", "none", "--dry-run"), SetWeights(min_rate=LimitChange(None), dry_run=True)),
    ],
)
def test_set_weights_asks_for_what_was_typed(
    run: Run, controller: FakeController, arguments: tuple[str, ...], operation: SetWeights
) -> None:
    controller.answers[SetWeights] = lambda _operation: [WeightsRow(model="m", epoch=5, changed=True)]
    told = run("set-weights", *arguments, "--json")
    row = {"model": "m", "epoch": 5, "changed": True, "warnings": [], "then": None, "now": None}
    assert told.document == [row]
    assert controller.operations == [operation]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PlanInfeasible("no plan of yolo keeps noise at 0.01: the least is 0.03"), 3, "plan-infeasible"),
        (UnknownModel("no model 'yolo': add it"), 1, "unknown-model"),
        (UnknownNode("no node 'x': there are device, edge"), 1, "unknown-node"),
    ],
)
def test_the_controllers_refusal_is_passed_on(
    run: Run, controller: FakeController, error: Exception, status: int, code: str
) -> None:
    controller.answers[SetWeights] = raising(error)
    told = run("set-weights", "--energy", "1")
    assert (told.status, told.out, told.err) == (status, "", f"splitctl: {error}\n")
    programs = run("set-weights", "--energy", "1", "--json")
    assert programs.status == status
    assert programs.document == {"error": {"code": code, "message": str(error)}}


def test_plan_for_programs_and_people(run: Run, controller: FakeController) -> None:
    controller.answers[ShowPlan] = lambda _operation: PLAN
    document = run("plan", "yolo", "--json").document
    assert document["per_node"]["device"] == {"operators": 10, "components": 1, "quantized": 2}
    assert document["timeline"][1]["from"] == "device"
    people = run("plan", "yolo").out
    for text in (
        *("predicted", "measured (12 requests, 1 failed)", "latency (timeline)", "650 ms (628 to 681)", "670 ms"),
        "3.83 J (3.71 to 3.97)",
        *("4 J (configured)", "noise at most 0.5", "t1 as fp16", "device → cloud", "the goals changed"),
        *("150 ms", "153 ms", "200 ms, 0.5 times (int8: 0.6) its profile's 400 ms (timed again)"),
    ):
        assert text in people, text


def test_plan_says_what_is_waited_for_others(run: Run, controller: FakeController) -> None:
    waiting = WaitingDocument(
        origin="modelled",
        covered=0.99,
        share=0.05,
        mean_s=0.002,
        worst_s=0.1,
        places={"cloud": WaitingRow(load=0.25, mean_s=0.002), "device:cloud": WaitingRow(load=0.1, mean_s=0.0)},
    )
    plan = msgspec.structs.replace(PLAN, waiting_s=0.05, loaded_latency_s=0.7, waiting=waiting)
    controller.answers[ShowPlan] = lambda _operation: plan
    people = run("plan", "yolo").out
    for text in (
        "700 ms at 99 % of phases, 750 ms at the worst (modelled)",
        "Waiting for others, predicted beside measured",
        "a request waits at 5 % of phases, 2 ms on average",
        *("device:cloud", "25 %", "2 ms"),
    ):
        assert text in people, text
    full = msgspec.structs.replace(
        plan, loaded_latency_s=None, waiting_s=None, waiting=msgspec.structs.replace(waiting, worst_s=None)
    )
    controller.answers[ShowPlan] = lambda _operation: full
    assert "without bound: more is promised than there is time" in run("plan", "yolo").out
    controller.answers[ShowPlan] = lambda _operation: PLAN
    assert "beside others" not in run("plan", "yolo").out


def test_plan_says_how_evenly_sources_are_slowed(run: Run, controller: FakeController) -> None:
    rows = tuple(
        SourceRow(
            source=name, name="yolo", epoch=3, latency_s=0.6, energy_j=1.0, nodes=(name,), measured_latency_s=0.66
        )
        for name in ("cam1", "cam2")
    )
    controller.answers[ShowPlan] = lambda _operation: msgspec.structs.replace(PLAN, sources=rows, fairness=0.987)
    people = run("plan", "yolo").out
    assert "660 ms" in people
    assert "(Jain's index; 1: all alike): 0.987" in people


@pytest.mark.parametrize("name", ["problem.json", "problem.json.gz"])
def test_plan_exports_its_problem(run: Run, controller: FakeController, tmp_path: Path, name: str) -> None:
    problem = {"format": "split-problem/1", "model": "yolo"}
    controller.answers |= {ShowPlan: lambda _operation: PLAN, ExportProblem: lambda _operation: problem}
    told = run("plan", "yolo", "--export", tmp_path / name, "--json")
    assert told.document["epoch"] == 3
    data = (tmp_path / name).read_bytes()
    assert msgspec.json.decode(gzip.decompress(data) if name.endswith(".gz") else data) == problem
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_controller_at_the_broker_is_status_4(run: Run, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgesplit_controller.cli.ask.Conversation.__init__.__kwdefaults__", {"reach_s": 1.0})
    told = run("nodes")
    assert told.status == 4
    assert "no controller has registered" in told.err


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"online": False}, 4, "the controller has gone offline"),
        ({"silent": True}, 4, "does not answer"),
        ({"protocol": 7}, 1, "the controller (edgesplit 9.9) speaks protocol 7 and this splitctl speaks 1"),
    ],
)
def test_a_controller_that_cannot_be_talked_to_is_described(
    run: Run, broker: str, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], status: int, said: str
) -> None:
    monkeypatch.setattr("edgesplit_controller.cli.ask.Conversation.__init__.__kwdefaults__", {"reach_s": 1.0})
    with FakeController(broker, **options):
        told = run("nodes")
    assert told.status == status
    assert said in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize("changes", [{"online": False}, {"instance": "two"}])
def test_a_controller_that_vanishes_while_working_ends_the_wait(
    run: Run, controller: FakeController, changes: dict[str, Any]
) -> None:
    def vanish(_operation: object) -> object:
        threading.Thread(target=controller.publish_status, kwargs=changes).start()
        raise NotImplementedError  # no answer ever comes

    controller.answers[DeployModel] = vanish
    told = run("deploy", "yolo", "--source", "device")
    assert told.status == 4
    assert "went away while it was working" in told.err


def test_an_answer_of_another_shape_is_an_error_not_a_traceback(run: Run, controller: FakeController) -> None:
    controller.answers[ListNodes] = lambda _operation: {"surprise": 1}
    told = run("nodes", "--json")
    assert (told.status, told.document["error"]["code"]) == (1, "malformed-message")
