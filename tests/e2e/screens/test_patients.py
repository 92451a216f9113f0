"""Patients' page by hand: found by an exact name, named later, said to be one, and two again; and
what an emergency room sees of the patient that it took."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import SIZES, Screens, asked, axe, cancel, submit, too_wide
from web import demo

WHO = {"name": "김마리", "identifier": "PATIENTS-1"}


@pytest.fixture
def two(installation: Installation) -> Iterator[tuple[str, str]]:
    """A known patient's case, and one of somebody whom nobody knows."""
    known = submit(installation, patient=WHO, sex="female", age_years=41)
    unknown = submit(installation, patient=None, sex="female", age_years=60)
    yield known, unknown
    cancel(installation, known)
    cancel(installation, unknown)


def said(page: Page, words: str) -> None:
    """Give a reason in the only form that asks for one, and send it."""
    form = page.locator("#patient form.row-form")
    form.locator("[name=reason]").fill("asked the family")
    form.get_by_role("button", name=words).click()


def test_a_patient_is_found_named_joined_taken_apart_and_printed(
    screens: Screens, installation: Installation, two: tuple[str, str]
) -> None:
    context = screens.context("control")
    context.add_init_script("window.print = () => { window.printedOnce = true; }")
    page = context.new_page()
    page.goto("/patients")
    lines, one = page.locator("#patients .patient-list li"), page.locator("#patient")

    page.locator("#search [name=name]").fill(" 김마리 ")
    page.locator("#search [type=submit]").click()
    expect(lines).to_have_count(1)
    lines.locator("a").click()
    expect(one.locator("dl.facts")).to_contain_text("김마리")
    expect(one).to_contain_text(two[0][:8])
    expect(one).to_contain_text("Blood pressure 104/62 mmHg")  # no figure without its unit

    page.get_by_role("button", name="Show the newest").click()
    expect(lines.first).to_contain_text("about 60")  # the list of the search has gone
    lines.first.locator("a").click()
    expect(one).to_contain_text(two[1][:8])
    expect(one).to_contain_text("woman, about 60")
    one.locator("details > summary").click()
    edit = one.locator("form[data-does=edit]")
    edit.locator("[name=name]").fill(WHO["name"])
    edit.locator("[name=identifier]").fill("patients 1")  # only letters and digits count
    edit.locator("[type=submit]").click()
    expect(one.locator("[data-key=maybe]")).to_be_visible()
    said(page, "same")
    merges = one.locator("[data-key=merges]")
    expect(merges).to_be_visible()
    expect(one).to_contain_text(two[0][:8])
    expect(one).to_contain_text(two[1][:8])
    films = one.locator(".entry-film a")
    expect(films).to_have_count(2)
    for number, case_id in enumerate((two[1], two[0])):  # the newest case first
        films.nth(number).focus()
        page.wait_for_function(
            "img => img.complete && img.naturalWidth > 0",
            arg=films.nth(number).locator("img").element_handle(),
        )
        expect(films.nth(number)).to_have_attribute("href", re.compile(f"{case_id}.*boxes=1&film="))
    expect(one.locator(".entry-film figcaption").first).to_contain_text("not for diagnosis")
    assert axe(page) == []

    one.get_by_role("button", name="Print").click()
    expect(page.locator("#sheet")).to_contain_text("Demo control room")
    assert page.evaluate("window.printedOnce")

    said(page, "two")
    expect(merges).to_have_count(0)
    expect(one).not_to_contain_text(two[0][:8])


def test_an_emergency_room_sees_the_patients_that_it_took(
    screens: Screens, installation: Installation, two: tuple[str, str]
) -> None:
    known, unknown = two
    who = asked(installation, known)[0]
    page = screens.open(who, "/patients", viewport=SIZES["phone"])
    expect(page.locator("#patients")).not_to_contain_text("woman, about 41")
    offer = installation.crew().call("GET", f"/cases/{known}")["offers"][0]
    token = installation.people.tokens.emergency_rooms[offer["emergency_room"]["id"]]
    er = demo.Client(installation.settings.public_url, "", token)
    er.call("POST", f"/offers/{offer['id']}/decision", json={"decision": "accept"})
    page.reload()
    page.locator("#patients a", has_text="about 41").click()
    expect(page.locator("#patient dl.facts")).to_contain_text("김마리")
    expect(page.locator("#patient")).not_to_contain_text(unknown[:8])
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.wait_for_timeout(300)  # no colour is midway
        assert axe(page) == []
        assert too_wide(page) <= 0
