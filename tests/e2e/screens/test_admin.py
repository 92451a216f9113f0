"""Administrators' page by hand: units, people and devices come, change and go, a setting holds and
is forgotten, the audit is searched, and how far it is sealed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, axe, cancel, submit

STREAM_ENDS_S = 10.0
"""A revoked token's stream is open for no longer."""


def opened(screens: Screens, tab: str, language: str = "en") -> Page:
    """The page at one of its tabs."""
    page = screens.open("admin", "/admin", language=language)
    show(page, tab)
    return page


def show(page: Page, tab: str) -> None:
    page.locator(f"#tabs [data-kind={tab}]").click()
    expect(page.locator(f"#tabs [data-kind={tab}]")).to_have_attribute("aria-pressed", "true")


def fill(page: Page, **fields: str) -> Locator:
    """Fill in the open form; the form."""
    form = page.locator("#panel form")
    for name, value in fields.items():
        field = form.locator(f"[name={name}]")
        if field.evaluate("node => node.tagName") == "SELECT":
            choice = field.locator("option", has_text=value).first
            field.select_option(value=choice.get_attribute("value"))
        else:
            field.fill(value)
    return form


def add(page: Page, **fields: str) -> None:
    """Add what the open tab is about."""
    page.get_by_role("button", name="Add").click()
    fill(page, **fields).locator("[type=submit]").click()


def change(page: Page, row: Locator, **fields: str) -> None:
    row.locator("[data-do=edit]").click()
    fill(page, **fields).locator("[type=submit]").click()
    expect(page.locator("#panel")).to_be_hidden()


def switch(page: Page, row: Locator) -> None:
    """In use, or no longer."""
    row.locator("[data-do=edit]").click()
    page.locator("#panel [name=active]").click()
    page.locator("#panel [type=submit]").click()


def rooms(installation: Installation) -> dict[str, Any]:
    """The emergency rooms that a crew's page knows, by name."""
    return {room["name"]: room for room in installation.crew().call("GET", "/emergency-rooms")}


@pytest.fixture
def name() -> str:
    """A name that nothing else has."""
    return f"Golden {uuid4().hex[:6]}"


def test_an_ambulance_comes_changes_and_goes(
    screens: Screens, installation: Installation, name: str
) -> None:
    screens.forgive("status of 409")
    page = opened(screens, "ambulances")
    add(page, call_sign=name, phone="031-000-0001")
    row = page.locator("#admin tr", has_text=name)
    expect(row).to_contain_text("031-000-0001")
    expect(page.locator("#panel")).to_be_hidden()
    change(page, row, phone="031-000-0002")
    expect(row).to_contain_text("031-000-0002")

    page.get_by_role("button", name="Add").click()
    form = fill(page, call_sign=name)
    form.locator("[type=submit]").click()
    expect(page.locator("#notices .bad")).to_contain_text("one of this name already")
    expect(form.locator("[name=call_sign]")).to_have_value(name)  # to be corrected
    page.keyboard.press("Escape")

    switch(page, row)
    expect(row).to_contain_text("no")
    case_id = submit(installation)
    busy = page.locator("#admin tr").filter(
        has=page.get_by_role("rowheader", name="Golden 11", exact=True)
    )
    switch(page, busy)
    expect(page.locator("#notices .bad").last).to_contain_text("live case")
    page.keyboard.press("Escape")
    expect(busy.locator("td").nth(1)).to_have_text("yes")
    cancel(installation, case_id)


@pytest.fixture
def no_room_is_left(installation: Installation) -> Iterator[None]:
    """Cases of other tests are offered to the demo's rooms only."""
    before = rooms(installation)
    yield
    assert rooms(installation).keys() == before.keys()


@pytest.mark.usefixtures("no_room_is_left")
def test_an_emergency_room_comes_changes_and_goes(
    screens: Screens, installation: Installation, name: str
) -> None:
    screens.forgive("status of 422")
    page = opened(screens, "emergency-rooms")
    page.get_by_role("button", name="Add").click()
    known = {"name": name, "name_ko": "먼섬병원", "phone": "064-000-0000"}
    form = fill(page, **known, latitude="0", longitude="0")
    form.locator("[type=submit]").click()
    expect(page.locator("#notices .bad")).to_contain_text("sea")  # never looked up
    fill(page, latitude="33.4", longitude="126.5", level="Local centre")
    form.get_by_role("checkbox", name="CT").check()
    form.locator("[type=submit]").click()
    row = page.locator("#admin tr", has_text=name)
    expect(row).to_contain_text("먼섬병원")
    made = rooms(installation)[name]
    assert (made["latitude"], made["longitude"], made["phone"]) == (33.4, 126.5, "064-000-0000")
    change(page, row, phone="064-000-0009")
    assert rooms(installation)[name]["phone"] == "064-000-0009"
    row.locator("[data-do=edit]").click()
    expect(page.locator("#panel").get_by_role("checkbox", name="CT")).to_be_checked()
    page.keyboard.press("Escape")
    switch(page, row)
    expect(row).to_contain_text("no")
    assert name not in rooms(installation)  # nobody asks it, nobody telephones it


