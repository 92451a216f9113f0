"""The ambulance's page without a line: what was entered stays, goes once, and goes when it can."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, axe, cancel, wait_for
from web import cli

CUT = "ERR_INTERNET_DISCONNECTED|ERR_FAILED|Failed to load resource"


def named(installation: Installation, words: str) -> list[dict[str, Any]]:
    """The cases with this complaint, as the server has them."""
    found = installation.crew().call("GET", "/cases")
    return [case for case in found if case["complaint"] == words]


def ready_for_no_network(page: Page) -> None:
    """The service worker is there and keeps the shell."""
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    wait_for(lambda: page.evaluate("caches.keys().then((names) => names.length)") == 1, "the shell")


def enter(page: Page, words: str, film: Path | None = None) -> None:
    form = page.locator("#case-form")

    def open_() -> bool:
        """The page opens an only form by itself: a press may then shut it."""
        if not form.is_visible():
            page.locator("#new-case > summary").click()
        page.wait_for_timeout(300)
        return form.is_visible()

    wait_for(open_, "the form")
    form.get_by_role("radio", name="3 Urgent").check()
    form.locator("[name=spo2_percent]").fill("91")
    form.locator("[name=complaint]").fill(words)
    if film:
        page.set_input_files("#film-file", film)
        expect(page.locator("#film-chosen .note")).to_be_visible()


def kept(page: Page) -> str:
    """Everything in the device's database that a thief could read without the key."""
    return str(
        page.evaluate(
            """async () => {
              const db = await new Promise((done) => {
                const request = indexedDB.open("goldentime");
                request.onsuccess = () => done(request.result);
              });
              const rows = (name) => new Promise((done) => {
                const request = db.transaction(name).objectStore(name).getAll();
                request.onsuccess = () => done(request.result);
              });
              const all = [...await rows("entries"), ...await rows("films")];
              const bytes = (sealed) =>
                String.fromCharCode(...new Uint8Array(sealed.bytes).slice(0, 4000));
              const shown = all.map((row) => JSON.stringify(row) + bytes(row.sealed));
              db.close();
              return shown.join("|");
            }"""
        )
    )


def close(context: BrowserContext) -> None:
    for page in context.pages:
        page.close()


def test_a_case_entered_without_a_network_survives_a_closed_tab_and_goes_once(
    screens: Screens, installation: Installation
) -> None:
    screens.forgive(CUT)
    context = screens.context("crew", **PHONE)
    page = context.new_page()
    page.goto("/crew")
    ready_for_no_network(page)
    page.close()

    context.set_offline(True)
    page = context.new_page()
    page.goto("/crew")  # from what the service worker kept
    words = f"no network {uuid4().hex[:6]}"
    enter(page, words, cli.sample_film())
    expect(page.locator("#film-chosen")).to_contain_text("Kept on this device")
    page.wait_for_timeout(500)
    page.close()  # not sent yet: the draft must be there again

    page = context.new_page()
    page.goto("/crew")
    expect(page.locator("#case-form [name=complaint]")).to_have_value(words)
    expect(page.locator("#film-chosen")).to_contain_text("effusion")
    expect(page.locator("#lost")).to_contain_text("Connection lost – state unknown")
    page.locator("#case-form [type=submit]").dblclick()
    waiting = page.locator("#outbox article")
    expect(waiting).to_have_count(1)
    expect(waiting).to_contain_text("Kept on this device")
    for clear in (words, "effusion", "spo2"):
        assert clear not in kept(page)
    assert axe(page) == []
    page.close()

    page = context.new_page()
    page.goto("/crew")
    expect(page.locator("#outbox article")).to_have_count(1)
    second = context.new_page()
    second.goto("/crew")
    context.set_offline(False)
    case = page.locator("#cases article", has_text=words)
    expect(case).to_be_visible()
    expect(page.locator("#outbox article")).to_have_count(0)
    expect(second.locator("#outbox article")).to_have_count(0)
    expect(case.locator(".ticks .done")).to_have_count(3, timeout=60_000)
    (found,) = named(installation, words)
    assert found["image"]
    assert found["vitals"]["spo2_percent"] == 91
    installation.crew().call("POST", f"/cases/{found['id']}/cancel", json={"reason": "test ends"})
    close(context)


