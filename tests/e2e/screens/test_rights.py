"""Somebody whose right is taken away while the page is open: the page says so plainly and leads to
the sign-in, its stream ends, nothing that is pressed does anything, and nothing is claimed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from broker.lifecycle import Role
from broker.record import Record
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    Screens,
    asked,
    axe,
    cancel,
    opened,
    submit,
    until,
    wait_for,
)
from web import registry

LATEST_MS = 12_000
"""How long a page may look as if it still worked: its stream asks every 5 s."""
LOST_MS = 11_000
"""After which a page that hears nothing says that the state is unknown, and nothing else."""
REFUSED = "status of 401|ERR_ABORTED|EventSource"

STREAMS = """
  window.streams = [];
  window.EventSource = class extends EventSource {
    constructor(...how) { super(...how); window.streams.push(this); }
  };
"""
"""Keeps every stream that a page opens."""


@dataclass(frozen=True)
class Somebody:
    """An account of the test's own, and the page that it has open."""

    name: str
    role: Role
    path: str
    unit: str | None = None


PEOPLE = [
    Somebody("gone-crew", Role.CREW, "/crew", "Golden 12"),
    Somebody("gone-history", Role.CREW, "/crew/history", "Golden 12"),
    Somebody("gone-er", Role.EMERGENCY_ROOM, "/er"),
    Somebody("gone-control", Role.CONTROL_ROOM, "/control"),
    Somebody("gone-patients", Role.CONTROL_ROOM, "/patients"),
    Somebody("gone-beds", Role.CONTROL_ROOM, "/beds"),
    Somebody("gone-operations", Role.OPERATIONS, "/operations"),
    Somebody("gone-admin", Role.ADMIN, "/admin"),
]


@pytest.fixture(scope="module")
def case_id(installation: Installation) -> Iterator[str]:
    case_id = submit(installation)
    yield case_id
    cancel(installation, case_id)


@pytest.fixture(scope="module")
def er_room(installation: Installation, case_id: str) -> str:
    """The emergency room that was asked first, and shall hold the case."""
    return dict(installation.people.names)[asked(installation, case_id)[0]]


@pytest.fixture(scope="module")
def people(installation: Installation, er_room: str) -> list[Somebody]:
    """Everybody of PEOPLE, with an account."""
    hashed = registry.password_hash(installation.people.password)
    record = Record(installation.settings)
    with record.write() as db:
        for who in PEOPLE:
            unit = er_room if who.role is Role.EMERGENCY_ROOM else who.unit
            registry.put_account(db, who.name, who.name, hashed, who.role, unit=unit)
    record.close()
    return PEOPLE


Change = Callable[..., dict[str, Any]]


def administrator(context: BrowserContext) -> Change:
    """Change an account by its name, as an administrator elsewhere does."""
    token = context.request.get("/api/v1/session").json()["csrf_token"]

    def change(name: str, **values: Any) -> dict[str, Any]:
        rows = context.request.get("/api/v1/admin/accounts").json()
        (row,) = [row for row in rows if row["sign_in_name"] == name]
        answer = context.request.patch(
            f"/api/v1/admin/accounts/{row['id']}",
            data={"version": row["version"], **values},
            headers={"X-CSRFToken": token},
        )
        assert answer.status == 200, answer.text()
        found: dict[str, Any] = answer.json()
        return found

    return change


def open_page(screens: Screens, who: Somebody) -> Page:
    context = screens.context(who.name, service_workers="block")
    context.add_init_script(STREAMS)
    page = context.new_page()
    page.goto(who.path)
    page.locator("#connection[data-state=live]").wait_for()
    return page


def says_so(page: Page, timeout_ms: int = LATEST_MS) -> None:
    """Signed out, and nothing else."""
    lost = page.locator("#lost")
    expect(lost).to_contain_text("You are signed out", timeout=timeout_ms)
    expect(lost.get_by_role("link", name="Sign in")).to_be_visible()
    expect(page.locator("#connection")).to_have_attribute("data-state", "signed_out")
    assert page.evaluate("document.body.classList.contains('state-unknown')")
    # it looks twice a second
    until(page, "(window.streams ?? []).every(s => s.readyState === EventSource.CLOSED)")


