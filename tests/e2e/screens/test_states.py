"""The moments that decide, at every size, light and dark: what test_screens.py shows of a case that
waits, shown of one that is decided, unread, unplaced or cut off; each in one of the languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    SIZES,
    Screens,
    asked,
    at_every_size,
    cancel,
    read_by_ai,
    submit,
    wait_for,
)
from tests.e2e.screens.test_control import unplaced
from web import demo


def er_page(
    screens: Screens, installation: Installation, case_id: str, language: str
) -> tuple[Page, str]:
    """The best ER's page with the case chosen, and the ER's sign-in name."""
    who = asked(installation, case_id)[0]
    page = screens.open(who, "/er", language=language)
    page.locator(f".row-button[data-id='{case_id}']").first.click()
    expect(page.locator(".case-card")).to_have_attribute("data-id", case_id)
    return page, who


def uncovered(page: Page, selector: str) -> bool:
    """Whether on a small laptop the middle of something is what one sees there."""
    page.set_viewport_size(SIZES["laptop"])
    page.evaluate("scrollTo(0, 0)")
    return bool(
        page.evaluate(
            """selector => {
              const node = document.querySelector(selector);
              const box = node.getBoundingClientRect();
              const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
              return box.top >= 0 && node.contains(document.elementFromPoint(x, y));
            }""",
            selector,
        )
    )


def accept(page: Page) -> None:
    """Yes, as soon as it may be pressed."""
    page.locator("button.accept:not([aria-disabled])").click()


def test_a_case_that_is_decided(
    screens: Screens, installation: Installation, pictures: Path | None
) -> None:
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    crew = screens.open("crew", "/crew", language="ko", service_workers="block")
    er, _ = er_page(screens, installation, case_id, "ko")
    accept(er)
    alarm = crew.locator("#alarm")
    expect(alarm).to_be_visible()
    wrong = at_every_size(crew, "ambulance-alarm", pictures)
    wrong += at_every_size(er, "emergency-room-accepted", pictures)
    expect(alarm).not_to_have_attribute("data-arming", "")
    alarm.locator("[data-step=acknowledge]").click()
    card = crew.locator(f"#case-{case_id}")
    for step, name in (("depart", "on-the-way"), ("arrive", "arrived")):
        card.locator(f"[data-step={step}]").click()
        expect(card.locator(f"[data-step={step}]")).to_have_count(0)
        wrong += at_every_size(crew, f"ambulance-{name}", pictures)
        wrong += at_every_size(er, f"emergency-room-{name}", pictures)
    row = er.locator(f".row-button[data-id='{case_id}']")
    expect(row.locator(".row-when b")).to_have_count(0)  # no minutes until what has come
    card.locator("[data-step=close]").click()
    expect(card.locator("[data-step=close]")).to_have_count(0)
    assert wrong == []


def test_a_case_that_nobody_takes(
    screens: Screens, installation: Installation, pictures: Path | None
) -> None:
    case_id = unplaced(installation)
    crew = screens.open("crew", "/crew", language="en", service_workers="block")
    expect(crew.locator("#alarm")).to_be_visible()
    wrong = at_every_size(crew, "ambulance-unplaced-alarm", pictures)
    assert uncovered(crew, "#alarm h2")
    control = screens.open("control", "/control", language="en")
    control.locator(f"#case-{case_id} > summary").click()
    wrong += at_every_size(control, "control-room-unplaced", pictures)
    assert wrong == []
    cancel(installation, case_id)


@contextmanager
def nothing_is_read(screens: Screens) -> Iterator[None]:
    """Both reading queues are paused; they go on however the test ends."""
    operations = screens.open("operations", "/operations")
    rows = [operations.locator(f'tr[data-key="{queue}"]') for queue in ("classify", "detect")]
    panel = operations.locator("#panel")
    try:
        for row in rows:
            row.get_by_role("button", name="Pause").click()
            panel.locator("[name=reason]").fill("to look at a film that is not read")
            panel.locator("[name=minutes]").fill("5")
            panel.get_by_role("button", name="Pause").click()
            expect(row.locator(".badge")).to_be_visible()
        yield
    finally:
        for row in rows:
            resume = row.get_by_role("button", name="Resume")
            if resume.count():
                resume.click()
                expect(row.locator(".badge")).to_have_count(0)


def test_a_film_that_is_not_read_yet_and_an_answer_without_a_line(
    screens: Screens, installation: Installation, pictures: Path | None
) -> None:
    screens.forgive("ERR_INTERNET_DISCONNECTED")
    with nothing_is_read(screens):
        case_id = submit(installation, crew_pre_ktas=1)
        er, who = er_page(screens, installation, case_id, "en")
        expect(er.locator(".case-card .busy").first).to_be_visible()
        wrong = at_every_size(er, "emergency-room-unread", pictures)
        er.context.set_offline(True)
        accept(er)  # before the page knows that nobody hears it
        crew = screens.open("crew", "/crew", language="en", service_workers="block")
        expect(crew.locator(f"#case-{case_id}")).to_be_visible()
        wrong += at_every_size(crew, "ambulance-unread", pictures)

    crew.context.set_offline(True)
    for page in (er, crew):
        expect(page.locator("#lost")).to_be_visible()
    wrong += at_every_size(er, "emergency-room-lost", pictures)
    expect(er.locator("#notices .notice.bad")).to_be_visible()
    assert uncovered(er, "#lost")
    wrong += at_every_size(crew, "ambulance-lost", pictures)
    for page in (er, crew):
        page.context.set_offline(False)
        expect(page.locator("#lost")).to_be_hidden()
    assert who in asked(installation, case_id)
    assert wrong == []
    cancel(installation, case_id)


def test_who_is_asked_after_another_turned_the_patient_away_reads_the_minutes(
    screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    crew = installation.crew()
    first = crew.call("GET", f"/cases/{case_id}")["offers"][0]
    token = installation.people.tokens.emergency_rooms[first["emergency_room"]["id"]]
    holder = demo.Client(installation.settings.public_url, "", token)
    holder.call("POST", f"/offers/{first['id']}/decision", json={"decision": "accept"})
    for step in ("acknowledge", "depart", "arrive"):
        crew.call("POST", f"/cases/{case_id}/{step}")
    crew.call("POST", f"/offers/{first['id']}/pass", json={})

    def waiting() -> list[str]:
        offers = crew.call("GET", f"/cases/{case_id}")["offers"]
        by_room = {room: name for name, room in installation.people.names}
        return [
            by_room[offer["emergency_room"]["name"]]
            for offer in offers
            if offer["status"] in {"requested", "received"}
        ]

    wait_for(waiting, "next offers")
    er = screens.open(waiting()[0], "/er")
    expect(er.locator(f".row-button[data-id='{case_id}'] .row-when b")).to_have_count(1)
    cancel(installation, case_id)
