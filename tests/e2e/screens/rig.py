"""What the tests of screens share: browsers that forgive nothing, people, cases, axe, the keyboard.

Every page that a Screens opens fails its test for an error in the console, a script's error, a
breach of the content security policy, or a request to any host but the installation's.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
)

from tests.e2e.conftest import Installation
from web import cli, demo

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PATIENCE_MS = 30_000
SIZES = {
    "phone": {"width": 390, "height": 844},
    "tablet": {"width": 820, "height": 1180},
    "laptop": {"width": 1024, "height": 600},
    "desktop": {"width": 1440, "height": 900},
}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
INK = {"light": "rgb(18, 32, 42)", "dark": "rgb(232, 238, 242)"}
"""--ink of tokens.css, as a browser computes it: once it is there, no colour is midway."""
LOCALES = {"en": "en-GB", "ko": "ko-KR"}
PHONE: dict[str, Any] = {"viewport": SIZES["phone"], "has_touch": True, "is_mobile": True}


@dataclass
class Screens:
    """One browser against one installation; contexts are signed in without the form."""

    installation: Installation
    browser: Browser
    broken: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)
    too_late: list[str] = field(default_factory=list)
    """Where an ambulance told its position just after the case had ended: no page's fault."""

    def context(self, who: str | None, *, language: str = "en", **options: Any) -> BrowserContext:
        """A browser of its own in which `who` (an account's name, or nobody) is signed in."""
        context = self.browser.new_context(
            **{
                "base_url": self.installation.settings.public_url,
                "locale": LOCALES[language],
                "viewport": SIZES["desktop"],
                "geolocation": {"latitude": 37.5665, "longitude": 126.978},
                "permissions": ["geolocation"],
                "reduced_motion": "reduce",
                **options,
            }
        )
        context.set_default_timeout(PATIENCE_MS)
        self.contexts.append(context)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.broken.append(str(error.error)))
        context.on("request", self._request)
        context.on("response", self._response)
        if who:
            answer = context.request.post(
                "/api/v1/session", data={"name": who, "password": self.installation.people.password}
            )
            assert answer.status == 201, answer.text()
        return context

    def open(self, who: str | None, path: str, *, language: str = "en", **options: Any) -> Page:
        """A page of somebody's, loaded and live."""
        page = self.context(who, language=language, **options).new_page()
        page.goto(path)
        if who:
            page.locator("#connection[data-state=live]").wait_for()
        return page

    def forgive(self, pattern: str) -> None:
        """Console errors that a test brings about on purpose: a refused answer, a cut line."""
        self.forgiven.append(pattern)

    def close(self) -> None:
        """Close every context; AssertionError lists what the pages did wrong."""
        while self.contexts:
            context = self.contexts.pop()
            for page in context.pages:  # an answer still under way would fail in the next test
                page.unroute_all(behavior="ignoreErrors")
            context.close()
        for url in self.too_late:
            noted = next(
                (text for text in self.broken if "409" in text and f"({url})" in text), None
            )
            if noted:
                self.broken.remove(noted)
        wrong = [text for text in self.broken if not any(re.search(p, text) for p in self.forgiven)]
        self.too_late.clear()
        self.broken.clear()
        self.forgiven.clear()
        assert wrong == [], "\n".join(wrong)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" or "Content Security Policy" in message.text:
            self.broken.append(f"{message.text} ({message.location.get('url')})")

    def _response(self, response: Response) -> None:
        request = response.request
        refused = response.status == 409 and request.method == "PATCH"
        if refused and list(request.post_data_json or {}) == ["position"]:
            self.too_late.append(response.url)

    def _request(self, request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):  # None: blob: and data:
            self.broken.append(f"a request left the host: {request.url}")


# --- cases, as the ambulance's device sends them --------------------------------------------------


def submit(installation: Installation, **more: Any) -> str:
    """A case with a film from the ambulance's device; its id, once hospitals have been asked."""
    crew, film = installation.crew(), cli.sample_film()
    case = {**demo.CASE, **more}
    case_id: str = crew.call(
        "POST",
        "/cases",
        headers={"Idempotency-Key": f"screens-{uuid4()}"},
        files={"image": (film.name, film.read_bytes()), "case": (None, json.dumps(case))},
    )["case_id"]
    wait_for(lambda: crew.call("GET", f"/cases/{case_id}")["offers"], "offers")
    return case_id


