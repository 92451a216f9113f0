"""Every screen at three sizes, in both languages, light and dark: axe, width, keyboard, pictures.

One page load per screen and language: sizes and colours are changed on the loaded page. A new
screen is a new row of SCREENS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    LOCALES,
    PHONE,
    SIZES,
    Screens,
    asked,
    axe,
    cancel,
    keyboard_walk,
    read_by_ai,
    submit,
    too_wide,
    until,
)


def ready(page: Page, _: str) -> None:
    """Its script has run."""
    page.locator("main button:enabled").first.wait_for()


def loaded(page: Page, case_id: str) -> None:
    """The case is on the screen and its pictures are there."""
    expect(page.locator("main")).to_contain_text(case_id[:8])
    until(page, "[...document.images].every(image => image.complete)")


def opened_patient(page: Page, _: str) -> None:
    """The newest patient is open, and everything that can be said of it."""
    page.locator("#patients a").first.click()
    page.locator("#patient details > summary").click()
    expect(page.locator("#patient .timeline li").first).to_be_visible()


@dataclass(frozen=True)
class Screen:
    """What a picture is called, who sees it, where, and how it comes into the state to be shown."""

    name: str
    who: str | None
    path: str
    prepare: Callable[[Page, str], None] = loaded


SCREENS = [
    Screen("sign-in", None, "/sign-in", ready),
    Screen("ambulance", "crew", "/crew"),
    Screen("ambulance-history", "crew", "/crew/history"),
    Screen("emergency-room", "er", "/er"),
    Screen("control-room", "control", "/control"),
    Screen("patients", "control", "/patients", opened_patient),
    Screen("operations", "operations", "/operations"),
    Screen("administration", "admin", "/admin", ready),
]


@pytest.fixture(scope="module")
def case_id(installation: Installation) -> Iterator[str]:
    """One case that waits for an answer, read by both networks."""
    case_id = submit(installation)
    read_by_ai(installation, case_id)
    yield case_id
    cancel(installation, case_id)


@pytest.mark.parametrize("language", list(LOCALES))
@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_a_screen_is_for_everybody(
    screens: Screens,
    installation: Installation,
    case_id: str,
    screen: Screen,
    language: str,
    pictures: Path | None,
) -> None:
    who = asked(installation, case_id)[0] if screen.who == "er" else screen.who
    page = screens.open(who, screen.path, language=language)
    screen.prepare(page, case_id)
    expect(page.locator(".research")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == language
    wrong: list[str] = []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        page.wait_for_timeout(300)  # no colour is midway
        for size, viewport in SIZES.items():
            page.set_viewport_size(viewport)
            if (extra := too_wide(page)) > 0:
                wrong.append(f"{size}: {extra} px too wide")
            # Colours differ by theme, targets by size: axe need not see all six.
            if theme == "light" or size == "phone":
                wrong += [f"{theme} {size}: {violation}" for violation in axe(page)]
            if pictures:
                name = f"{screen.name}-{size}-{language}-{theme}.png"
                page.screenshot(path=pictures / name, full_page=size != "desktop")
    if language == "en":
        wrong += keyboard_walk(page)
    assert wrong == []


def test_the_rig_sees_what_is_wrong(screens: Screens) -> None:
    page = screens.open(None, "/sign-in")
    page.evaluate(
        """() => {
          document.body.innerHTML = '<main><img src="data:,"><button>x</button><p>pale</p></main>';
          const [button, pale] = document.querySelectorAll('button, p');
          button.addEventListener('focus', () => button.blur());
          Object.assign(pale.style, {color: '#ccc', background: '#fff', width: '3000px'});
        }"""
    )
    found = " ".join(axe(page))
    assert {"image-alt", "color-contrast"} <= {rule.partition(":")[0] for rule in axe(page)}, found
    assert too_wide(page) > 0
    assert any("<button" in line for line in keyboard_walk(page, limit=3))
    page.evaluate("fetch('https://elsewhere.example/').catch(() => {})")
    page.wait_for_timeout(200)  # the request has left
    with pytest.raises(AssertionError, match="elsewhere"):
        screens.close()


@pytest.mark.parametrize("language", list(LOCALES))
@pytest.mark.parametrize("path", ["/crew", "/er"])
def test_on_a_small_phone_the_case_begins_in_the_first_third(
    screens: Screens, installation: Installation, case_id: str, path: str, language: str
) -> None:
    who = "crew" if path == "/crew" else asked(installation, case_id)[0]
    small = {**PHONE, "viewport": {"width": 360, "height": 640}}
    page = screens.open(who, path, language=language, **small)
    if path == "/er" and not page.locator(".case-card").is_visible():
        page.locator(f'.row-button[data-id="{case_id}"]').click()
    case = page.locator(f'article[data-key="{case_id}"], article[data-id="{case_id}"]')
    expect(case).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    box = case.bounding_box()
    assert box
    assert box["y"] <= 640 / 3
    assert too_wide(page) <= 0
    expect(page.locator(".research")).to_be_in_viewport()
