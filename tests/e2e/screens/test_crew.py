"""The ambulance's page with a line: few taps, nothing measured by accident, news nobody misses."""

from __future__ import annotations

from uuid import uuid4

from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, asked, axe, cancel, submit, wait_for
from tests.e2e.screens.test_ambulance import named
from web import cli

MOST_TAPS = 6


def count_taps(page: Page) -> None:
    """Count what a person presses, but for fields that a number is typed into."""
    page.evaluate(
        """() => {
          window.taps = 0;
          document.addEventListener("click", (event) => {
            const { target, isTrusted, detail } = event;
            const typed = target.matches("input[type=number], textarea");
            if (isTrusted && detail && !typed) window.taps += 1;  // detail 0: a label's echo
          }, true);
        }"""
    )


def accept(screens: Screens, installation: Installation, case_id: str) -> Page:
    """The best ER says yes; its page."""
    er = screens.open(asked(installation, case_id)[0], "/er")
    er.locator(f"[data-id='{case_id}']").first.click()
    er.locator("button.accept:not([aria-disabled])").click()
    return er


def test_a_case_takes_six_taps_besides_its_numbers_and_claims_nothing_unmeasured(
    screens: Screens, installation: Installation
) -> None:
    page = screens.open("crew", "/crew", service_workers="block", **PHONE)
    if page.locator("#new-case").get_attribute("open") is not None:
        page.locator("#new-case > summary").click()
    count_taps(page)
    page.locator("#new-case > summary").tap()
    form = page.locator("#case-form")
    with page.expect_file_chooser() as chooser:
        form.locator("label[for=film-file]").tap()
    chooser.value.set_files(cli.sample_film())
    form.locator("label", has_text="3 Urgent").tap()
    expect(form.locator("[data-not-measured]:checked")).to_have_count(6)
    form.locator("[name=spo2_percent]").fill("91")
    form.locator("[name=pulse_per_min]").fill("118")
    expect(form.locator("[data-not-measured]:checked")).to_have_count(4)
    form.locator("label", has_text="A Alert").tap()
    form.locator("label", has_text="room air").tap()
    words = f"six taps {uuid4().hex[:6]}"
    form.locator("[name=complaint]").fill(words)
    form.locator("[type=submit]").tap()
    assert page.evaluate("window.taps") <= MOST_TAPS
    expect(page.locator("#cases article", has_text=words)).to_be_visible()
    (found,) = named(installation, words)
    vitals = found["vitals"]
    assert (vitals["spo2_percent"], vitals["pulse_per_min"]) == (91, 118)
    assert vitals["respiratory_rate_per_min"] is None
    assert vitals["temperature_c"] is None
    cancel(installation, found["id"])


def test_a_sign_is_stepped_and_taken_back(screens: Screens) -> None:
    page = screens.open("crew", "/crew", service_workers="block", **PHONE)
    if page.locator("#new-case").get_attribute("open") is None:
        page.locator("#new-case > summary").click()
    breathing = page.locator("#case-form .vital").first
    number, empty = breathing.locator("[type=number]"), breathing.locator("[data-not-measured]")
    breathing.get_by_role("button", name="more").tap()
    breathing.get_by_role("button", name="more").tap()
    expect(number).to_have_value("17")
    expect(empty).not_to_be_checked()
    empty.check()
    expect(number).to_have_value("")
    empty.click()  # only a number says that something was measured
    expect(empty).to_be_checked()


def test_a_decision_is_not_missed_while_the_next_case_is_typed(
    screens: Screens, installation: Installation
) -> None:
    case_id = submit(installation)
    page = screens.open("crew", "/crew", service_workers="block", **PHONE)
    expect(page.locator(f"#case-{case_id}")).to_be_visible()
    if page.locator("#new-case").get_attribute("open") is None:
        page.locator("#new-case > summary").click()
    complaint = page.locator("#case-form [name=complaint]")
    complaint.fill("the next pati")
    page.evaluate("navigator.vibrate = () => (window.buzzes = (window.buzzes ?? 0) + 1)")
    er = accept(screens, installation, case_id)
    alarm = page.locator("#alarm")
    expect(alarm).to_be_visible()
    page.keyboard.press("Enter")  # the hand was still typing: that confirms nothing
    page.keyboard.press("Escape")
    expect(alarm).to_be_visible()
    expect(alarm.locator("address")).to_contain_text("가상구")  # a district that does not exist
    expect(alarm.locator("a[href^='tel:']")).to_be_visible()
    expect(alarm.get_by_role("link", name="Route")).to_be_visible()
    assert axe(page) == []
    wait_for(lambda: page.evaluate("window.buzzes") >= 2, "repetition", patience_s=12)
    expect(alarm).not_to_have_attribute("data-arming", "")
    alarm.get_by_role("button", name="Look at the case first").click()
    expect(alarm).to_be_hidden()
    expect(alarm).to_be_visible(timeout=40_000)  # nobody has confirmed
    expect(alarm).not_to_have_attribute("data-arming", "")
    alarm.get_by_role("button", name="ACKNOWLEDGE").click()
    expect(alarm).to_be_hidden()
    expect(complaint).to_have_value("the next pati")

    card = page.locator(f"#case-{case_id}")
    card.get_by_role("button", name="On the way").click()
    page.context.set_geolocation({"latitude": 37.57, "longitude": 126.985})
    wait_for(
        lambda: installation.crew().call("GET", f"/cases/{case_id}")["latitude"] == 37.57,
        "position",
    )
    card.get_by_role("button", name="Arrived").click()
    card.get_by_role("button", name="Handed over").click()
    told = er.locator("form[data-outcome]")
    told.locator("[name=diagnosis]").fill("pneumothorax")
    told.locator("[type=submit]").click()
    expect(card.locator(".outcome-told")).to_contain_text("pneumothorax")
    page.goto("/crew/history")
    earlier = page.locator("#history article", has_text=case_id[:8])
    expect(earlier.locator(".outcome-told")).to_contain_text("pneumothorax")
    assert axe(page) == []
