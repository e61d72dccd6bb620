"""docs/problem-file.md, the schema that ships and the loader say the same of a problem file."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hatchling.builders.wheel import WheelBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edgesplit.errors import InvalidProblem
from edgesplit.planning import problem as problem_types
from edgesplit.planning.noise_curve import NoiseCurve
from edgesplit.planning.problem_file import load_problem, problem_from_json, problem_schema, problem_to_json
from edgesplit_controller.cli.entry import splitctl
from tests.planner.brute_force import random_problem

Document = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/problem-file.md").read_text()
SCHEMA = json.loads(problem_schema())
VALIDATOR = Draft202012Validator(SCHEMA)
TYPES: dict[str, type[msgspec.Struct]] = {
    "Problem": problem_types.Problem,
    "Node": problem_types.Node,
    "Link": problem_types.Link,
    "Operator": problem_types.Operator,
    "Tensor": problem_types.Tensor,
    "Codec": problem_types.CodecOption,
    "NoiseModel": problem_types.NoiseModel,
    "NoiseTerm": problem_types.NoiseTerm,
    "NoiseCurve": NoiseCurve,
    "Objective": problem_types.Objective,
    "Constraints": problem_types.Constraints,
}


def example() -> Document:
    found = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    document: Document = json.loads(found[1])
    return document


# --- the example -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """What `splitctl solve` prints for the page's example."""
    file = tmp_path_factory.mktemp("example") / "example.json"
    file.write_text(json.dumps(example()))
    result = CliRunner().invoke(splitctl, ["solve", str(file), "--json"])
    assert result.exit_code == 0, result.output
    document: Document = json.loads(result.stdout)
    return document


def test_the_example_has_the_figures_of_the_page(solved: Document) -> None:
    rows = dict(re.findall(r"^\| ([a-z' ]+) \| ([\d.]+)[^|]*\|", PAGE, re.MULTILINE))
    problem = problem_from_json(json.dumps(example()))
    on_device = [operator for operator in problem.operators if solved["assignment"][operator.name] == "device"]
    weights = sum(operator.weight_bytes for operator in on_device if operator.name not in solved["quantized"])
    assert solved["status"] == "optimal"
    assert float(rows["latency"]) == pytest.approx(solved["latency_s"])
    assert float(rows["the device's energy"]) == pytest.approx(solved["device_energy_j"])
    assert float(rows["energy"]) == pytest.approx(solved["energy_j"])
    assert float(rows["noise"]) == pytest.approx(solved["noise"])
    assert float(rows["memory on the device"]) == pytest.approx(weights / 1e6)
    assert float(rows["score"]) == pytest.approx(solved["score"], abs=5e-4)


