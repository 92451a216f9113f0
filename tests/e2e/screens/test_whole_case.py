"""The whole case in browsers of their own: a crew that loses its line in the middle, two ERs that
press at the same moment, a third whose page is behind."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, asked, opened, until, wait_for
from web import cli

LINE = Path(__file__).parent / "line.js"
YOURS = ".yours"

WATCH = """id => {
  window.goneAt = null;
  new MutationObserver(() => {
    const row = document.querySelector(`#waiting [data-id="${id}"]`);
    const card = document.querySelector(`article.waiting[data-id="${id}"]`);
    if (!row && !card) window.goneAt ??= Date.now();
  }).observe(document.querySelector("main"), { childList: true, subtree: true, attributes: true });
}"""
"""Notes when a case no longer waits on this screen."""


def enter(page: Page, words: str) -> None:
    """A case as a crew enters it, with a film."""
    page.locator("#new-case").evaluate("box => { box.open = true; }")  # it may open by itself
    form = page.locator("#case-form")
    form.get_by_role("radio", name="2 Emergent").check()
    form.locator("[name=spo2_percent]").fill("91")
    form.locator("[name=pulse_per_min]").fill("118")
    form.locator("[name=complaint]").fill(words)
    page.set_input_files("#film-file", cli.sample_film())
    form.get_by_role("button", name="Use my position").click()
    expect(page.locator("#position-state")).to_contain_text("Position known")
    form.locator("[type=submit]").click()


def an_er(screens: Screens, who: str) -> Page:
    """An ER's page whose stream a test can freeze."""
    context = screens.context(who)
    context.add_init_script(path=LINE)
    page = context.new_page()
    page.goto("/er")
    page.locator("#connection[data-state=live]").wait_for()
    return page


def cut(page: Page) -> None:
    """Nothing comes any more, and nobody says so: the stream is silent, questions fail."""
    page.evaluate("window.line.frozen = true")
    page.route("**/api/v1/inbox*", lambda route: route.abort())
    page.route("**/api/v1/offers**", lambda route: route.abort())


def mend(page: Page) -> None:
    page.unroute("**/api/v1/inbox*")
    page.unroute("**/api/v1/offers**")
    page.evaluate("window.line.frozen = false")


def test_the_whole_case_with_a_lost_line_two_at_once_and_one_behind(
    screens: Screens, installation: Installation
) -> None:
    screens.forgive("ERR_INTERNET_DISCONNECTED|ERR_FAILED|status of 409|404.*/preview")
    crew = screens.open("crew", "/crew", **PHONE)
    words = f"whole case {uuid4().hex[:6]}"
    enter(crew, words)
    mine = crew.locator("#cases article", has_text=words)
    expect(mine).to_contain_text("You may forget about the network", timeout=60_000)
    case_id = str(mine.get_attribute("data-key"))
    wait_for(lambda: asked(installation, case_id), "offers")

    ers = {who: an_er(screens, who) for who in asked(installation, case_id)}
    *both, behind = ers.values()
    for page in ers.values():
        expect(opened(page, case_id).locator("[data-decision=accept]")).to_be_enabled()
    expect(mine.locator(".offer-received")).to_have_count(3)
    crew.context.set_offline(True)  # into the tunnel
    cut(behind)

    held: list[Route] = []
    for page in both:
        page.route("**/decision", lambda route: held.append(route))  # Playwright binds no builtins
        page.evaluate(WATCH, case_id)
        opened(page, case_id).locator("[data-decision=accept]").click()
    for page in both:
        page.wait_for_timeout(200)
        assert page.locator(YOURS).count() == 0, "pressed is not yet answered"
    assert len(held) == 2
    for route in held:
        route.continue_()
    for page in both:
        until(page, f"!document.querySelector('#waiting [data-id=\"{case_id}\"]')")
    found = installation.crew().call("GET", f"/cases/{case_id}")
    (holder,) = [o for o in found["offers"] if o["status"] == "accepted"]
    names = {room: who for who, room in installation.people.names}
    winner = ers[names[holder["emergency_room"]["name"]]]
    (loser,) = [page for page in both if page is not winner]
    expect(winner.locator(YOURS)).to_have_text("Yours. The crew has not confirmed yet.")
    expect(loser.locator("#recent")).to_contain_text(case_id[:8])
    expect(loser.locator("#recent")).to_contain_text("another hospital was first")
    assert loser.locator(YOURS).count() == 0
    decided_at = datetime.fromisoformat(holder["decided_at"])
    gone_s = loser.evaluate("window.goneAt") / 1000 - decided_at.timestamp()
    print(f"withdrawn on the other's screen {gone_s:.2f} s after the decision")

    # The third sees nothing of it: soon it knows that it does not know, and sends nothing.
    expect(behind.locator("#lost")).to_contain_text("Connection lost – state unknown")
    sent: list[str] = []
    behind.on("request", lambda request: sent.append(request.url))
    card = behind.locator(f'article[data-id="{case_id}"]')
    card.locator("[data-decision=accept]").click()
    expect(behind.locator("#notices")).to_contain_text("so nothing was sent")
    assert not [url for url in sent if url.endswith("/decision")]
    mend(behind)
    expect(behind.locator("#recent")).to_contain_text("another hospital was first")
    assert behind.locator(YOURS).count() == 0

    # Out of the tunnel: the crew hears of it and confirms.
    expect(crew.locator("#lost")).to_contain_text("Connection lost – state unknown")
    assert mine.locator("[data-step=acknowledge]").count() == 0
    crew.context.set_offline(False)
    room = holder["emergency_room"]["name"]
    confirm = crew.locator("#alarm [data-step=acknowledge]")
    expect(confirm).to_be_visible()
    expect(mine).to_contain_text(room)
    expect(crew.locator("#alarm[data-arming]")).to_have_count(0)  # no accident confirms
    confirm.click()
    expect(winner.locator(YOURS)).to_have_text("Yours. The crew has confirmed.")

    for step in ("depart", "arrive"):
        mine.locator(f"[data-step={step}]").click()
    expect(winner.locator(YOURS)).to_have_text("Yours. Arrived.")
    theirs = winner.locator(f'article[data-id="{case_id}"]')
    theirs.get_by_role("button", name="Handed over").click()
    expect(mine.locator("h3")).to_have_text("Handed over")
    outcome = theirs.locator(".outcome")
    outcome.get_by_label("Diagnosis").fill("Pneumonia, right lower lobe")
    outcome.get_by_label("Where the patient went").select_option("ward")
    outcome.get_by_role("button", name="Tell the crew").click()
    expect(mine).to_contain_text("Pneumonia, right lower lobe")
    expect(mine).to_contain_text("Ward")