def test_a_page_whose_person_lost_the_right_says_so_and_stays_so(
    screens: Screens, installation: Installation, case_id: str, people: list[Somebody]
) -> None:
    screens.forgive(REFUSED)
    change = administrator(screens.context("admin"))
    pages = {who.name: open_page(screens, who) for who in people}
    er = pages["gone-er"]
    opened(er, case_id)
    er.locator("button.accept:not([aria-disabled])").click()
    expect(er.locator(".yours")).to_contain_text("Yours.")
    for who in people:
        if who.role in {Role.OPERATIONS, Role.ADMIN}:
            change(who.name, active=False)
        else:  # another role, as after a move to another post
            change(who.name, role=Role.OPERATIONS)
    for page in pages.values():
        says_so(page)
    expect(er.locator(".yours")).not_to_contain_text("Yours.")  # it may be another's by now
    asked_again: list[str] = []
    for page in pages.values():
        page.on("request", lambda request: asked_again.append(request.url))
    er.wait_for_timeout(LOST_MS)  # silence may not paint over it
    for page in pages.values():
        says_so(page)
    assert axe(er) == []
    assert [url for url in asked_again if "/events" in url or "/inbox" in url] == []

    er.locator("#lost a").click()
    expect(er).to_have_url(re.compile("/sign-in"))  # and not back to where it may no longer be
    er.locator("[name=name]").fill("gone-er")
    er.locator("[name=password]").fill(installation.people.password)
    er.get_by_role("button", name="Sign in").click()
    expect(er).to_have_url(re.compile("/operations"))  # the page of the new role
    crew = pages["gone-admin"]
    crew.locator("#lost a").click()
    crew.locator("[name=name]").fill("gone-admin")
    crew.locator("[name=password]").fill(installation.people.password)
    crew.get_by_role("button", name="Sign in").click()
    expect(crew.locator("#sign-in-problem")).to_contain_text("locked")  # it may not come in at all


Offered = tuple[str, Callable[[str], Somebody]]


@pytest.fixture
def offer_of_a_room(installation: Installation, er_room: str) -> Iterator[Offered]:
    """A case that is offered to the room: its id, and how to make an account of the room."""
    record = Record(installation.settings)
    hashed = registry.password_hash(installation.people.password)

    def somebody(name: str) -> Somebody:
        who = Somebody(f"{name}-{uuid4().hex[:6]}", Role.EMERGENCY_ROOM, "/er")
        with record.write() as db:
            registry.put_account(db, who.name, who.name, hashed, who.role, unit=er_room)
        return who

    case_id = submit(installation)
    wait_for(lambda: offered(installation, case_id, er_room), "an offer")
    yield case_id, somebody
    cancel(installation, case_id)
    record.close()


def test_what_is_pressed_then_is_refused_and_tells_the_page(
    screens: Screens, installation: Installation, er_room: str, offer_of_a_room: Offered
) -> None:
    screens.forgive(REFUSED)
    case_id, somebody = offer_of_a_room
    who = somebody("pressed")
    er = open_page(screens, who)
    opened(er, case_id)
    accept = er.locator("button.accept:not([aria-disabled])")
    accept.wait_for()
    administrator(screens.context("admin"))(who.name, active=False)
    accept.click()  # before the page has heard of it
    expect(er.locator("#notices .bad")).to_contain_text("signed out")
    says_so(er, 2000)
    assert er.locator(".yours").count() == 0
    assert offered(installation, case_id, er_room) in {"requested", "received"}
    er.locator("button.accept").click()
    expect(er.locator("#notices .bad").last).to_contain_text("nothing was sent")


def test_a_page_of_one_person_sends_nothing_as_another(
    screens: Screens, installation: Installation, er_room: str, offer_of_a_room: Offered
) -> None:
    """A colleague signs in in another tab of the same browser; what the first tab says is old."""
    screens.forgive("status of 400|" + REFUSED)
    case_id, somebody = offer_of_a_room
    first, second = somebody("first"), somebody("second")
    er = open_page(screens, first)
    opened(er, case_id)
    accept = er.locator("button.accept:not([aria-disabled])")
    accept.wait_for()
    other = er.context.request  # the same cookies
    answer = other.post(
        "/api/v1/session",
        data={"name": second.name, "password": installation.people.password},
        headers={"X-CSRFToken": other.get("/api/v1/session").json()["csrf_token"]},
    )
    assert answer.status == 201, answer.text()
    accept.click()
    says_so(er, 5000)
    assert offered(installation, case_id, er_room) in {"requested", "received"}


def offered(installation: Installation, case_id: str, room: str) -> str | None:
    """How the offer to an emergency room stands."""
    offers = installation.crew().call("GET", f"/cases/{case_id}")["offers"]
    found = [o["status"] for o in offers if o["emergency_room"]["name"] == room]
    return str(found[0]) if found else None
