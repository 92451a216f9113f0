"""What goes wrong on an ambulance's device, and what people do to it: nothing is lost, nothing
is sent twice, nobody's patient is shown to somebody else, and the page says what it knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from broker.lifecycle import Role
from broker.record import Record
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, asked, cancel, read_by_ai, submit, wait_for
from tests.e2e.screens.test_ambulance import CUT, enter, named
from tests.e2e.screens.test_clocks import CLOCK
from tests.e2e.screens.test_crew import accept
from web import cli, registry

FULL = """
  // Nothing has room any more, or only nothing of a film's size.
  for (const name of ["add", "put"]) {
    const kept = IDBObjectStore.prototype[name];
    IDBObjectStore.prototype[name] = function (value, key) {
      const small = !value.sealed || value.sealed.bytes.byteLength < window.roomFor;
      if (small) return kept.call(this, value, key);
      throw new DOMException("The device is full", "QuotaExceededError");
    };
  }
"""


@pytest.fixture
def words(installation: Installation) -> Iterator[str]:
    """A complaint that no other case has; whatever has it is called off at the end."""
    made = f"attack {uuid4().hex[:6]}"
    yield made
    for case in named(installation, made):
        if case["status"] not in {"closed", "cancelled"}:
            cancel(installation, case["id"])


def crew(screens: Screens, **more: Any) -> Page:
    return screens.open("crew", "/crew", service_workers="block", **{**PHONE, **more})


def send(page: Page) -> None:
    page.locator("#case-form [type=submit]").click()


def the_case(installation: Installation, words: str) -> dict[str, Any]:
    """The one case with these words; two would be a second patient that does not exist."""
    wait_for(lambda: named(installation, words), "case")
    (found,) = named(installation, words)
    return found


def large_film(folder: Path) -> Path:
    """One that goes in several pieces."""
    film = folder / "large.png"
    with Image.open(cli.sample_film()) as sample:
        sample.convert("L").resize((1400, 1400)).save(film, compress_level=1)
    return film


def not_films(folder: Path) -> list[Path]:
    """What a thumb chooses in a hurry: a text, nothing at all, and what only begins as a film."""
    text, empty, torn = folder / "letter.png", folder / "empty.jpg", folder / "torn.dcm"
    text.write_text("Dear colleague", "utf-8")
    empty.write_bytes(b"")
    torn.write_bytes(bytes(128) + b"DICM" + b"\x00torn" * 400)
    return [text, empty, torn]


def test_what_is_no_film_is_refused_at_once_and_the_case_goes_without_it(
    screens: Screens, installation: Installation, tmp_path: Path, words: str
) -> None:
    screens.forgive("status of 422")
    page = crew(screens)
    enter(page, words)
    for wrong in not_films(tmp_path):
        page.set_input_files("#film-file", wrong)
        chosen = page.locator("#film-chosen")
        expect(chosen).to_contain_text(wrong.name)
        expect(chosen.locator(".note.bad")).to_be_visible()
        expect(chosen.get_by_role("button", name="Retake")).to_be_visible()
    page.get_by_role("button", name="Send without film").tap()
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    assert the_case(installation, words)["image"] is None

    mine = page.locator("#cases article", has_text=words)
    torn = not_films(tmp_path)[-1]
    mine.locator("input[type=file]").set_input_files(torn)  # later, to the case that is there
    expect(page.locator("#notices .bad")).to_be_visible()
    expect(page.locator("#outbox article")).to_have_count(0)
    assert the_case(installation, words)["image"] is None


def test_a_case_whose_film_turns_out_to_be_none_is_there_all_the_same(
    screens: Screens, installation: Installation, tmp_path: Path, words: str
) -> None:
    screens.forgive("status of 422|ERR_FAILED")
    page = crew(screens)
    page.route("**/api/v1/films/*/check", lambda route: route.abort())  # nobody had looked yet
    enter(page, words, not_films(tmp_path)[-1])
    send(page)
    mine = page.locator("#cases article", has_text=words)
    expect(mine).to_be_visible()
    expect(page.locator("#notices .bad")).to_be_visible()
    expect(page.locator("#outbox article")).to_have_count(0)
    found = the_case(installation, words)
    assert found["image"] is None
    wait_for(lambda: the_case(installation, words)["offers"], "offers")  # it waits for no film


@pytest.mark.parametrize("room_for", [0, 20_000], ids=["nothing", "no film"])
def test_a_full_device_says_what_it_cannot_keep_and_sends_all_the_same(
    screens: Screens, installation: Installation, words: str, room_for: int
) -> None:
    context = screens.context("crew", service_workers="block", **PHONE)
    context.add_init_script(f"window.roomFor = {room_for}; {FULL}")
    page = context.new_page()
    page.goto("/crew")
    enter(page, words, cli.sample_film())
    expect(page.locator("#outbox .note.warn")).to_be_visible()  # keep this page open
    send(page)
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    wait_for(lambda: the_case(installation, words)["image"], "the film")
    expect(page.locator("#outbox article")).to_have_count(0)
    expect(page.locator("#outbox .note.warn")).to_have_count(0)


@pytest.mark.parametrize("wall_ms", [-86_400_000 * 4000, 86_400_000 * 4000], ids=["old", "new"])
def test_a_device_that_does_not_know_the_year_sends_and_says_when_contact_is_lost(
    screens: Screens, installation: Installation, words: str, wall_ms: int
) -> None:
    screens.forgive(CUT)
    context = screens.context("crew", service_workers="block", **PHONE)
    context.add_init_script(path=CLOCK)
    context.add_init_script(f"window.device.wallMs = {wall_ms}")
    page = context.new_page()
    page.goto("/crew")
    enter(page, words)
    send(page)
    mine = page.locator("#cases article", has_text=words)
    expect(mine).to_be_visible()
    year = the_case(installation, words)["received_at"][:4]
    expect(mine.locator(".receipt")).not_to_contain_text("20")  # a time of today has no date
    context.set_offline(True)
    page.evaluate("window.device.wallMs = 0")  # set right, just as the line dies
    expect(page.locator("#lost")).to_contain_text("state unknown", timeout=14_000)
    assert year not in page.locator("#lost").inner_text()
    context.set_offline(False)
    expect(page.locator("#lost")).to_be_hidden()


def test_a_page_shut_in_the_middle_of_an_upload_goes_on_where_it_stood(
    screens: Screens, installation: Installation, tmp_path: Path, words: str
) -> None:
    context = screens.context("crew", service_workers="block", **PHONE)
    offsets: list[int] = []
    held: list[Route] = []

    def stall(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
            if len(offsets) == 3:
                held.append(route)
                return
        route.continue_()

    page = context.new_page()
    page.route("**/api/v1/films/*/check", lambda route: route.abort())
    page.route("**/api/v1/uploads/**", stall)
    screens.forgive(CUT)
    page.goto("/crew")
    enter(page, words)
    page.set_input_files("#film-file", large_film(tmp_path))
    wait_for(lambda: page.wait_for_timeout(100) or len(offsets) > 1, "pieces")
    send(page)
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    wait_for(lambda: page.wait_for_timeout(100) or held, "a piece that hangs")
    page.close()  # a battery dies without a word

    page = context.new_page()
    page.route("**/api/v1/uploads/**", stall)
    page.goto("/crew")
    wait_for(lambda: page.wait_for_timeout(100) or the_case(installation, words)["image"], "film")
    assert offsets[0] == 0
    assert offsets[3] == offsets[2] > 0  # what had come was not sent again
    expect(page.locator("#outbox article")).to_have_count(0)


def test_two_tabs_that_send_one_entry_at_once_make_one_case(
    screens: Screens, installation: Installation, words: str
) -> None:
    context = screens.context("crew", service_workers="block", **PHONE)
    first = context.new_page()
    first.goto("/crew")
    enter(first, words)
    first.wait_for_timeout(500)  # the draft is kept
    second = context.new_page()
    second.goto("/crew")
    expect(second.locator("#case-form [name=complaint]")).to_have_value(words)
    for page in (first, second):
        page.locator("#case-form").evaluate("form => form.requestSubmit()")
    for page in (first, second):
        expect(page.locator("#cases article", has_text=words)).to_have_count(1)
        expect(page.locator("#outbox article")).to_have_count(0)
    the_case(installation, words)


def test_what_one_tab_confirms_is_confirmed_in_the_other(
    screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    context = screens.context("crew", service_workers="block", **PHONE)
    tabs = [context.new_page(), context.new_page()]
    for page in tabs:
        page.goto("/crew")
        expect(page.locator(f"#case-{case_id}")).to_be_visible()
    accept(screens, installation, case_id)
    for page in tabs:
        expect(page.locator("#alarm:not([data-arming])")).to_be_visible()
    tabs[0].locator("#alarm [data-step=acknowledge]").click()
    for page in tabs:
        expect(page.locator("#alarm")).to_be_hidden()
    cancel(installation, case_id)


def test_a_hand_that_taps_send_again_and_again_makes_one_case(
    screens: Screens, installation: Installation, words: str
) -> None:
    before = len(installation.crew().call("GET", "/cases"))
    page = crew(screens)
    enter(page, words)
    at = page.locator("#case-form [type=submit]").bounding_box()
    assert at
    for _ in range(6):  # also on whatever comes up under the thumb
        page.touchscreen.tap(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
    expect(page.locator("#cases article", has_text=words)).to_have_count(1)
    expect(page.locator("#outbox article")).to_have_count(0)
    the_case(installation, words)
    assert len(installation.crew().call("GET", "/cases")) == before + 1


def test_lost_replies_lose_nothing_and_repeat_nothing(
    screens: Screens, installation: Installation, words: str
) -> None:
    screens.forgive(CUT)
    page = crew(screens)
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method != "POST" or route.request.url in lost:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.fetch()  # the server did it
            route.abort()  # and nobody hears of it

    page.route("**/api/v1/cases", lose)
    page.route("**/api/v1/cases/*/acknowledge", lose)
    enter(page, words, cli.sample_film())
    send(page)
    mine = page.locator("#cases article", has_text=words)
    expect(mine).to_have_count(1)
    expect(page.locator("#outbox article")).to_have_count(0)
    case_id = the_case(installation, words)["id"]
    wait_for(lambda: the_case(installation, words)["image"], "the film")
    wait_for(lambda: the_case(installation, words)["offers"], "offers")
    accept(screens, installation, case_id)
    expect(page.locator("#alarm:not([data-arming])")).to_be_visible()
    page.locator("#alarm [data-step=acknowledge]").click()
    expect(page.locator("#alarm")).to_be_hidden()  # what is true was asked for
    assert the_case(installation, words)["status"] == "acknowledged"
    assert len(lost) == 2


@pytest.mark.parametrize(("path", "first"), [("/crew", "cases?live"), ("/er", "offers?open")])
def test_a_page_whose_first_question_gets_no_answer_asks_again(
    screens: Screens, installation: Installation, path: str, first: str
) -> None:
    screens.forgive(CUT)
    case_id = submit(installation)
    read_by_ai(installation, case_id)  # from now on nothing happens that would be asked about
    who = "crew" if path == "/crew" else asked(installation, case_id)[0]
    page = screens.context(who, service_workers="block").new_page()
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        if route.request.url in refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    page.route(re.compile(re.escape(f"/api/v1/{first}")), refuse_once)
    page.goto(path)
    expect(page.locator("main")).to_contain_text(case_id[:8])
    assert refused
    cancel(installation, case_id)


def end_sessions(screens: Screens, name: str) -> None:
    """The administrator signs an account out everywhere: its device was stolen."""
    admin = screens.context("admin")
    token = admin.request.get("/api/v1/session").json()["csrf_token"]
    accounts = admin.request.get("/api/v1/admin/accounts").json()
    (account,) = [row["id"] for row in accounts if row["sign_in_name"] == name]
    answer = admin.request.post(
        f"/api/v1/admin/accounts/{account}/end-sessions", headers={"X-CSRFToken": token}
    )
    assert answer.status == 200, answer.text()


def another_crew(installation: Installation, name: str, call_sign: str) -> None:
    hashed = registry.password_hash(installation.people.password)
    record = Record(installation.settings)
    with record.write() as db:
        registry.put_ambulance(db, call_sign)
        registry.put_account(db, name, "Other crew", hashed, Role.CREW, unit=call_sign)
    record.close()


def sign_in(context: BrowserContext, installation: Installation, name: str) -> None:
    answer = context.request.post(
        "/api/v1/session", data={"name": name, "password": installation.people.password}
    )
    assert answer.status == 201, answer.text()


def test_a_session_that_ends_in_the_middle_of_a_case_keeps_it_for_its_crew_only(
    screens: Screens, installation: Installation, words: str
) -> None:
    screens.forgive("status of 401|status of 400|ERR_FAILED|Failed to load")
    another_crew(installation, "other", "Golden 12")
    page = crew(screens)
    enter(page, words)
    end_sessions(screens, "crew")
    expect(page.locator("#lost")).to_contain_text("signed out")
    assert page.evaluate("document.body.classList.contains('state-unknown')")
    send(page)
    waiting = page.locator("#outbox article")
    expect(waiting).to_have_count(1)
    expect(waiting.get_by_role("link", name="Sign in")).to_be_visible()
    assert named(installation, words) == []

    sign_in(page.context, installation, "other")  # another crew takes the device
    page.goto("/crew")
    expect(page.locator("#who")).to_contain_text("Other crew")
    expect(waiting).to_have_count(1)
    expect(waiting).to_contain_text("belongs to another unit")
    page.wait_for_timeout(3000)  # it is tried again meanwhile
    assert words not in page.locator("body").inner_text()
    assert named(installation, words) == []

    sign_in(page.context, installation, "crew")  # back in the right hands
    page.goto("/crew")
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    expect(waiting).to_have_count(0)
    the_case(installation, words)
