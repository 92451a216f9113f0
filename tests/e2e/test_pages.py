"""The pages in a real browser against real processes: each user's way, by mouse and by keyboard.

One installation on SQLite: the browser sees no database.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Route,
    expect,
)

from dispatch import notify
from tests.conftest import FreshDatabase
from tests.e2e.conftest import Installation
from web import cli, demo

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
PATIENCE_MS = 30_000
NOTICES = (
    "AI output of research software, not a medical device: not for diagnosis.",
    "의료기기가 아니며 진단에 사용할 수 없습니다",
)

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def module_database_url(fresh_database: FreshDatabase) -> Iterator[str]:
    """One backend for the installation of this module."""
    with fresh_database("sqlite") as url:
        yield url


@pytest.fixture
def sign_in(installation: Installation, browser: Browser) -> Iterator[Open]:
    """Sign in as somebody through the form; fails the test when a page breaks a rule of ours."""
    contexts: list[BrowserContext] = []
    broken: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            broken.append(message.text)

    def open_page(
        name: str,
        *,
        path: str = "/sign-in",
        before: Callable[[Page], None] | None = None,
        **more: object,
    ) -> Page:
        context = browser.new_context(
            **{
                "locale": "en-GB",
                "geolocation": {"latitude": 37.5665, "longitude": 126.978},
                "permissions": ["geolocation"],
                **more,
            }  # type: ignore[arg-type]  # playwright's long list of options
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: broken.append(str(error)))
        if before:
            before(page)
        page.goto(f"{installation.settings.public_url}{path}")
        page.wait_for_url(re.compile("/sign-in"))
        page.locator("#sign-in button:enabled").wait_for()  # its script is ready
        page.keyboard.type(name)  # the name's field has the focus
        page.keyboard.press("Tab")
        page.keyboard.type(installation.people.password)
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/(crew|er|control|operations)(\?offer=.*)?$"))
        return page

    expect.set_options(timeout=PATIENCE_MS)
    yield open_page
    for context in contexts:
        context.close()
    assert broken == []


def submit(installation: Installation) -> tuple[str, list[str]]:
    """A case from the ambulance's device; its id and the sign-in names of the three ERs asked."""
    crew = installation.crew()
    film = cli.sample_film()
    case_id: str = crew.call(
        "POST",
        "/cases",
        headers={"Idempotency-Key": f"pages-{uuid4()}"},
        files={"image": (film.name, film.read_bytes()), "case": (None, json.dumps(demo.CASE))},
    )["case_id"]
    by_room = {room: name for name, room in installation.people.names}
    until = time.monotonic() + PATIENCE_MS / 1000
    while not (offers := crew.call("GET", f"/cases/{case_id}")["offers"]):
        assert time.monotonic() < until, "no offers"
        time.sleep(0.2)
    return case_id, [by_room[offer["emergency_room"]["name"]] for offer in offers]