def asked(installation: Installation, case_id: str) -> list[str]:
    """The sign-in names of the ERs that were asked, best first."""
    by_room = {room: name for name, room in installation.people.names}
    offers = installation.crew().call("GET", f"/cases/{case_id}")["offers"]
    return [by_room[offer["emergency_room"]["name"]] for offer in offers]


def read_by_ai(installation: Installation, case_id: str) -> None:
    """Wait until both networks have read the film."""

    def done() -> bool:
        image = installation.crew().call("GET", f"/cases/{case_id}")["image"]
        return bool(image) and all(r["status"] == "done" for r in image["readings"])

    wait_for(done, "readings")


def offer_of(installation: Installation, case_id: str, who: str) -> str:
    """The id of the offer of a case that stands on an ER's screen."""
    room = dict(installation.people.names)[who]
    offers = installation.crew().call("GET", f"/cases/{case_id}")["offers"]
    return str(next(o["id"] for o in offers if o["emergency_room"]["name"] == room))


def opened(page: Page, case_id: str) -> Locator:
    """The ER's opened case, picked from its list, with answers that may be pressed."""
    page.locator(f'.row-button[data-id="{case_id}"]').first.click()
    return page.locator(f'article[data-id="{case_id}"]')


def cancel(installation: Installation, case_id: str) -> None:
    """End a case."""
    installation.crew().call("POST", f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def until(page: Page, expression: str) -> None:
    """Wait for a JavaScript expression to be true.

    Page.wait_for_function lets the page itself evaluate a string whenever the first look is too
    early, and our Content-Security-Policy forbids that.
    """
    over = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < over, f"never true: {expression}"
        page.wait_for_timeout(50)


def wait_for(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_MS / 1000) -> None:
    """Ask until it is so."""
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until, f"no {what}"
        time.sleep(0.2)


# --- what every screen must pass ------------------------------------------------------------------


def axe(page: Page) -> list[str]:
    """Violations of axe-core's WCAG 2.0 to 2.2 A and AA rules: rule, where, why."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))  # as the debugger: the page's policy would refuse it
    found = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, resultTypes: ['violations']})", RULES
    )
    return [
        f"{violation['id']}: {node['html'][:160]} ({node['failureSummary'][:200]})"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def too_wide(page: Page) -> int:
    """By how many pixels the page must be scrolled sideways."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def at_every_size(page: Page, name: str, pictures: Path | None) -> list[str]:
    """What is wrong with a loaded page at four sizes, light and dark; keeps a picture of each."""
    wrong: list[str] = []
    language = page.locator("html").get_attribute("lang")
    for theme in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        until(page, f"getComputedStyle(document.body).color === {INK[theme]!r}")
        until(page, "document.getAnimations().every(one => one.playState !== 'running')")
        for size, viewport in SIZES.items():
            page.set_viewport_size(viewport)
            if (extra := too_wide(page)) > 0:
                wrong.append(f"{size}: {extra} px too wide")
            # Colours differ by theme, targets by size: axe need not see all eight.
            if theme == "light" or size == "phone":
                wrong += [f"{theme} {size}: {violation}" for violation in axe(page)]
            if pictures:
                path = pictures / f"{name}-{size}-{language}-{theme}.png"
                page.screenshot(path=path, full_page=size in {"phone", "tablet"})
    return wrong


WALK = Path(__file__).parent / "walk.js"


def keyboard_walk(page: Page, limit: int = 150) -> list[str]:
    """Tab through the page: what cannot be reached, or shows no focus when it is."""
    page.evaluate(WALK.read_text("utf-8"))
    wrong: list[str] = []
    for _ in range(limit):
        page.keyboard.press("Tab")
        at = page.evaluate("walk.step()")
        if at and at["again"]:
            break
        if at and not at["outlined"]:
            wrong.append(f"no visible focus: {at['html']}")
    return wrong + [f"not reached: {html}" for html in page.evaluate("walk.missed()")]