def test_a_person_comes_in_moves_to_another_post_and_goes(
    screens: Screens, installation: Installation, name: str
) -> None:
    screens.forgive("status of 401|status of 409|status of 410|status of 422")
    page = opened(screens, "accounts")
    sign_in_name = name.lower().replace(" ", "-")
    add(page, sign_in_name=sign_in_name, display_name=name, role="Ambulance crew")
    expect(page.locator("#notices .bad")).to_contain_text("needs its ambulance")
    form = fill(page, ambulance_id="Golden 13")
    form.locator("[type=submit]").click()
    link = page.locator("#panel code.secret").inner_text()
    page.keyboard.press("Escape")
    expect(page.locator("#panel code.secret")).to_have_count(0)  # shown this once
    row = page.locator("#admin tr", has_text=name)
    expect(row).to_contain_text("Golden 13")

    theirs = screens.context(None).new_page()
    password = "a long enough pass phrase"
    choose(theirs, link, password)
    enter(theirs, sign_in_name, password)
    expect(theirs).to_have_url(re.compile("/crew$"))
    expect(theirs.locator("#who")).to_contain_text(name)
    late = screens.context(None).new_page()
    choose(late, link, "another pass phrase")
    expect(late.locator("#notices .bad")).to_contain_text("used already")

    row.locator("[data-do=edit]").click()  # as it was before the password was chosen
    fill(page, role="Control room").locator("[type=submit]").click()
    expect(page.locator("#notices .bad").last).to_contain_text("Somebody else changed this")
    page.keyboard.press("Escape")
    change(page, row, role="Control room")
    expect(theirs.locator("#lost")).to_contain_text("You are signed out")
    theirs.locator("#lost a").click()
    enter(theirs, sign_in_name, password)
    expect(theirs).to_have_url(re.compile("/control$"))
    theirs.goto("/crew")  # what it was is not its own any more
    expect(theirs).to_have_url(re.compile("/control$"))

    for button in ("end_sessions", "reset"):
        pressed = row.locator(f"[data-do={button}]")
        pressed.click()
        expect(pressed).to_have_text("Press again to do it")  # one by chance ends nothing
        pressed.click()
        expect(theirs.locator("#lost")).to_contain_text("You are signed out")
        if button == "end_sessions":
            theirs.locator("#lost a").click()
            enter(theirs, sign_in_name, password)
            theirs.locator("#connection[data-state=live]").wait_for()
    link = page.locator("#panel code.secret").inner_text()
    page.keyboard.press("Escape")
    theirs.locator("#lost a").click()
    enter(theirs, sign_in_name, password)
    expect(theirs.locator("#sign-in-problem")).to_be_visible()  # the old one is void at once
    choose(theirs, link, "a third pass phrase")
    enter(theirs, sign_in_name, "a third pass phrase")
    expect(theirs).to_have_url(re.compile("/control$"))

    show(page, "accounts")  # as it is since that password was chosen
    switch(page, row)
    expect(row).to_contain_text("no")
    expect(theirs.locator("#lost")).to_contain_text("You are signed out")
    show(page, "audit")
    page.locator("[name=action]").fill("account.")
    page.get_by_role("button", name="Search").click()
    lines = page.locator("[data-key=audit-results] tbody")
    for action in ("added", "password_chosen", "changed", "sessions_ended", "password_reset"):
        expect(lines).to_contain_text(f"account.{action}")


def choose(page: Page, link: str, password: str) -> None:
    """Follow an administrator's one-time link."""
    page.goto(link)
    expect(page).to_have_url(re.compile("/choose-password$"))  # nobody reads it off the screen
    page.locator("#choose [name=password]").fill(password)
    page.locator("#choose [type=submit]").click()


def enter(page: Page, sign_in_name: str, password: str) -> None:
    """Sign in, once the page with the form has come."""
    expect(page).to_have_url(re.compile("/sign-in"))
    page.locator("#sign-in [name=name]").fill(sign_in_name)
    page.locator("#sign-in [name=password]").fill(password)
    page.locator("#sign-in button:enabled").click()


def test_a_device_is_issued_and_revoked(screens: Screens, installation: Installation) -> None:
    page = opened(screens, "devices")
    add(page, label="a wall screen", role="Control room")
    token = page.locator("#panel code.secret").inner_text()
    page.keyboard.press("Escape")
    header = {"Authorization": f"Bearer {token}"}

    def asks() -> int:
        url = f"{installation.settings.public_url}/api/v1/control-room/cases"
        return requests.get(url, headers=header, timeout=10).status_code

    assert asks() == 200
    stream = f"{installation.settings.stream_url}/api/v1/events"
    with requests.get(stream, headers=header, stream=True, timeout=10) as listening:
        assert listening.status_code == 200
        row = page.locator("tr", has_text="a wall screen")
        row.locator("[data-do=revoke]").click()
        assert asks() == 200  # one press by chance ends nobody's work
        row.locator("[data-do=revoke]").click()
        expect(row.locator("[data-do=revoke]")).to_have_count(0)
        revoked = time.monotonic()
        assert asks() == 401
        for _ in listening.iter_content(None):
            assert time.monotonic() - revoked < STREAM_ENDS_S, "it still hears"
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
