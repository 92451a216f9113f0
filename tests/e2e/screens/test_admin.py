"""Administrators' page by hand: a device comes and goes, a setting holds and is forgotten, the
audit is searched, and how far it is sealed."""

from __future__ import annotations

import re

import requests
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, axe


def opened(screens: Screens, tab: str, language: str = "en") -> Page:
    """The page at one of its tabs."""
    page = screens.open("admin", "/admin", language=language)
    show(page, tab)
    return page


def show(page: Page, tab: str) -> None:
    page.locator(f"#tabs [data-kind={tab}]").click()
    expect(page.locator(f"#tabs [data-kind={tab}]")).to_have_attribute("aria-pressed", "true")


def test_a_device_is_issued_and_revoked(screens: Screens, installation: Installation) -> None:
    page = opened(screens, "devices")
    page.get_by_role("button", name="Add").click()
    panel = page.locator("#panel")
    panel.locator("[name=label]").fill("a wall screen")
    panel.locator("[name=role]").select_option("operations")
    panel.locator("[type=submit]").click()
    token = panel.locator("code.secret").inner_text()
    page.keyboard.press("Escape")

    def asks() -> int:
        return requests.get(
            f"{installation.settings.public_url}/api/v1/operations/board",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        ).status_code

    assert asks() == 200
    row = page.locator("tr", has_text="a wall screen")
    row.locator("[data-do=revoke]").click()
    assert asks() == 200  # one press by chance ends nobody's work
    row.locator("[data-do=revoke]").click()
    expect(row.locator("[data-do=revoke]")).to_have_count(0)
    assert asks() == 401
    show(page, "audit")
    page.locator("[name=action]").fill("device.")
    page.get_by_role("button", name="Search").click()
    lines = page.locator("[data-key=audit-results] tbody")
    expect(lines).to_contain_text("device.revoked")
    expect(lines).to_contain_text("Demo administrator")


def test_a_setting_holds_until_it_is_forgotten(screens: Screens) -> None:
    page = opened(screens, "settings")
    row = page.locator("tr", has_text="offers_per_round")
    expect(row).to_contain_text("3")
    row.locator("[data-do=edit]").click()
    page.locator("#panel [name=value]").fill("4")
    page.locator("#panel [type=submit]").click()
    expect(row.locator("td").first).to_have_text("4")
    row.locator("[data-do=forget]").click()
    expect(row.locator("td").first).to_have_text("3")


def test_how_far_the_audit_is_sealed(screens: Screens) -> None:
    for language, words in (("en", "Sealed up to entry"), ("ko", "항목까지 봉인됨")):
        page = opened(screens, "audit", language)
        seal = page.locator("[data-key=audit-seal]")
        expect(seal).to_contain_text(words)
        expect(seal).to_contain_text(re.compile(r"[0-9a-f]{16}"))  # the key's id
        expect(seal.locator("[role=alert]")).to_have_count(0)
        assert axe(page) == []
