"""Every screen at four sizes, in both languages, light and dark: axe, width, keyboard, pictures.

One page load per screen and language: sizes and colours are changed on the loaded page. A new
screen is a new row of SCREENS; a page that has none fails a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import (
    LOCALES,
    PHONE,
    SIZES,
    Screens,
    asked,
    at_every_size,
    axe,
    cancel,
    keyboard_walk,
    read_by_ai,
    submit,
    too_wide,
    until,
)
from web.app import create_app


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


def first_beds(page: Page, _: str) -> None:
    """Every ER's beds; where somebody may say what an ER offers, the first one's list is open."""
    page.locator(".bed-board .card").first.wait_for()
    offered = page.locator(".bed-board details > summary")
    if offered.count():
        offered.first.click()


def tab(kind: str) -> Callable[[Page, str], None]:
    """A tab of administrators, with what it lists."""

    def prepare(page: Page, _: str) -> None:
        page.locator(f"#tabs [data-kind={kind}]").click()
        page.locator("#admin [type=submit], #admin table").first.wait_for()

    return prepare


def searched_audit(page: Page, case_id: str) -> None:
    """What the audit says, and how far it is sealed."""
    tab("audit")(page, case_id)
    page.locator("[data-key=audit-form] [type=submit]").click()
    page.locator("[data-key=audit-results] tbody tr").first.wait_for()
    page.locator("[data-key=audit-seal] p").first.wait_for()


def first_operation(page: Page, _: str) -> None:
    """The API's description fits as a whole; of its many sections a few of each kind are shown."""
    page.set_viewport_size(SIZES["phone"])
    assert too_wide(page) <= 0
    page.evaluate(
        """() => {
          for (const section of document.querySelectorAll("main > section:not(:first-child)")) {
            const many = section.querySelectorAll(":scope > details, :scope > section");
            for (const one of [...many].slice(2)) one.remove();
          }
        }"""
    )
    page.locator("details.operation > summary").first.click()


def changed_account(page: Page, case_id: str) -> None:
    """Accounts, one of them opened to be changed."""
    tab("accounts")(page, case_id)
    page.locator("#admin [data-do=edit]").first.click()
    page.locator("#panel [type=submit]").wait_for()


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
    Screen("beds", "control", "/beds", first_beds),
    Screen("operations", "operations", "/operations"),
    Screen("administration", "admin", "/admin", tab("emergency-rooms")),
    Screen("administration-account", "admin", "/admin", changed_account),
    Screen("administration-devices", "admin", "/admin", tab("devices")),
    Screen("administration-settings", "admin", "/admin", tab("settings")),
    Screen("administration-audit", "admin", "/admin", searched_audit),
    Screen("administration-beds", "admin", "/beds", first_beds),
    Screen("choose-password", None, "/choose-password#secret", ready),
    Screen("api", None, "/api/v1/docs", first_operation),
]
NO_SCREEN = {
    "/": "leads to one's own page",
    "/crew/shell/<any(en, ko):language>": "is /crew for whoever has no network; test_ambulance.py",
    "/assets/<fingerprint>/<path:name>": "a page's parts",
    "/manifest.webmanifest": "read by a browser that installs the app",
    "/service-worker.js": "a script",
    "/healthz": "read by machines",
    "/readyz": "read by machines",
    "/metrics": "read by machines",
}
"""What a browser may ask for outside of the API that is no screen, and why."""


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
    wrong = at_every_size(page, screen.name, pictures)
    if language == "en":
        wrong += keyboard_walk(page)
    assert wrong == []


def test_no_page_is_forgotten(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, secret_key="s" * 40, identity_keys=IDENTITY_KEYS))
    answered = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
        and (rule.endpoint.startswith("pages.") or not rule.rule.startswith("/api/"))
    }
    shown = {urlsplit(screen.path).path for screen in SCREENS}
    assert answered - shown == set(NO_SCREEN)


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