def cancel(installation: Installation, case_id: str) -> None:
    installation.crew().call("POST", f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def card(page: Page, case_id: str) -> Locator:
    """The ER's opened case, picked from the list where another one is open."""
    opened = page.locator(f'article[data-id="{case_id}"]')
    row = page.locator(f'.row-button[data-id="{case_id}"]')
    opened.or_(row).filter(visible=True).first.wait_for()
    if not opened.is_visible():
        if not row.is_visible():
            page.get_by_role("button", name="List").click()
        row.click()
    return opened


def gone(page: Page, case_id: str) -> None:
    """Neither waiting nor coming: the case is none of this ER's any more."""
    rows = page.locator(f'#waiting [data-id="{case_id}"], #held [data-id="{case_id}"]')
    expect(rows).to_have_count(0)


def refuse(route: Route) -> None:
    """As if there were no network."""
    route.abort()


def pressed_in_alarm(crew: Page, name: str) -> None:
    """What covers the crew's whole screen takes no press in its first moment."""
    alarm = crew.locator("#alarm")
    expect(alarm).to_be_visible()
    expect(alarm).not_to_have_attribute("data-arming", "")
    alarm.get_by_role("button", name=name).click()
    expect(alarm).to_be_hidden()


def test_a_case_goes_from_the_crews_phone_to_an_er_and_back(
    installation: Installation, sign_in: Open
) -> None:
    crew = sign_in("crew", **PHONE)
    form = crew.locator("#case-form")
    expect(form).to_be_visible()
    form.get_by_role("radio", name="3 Urgent").check()
    for name, value in (
        ("respiratory_rate_per_min", "26"),
        ("spo2_percent", "90"),
        ("systolic_bp_mmhg", "104"),
        ("diastolic_bp_mmhg", "62"),
        ("pulse_per_min", "118"),
        ("temperature_c", "38.4"),
    ):
        form.locator(f"[name={name}]").fill(value)
    form.get_by_role("radio", name="A Alert").check()
    form.get_by_role("radio", name="on oxygen").check()
    crew.set_input_files("#film-file", cli.sample_film())
    form.locator("[name=age_years]").fill("67")
    form.locator("[name=complaint]").fill("<b>short of breath</b>")
    form.get_by_role("button", name="Use my position").click()
    expect(crew.locator("#position-state")).to_contain_text("Position known")
    form.get_by_role("button", name="Send case").click()

    case = crew.locator("#cases article")
    expect(case).to_contain_text("You may forget about the network")
    expect(case.locator(".offer")).to_have_count(3)
    expect(case.locator(".complaint")).to_have_text("<b>short of breath</b>")
    for notice in NOTICES:
        expect(case).to_contain_text(notice)
    case_id = str(case.get_attribute("data-key"))
    first = case.locator(".offer-room").first.inner_text()
    by_room = {room: name for name, room in installation.people.names}

    er = sign_in(by_room[first])
    waiting = card(er, case_id)
    expect(waiting).to_contain_text("ETA")
    expect(waiting).to_contain_text("operating point")
    expect(waiting).to_contain_text("specificity 90% on validation films")
    meaning = waiting.locator(".score-meaning summary")
    expect(meaning).to_contain_text("At 90% coverage:")
    expect(meaning).to_contain_text("of 14 findings")
    for notice in NOTICES:
        expect(waiting).to_contain_text(notice)
    assert "probability" not in er.locator("main").inner_text().lower()
    assert "Demo Patient" not in er.content()
    expect(case.locator(".offer-received").first).to_contain_text("On their screen")
    waiting.get_by_role("button", name="Accept").click()
    expect(card(er, case_id)).to_contain_text("Yours. The crew has not confirmed yet.")

    pressed_in_alarm(crew, "ACKNOWLEDGE")
    expect(case).to_contain_text("Confirmed: both sides know")
    expect(card(er, case_id)).to_contain_text("Yours. The crew has confirmed.")

    form = card(er, case_id).locator(".messages")
    form.locator("summary").click()
    form.locator("[name=body]").fill("Bring him to bay 2")
    form.get_by_role("button", name="Send").click()
    expect(case).to_contain_text("Bring him to bay 2")
    case.get_by_role("button", name="Mark as read").click()
    expect(form).to_contain_text("read")

    for button, state in (("On the way", "On the way"), ("Arrived", "Arrived")):
        case.get_by_role("button", name=button).click()
        expect(case.locator("h3")).to_have_text(state)
    expect(card(er, case_id)).to_contain_text("Yours. Arrived.")
    card(er, case_id).get_by_role("button", name="Handed over").click()
    gone(er, case_id)
    outcome = card(er, case_id).locator(".outcome")
    outcome.get_by_label("Diagnosis").fill("Pneumonia, left lower lobe")
    outcome.get_by_label("Where the patient went").select_option("ward")
    outcome.get_by_role("button", name="Tell the crew").click()
    expect(outcome).to_contain_text("Pneumonia, left lower lobe · Ward")
    expect(case.locator("h3")).to_have_text("Handed over")


def test_an_er_accepts_by_keyboard_alone(installation: Installation, sign_in: Open) -> None:
    case_id, ers = submit(installation)
    er = sign_in(ers[0])
    expect(card(er, case_id)).to_be_visible()
    expect(card(er, case_id).locator("[data-decision=accept]")).to_be_enabled()
    er.keyboard.press("Tab")
    expect(er.locator(".skip")).to_be_focused()
    er.keyboard.press("Enter")  # over the header, into the page
    for _ in range(20):
        er.keyboard.press("Tab")
        focused = er.evaluate("document.activeElement.dataset.decision ?? ''")
        if focused == "accept":
            break
    assert focused == "accept"
    er.keyboard.press("Enter")
    expect(card(er, case_id)).to_contain_text("Yours.")
    assert installation.crew().call("GET", f"/cases/{case_id}")["status"] == "assigned"
    cancel(installation, case_id)
    expect(er.locator("#recent")).to_contain_text(case_id[:8])


def test_an_er_declines_in_two_taps_and_the_next_takes_it_with_delay(
    installation: Installation, sign_in: Open
) -> None:
    case_id, ers = submit(installation)
    first, second = sign_in(ers[0], **PHONE), sign_in(ers[1])
    card(first, case_id).locator(".cannot summary").click()
    card(first, case_id).get_by_role("button", name="No specialist").click()
    expect(first.locator("#recent")).to_contain_text("Cannot take now: No specialist")
    card(second, case_id).get_by_role("button", name="10 min").click()
    expect(card(second, case_id)).to_contain_text("this patient is not yours yet")
    crew = sign_in("crew", **PHONE)
    counter = crew.locator(f"#case-{case_id} .counter")
    expect(counter).to_contain_text("yes, in 10 min")
    pressed_in_alarm(crew, "Take it")
    expect(card(second, case_id)).to_contain_text("Yours. The crew has confirmed.")
    cancel(installation, case_id)


def test_the_link_of_a_mail_opens_its_offer(installation: Installation, sign_in: Open) -> None:
    """Through the sign-in and the change of language, and again when signed in already."""
    first_case, ers = submit(installation)
    offers = installation.crew().call("GET", f"/cases/{first_case}")["offers"]
    link = notify.link(installation.settings, UUID(offers[0]["id"]))
    path = link.removeprefix(installation.settings.public_url)
    others = [submit(installation)[0] for _ in range(3)]  # the link's is not alone on the page
    er = sign_in(ers[0], path=path, **PHONE)
    assert er.url == link
    linked = er.locator(f'article[data-key="{offers[0]["id"]}"]')
    expect(linked).to_be_focused()
    expect(linked).to_be_in_viewport()
    expect(linked).to_contain_text(first_case[:8])

    # A mail on the web is another site: the cookie stays behind, and the page must ask.
    again = er.context.new_page()
    again.route(
        "https://mail.example/",
        lambda route: route.fulfill(body=f'<a href="{link}">decide</a>', content_type="text/html"),
    )
    again.goto("https://mail.example/")
    again.get_by_text("decide").click()
    expect(again.locator(f'article[data-key="{offers[0]["id"]}"]')).to_be_focused()

    for case_id in (first_case, *others):
        cancel(installation, case_id)
    er.goto(link)  # over by now: its line among the ended ones
    expect(er.locator(f'article[data-key="{offers[0]["id"]}"]')).to_be_focused()
    expect(er.locator(f'#recent .row-button[data-id="{first_case}"]')).to_have_count(1)
    er.goto(link.replace(offers[0]["id"], str(uuid4())))
    expect(er.locator("#notices")).to_contain_text("not one of your emergency room's")


def test_a_korean_browser_gets_korean_pages(installation: Installation, sign_in: Open) -> None:
    case_id, ers = submit(installation)
    er = sign_in(ers[0], locale="ko-KR")
    waiting = card(er, case_id)
    for words in (
        "수용 가능",
        "수용 곤란",
        "도착 예정",
        "활력징후",
        "기준점",
        "특이도 90%",
        "포함률 90%",
        *NOTICES,
    ):
        expect(waiting).to_contain_text(words)
    expect(er.locator("html")).to_have_attribute("lang", "ko")
    assert "거절" not in er.content()
    assert "undefined" not in er.locator("main").inner_text()
    assert not re.search(r"\b[a-z]+\.[a-z_]+\b", waiting.inner_text())  # a key without words
    cancel(installation, case_id)


def test_a_page_says_when_the_state_is_unknown_and_recovers(
    installation: Installation, sign_in: Open
) -> None:
    """Without the stream it polls; without polling it says so after 10 s."""
    er = sign_in("er1", before=lambda page: page.route("**/api/v1/events*", refuse))
    connection, lost = er.locator("#connection"), er.locator("#lost")
    expect(connection).to_have_attribute("data-state", "polling")
    case_id, ers = submit(installation)
    assert "er1" in ers
    expect(card(er, case_id)).to_be_visible()  # polled

    er.route("**/api/v1/inbox*", refuse)
    expect(lost).to_be_visible()
    expect(lost).to_contain_text("Connection lost – state unknown")
    cancel(installation, case_id)
    expect(card(er, case_id)).to_be_visible()  # which is why it may not look certain

    er.unroute("**/api/v1/inbox*")
    expect(lost).to_be_hidden()
    gone(er, case_id)


def test_an_older_version_never_replaces_a_newer_one(
    installation: Installation, sign_in: Open
) -> None:
    case_id, ers = submit(installation)
    er = sign_in(ers[0])
    card(er, case_id).get_by_role("button", name="Accept").click()
    expect(card(er, case_id)).to_contain_text("Yours.")

    def stale(route: Route) -> None:
        answer = route.fetch()
        offer = answer.json()
        offer["status"], offer["case"]["version"] = "requested", 1
        route.fulfill(response=answer, json=offer)

    er.route("**/api/v1/offers/*-*", stale)
    with er.expect_response("**/api/v1/offers/*-*"):
        installation.crew().call("POST", f"/cases/{case_id}/acknowledge")
    er.wait_for_timeout(500)
    expect(card(er, case_id)).to_contain_text("Yours.")
    expect(er.locator(f'#waiting [data-id="{case_id}"]')).to_have_count(0)
    er.unroute("**/api/v1/offers/*-*")
    cancel(installation, case_id)


def test_a_lost_answer_is_sent_again_under_the_same_key(
    installation: Installation, sign_in: Open
) -> None:
    """The server stored the case, the answer got lost: one case, one receipt."""
    keys: list[str] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
            return
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    crew = sign_in("crew", before=lambda page: page.route("**/api/v1/cases", lose_the_first))
    crew.locator("#new-case").evaluate("box => { box.open = true; }")  # it may open by itself
    words = f"lost answer {uuid4().hex[:6]}"
    crew.locator("#case-form [name=complaint]").fill(words)
    crew.get_by_role("button", name="Send case").click()
    case = crew.locator("#cases article", has_text=words)
    expect(case).to_contain_text("You may forget about the network")
    expect(crew.locator("#outbox article")).to_have_count(0)
    assert len(keys) == 2
    assert len(set(keys)) == 1
    found = installation.crew().call("GET", "/cases")
    assert [c["complaint"] for c in found].count(words) == 1
    cancel(installation, str(case.get_attribute("data-key")))


def test_control_room_and_operations_see_their_part(
    installation: Installation, sign_in: Open
) -> None:
    case_id, _ = submit(installation)
    control = sign_in("control")
    control.locator(f"#case-{case_id} > summary").click()
    expect(control.locator(f"#case-{case_id} .offer")).to_have_count(3)
    operations = sign_in("operations")
    expect(operations.locator("#operations")).to_contain_text(case_id[:8])
    expect(operations.locator("#operations")).to_contain_text("classify")
    for clinical in ("short of breath", "Demo Patient", "38.4"):
        assert clinical not in operations.content()
    cancel(installation, case_id)
    expect(control.locator(f"#case-{case_id}")).to_have_count(0)


def test_the_control_room_vetoes_one_er_and_assigns_another(
    installation: Installation, sign_in: Open
) -> None:
    case_id, _ = submit(installation)
    offers = installation.crew().call("GET", f"/cases/{case_id}")["offers"]
    control = sign_in("control")
    control.locator(f"#case-{case_id} > summary").click()
    form = control.locator(f'form[data-choose="{case_id}"]')
    form.locator("select").select_option(offers[0]["emergency_room"]["id"])
    form.locator("[name=reason]").fill("no power there")
    form.get_by_role("button", name="Do not ask it").click()
    expect(control.locator(f"#case-{case_id} .directives")).to_contain_text("no power there")
    form.locator("select").select_option(offers[1]["emergency_room"]["id"])
    form.locator("[name=reason]").fill("agreed by telephone")
    form.get_by_role("button", name="Assign").click()
    held = control.locator(f"#case-{case_id} .offer-accepted")
    expect(held).to_contain_text("agreed by telephone")
    found = installation.crew().call("GET", f"/cases/{case_id}")
    assert found["status"] == "assigned"
    (accepted,) = [offer for offer in found["offers"] if offer["status"] == "accepted"]
    assert accepted["emergency_room"]["id"] == offers[1]["emergency_room"]["id"]
    cancel(installation, case_id)


@pytest.mark.parametrize("name", ["crew", "er1", "control", "operations"])
def test_pages_fit_a_phone(installation: Installation, sign_in: Open, name: str) -> None:
    case_id, _ = submit(installation)
    page = sign_in(name, **PHONE)
    expect(page.locator("main")).to_contain_text(case_id[:8])
    expect(page.locator("#connection")).to_have_attribute("data-state", re.compile("live|polling"))
    too_wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert too_wide <= 0
    cancel(installation, case_id)
