"""An ER by keyboard: one key to accept, two to decline, and none that does it by accident."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, asked, axe, cancel, read_by_ai, submit, wait_for
from web import demo


@pytest.fixture
def two(installation: Installation) -> Iterator[list[str]]:
    """Two cases that wait, the first with a film."""
    first = submit(installation)
    read_by_ai(installation, first)
    key = {"Idempotency-Key": f"keys-{uuid4()}"}
    second = str(installation.crew().call("POST", "/cases", headers=key, json=demo.CASE)["case_id"])
    wait_for(lambda: asked(installation, second), "offers")
    yield [first, second]
    for case_id in (first, second):
        cancel(installation, case_id)


def offers(installation: Installation, case_id: str, who: str) -> str:
    """How the offer of an ER stands."""
    room = dict(installation.people.names)[who]
    case = installation.crew().call("GET", f"/cases/{case_id}")
    return str(next(o["status"] for o in case["offers"] if o["emergency_room"]["name"] == room))


def armed(page: Page) -> None:
    """Answers may be pressed."""
    page.locator("[data-decision=accept]:not([aria-disabled])").wait_for()


def test_keys_move_show_decline_and_accept(
    screens: Screens, installation: Installation, two: list[str]
) -> None:
    who = next(w for w in asked(installation, two[0]) if w in asked(installation, two[1]))
    er = screens.open(who, "/er")
    current = er.locator('.row-button[aria-current="true"]')
    expect(current).to_have_count(1)
    ids = er.locator("#waiting .row-button").evaluate_all("rows => rows.map(r => r.dataset.id)")
    at = ids.index(str(current.get_attribute("data-id")))
    for key, index in (("k", max(at - 1, 0)), ("j", 1), ("ArrowUp", 0), ("ArrowDown", 1)):
        er.keyboard.press("k" if key == "j" else "Shift")  # from the top
        er.keyboard.press(key)
        expect(current).to_have_attribute("data-id", ids[index])
    while current.get_attribute("data-id") != two[0]:
        er.keyboard.press("k" if ids.index(two[0]) == 0 else "j")
    boxes = er.locator(".stage svg rect").count()
    chip = er.locator('[data-do="overlay"]').first
    pressed = chip.get_attribute("aria-pressed")
    er.keyboard.press("b")
    expect(chip).to_have_attribute("aria-pressed", "false" if pressed == "true" else "true")
    assert er.locator(".stage svg rect, .stage .heat").count() != boxes
    er.keyboard.press("f")
    viewer = er.locator("dialog.viewer")
    expect(viewer).to_be_visible()
    expect(viewer).to_have_attribute("data-loaded", "true")
    er.keyboard.press("a")  # over the viewer, nobody decides
    er.keyboard.press("Escape")
    expect(viewer).to_have_count(0)

    armed(er)
    er.keyboard.press("Control+a")  # "select all" is no acceptance
    er.keyboard.press("d")
    first = er.locator(".cannot[open] .reasons button").first
    expect(first).to_be_focused()
    expect(first.locator("kbd")).to_have_text("1")
    assert offers(installation, two[0], who) == "received"
    er.keyboard.press("2")
    expect(er.locator(f"#waiting [data-id='{two[0]}']")).to_have_count(0)
    assert offers(installation, two[0], who) == "rejected"

    expect(current).to_have_attribute("data-id", two[1])
    armed(er)
    er.keyboard.press("a")
    expect(er.locator(f"#held [data-id='{two[1]}']")).to_be_visible()
    assert offers(installation, two[1], who) == "accepted"


def test_no_key_decides_by_accident(
    screens: Screens, installation: Installation, two: list[str]
) -> None:
    screens.forgive("ERR_INTERNET_DISCONNECTED|ERR_FAILED")
    who = asked(installation, two[1])[0]
    er = screens.open(who, "/er")
    er.get_by_role("button", name="Keys").click()
    keys = er.locator("dialog.keys")
    expect(keys).to_be_visible()
    assert axe(er) == []
    keys.get_by_role("checkbox").uncheck()
    keys.get_by_role("button", name="Close").click()
    armed(er)
    er.keyboard.press("a")
    er.wait_for_timeout(1000)
    expect(er.locator("#held .row-button")).to_have_count(0)
    er.keyboard.press("?")  # the one that turns them on again
    keys.get_by_role("checkbox").check()
    er.keyboard.press("Escape")
    expect(keys).to_have_count(0)

    er.context.set_offline(True)
    expect(er.locator("#lost")).to_contain_text("state unknown")
    er.keyboard.press("a")
    expect(er.locator("#notices")).to_contain_text("so nothing was sent")
    er.context.set_offline(False)
    expect(er.locator("#lost")).to_be_hidden()
    expect(er.locator("#held .row-button")).to_have_count(0)
    assert offers(installation, two[1], who) == "received"
