"""Scenario files: what they say, and the sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.scenarios.scenario import GoalsChange, RateChange
from lab.scenarios.scenario_file import LoadedScenario, ScenarioInvalid, load, parse, shipped

HEAD = """\
[scenario]
name = "mine"
[[machine]]
name = "device"
[[machine]]
name = "edge"
[[link]]
ends = ["device", "edge"]
there_bytes_per_s = 5e6
[[model]]
demo = true
"""
GRID = "[grid]\n"


def read(text: str, folder: Path = Path()) -> LoadedScenario:
    return parse(text, "mine.toml", folder)


def test_everything_has_a_default() -> None:
    scenario = read(HEAD + GRID).scenario
    assert (scenario.source, scenario.machines) == ("device", ("device", "edge"))
    assert scenario.grid is not None
    assert scenario.grid.weights == ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    assert scenario.bounds(scenario.model[0]) == (0.0,)
    assert [model.called for model in scenario.model] == ["shapes"]


def test_shipped_scenarios_can_be_run() -> None:
    assert set(shipped()) == {"changes", "predictions", "smoke", "study"}
    for name in shipped():
        loaded = load(name)
        assert loaded.scenario.scenario.name == name
        assert loaded.scenario.grid or loaded.scenario.change


def test_the_study_is_the_studys() -> None:
    scenario = load("study").scenario
    assert scenario.grid is not None
    assert [round(60 / machine.slow_down, 1) for machine in scenario.machine] == [1.0, 2.3, 60.0]
    assert [link.there_bytes_per_s for link in scenario.link] == [5e6, 5e6, 20e6]
    assert [link.delay_there_s for link in scenario.link] == [0.005, 0.055, 0.050]
    assert scenario.grid.max_noise == (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.5)


def test_changes_are_told_apart_by_what_they_are() -> None:
    text = (
        HEAD
        + "[dynamics]\n"
        + '[[change]]\nat_s = 1\nwhat = "rate"\nends = ["edge", "device"]\nbytes_per_s = 1e6\n'
        + '[[change]]\nat_s = 2\nwhat = "goals"\nweights = [0, 1]\n'
    )
    assert read(text).scenario.change == (
        RateChange(at_s=1.0, ends=("edge", "device"), bytes_per_s=1e6),
        GoalsChange(at_s=2.0, weights=(0.0, 1.0)),
    )


def test_comments_and_order_do_not_change_the_digest_but_values_do() -> None:
    text = HEAD + GRID + "rounds = 2\nrequests = 5\n"
    same = "# mine\n" + HEAD + GRID + "requests = 5\nrounds = 2\n"
    assert read(text).digest == read(same).digest
    assert read(text).digest != read(text.replace("rounds = 2", "rounds = 4")).digest


CHANGE = '[dynamics]\nduration_s = 30\n[[change]]\nat_s = 1\nwhat = "die"\nnode = "edge"\n'
MISTAKES = {
    "not TOML": ("[scenario\n", "mine.toml is no TOML"),
    "unknown table": (
        HEAD + "[grit]\n",
        "line 12, grit: there is no such key; those of this table are scenario, machine",
    ),
    "unknown key": (HEAD + GRID + "round = 3\n", "line 13, grid.round: there is no such key; those of this table are"),
    "unknown key of a change": (
        HEAD + CHANGE + "link = 3\n",
        "line 18, change[1].link: there is no such key; those of this table are what, at_s, node",
    ),
    "missing table": ('[scenario]\nname = "mine"\n', "`machine` is missing: write at least one [[machine]] table"),
    "missing key": (HEAD + "[[link]]\n", 'line 12, link[2]: `ends` is missing: write ends = ["device", "edge"]'),
    "missing kind": (HEAD + "[[change]]\nat_s = 1\n", "change[1]: `what` is missing: write one of rate, delay"),
    "unknown kind": (
        HEAD + '[[change]]\nat_s = 1\nwhat = "rat"\n',
        "line 14, change[1].what: invalid value 'rat'; write one of rate, delay",
    ),
    "unknown strategy": (
        HEAD + '[dynamics]\nstrategies = ["luck"]\n',
        "line 13, dynamics.strategies[1]: invalid enum value 'luck'; write one of",
    ),
    "wrong type": (HEAD + GRID + 'rounds = "two"\n', "line 13, grid.rounds: expected `int`, got `str`"),
    "too small": (
        HEAD + '[[machine]]\nname = "c"\nslow_down = 0.5\n',
        "line 14, machine[3].slow_down: expected `float` >= 1.0",
    ),
    "name twice": (
        HEAD + '[[machine]]\nname = "edge"\n' + GRID,
        "line 13, machine[3].name: 'edge' stands there already",
    ),
    "unknown source": (
        HEAD.replace('name = "mine"', 'name = "mine"\nsource = "phone"') + GRID,
        "line 3, scenario.source: 'phone' is not a machine: write one of device, edge",
    ),
    "unknown end": (
        HEAD + '[[link]]\nends = ["device", "moon"]\nthere_bytes_per_s = 1\n' + GRID,
        "line 13, link[2].ends: 'moon' is not a machine",
    ),
    "link to itself": (
        HEAD + '[[link]]\nends = ["edge", "edge"]\nthere_bytes_per_s = 1\n' + GRID,
        "link[2].ends: a link has two different ends",
    ),
    "link twice": (
        HEAD + '[[link]]\nends = ["edge", "device"]\nthere_bytes_per_s = 1\n' + GRID,
        "link[2].ends: these two have a link already",
    ),
    "no model": (HEAD.replace("demo = true", "scale = 2.0") + GRID, "model[1]: a model is one of zoo, demo and file"),
    "two models": (HEAD + 'zoo = "resnet50"\n' + GRID, "this one has zoo and demo"),
    "unknown topology": (
        HEAD.replace("demo = true", 'zoo = "vgg"') + GRID,
        "line 11, model[1].zoo: 'vgg' is not a topology of the zoo: write one of resnet50",
    ),
    "no file": (HEAD.replace("demo = true", 'file = "gone.onnx"') + GRID, "model[1].file: there is no file"),
    "no calibration": (HEAD + 'calibration = "gone.npz"\n' + GRID, "model[1].calibration: there is no file"),
    "model twice": (HEAD + "[[model]]\ndemo = true\n" + GRID, "model[2].name: 'shapes' stands there already"),
    "unknown node": (
        HEAD + GRID + 'configurations = [["device", "moon"]]\n',
        "line 13, grid.configurations[1]: 'moon' is not a machine",
    ),
    "no source": (HEAD + GRID + 'configurations = [["edge"]]\n', "device is the source and takes part in all: add it"),
    "node twice": (HEAD + GRID + 'configurations = [["device", "device"]]\n', "a machine is named twice"),
    "no weights": (HEAD + GRID + "weights = [[0, 0]]\n", "line 13, grid.weights[1]: both weights are 0"),
    "no goals": (HEAD + GRID + "weights = []\n", "grid.weights: there are no weights"),
    "no bounds": (HEAD + GRID + "max_noise = []\n", "line 13, grid.max_noise: there are no bounds"),
    "no bounds of a model": (HEAD + "max_noise = []\n" + GRID, "line 12, model[1].max_noise: there are no bounds"),
    "negative bound": (HEAD + GRID + "max_noise = [-1]\n", "grid.max_noise[1]: expected `float` >= 0.0"),
    "baselines of nothing": (
        HEAD + '[dynamics]\n[baselines]\nmethods = ["device"]\n',
        "line 13, baselines: baselines are compared with the cells of a [grid]",
    ),
    "unknown method": (
        HEAD + GRID + '[baselines]\nmethods = ["magic"]\n',
        "line 14, baselines.methods[1]: 'magic' is not a method",
    ),
    "method without machine": (
        HEAD + GRID + '[baselines]\nmethods = ["random-7", "cloud"]\n',
        "baselines.methods[2]: 'cloud' is not a machine",
    ),
    "foreign weights": (HEAD + GRID + "[baselines]\nweights = [[1, 3]]\n", "the grid has no weights [1.0, 3.0]"),
    "foreign bound": (HEAD + GRID + "[baselines]\nmax_noise = [0.3]\n", "the grid has no bound 0.3"),
    "changes without dynamics": (
        HEAD + GRID + CHANGE.partition("\n")[2].partition("\n")[2],
        "write a [dynamics] table",
    ),
    "unknown model": (HEAD + '[dynamics]\nmodel = "yolo"\n', "line 13, dynamics.model: 'yolo' is not a model"),
    "strategy without machine": (HEAD + '[dynamics]\nstrategies = ["static:cloud"]\n', "'cloud' is not a machine"),
    "split is a strategy": (
        HEAD + '[dynamics]\nstrategies = ["static:split", "static:split"]\n',
        "stands there already",
    ),
    "the source dies": (HEAD + CHANGE.replace("edge", "device"), "line 17, change[1].node: device is the source"),
    "no such link": (
        HEAD + '[dynamics]\n[[change]]\nat_s = 1\nwhat = "delay"\nends = ["device", "moon"]\ndelay_s = 1\n',
        "change[1].ends: no [[link]] joins device and moon; links are device-edge",
    ),
    "goals of nothing": (
        HEAD + '[dynamics]\n[[change]]\nat_s = 1\nwhat = "goals"\nweights = [0, 0]\n',
        "both weights are 0",
    ),
    "too late": (HEAD + CHANGE.replace("at_s = 1", "at_s = 30"), "line 15, change[1].at_s: nothing is watched at 30 s"),
    "nothing to do": (HEAD, "mine.toml: there is nothing to measure"),
}


@pytest.mark.parametrize("text, sentence", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_a_sentence_with_line_and_remedy(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioInvalid) as raised:
        read(text, tmp_path)
    assert sentence in str(raised.value)


def test_a_file_that_is_not_there_names_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ScenarioInvalid, match="write the path of a scenario file, or one of changes, predictions, smoke, study"
    ):
        load(str(tmp_path / "gone.toml"))


def test_paths_are_relative_to_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    path = tmp_path / "mine.toml"
    path.write_text(HEAD.replace("demo = true", 'file = "net.onnx"') + GRID, encoding="utf-8")
    loaded = load(str(path))
    assert loaded.folder == tmp_path
    assert loaded.scenario.model[0].called == "net"
