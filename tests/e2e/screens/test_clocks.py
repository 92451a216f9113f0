"""A countdown tells how long is left, whatever somebody does to the clock of its device."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import Screens, asked, cancel, submit, wait_for
from tests.e2e.screens.test_ambulance import CUT

CLOCK = Path(__file__).parent / "clock.js"
OFF_S = 1.5
"""A countdown shows whole seconds and is painted twice a second."""
SET_MS = 600_000


def off_s(page: Page) -> float:
    """By how many seconds the countdown left its even course since the last look."""
    return float(
        page.evaluate(
            """() => {
              const seen = window.device.seen.splice(0);
              const ends = seen.map(([at, left]) => at / 1000 + left);
              return Math.max(...ends) - Math.min(...ends);
            }"""
        )
    )


def watching(screens: Screens, installation: Installation, who: str) -> tuple[str, Page]:
    """A new case on the page of the crew or of an ER that is asked, on a device whose clock obeys
    us."""
    case_id = submit(installation)
    name = asked(installation, case_id)[0] if who == "er" else who
    context = screens.context(name, service_workers="block")
    context.add_init_script(path=CLOCK)
    page = context.new_page()
    page.goto(f"/{who}")
    page.locator("#connection[data-state=live]").wait_for()
    page.locator("[data-until]").first.wait_for()
    return case_id, page


@pytest.mark.parametrize("who", ["crew", "er"])
def test_a_countdown_does_not_jump_with_the_devices_clock(
    screens: Screens, installation: Installation, who: str
) -> None:
    screens.forgive(CUT)
    case_id, page = watching(screens, installation, who)
    page.evaluate("window.device.seen.splice(0)")
    for wall_ms in (SET_MS, -SET_MS):
        page.evaluate("ms => (window.device.wallMs = ms)", wall_ms)
        page.wait_for_timeout(2500)
    page.context.set_offline(True)  # nobody can tell what time it is
    page.evaluate("ms => (window.device.wallMs = ms)", SET_MS)
    page.wait_for_timeout(2500)
    page.context.set_offline(False)
    page.locator("#connection[data-state=live]").wait_for()
    assert off_s(page) <= OFF_S
    cancel(installation, case_id)


@pytest.mark.parametrize("who", ["crew", "er"])
def test_a_countdown_is_right_again_after_the_device_slept(
    screens: Screens, installation: Installation, who: str
) -> None:
    case_id, page = watching(screens, installation, who)
    ends = "() => { const [at, left] = window.device.seen.at(-1); return at / 1000 + left; }"
    wait_for(lambda: page.evaluate("window.device.seen.length"), "a countdown")
    before = page.evaluate(ends)
    page.evaluate("window.device.sleptMs = 20000")
    # The page asks at once what time it is. Date has whole seconds: the answer may be one off.
    page.wait_for_timeout(3000)
    assert abs(page.evaluate(ends) - before) <= 1 + OFF_S
    cancel(installation, case_id)
