"""Messages between the control room and whoever carries or awaits a patient: what the writer's
screen says of each (sent, delivered, read) is what has happened on the reader's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, asked, cancel, offer_of, opened, submit
from web import demo


@dataclass(frozen=True)
class Held:
    """A case that an ER holds and its crew has confirmed."""

    case_id: str
    er: str


@pytest.fixture(scope="module")
def held(installation: Installation) -> Iterator[Held]:
    case_id = submit(installation)
    who = asked(installation, case_id)[0]
    offers = installation.crew().call("GET", f"/cases/{case_id}")["offers"]
    token = installation.people.tokens.emergency_rooms[offers[0]["emergency_room"]["id"]]
    er = demo.Client(installation.settings.public_url, "", token)
    said = {"decision": "accept"}
    er.call("POST", f"/offers/{offer_of(installation, case_id, who)}/decision", json=said)
    installation.crew().call("POST", f"/cases/{case_id}/acknowledge")
    yield Held(case_id, who)
    cancel(installation, case_id)


def page_of(screens: Screens, held: Held, party: str) -> Page:
    """A party's screen with the case before the eyes."""
    if party == "ambulance":
        return screens.open("crew", "/crew", service_workers="block", **PHONE)
    if party == "emergency_room":
        page = screens.open(held.er, "/er")
        opened(page, held.case_id)
        return page
    page = screens.open("control", "/control")
    page.locator(f"#case-{held.case_id} > summary").click()
    return page


def write(page: Page, case_id: str, to: str, body: str) -> None:
    form = page.locator(f'form[data-message-form="{case_id}"]')
    form.evaluate("form => { form.closest('details').open = true; }")
    form.locator("select").select_option(to)
    form.locator("[name=body]").fill(body)
    form.get_by_role("button", name="Send").click()


def line(page: Page, body: str) -> Locator:
    """One message of the thread; whatever is new opens it by itself."""
    return page.locator(".thread li", has_text=body)


NAMES = {
    "ambulance": "Ambulance",
    "emergency_room": "Emergency room",
    "control_room": "Control room",
}


@pytest.mark.parametrize("other", ["ambulance", "emergency_room"])
@pytest.mark.parametrize("back", [False, True], ids=["from control", "to control"])
def test_both_screens_say_how_far_a_message_has_come(
    screens: Screens, held: Held, other: str, back: bool
) -> None:
    writer, reader = (other, "control_room") if back else ("control_room", other)
    body = f"bay 2, second door {uuid4().hex[:6]}"
    sender = page_of(screens, held, writer)
    write(sender, held.case_id, reader, body)
    told = line(sender, body)
    expect(told).to_contain_text(f"You → {NAMES[reader]}")
    expect(told).to_contain_text("· sent")  # nobody is there

    theirs = page_of(screens, held, reader)
    got = line(theirs, body)
    expect(got).to_be_visible()  # without a hand that opens the thread
    expect(got).to_contain_text(f"{NAMES[writer]} → {NAMES[reader]}")
    badge = theirs.locator(".messages > summary .badge")
    expect(badge).to_have_text("1")
    expect(told).to_contain_text("· delivered")  # on a screen, and no more than that is said
    theirs.wait_for_timeout(1000)
    expect(told).to_contain_text("· delivered")
    got.get_by_role("button", name="Mark as read").click()
    expect(told).to_contain_text("· read")
    expect(got.get_by_role("button")).to_have_count(0)
    expect(badge).to_have_count(0)


def test_a_message_is_for_its_reader_alone(screens: Screens, held: Held) -> None:
    er, crew = (page_of(screens, held, party) for party in ("emergency_room", "ambulance"))
    control = page_of(screens, held, "control_room")
    body = f"for the crew only {uuid4().hex[:6]}"
    write(control, held.case_id, "ambulance", body)
    expect(line(crew, body)).to_be_visible()
    write(control, held.case_id, "emergency_room", f"{body} answered")
    expect(line(er, f"{body} answered")).to_be_visible()
    expect(line(er, body)).to_have_count(1)
    expect(line(crew, body)).to_have_count(1)