def test_the_sums_of_the_page_are_those_figures() -> None:
    """What the last column adds up, read as arithmetic."""
    rows = re.findall(r"^\| [a-z' ]+ \| ([\d.]+)[^|]*\| ([^|]*\d[^|]*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    latency, device, energy, noise, memory, score = rows
    products = [(3, 0.04 + 0.002 + 0.1), (2, 0.05), (20, 0.001 + 0.03), (2, 0.015)]
    joules = [watts * seconds for watts, seconds in products]
    assert float(latency[0]) == pytest.approx(0.04 + 0.002 + 0.05 + 0.001 + 0.03 + 0.015 + 0.1)
    assert float(device[0]) == pytest.approx(sum(joules[:2]))
    assert float(energy[0]) == pytest.approx(sum(joules))
    assert float(noise[0]) == pytest.approx(0.01 + 0.02 + 0.001)
    assert float(memory[0]) == pytest.approx(0.04 + 1)
    terms = [0.5 * (0.238 - 0.1538) / (0.39 - 0.1538), 0.5 * (1.176 - 1.17) / (1.2676 - 1.17)]
    assert float(score[0]) == pytest.approx(sum(terms), abs=5e-4)
    for (_, said), figures in zip(
        rows,
        ["0.04 0.002 0.05 0.001 0.03 0.015 0.1", "3 0.04 0.002 0.1 2 0.05", "20 0.001 0.03 2 0.015"],
        strict=False,
    ):
        assert set(figures.split()) <= set(re.findall(r"[\d.]*\d", said))


def test_the_ranges_of_the_page_are_the_planner_s(solved: Document) -> None:
    ranges = solved["ranges"]
    said = "The least latency is 0.1538 s, with `head` on the edge too, which takes at least 1.2676 J; the least energy is 1.17 J"
    assert said in " ".join(PAGE.split())
    assert (ranges["best_latency_s"], ranges["energy_at_best_latency_j"]) == pytest.approx((0.1538, 1.2676))
    assert (ranges["best_energy_j"], ranges["latency_at_best_energy_s"]) == pytest.approx((1.17, 0.39))


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_the_schema_has_the_loader_s_keys_and_defaults(name: str) -> None:
    definition = SCHEMA["$defs"][name]
    fields = msgspec.structs.fields(TYPES[name])
    assert set(definition["properties"]) == {field.encode_name for field in fields}
    assert set(definition.get("required", ())) == {field.encode_name for field in fields if field.required}
    for field in fields:
        if not field.required:
            default = definition["properties"][field.encode_name]["default"]
            assert msgspec.convert(default, field.type) == field.default, field.name


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(TYPES) == {name for name in SCHEMA["$defs"] if name[0].isupper()}


def test_the_schema_can_be_had_from_splitctl() -> None:
    result = CliRunner().invoke(splitctl, ["solve", "--schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == SCHEMA


def test_the_schema_ships_in_the_wheel() -> None:
    shipped = {file.distribution_path for file in WheelBuilder(str(REPOSITORY)).recurse_included_files()}
    assert "edgesplit/planning/split-problem-1.schema.json" in shipped


# --- what is refused -------------------------------------------------------------------------------------------------


def put(*path: str | int, value: object) -> Callable[[Document], None]:
    def change(data: Document) -> None:
        target: Any = data
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


def add(section: str, entry: object) -> Callable[[Document], None]:
    return lambda data: data[section].append(entry)


def drop(*path: str | int) -> Callable[[Document], None]:
    def change(data: Document) -> None:
        target: Any = data
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


EDGES, LINK = example()["tensors"][1], example()["links"][0]
BROKEN: dict[str, bytes | Callable[[Document], None]] = {
    "no JSON": b"no problem",
    "no object": b"[]",
    "another format": put("format", value="split-problem/2"),
    "a key that is missing": drop("operators", 1, "time_s"),
    "a value of another type": put("tensors", 0, "bytes", value="1 MB"),
    "a word that is none of those allowed": put("objective", "latency_model", value="best"),
    "an empty name": put("nodes", 1, "name", value=""),
    "a number that is not finite": put("tensors", 0, "bytes", value=math.inf),
    "a negative number": put("tensors", 0, "bytes", value=-1),
    "a bandwidth of 0": put("links", 0, "bandwidth_bytes_per_s", value=0),
    "no operators": put("operators", value=[]),
    "a quantizable operator without times in int8": drop("operators", 2, "quantized_time_s"),
    "a load beyond 1": put("nodes", 1, "load", value=1.5),
    "a rate of 0": put("constraints", "min_rate_hz", value=0),
    "no weight above 0": put("objective", value={"latency_weight": 0}),
    "a pin without nodes": put("constraints", "pins", "stem", value=[]),
    "a name given twice": add("tensors", example()["tensors"][0]),
    "a source that is no node": put("source", value="phone"),
    "a link of an unknown node": put("links", 0, "to", value="cloud"),
    "a link from a node to itself": put("links", 0, "to", value="device"),
    "a link given twice": add("links", LINK),
    "a time on an unknown node": put("operators", 1, "time_s", "cloud", value=0.1),
    "a node without a time": drop("operators", 1, "time_s", "edge"),
    "a tensor of or for an unknown operator": put("tensors", 1, "producer", value="neck"),
    "two codecs of one name for one precision": put("tensors", 1, "codecs", value=EDGES["codecs"] * 2),
    "noise of an unknown operator": put("noise_model", "terms", 0, "operators", value=["neck"]),
    "a curve that does not rise": put("noise_model", "curve", value={"levels": [0.0, 1.0], "noises": [0.1, 0.05]}),
    "a pin of an unknown operator": put("constraints", "pins", "neck", value=["edge"]),
    "a pin to an unknown node": put("constraints", "pins", "stem", value=["cloud"]),
    "figures whose sums leave the range of doubles": put("operators", 2, "weight_bytes", value=1e300),
    "a cycle": add("tensors", {"name": "back", "bytes": 1, "producer": "head", "consumers": ["backbone"]}),
}
SHAPE, SEMANTIC = (
    dict(re.findall(r"^\| ([^|`]+) \| `+(.+?)`+ \|$", part, re.MULTILINE))
    for part in PAGE.split("## What is refused")[1].split("What only shows when")
)


def test_each_kind_of_refusal_is_tried() -> None:
    assert list(BROKEN) == [*SHAPE, *SEMANTIC]


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_refused_is_refused_with_the_page_s_sentence(what: str) -> None:
    change = BROKEN[what]
    data = example()
    if callable(change):
        change(data)
    with pytest.raises(InvalidProblem) as caught:
        problem_from_json(json.dumps(data) if callable(change) else change)
    assert str(caught.value) == (SHAPE | SEMANTIC)[what]
    if callable(change) or change == b"[]":
        shown = data if callable(change) else []
        assert VALIDATOR.is_valid(shown) == (what in SEMANTIC)


def test_a_file_that_cannot_be_read_is_named_as_on_the_page(tmp_path: Path) -> None:
    file = tmp_path / "problem.json.gz"
    with pytest.raises(InvalidProblem) as caught:
        load_problem(file)
    said = re.sub(r"\(.*\)", "(ERROR)", str(caught.value).replace(str(file), "problem.json.gz"))
    assert f"`{said}`" in " ".join(PAGE.split())


SEMANTIC_ONLY = re.compile(
    r"is listed twice|is not among the (nodes|operators)|unknown (node|operator)|leads to its own node|"
    r"lacks a time for node|repeat a name|form a cycle|may add up to|does not rise"
)
"""How the page's second table begins to read once names are taken out; each row matches."""


def test_sentences_that_a_schema_cannot_say_are_those_of_the_second_table() -> None:
    assert all(SEMANTIC_ONLY.search(sentence) for sentence in SEMANTIC.values())
    assert [what for what, sentence in SHAPE.items() if SEMANTIC_ONLY.search(sentence)] == [
        "a quantizable operator without times in int8"
    ]


JUNK: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    -0.0,
    1.5,
    1e308,
    10**400,
    "",
    "x",
    "device",
    [],
    ["x"],
    {},
    {"x": 1},
    {"": []},
]
PLACES = ("replaced", "removed", "repeated", "joined")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container of a document with every key or index in it."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(child)


@settings(max_examples=600, deadline=None)
@given(seed=st.integers(0, 400), data=st.data())
def test_schema_and_loader_agree_on_documents_that_are_broken_in_one_place(seed: int, data: st.DataObject) -> None:
    document = json.loads(problem_to_json(random_problem(seed, curved=seed % 2 == 1)))
    if data.draw(st.booleans(), label="the page's example"):
        document = example()
    container, key = data.draw(st.sampled_from(list(places(document))), label="place")
    change = data.draw(st.sampled_from(PLACES), label="change")
    if change == "replaced":
        container[key] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
    elif change == "removed":
        del container[key]
    elif change == "repeated" and isinstance(container, list):
        container.append(copy.deepcopy(container[key]))
    elif isinstance(container, dict):
        container["unknown"] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
    assert_both_agree(document)


@pytest.mark.parametrize("seed", range(60))
def test_schema_and_loader_agree_on_valid_documents(seed: int) -> None:
    document = json.loads(problem_to_json(random_problem(seed, curved=seed % 2 == 1)))
    problem_from_json(json.dumps(document))
    assert VALIDATOR.is_valid(document)


def assert_both_agree(document: Any) -> None:
    """What the schema refuses the loader refuses; what it takes is refused for semantics at most."""
    fits = VALIDATOR.is_valid(document)
    try:
        problem_from_json(json.dumps(document))
    except InvalidProblem as error:
        assert not fits or SEMANTIC_ONLY.search(str(error)), error
    else:
        assert fits, next(VALIDATOR.iter_errors(document)).message
