"""Modules that are imported when something of them is first used."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import ModuleType

import pytest

from edgesplit.late_libraries import LateModule, import_late, imported

THREADS = 16
SOURCE = "import time\nbegan = globals().get('began', 0) + 1\ntime.sleep(0.05)\ndef answer():\n    return 42\n"


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LateModule:
    """Stands for a module that takes a while to import."""
    (tmp_path / "slow_to_import.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_import", raising=False)
    return LateModule("slow_to_import")


def test_the_first_use_imports_and_what_follows_is_a_plain_module(late: LateModule) -> None:
    assert "slow_to_import" not in sys.modules
    assert late.answer() == 42
    assert type(late) is ModuleType
    assert late.answer is sys.modules["slow_to_import"].answer


def test_threads_that_are_all_the_first_import_once(late: LateModule) -> None:
    together = Barrier(THREADS)

    def use() -> object:
        together.wait()
        return late.answer()

    with ThreadPoolExecutor(THREADS) as threads:
        found = [threads.submit(use) for _ in range(THREADS)]
    assert {one.result() for one in found} == {42}
    assert late.began == 1


def test_two_that_need_each_others_parts_are_imported_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As numpy and onnxruntime: what imports at once finds halves of the other, or nothing."""
    told: list[str] = []
    names = ("needs_the_other", "is_needed")
    monkeypatch.setattr(sys, "told_by_late_modules", told, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for name in names:
        begin, end = (f"sys.told_by_late_modules.append({name + what!r})" for what in (" begins", " is there"))
        (tmp_path / f"{name}.py").write_text(f"import sys, time\n{begin}\ntime.sleep(0.05)\n{end}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    together = Barrier(len(names))

    def bring(name: str) -> None:
        together.wait()
        import_late(name)

    with ThreadPoolExecutor(len(names)) as threads:
        for one in [threads.submit(bring, name) for name in names]:
            one.result()
    assert [word.partition(" ")[2] for word in told] == ["begins", "is there", "begins", "is there"]


def test_what_a_module_does_not_have_is_an_attribute_error(late: LateModule) -> None:
    for _ in range(2):
        with pytest.raises(AttributeError, match="nothing"):
            _ = late.nothing


async def test_a_module_can_be_imported_beside_the_loop(late: LateModule) -> None:
    await imported(late)
    assert "slow_to_import" in sys.modules
    await imported(late)
    assert late.began == 1


def test_a_library_that_is_missing_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        _ = LateModule("no_such_library_at_all").anything