def test_an_upload_that_breaks_goes_on_where_it_stood_and_the_case_does_not_wait(
    screens: Screens, installation: Installation, tmp_path: Path
) -> None:
    screens.forgive(CUT)
    film = tmp_path / "large.png"
    with Image.open(cli.sample_film()) as sample:
        sample.convert("L").resize((1400, 1400)).save(film, compress_level=1)  # several pieces
    offsets: list[int] = []

    def break_twice(route: Route) -> None:
        if route.request.method == "PATCH":
            offsets.append(int(route.request.headers["upload-offset"]))
            if len(offsets) in {2, 3}:
                route.abort()
                return
        route.continue_()

    context = screens.context("crew", service_workers="block", **PHONE)
    page = context.new_page()
    page.route("**/api/v1/films/*/check", lambda route: route.abort())  # it stays unnamed
    page.route("**/api/v1/uploads/**", break_twice)
    page.goto("/crew")
    words = f"broken line {uuid4().hex[:6]}"
    enter(page, words, film)
    # Sending takes the check's upload back, also in the middle of its first piece: only once that
    # upload has broken by itself is it known where it stands.
    expect(page.locator("#film-chosen")).to_contain_text("Kept on this device")
    page.locator("#case-form [type=submit]").click()
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    # Routes are answered only while Playwright waits: plain sleeping here would stall the upload.
    expect(page.locator("#outbox article")).to_have_count(0)
    wait_for(lambda: named(installation, words)[0]["image"], "the film")
    assert offsets[0] == 0
    assert offsets[1] > 0
    assert offsets[2:4] == [offsets[1]] * 2  # each break cost one piece, not the film
    (found,) = named(installation, words)
    installation.crew().call("POST", f"/cases/{found['id']}/cancel", json={"reason": "test ends"})


def test_a_draft_that_another_tab_has_sent_can_still_become_a_case_of_its_own(
    screens: Screens, installation: Installation
) -> None:
    screens.forgive("409|422|Failed to load resource")
    context = screens.context("crew", service_workers="block", **PHONE)
    first, second = context.new_page(), context.new_page()
    first.goto("/crew")
    words = f"two tabs {uuid4().hex[:6]}"
    enter(first, words)
    first.wait_for_timeout(500)  # the draft is kept
    second.goto("/crew")
    expect(second.locator("#case-form [name=complaint]")).to_have_value(words)
    first.locator("#case-form [type=submit]").click()
    expect(first.locator("#cases article", has_text=words)).to_be_visible()
    other = f"{words} another patient"
    second.locator("#case-form [name=complaint]").fill(other)
    second.locator("#case-form [type=submit]").click()
    second.locator("#outbox article [data-do=editEntry]").click()  # refused, and corrected
    second.locator("#case-form [type=submit]").click()
    expect(second.locator("#cases article", has_text=other)).to_be_visible()
    expect(second.locator("#outbox article")).to_have_count(0)
    for found in [*named(installation, words), *named(installation, other)]:
        cancel(installation, found["id"])


def test_sign_out_wipes_the_device(screens: Screens) -> None:
    screens.forgive(CUT)
    context = screens.context("crew")
    page = context.new_page()
    page.goto("/crew")
    ready_for_no_network(page)
    words = f"unsent {uuid4().hex[:6]}"
    enter(page, words)
    page.wait_for_timeout(500)
    assert "draft" in kept(page)
    page.locator("#sign-out").click()
    page.wait_for_url(re.compile("/sign-in"))
    assert kept(page) == ""
    assert page.evaluate("caches.keys()") == []
    assert page.evaluate("navigator.serviceWorker.getRegistrations().then((r) => r.length)") == 0
