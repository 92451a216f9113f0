"""The pages' shells: who gets which, in which language, and that no word is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from gettext import GNUTranslations
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from broker import alarms, timeline
from broker.board import Why
from broker.errors import BadSetting
from broker.lifecycle import AlarmCode, CaseStatus, DeclineReason, OfferStatus, Role
from broker.queues import Queue
from broker.settings import Settings
from broker.stages import Stage
from broker.tuning import TUNABLES
from dispatch.routing_facts import EmergencyCentreLevel
from dispatch.transition import Ended
from dispatch.triage import Capability
from models.quality import UnusableReason
from tests.conftest import IDENTITY_KEYS
from tests.integration.api.doors import PASSWORD, House
from web import language, pages

WEB = Path(__file__).parents[2] / "web"
CATALOGUE = WEB / "translations" / "ko" / "LC_MESSAGES" / "messages.po"
with CATALOGUE.open("rb") as _file:
    WORDS = [m for m in read_po(_file, locale="ko", abort_invalid=True) if m.id]
TEXT = {str(message.context): (str(message.id), str(message.string)) for message in WORDS}
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in (WEB / "static").glob("*.js")}
TEMPLATES = {
    path.name: path.read_text(encoding="utf-8") for path in (WEB / "templates").glob("*.html")
}
PAGES = {
    "/crew": {Role.CREW},
    "/crew/history": {Role.CREW},
    "/er": {Role.EMERGENCY_ROOM},
    "/control": {Role.CONTROL_ROOM},
    "/patients": {Role.EMERGENCY_ROOM, Role.CONTROL_ROOM},
    "/beds": {Role.CONTROL_ROOM, Role.ADMIN},
    "/operations": {Role.OPERATIONS, Role.CONTROL_ROOM, Role.ADMIN},
    "/admin": {Role.ADMIN},
}
UNITS = {Role.CREW: "Test 1", Role.EMERGENCY_ROOM: "Test Hospital 1"}


@pytest.fixture(scope="module")
def house(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(
        Settings(
            data_dir=tmp_path_factory.mktemp("pages"),
            database_url=module_database_url,
            redis_url="redis://127.0.0.1:1/0",
            secret_key="a secret of the tests that is long enough",
            identity_keys=IDENTITY_KEYS,
            cookie_secure=False,
            node="test",
        )
    )
    yield house
    house.close()


def test_a_links_offer_survives_the_sign_in_and_nothing_else_does(house: House) -> None:
    browser, offer = house.browser(), "0d4f9a3e-0000-4000-8000-000000000001"
    way_in = browser.get(f"/er?offer={offer}").headers["Location"]
    assert way_in == f"/sign-in?offer={offer}"
    assert f'"onward": "/er?offer={offer}"' in browser.get(way_in).text
    for bad in ("//evil.example", "https://evil.example/", "x", "1&next=//evil.example"):
        assert browser.get("/er", query_string={"offer": bad}).headers["Location"] == "/sign-in"
        assert '"onward": "/"' in browser.get("/sign-in", query_string={"offer": bad}).text


@pytest.mark.parametrize("role", list(Role))
def test_everybody_gets_the_own_page_and_no_other(house: House, role: Role) -> None:
    browser = house.browser()
    name = house.person(role, UNITS.get(role))
    for page in PAGES:
        assert browser.get(page).headers["Location"] == "/sign-in"
    answer = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    own = browser.get("/").headers["Location"]
    assert browser.get("/sign-in").headers["Location"] == own
    for page, roles in PAGES.items():
        answer = browser.get(page)
        if role in roles:
            assert answer.status_code == 200
        else:
            assert answer.headers["Location"] == own


@pytest.mark.parametrize(
    ("address", "accepts", "language"),
    [
        ("/sign-in", "ko-KR,ko;q=0.9,en;q=0.5", "ko"),
        ("/sign-in", "fr", "en"),
        ("/sign-in?lang=ko", "en", "ko"),
        ("/sign-in?lang=xx", "ko", "ko"),
    ],
)
def test_the_language_is_the_wish_then_the_cookie_then_the_browsers(
    house: House, address: str, accepts: str, language: str
) -> None:
    browser = house.browser()
    answer = browser.get(address, headers={"Accept-Language": accepts})
    assert f'<html lang="{language}">' in answer.text
    assert TEXT["sign_in.submit"][language == "ko"] in answer.text


def test_a_chosen_language_stays(house: House) -> None:
    browser = house.browser()
    browser.get("/sign-in?lang=ko", headers={"Accept-Language": "en"})
    assert '<html lang="ko">' in browser.get("/sign-in", headers={"Accept-Language": "en"}).text


@pytest.mark.parametrize("page", ["/sign-in", "/api/v1/docs"])
def test_nothing_in_a_page_is_inline_or_from_elsewhere(house: House, page: str) -> None:
    """The content security policy would refuse it silently."""
    html = house.browser().get(page).text
    assert "style=" not in html
    assert not re.search(r"\son\w+=", html)
    assert all(
        "src=" in tag or "application/json" in tag for tag in re.findall("<script[^>]*>", html)
    )
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert addresses
    assert [a for a in addresses if not a.startswith(("/", "#", "?"))] == []


def test_the_api_description_names_every_route(house: House) -> None:
    browser = house.browser()
    document = browser.get("/api/v1/openapi.json").get_json()
    html = browser.get("/api/v1/docs").text
    for path in document["paths"]:
        assert f"<code>{path}</code>" in html
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in html


def test_every_text_has_a_key_of_its_own_and_a_korean_that_is_finished() -> None:
    assert [m.id for m in WORDS if not m.context or not m.string or m.fuzzy] == []
    assert len(TEXT) == len(WORDS)


def test_the_compiled_words_are_those_of_the_catalogue() -> None:
    """Run `make translations` when this fails: a page would show older words."""
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled = GNUTranslations(file)
    shown = {key: (english, compiled.pgettext(key, english)) for key, (english, _) in TEXT.items()}
    assert shown == TEXT


def test_a_page_without_compiled_words_says_how_to_make_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(language.resources, "files", lambda _: tmp_path)
    with pytest.raises(BadSetting, match="make translations"):
        language._by_key.__wrapped__()


def test_every_text_has_the_same_gaps_in_both_languages() -> None:
    for key, row in TEXT.items():
        assert all(text.strip() for text in row), key
        english, korean = ({gap for _, gap, _, _ in Formatter().parse(text) if gap} for text in row)
        assert english == korean, key
    assert "거절" not in json.dumps(TEXT, ensure_ascii=False)


def test_every_key_that_a_page_asks_for_exists() -> None:
    asked = set()
    for text in [*SCRIPTS.values(), *TEMPLATES.values()]:
        asked |= set(re.findall(r"\bt\(\s*[\"']([\w.]+)[\"']\s*[,)]", text))
    assert len(asked) > 100
    assert sorted(asked - set(TEXT)) == []


@pytest.mark.parametrize(
    ("group", "codes"),
    [
        ("case.status", CaseStatus),
        ("offer.status", OfferStatus),
        ("decline", DeclineReason),
        ("ended", Ended),
        ("capability", Capability),
        ("unusable", UnusableReason),
        ("alarm", AlarmCode),
        ("operations.why", Why),
        ("operations.stage", Stage),
        ("operations.part", Queue),
        ("role", Role),
        ("level", EmergencyCentreLevel),
    ],
)
def test_every_code_has_words(group: str, codes: type) -> None:
    assert [code.value for code in codes if f"{group}.{code.value}" not in TEXT] == []


def test_every_setting_and_series_has_words() -> None:
    wanted = [f"setting.{name}" for name in TUNABLES]
    wanted += re.findall(r'\["(\w+)", "--', SCRIPTS["operations_charts.js"])
    wanted = [key if "." in key else f"operations.series_{key}" for key in wanted]
    assert sorted(set(wanted) - set(TEXT)) == []


def test_every_fact_of_an_alarm_or_a_timeline_has_words() -> None:
    source = Path(alarms.__file__).read_text("utf-8")
    facts = set(re.findall(r'"([a-z_]+)": ', source)) | timeline.SHOWN
    assert {"oldest_s", "free_bytes", "waited_s"} <= facts
    assert sorted(name for name in facts if f"operations.fact.{name}" not in TEXT) == []


def test_every_label_of_the_shipped_networks_has_words() -> None:
    cards = (WEB.parent / "models" / "weights").glob("*/card.json")
    labels = {label for card in cards for label in json.loads(card.read_text())["labels"]}
    assert labels
    assert sorted(label for label in labels if f"label.{label}" not in TEXT) == []


def test_pages_listen_to_every_event_that_is_announced() -> None:
    """An EventSource tells only of types that it was asked for by name."""
    heard = set(pages.EVENTS)
    source = "".join(path.read_text() for path in (WEB.parent / "dispatch").glob("*.py"))
    told = set(re.findall(r'"((?:alarm|message|duplicate)\.[a-z_]+)"', source))
    told |= set(re.findall(r'tell_\w+\([^")]*"((?:case|offer)\.[a-z_]+)"', source))
    told |= set(re.findall(r'tell="((?:case|alarm)\.[a-z_]+)"', source))
    told |= {f"offer.{s}" for s in ("accepted_with_delay", "rejected", "withdrawn", "expired")}
    told |= {f"case.{s}" for s in ("acknowledged", "en_route", "arrived", "closed")}
    assert len(told) > 15
    assert sorted(told - heard) == []


def test_scripts_never_parse_html() -> None:
    for name, text in SCRIPTS.items():
        for trap in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert trap not in text, name
