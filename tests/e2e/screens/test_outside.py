"""A hospital outside of the system takes the patient by telephone: written down by either side of
the line, in both languages, seen by everybody concerned, and taken back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PHONE, Screens, asked, axe, cancel, submit, too_wide
from web import language as words

HOSPITAL = "Larch Ferry Hospital"


def state(installation: Installation, case_id: str) -> str:
    return str(installation.crew().call("GET", f"/cases/{case_id}")["status"])


def looks_well(page: Page, pictures: Path | None, name: str) -> None:
    """Nothing sticks out, nothing breaks a rule; a picture is kept where pictures are wanted."""
    if pictures:
        page.screenshot(path=pictures / f"outside-{name}.png", full_page=True)
    assert too_wide(page) == 0
    assert axe(page) == []


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_the_crew_writes_it_down_and_takes_it_back(
    screens: Screens, installation: Installation, pictures: Path | None, language: str
) -> None:
    case_id = submit(installation)
    er = screens.open(asked(installation, case_id)[0], "/er", language=language)
    er.locator(f'.row-button[data-id="{case_id}"]').first.click()
    crew = screens.open("crew", "/crew", language=language, service_workers="block", **PHONE)
    card = crew.locator(f"#case-{case_id}")
    card.locator(f'details[data-key="{case_id}-elsewhere"] > summary').tap()
    form = card.locator('form[data-post="elsewhere"]')
    form.locator("[type=submit]").tap()  # nothing is filled in: nothing is sent
    expect(form.locator("[name=hospital]")).to_be_focused()
    assert state(installation, case_id) in {"received", "offering"}
    form.locator("[name=hospital]").fill(HOSPITAL)
    form.locator("[name=phone]").fill("031-000-0000")
    form.locator("[name=reason]").fill("ICU bed promised by Dr Rowan")
    looks_well(crew, pictures, f"crew-{language}-form")
    form.locator("[type=submit]").tap()
    named = words.in_every("elsewhere.named", hospital=HOSPITAL)[language]
    expect(card.locator(".decision")).to_contain_text(named)
    expect(card.locator(".decision")).to_contain_text("promised by Dr Rowan")
    expect(card.locator("a[href='tel:0310000000'], a[href='tel:031-000-0000']")).to_be_visible()
    expect(crew.locator("#alarm")).to_be_hidden()  # whoever wrote it need not be told
    assert state(installation, case_id) == "acknowledged"
    expect(er.locator("#recent")).to_contain_text(case_id[:8])
    looks_well(crew, pictures, f"crew-{language}-taken")
    card.locator(f'details[data-key="{case_id}-outside"] > summary').tap()
    looks_well(crew, pictures, f"crew-{language}-back")
    card.locator('form[data-post="elsewhere/end"] [type=submit]').tap()
    expect(card.locator(f'details[data-key="{case_id}-elsewhere"]')).to_be_visible()
    expect(card.get_by_text(named)).to_have_count(0)
    assert state(installation, case_id) == "offering"
    cancel(installation, case_id)


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_control_room_writes_it_down_and_takes_it_back(
    screens: Screens,
    installation: Installation,
    pictures: Path | None,
    language: str,
    size: str,
) -> None:
    case_id = submit(installation)
    crew = screens.open("crew", "/crew", language=language, service_workers="block", **PHONE)
    page = screens.open(
        "control", "/control", language=language, **(PHONE if size == "phone" else {})
    )
    page.locator(f"#case-{case_id} > summary").click()
    page.locator(f'details[data-key="{case_id}-elsewhere"] > summary').click()
    form = page.locator(f'form[data-elsewhere="{case_id}"]')
    form.locator("[type=submit]").click()
    assert state(installation, case_id) in {"received", "offering"}
    form.locator("[name=hospital]").fill(HOSPITAL)
    form.locator("[name=reason]").fill("agreed with the physician on duty")
    looks_well(page, pictures, f"control-{language}-{size}-form")
    form.locator("[type=submit]").click()
    named = words.in_every("elsewhere.named", hospital=HOSPITAL)[language]
    expect(page.locator(f"#case-{case_id}")).to_contain_text(named)
    assert state(installation, case_id) == "assigned"
    alarm = crew.locator("#alarm")  # the crew is told, and confirms
    expect(alarm).to_contain_text(named)
    expect(alarm).not_to_have_attribute("data-arming", "")
    looks_well(crew, pictures, f"crew-{language}-{size}-told")
    alarm.locator("button.acknowledge, [data-do=acknowledge]").first.tap()
    expect(alarm).to_be_hidden()
    looks_well(page, pictures, f"control-{language}-{size}-taken")
    page.locator(f'#case-{case_id} [data-do="notElsewhere"]').click()
    expect(page.locator(f'form[data-elsewhere="{case_id}"]')).to_have_count(1)
    assert state(installation, case_id) == "offering"
    cancel(installation, case_id)
