"""The logic of the dashboard's page, run by node's own test runner, and what page and splitctl must say alike."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from edgesplit import formatting

TESTS = Path(__file__).parent / "js"
STATIC = Path(__file__).parents[2] / "controller/edgesplit_controller/dashboard/static"
TIMEOUT_S = 120
MOST_COMPRESSED_BYTES = 500_000

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run_node(*arguments: str, text: str = "") -> str:
    done = subprocess.run(
        ["node", *arguments], input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_node
@pytest.mark.parametrize("file", sorted(TESTS.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_the_pages_logic_holds(file: Path) -> None:
    said = run_node("--test", "--test-reporter=tap", str(file))
    assert "# fail 0" in said
    assert "# pass 0" not in said


@needs_node
def test_page_and_splitctl_write_figures_alike() -> None:
    figures = [0.0, 0.5, 1.5, 2.5, 100.5, 101.5, 999.5, 0.125, 2.125, 2.135, 0.0005, 9.995, 99.95, 0.00099951, 12_345.0]
    figures += [
        sign * digits * 10.0**power for power in range(-9, 13) for digits in (1.0, 2.345, 9.996) for sign in (1, -1)
    ]
    names = {
        "bytes": formatting.size,
        "bytesPerSecond": formatting.speed,
        "seconds": formatting.time_span,
        "joules": formatting.joules,
        "watts": formatting.watts,
        "percent": formatting.percent,
        "number": formatting.number,
    }
    script = f"""
import * as format from {json.dumps((STATIC / "js/core/format.js").as_uri())};
const figures = {json.dumps(figures)};
console.log(JSON.stringify(Object.fromEntries({json.dumps(list(names))}.map((name) => [name, figures.map(format[name])]))));
"""
    said = json.loads(run_node("--input-type=module", "-", text=script))
    for name, formatted in names.items():
        assert said[name] == [formatted(figure) for figure in figures], name
    assert all(math.isfinite(figure) for figure in figures)


@needs_node
def test_join_tokens_drawn_in_the_page_are_splitctls() -> None:
    from edgesplit.trust.enrolment import JoinToken, token_digest

    if not (STATIC / "vendor/noble-hashes").is_dir():
        pytest.skip("the page's libraries were not brought")
    authority, secret = "0fa1" * 16, bytes(range(240, 256))
    script = f"""
globalThis.document = {{ baseURI: "http://127.0.0.1/" }};
const {{ drawToken }} = await import({json.dumps((STATIC / "js/parts/operate/jointoken.js").as_uri())});
console.log(JSON.stringify(await drawToken({json.dumps(authority)}, Uint8Array.from({list(secret)}))));
"""
    drawn = json.loads(run_node("--input-type=module", "-", text=script))
    token = str(JoinToken(authority, secret))
    assert drawn == {"token": token, "digest": token_digest(token)}


def test_the_page_holds_no_script_of_its_own_and_no_address_of_others() -> None:
    page = (STATIC / "index.html").read_text()
    assert "<script>" not in page
    assert " on" not in page.replace(" one", "")
    own = [path for path in STATIC.rglob("*") if path.suffix in {".js", ".css", ".html"} and "vendor" not in path.parts]
    assert own
    for path in own:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, path
        assert "http://" not in text, path
        assert "innerHTML" not in text.replace("Nothing here sets innerHTML", ""), path


def test_all_that_a_browser_ever_fetches_of_the_page_is_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in STATIC.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= MOST_COMPRESSED_BYTES, sizes


def test_the_lock_of_the_pages_libraries_names_no_registry() -> None:
    lock = (Path(__file__).parents[2] / "dashboard/package-lock.json").read_text()
    assert "resolved" not in lock
    packages = json.loads(lock)["packages"]
    assert all(package["integrity"].startswith("sha512-") for name, package in packages.items() if name)
