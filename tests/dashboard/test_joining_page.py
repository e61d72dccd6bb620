"""What the page needs to let a node join: which authority a join token is for."""

from __future__ import annotations

from pathlib import Path

from edgesplit.trust.credentials import authority_digest, read_certificates
from edgesplit.trust.files import TrustFiles
from tests.controller.fleet import Fleet
from tests.dashboard.browser import Browser, base_of
from tests.dashboard.secured_dashboard import ANN, SecuredDashboard


async def test_an_operators_page_knows_the_authority_that_join_tokens_carry(tmp_path: Path, watched: Fleet) -> None:
    folder = tmp_path / "secured"
    async with (
        SecuredDashboard(folder, watched, "127.0.0.1:0").serving("127.0.0.1") as secured,
        Browser(secured.server.base) as page,
    ):
        assert await page.sign_in(secured.server.open(ANN).ticket) == 200
        _, who = await page.get("/api/session")
    certificate, *_ = read_certificates(TrustFiles.of(folder / "ann").authority.read_bytes())
    assert who["authority"] == authority_digest(certificate)


async def test_a_fleet_without_an_authority_names_none(watched: Fleet) -> None:
    async with Browser(base_of(watched)) as page:
        _, who = await page.get("/api/session")
    assert who["authority"] == ""
