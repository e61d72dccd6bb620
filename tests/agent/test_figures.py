"""Figures: units from kernels, links that changed, metrics."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesplit.control.figure_messages import LinkState, NodeMetrics
from edgesplit.control.profile_messages import ProfilePlan
from edgesplit.errors import InvalidConfiguration
from edgesplit_agent.configuration import HttpSection
from edgesplit_agent.http.endpoint import HttpEndpoint
from edgesplit_agent.profiling.timing.kernel_times import (
    SESSION_SPREAD,
    Kernel,
    is_opaque,
    kernel_runs,
    modelled_times,
    unit_spreads,
    unit_times,
)
from edgesplit_agent.reporting.metrics import PrometheusMetrics
from edgesplit_agent.reporting.reporter import links_differ, metrics_differ
from tests.openinference.fakes import FakeModels

PLAN = ProfilePlan(
    units=("stem", "head", "folded"),
    kernel_units={"unit0": "stem", "unit0.0": "stem", "unit1": "head", "unit1.1": "head"},
    quantizable=(),
    inputs=(),
)


def test_kernels_are_summed_per_unit_and_scaled_to_the_whole() -> None:
    run = [Kernel("unit0.0", "Conv", 0.2), Kernel("unit1.1", "Conv", 0.6)]
    assert unit_times([run], PLAN, 0.4) == pytest.approx({"stem": 0.1, "head": 0.3, "folded": 0.0})


def test_fused_kernels_are_known_by_the_tag_and_inserted_ones_by_their_neighbours() -> None:
    run = [
        Kernel("ReorderInput_1", "ReorderInput", 1.0),
        Kernel("unit0.0_nchwc", "Conv", 1.0),
        Kernel("ReorderOutput_token_9", "ReorderOutput", 1.0),
        Kernel("ReorderInput_2", "ReorderInput", 1.0),
        Kernel("fused unit1.1_token_3", "Conv", 1.0),
    ]
    assert unit_times([run], PLAN, 5.0) == pytest.approx({"stem": 3.0, "head": 2.0, "folded": 0.0})


def test_each_kernel_counts_with_its_median_over_the_runs() -> None:
    runs = [[Kernel("unit0.0", "Conv", seconds), Kernel("unit1.1", "Conv", 1.0)] for seconds in (1.0, 1.0, 100.0)]
    assert unit_times(runs, PLAN, 2.0) == pytest.approx({"stem": 1.0, "head": 1.0, "folded": 0.0})


def test_runs_of_a_slower_spell_do_not_change_shares() -> None:
    runs = [
        [Kernel("unit0.0", "Conv", slowness * first_s), Kernel("unit1.1", "Conv", slowness * second_s)]
        for slowness, first_s, second_s in ((1.0, 0.99, 1.0), (1.0, 1.01, 1.0), (1.5, 1.0, 0.99), (1.5, 1.0, 1.01))
    ]
    assert unit_times(runs, PLAN, 2.0) == pytest.approx({"stem": 1.0, "head": 1.0, "folded": 0.0}, rel=1e-3)


@given(
    st.lists(
        st.tuples(st.sampled_from(["unit0.0", "unit1.1", "ReorderInput_1", "?"]), st.floats(1e-6, 1.0)), min_size=1
    ),
    st.floats(1e-3, 10.0),
)
def test_no_kernel_is_lost(kernels: list[tuple[str, float]], whole_s: float) -> None:
    run = [Kernel(name, name.split("_")[0], seconds) for name, seconds in kernels]
    assert sum(unit_times([run], PLAN, whole_s).values()) == pytest.approx(whole_s)


def test_a_profile_is_split_into_runs_without_nested_kernels(tmp_path: Path) -> None:
    report = tmp_path / "profile.json"
    report.write_text(
        """[{"cat": "Session", "name": "model_run", "ts": 10, "dur": 10},
        {"cat": "Node", "name": "unit0.0_kernel_time", "ts": 11, "dur": 5, "args": {"op_name": "If", "x": "1"}},
        {"cat": "Node", "name": "nested.0_kernel_time", "ts": 12, "dur": 2, "args": {"op_name": "Add"}},
        {"cat": "Session", "name": "model_run", "ts": 30, "dur": 10},
        {"cat": "Node", "name": "unit0.0_kernel_time", "ts": 31, "dur": 7, "args": {"op_name": "If"}}]"""
    )
    assert kernel_runs(report) == [[Kernel("unit0.0", "If", 5e-6)], [Kernel("unit0.0", "If", 7e-6)]]


def link(bandwidth: float, *, up: bool = True, latency_s: float = 0.01) -> LinkState:
    """To the edge."""
    return LinkState(to="edge", up=up, bandwidth_bytes_per_s=bandwidth, latency_s=latency_s, measured_at_unix_s=0.0)


def test_links_are_said_at_once_when_they_changed_notably() -> None:
    before = (link(1e6),)
    assert not links_differ(before, (link(1.02e6),))
    assert links_differ(before, (link(1.1e6),))
    assert links_differ(before, (link(1e6, up=False),))
    assert links_differ(before, (link(1e6, latency_s=0.02),))
    assert links_differ((), before)


def test_a_link_that_only_scatters_is_no_news() -> None:
    def restless(bandwidth: float) -> LinkState:
        return LinkState(
            to="edge", up=True, bandwidth_bytes_per_s=bandwidth, latency_s=1e-4, measured_at_unix_s=0.0, scatter=0.5
        )

    assert not links_differ((restless(2e9),), (restless(1.6e9),))
    assert links_differ((restless(2e9),), (restless(1e9),))


def test_metrics_are_said_at_once_where_a_plan_or_a_person_would_want_to_know() -> None:
    said = NodeMetrics(
        node="edge",
        instance="1",
        at_unix_s=1.0,
        cpu_percent=3.0,
        memory_available_bytes=1 << 30,
        compute_w=5.0,
        transmit_w=1.0,
        power_origin="measured",
        drawn_w=9.0,
    )

    def differs(**changes: object) -> bool:
        return metrics_differ(said, msgspec.structs.replace(said, **changes))

    assert not differs(at_unix_s=3.0, cpu_percent=9.0, memory_available_bytes=(1 << 30) - 20_000_000, compute_w=5.1)
    for change in (
        {"cpu_percent": 80.0},
        {"memory_available_bytes": 1 << 29},
        {"compute_w": 6.0},
        {"transmit_w": 2.0},
        {"drawn_w": None},
        {"battery_fraction": 0.5},
        {"battery_discharging": True},
        {"power_origin": "configured"},
    ):
        assert differs(**change), change


async def test_metrics_and_health_are_served() -> None:
    telemetry = PrometheusMetrics("device", "1.0")
    telemetry.completed("m", 1, 0.2)
    telemetry.failed("whatever a client wrote", "not-deployed")
    ready = False

    def endpoint_at(listen: str) -> HttpEndpoint:
        section = HttpSection(listen=listen)
        return HttpEndpoint(
            section, telemetry, FakeModels(), blobs=Path("/nowhere"), ready=lambda: ready, version="1.0"
        )

    endpoint = endpoint_at("127.0.0.1:0")
    address = await endpoint.start()
    async with aiohttp.ClientSession(f"http://{address}") as client:
        text = await (await client.get("/metrics")).text()
        assert 'edgesplit_requests_total{model="m",node="device"} 1.0' in text
        assert "whatever" not in text
        assert (await client.get("/v2/health/live")).status == 200
        assert (await client.get("/v2/health/ready")).status == 503
        ready = True
        assert (await client.get("/v2/health/ready")).status == 200
    with pytest.raises(InvalidConfiguration, match="cannot be bound"):
        await endpoint_at(address).start()
    await endpoint.close()


def test_a_kernel_that_hides_its_units_shares_out_what_is_left_as_the_processor_would() -> None:
    openvino = "OpenVINOExecutionProvider"
    run = [
        Kernel("unit0.0", "Conv", 1.0, "CPUExecutionProvider"),
        Kernel("OpenVINOExecutionProvider_OpenVINO-EP-subgraph_1_0", "OpenVINO-EP-subgraph_1", 2.0, openvino),
    ]
    assert is_opaque(run, PLAN)
    assert not is_opaque([Kernel("ReorderInput_1", "ReorderInput", 1.0, "CPUExecutionProvider"), run[0]], PLAN)
    times = modelled_times([run], PLAN, 4.0, {"stem": 9.0, "head": 3.0, "folded": 1.0})
    assert times == {"stem": 1.0, "head": pytest.approx(2.25), "folded": pytest.approx(0.75)}
    nothing_known = modelled_times([run], PLAN, 4.0, {})
    assert nothing_known == {"stem": 1.0, "head": 1.5, "folded": 1.5}


def test_launches_on_a_graphics_processor_are_no_times_and_copies_no_units() -> None:
    cuda = "CUDAExecutionProvider"
    run = [
        Kernel("Memcpy", "MemcpyFromHost", 5.0, cuda),
        Kernel("unit0.0", "Conv", 0.001, cuda),
        Kernel("Memcpy_token_1", "MemcpyToHost", 5.0, cuda),
        Kernel("unit1.1", "NonZero", 1.0, "CPUExecutionProvider"),
    ]
    assert is_opaque(run, PLAN)
    times = modelled_times([run], PLAN, 4.0, {"stem": 2.0, "head": 2.0})
    assert times == {"stem": 3.0, "head": 1.0, "folded": 0.0}


@given(
    st.lists(st.tuples(st.sampled_from(["unit0.0", "unit1.1", "part"]), st.floats(1e-6, 1.0)), min_size=1),
    st.dictionaries(st.sampled_from(PLAN.units), st.floats(0.0, 1.0)),
    st.floats(1e-3, 10.0),
)
def test_modelled_times_sum_to_the_measured_whole(
    kernels: list[tuple[str, float]], processor_s: dict[str, float], whole_s: float
) -> None:
    provider = {"part": "TensorrtExecutionProvider"}
    run = [Kernel(name, "Conv", seconds, provider.get(name, "CPUExecutionProvider")) for name, seconds in kernels]
    assert sum(modelled_times([run], PLAN, whole_s, processor_s).values()) == pytest.approx(whole_s)


def test_units_say_how_sure_their_shares_are() -> None:
    def run(head_s: float) -> list[Kernel]:
        return [Kernel("unit0.0", "Conv", 1.0), Kernel("unit1.1", "Conv", head_s)]

    steady, restless = [run(1.0)] * 16, [run(1.0 + 0.2 * (-1) ** number) for number in range(16)]
    assert unit_spreads(steady, PLAN) == pytest.approx({"stem": SESSION_SPREAD, "head": SESSION_SPREAD})
    found = unit_spreads(restless, PLAN)
    assert found["head"] > SESSION_SPREAD
    assert unit_spreads(restless * 4, PLAN)["head"] < found["head"]
    assert unit_spreads(steady[:1], PLAN) == {}
