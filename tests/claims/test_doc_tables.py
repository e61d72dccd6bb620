"""Tables of docs/ that are made from the code are as the code is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.claims.doc_tables import DOCS, MADE, renewed

PAGES = [path for path in sorted(DOCS.glob("*.md")) if MADE.search(path.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_made_tables_are_up_to_date(page: Path) -> None:
    assert renewed(page.read_text()) == page.read_text(), "make docs writes it anew"
