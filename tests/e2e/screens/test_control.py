"""The control room's page: an alarm that rings until somebody takes it, the map, the calls."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, asked, axe, cancel, submit, until
from web import demo

TONES = """
  window.tones = 0;
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function (...when) {
    window.tones += 1;
    start.apply(this, when);
  };
"""
"""Counts what a loudspeaker would play."""


def unplaced(installation: Installation) -> str:
    """A case that every ER has declined."""
    case_id = submit(installation)
    over = time.monotonic() + 90  # 25 rooms, three at a time
    while (found := installation.crew().call("GET", f"/cases/{case_id}"))["status"] != "unplaced":
        assert time.monotonic() < over, found["status"]
        for offer in found["offers"]:
            if offer["status"] in {"requested", "received"}:
                token = installation.people.tokens.emergency_rooms[offer["emergency_room"]["id"]]
                er = demo.Client(installation.settings.public_url, "", token)
                said = {"decision": "reject", "reason_code": "no_er_bed"}
                er.call("POST", f"/offers/{offer['id']}/decision", json=said)
        time.sleep(0.1)
    return case_id


def control(screens: Screens) -> Page:
    """The page, with its sound let loose by a first press."""
    context = screens.context("control")
    context.add_init_script(TONES)
    page = context.new_page()
    page.goto("/control")
    page.locator("#connection[data-state=live]").wait_for()
    page.locator("h2").first.click()
    return page


def test_an_er_hears_that_the_control_room_gave_it_a_patient(
    screens: Screens, installation: Installation
) -> None:
    page = control(screens)
    case_id = submit(installation)
    free = next(w for w, _ in installation.people.names if w not in asked(installation, case_id))
    context = screens.context(free)
    context.add_init_script(TONES)
    er = context.new_page()
    er.goto("/er")
    er.locator("#connection[data-state=live]").wait_for()
    er.locator("h2").first.click()
    page.locator(f"#case-{case_id} > summary").click()
    form = page.locator(f'form[data-choose="{case_id}"]')
    choice = form.locator("option", has_text=dict(installation.people.names)[free])
    form.locator("select").select_option(value=choice.get_attribute("value"))
    form.locator("[name=reason]").fill("agreed by telephone")
    form.get_by_role("button", name="Assign").click()
    expect(er.locator("#held")).to_contain_text("short of breath")
    until(er, "window.tones > 0")
    cancel(installation, case_id)


def test_an_alarm_rings_until_somebody_takes_it(
    screens: Screens, installation: Installation
) -> None:
    one, other = control(screens), control(screens)
    case_id = unplaced(installation)
    alarm = f'#alarms [data-key="{case_id}-unplaced"]'
    for page in (one, other):
        expect(page.locator(alarm)).to_contain_text("Telephone for them")
        expect(page.locator(alarm)).to_contain_text(case_id[:8])  # one of a crew's two cases
        until(page, "window.tones > 0")
    expect(one.locator("#map .map-ambulance.loud")).to_have_count(1)
    one.locator(alarm).get_by_role("button", name="I take it").click()
    for page in (one, other):
        expect(page.locator(alarm)).to_contain_text("Taken by Demo control room")
        expect(page.locator(f"{alarm} [data-do=takeAlarm]")).to_have_count(0)
    rung = other.evaluate("window.tones")
    other.wait_for_timeout(5500)  # it would have rung again by now
    assert other.evaluate("window.tones") == rung
    assert axe(one) == []

    one.locator(f"#case-{case_id} > summary").click()
    numbers = one.locator(f"#case-{case_id} .phones li")
    away = [float(km) for km in re.findall(r"\(([\d.]+) km\)", " ".join(numbers.all_inner_texts()))]
    assert len(away) == len(installation.people.names)
    assert away == sorted(away)
    expect(numbers.first).to_contain_text("Cannot take now: No ER bed")
    choice = one.locator(f'form[data-choose="{case_id}"]')
    choice.locator("[name=reason]").fill("the first of the alphabet is nobody's choice")
    choice.get_by_role("button", name="Assign").click()
    assert installation.crew().call("GET", f"/cases/{case_id}")["status"] == "unplaced"
    calls = one.locator(f"#case-{case_id} .calls")
    calls.locator("summary").click()
    calls.get_by_label("With whom").fill("Larch Ferry Hospital")
    calls.get_by_label("What was said").fill("no bed before 14:00")
    calls.get_by_role("button", name="Write down the call").click()
    expect(calls.locator("li")).to_contain_text("Larch Ferry Hospital: no bed before 14:00")
    other.locator(f"#case-{case_id} > summary").click()
    other.locator(f"#case-{case_id} .calls summary").click()
    expect(other.locator(f"#case-{case_id} .calls li")).to_contain_text("no bed before 14:00")
    cancel(installation, case_id)
    expect(one.locator(alarm)).to_have_count(0)
