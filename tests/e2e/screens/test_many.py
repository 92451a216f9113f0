"""Thirty requests at once on one ER's screen: sorted, by keyboard, and not thirty times loud."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from playwright.sync_api import expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import SIZES, Screens, asked, axe, cancel, too_wide, until, wait_for
from tests.e2e.screens.test_control import TONES
from web import demo

MANY = 30


def test_thirty_at_once_stay_usable(
    screens: Screens, installation: Installation, pictures: Path | None
) -> None:
    crew = installation.crew()

    def submit(level: int) -> str:
        case = {**demo.CASE, "crew_pre_ktas": level}
        key = {"Idempotency-Key": f"many-{uuid4()}"}
        return str(crew.call("POST", "/cases", headers=key, json=case)["case_id"])

    cases = [submit(1)]
    wait_for(lambda: asked(installation, cases[0]), "offers")
    who = asked(installation, cases[0])[0]
    context = screens.context(who)
    context.add_init_script(TONES)
    er = context.new_page()
    er.goto("/er")
    er.locator("#connection[data-state=live]").wait_for()
    er.locator("h2").first.click()  # lets it sound
    cases += [submit(2 - number % 2) for number in range(MANY - 1)]
    expect(er.locator("#waiting .row")).to_have_count(MANY, timeout=60_000)
    until(er, "window.tones > 0")
    rung = er.evaluate("window.tones")
    assert rung <= 3 * 12, "one tone for all of them every five seconds, not one each"
    assert er.locator("#notices .notice").count() <= 1  # thirty would cover the case
    levels = er.locator("#waiting .row .level b").all_inner_texts()
    assert levels == sorted(levels)
    er.keyboard.press("j")
    er.keyboard.press("j")
    at = er.locator('#waiting .row-button[aria-current="true"]')
    expect(at).to_be_in_viewport()
    for size, viewport in SIZES.items():
        er.set_viewport_size(viewport)
        assert too_wide(er) <= 0
        if pictures:
            er.screenshot(path=pictures / f"emergency-room-many-{size}.png")
    assert axe(er) == []
    for case_id in cases:
        cancel(installation, case_id)
