"""A muted ER screen: it says so, levels 1 and 2 ring all the same, and the mute ends by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, asked, cancel, until, wait_for
from tests.e2e.screens.test_control import TONES
from web import demo

SEOUL = "Asia/Seoul"
SHIFT_ENDS = {7, 15, 23}
EVERY_MS = 5000
KEY = "goldentime.muted_until"
CONTEXT = """
  window.AudioContext = class extends AudioContext {
    constructor() { super(); window.audio = this; }
  };
"""


@pytest.fixture
def cases(installation: Installation) -> Iterator[list[str]]:
    """Ids of cases that are called off at the end."""
    ids: list[str] = []
    yield ids
    for case_id in ids:
        cancel(installation, case_id)


def request(installation: Installation, cases: list[str], level: int) -> str:
    """A case at the demo's place, without signs that would make it more urgent."""
    crew = installation.crew()
    place = {name: demo.CASE[name] for name in ("position",) if name in demo.CASE}
    key = {"Idempotency-Key": f"sound-{uuid4()}"}
    case = {"crew_pre_ktas": level, "complaint": "quiet", **place}
    case_id = str(crew.call("POST", "/cases", headers=key, json=case)["case_id"])
    cases.append(case_id)
    wait_for(lambda: asked(installation, case_id), "offers")
    return case_id


def er_of(screens: Screens, who: str) -> Page:
    """An ER's page that counts its tones, where somebody has pressed something."""
    context = screens.context(who, timezone_id=SEOUL)
    context.add_init_script(CONTEXT)
    context.add_init_script(TONES)
    page = context.new_page()
    page.goto("/er")
    page.locator("#connection[data-state=live]").wait_for()
    return page


def menu(page: Page, words: str) -> None:
    page.locator("details.menu > summary", has_text=words).click()


def rings(page: Page) -> int:
    """How many tones in a little more than the time between two."""
    before = page.evaluate("window.tones")
    page.wait_for_timeout(EVERY_MS + 1500)
    return int(page.evaluate("window.tones")) - int(before)


def test_a_mute_is_seen_spares_the_urgent_and_ends_by_itself(
    screens: Screens, installation: Installation, cases: list[str]
) -> None:
    first = request(installation, cases, 4)
    who = asked(installation, first)[0]
    er = er_of(screens, who)
    sound = er.locator("details.menu > summary.warn")
    expect(sound).to_have_text("Sound off: press anywhere")  # no sound yet, and it says so
    er.locator("h2").first.click()
    expect(sound).to_have_count(0)
    menu(er, "Sound on")
    er.get_by_role("button", name="Mute until the shift ends").click()
    expect(sound).to_contain_text("Muted until")
    until_ms = int(er.evaluate(f"Number(localStorage.getItem({json.dumps(KEY)}))"))
    end = datetime.fromtimestamp(until_ms / 1000, ZoneInfo(SEOUL))
    assert end.hour in SHIFT_ENDS
    assert (end.minute, end.second) == (0, 0)
    assert 0 < until_ms - er.evaluate("Date.now()") <= 8 * 3_600_000

    quiet = request(installation, cases, 4)
    if who in asked(installation, quiet):
        expect(er.locator(f"#waiting .unseen [data-id='{quiet}']")).to_be_visible()
    expect(er.locator("#notices")).to_contain_text("New request")
    assert rings(er) == 0
    urgent = request(installation, cases, 2)
    assert who in asked(installation, urgent)
    expect(er.locator(f"#waiting .unseen [data-id='{urgent}']")).to_be_visible()
    assert rings(er) > 0
    cases.remove(urgent)
    cancel(installation, urgent)  # else it is brought to mind again, and rings
    expect(er.locator(f"#waiting [data-id='{urgent}']")).to_have_count(0)

    again = request(installation, cases, 4)
    assert who in asked(installation, again)
    expect(er.locator(f"#waiting .unseen [data-id='{again}']")).to_be_visible()
    assert rings(er) == 0
    er.evaluate(f"localStorage.setItem({json.dumps(KEY)}, String(Date.now() + 1000))")  # it ends
    assert rings(er) > 0
    expect(sound).to_have_count(0, timeout=20_000)
    expect(er.locator("details.menu > summary", has_text="Sound on")).to_be_visible()


def test_sound_that_was_taken_away_is_said_to_be_and_comes_back_by_a_press(
    screens: Screens, installation: Installation
) -> None:
    er = er_of(screens, installation.people.names[0][0])
    er.locator("h2").first.click()
    expect(er.locator("summary", has_text="Sound on")).to_be_visible()
    er.evaluate("window.audio.suspend()")  # a call came in
    expect(er.locator("summary.warn", has_text="Sound off: press anywhere")).to_be_visible()
    er.locator("h2").first.click()
    expect(er.locator("summary", has_text="Sound on")).to_be_visible()
    until(er, "window.audio.state === 'running'")
