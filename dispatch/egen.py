"""Korea's bed feed: the NEMC E-Gen service (data.go.kr 15000563) over HTTP, as plain figures.

Speaks HTTP and XML only; which of our emergency rooms a figure belongs to, and what it does there,
is beds.py's. Nothing that is raised or logged here holds the address or the key.

XML is read by the standard library after it was made harmless: it must be UTF-8 and have no DOCTYPE
(so no entity, internal or external), and no more than MAX_BYTES are read. Field names and codes:
data.go.kr 15000563; their case varies, so they are compared without it.
"""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import requests

from broker.errors import BadSetting, GoldentimeError
from broker.settings import Settings
from dispatch.rules import Capability

BEDS = "getEmrrmRltmUsefulSckbdInfoInqire"
SEVERE = "getSrsillDissAceptncPosblInfoInqire"

MAX_BYTES = 8 * 1024 * 1024
PAGE_ROWS = 100
MAX_PAGES = 50
CONNECT_S, READ_S = 3.0, 10.0
ANSWER_S = 30.0
"""A whole answer must have come by then: a server that drips bytes holds nobody up."""
TRIES = 3
FIRST_WAIT_S = 1.0
"""Before the second try; twice as long before the third."""

OK_CODES = frozenset({"00", "0", "000"})
NO_DATA = frozenset({"03", "3"})
TRY_AGAIN = frozenset({"01", "02", "04", "05", "99"})
QUOTA = frozenset({"21", "22"})

LEAST_BEDS, MOST_BEDS = -500, 5000
"""Negative is meant: patients over capacity. Beyond these it is a typing error."""

FLAGS: Mapping[str, Capability] = {
    "hvventiayn": Capability.VENTILATOR,
    "hvctayn": Capability.CT,
    "hvangioayn": Capability.INTERVENTIONAL_RADIOLOGY,
    "hvecmoayn": Capability.ECMO,
}
"""Y or N now. Premature infants' ventilators (hvventisoayn) say nothing about an adult's."""
COUNTS: Mapping[Capability, tuple[str, ...]] = {
    Capability.OPERATING_ROOM: ("hvoc",),
    Capability.THORACIC_ICU: ("hvccc",),
    Capability.GENERAL_ICU: ("hvicc", "hv2", "hv3", "hv31"),
    Capability.NEGATIVE_PRESSURE_ROOM: ("hv35", "hv41"),
}
"""Free places of a kind; a capability is there while any of them is above zero."""
SEVERE_CONDITIONS: Mapping[str, Capability] = {
    "mkioskty1": Capability.CARDIOLOGY,  # reperfusion of myocardial infarction
    "mkioskty13": Capability.BRONCHOSCOPY,  # adult
    "mkioskty26": Capability.INTERVENTIONAL_RADIOLOGY,  # adult
}
"""By the numbering in force (28 conditions). Older clients number otherwise: there 1 is brain
haemorrhage, and 25, not 28, is the last. `NUMBERED_NOW` tells them apart."""
NUMBERED_NOW = frozenset({"mkioskty26", "mkioskty27", "mkioskty28"})


class FeedFailed(GoldentimeError):
    """The bed feed gave nothing usable."""

    code = "bed_feed_failed"


class QuotaSpent(FeedFailed):
    """The bed feed's daily quota is spent."""

    code = "bed_feed_quota"


@dataclass(frozen=True)
class Figures:
    """What the feed says of one hospital; None or absent = not said, or not believable.

    figure_at: the hospital's own time of its figure. problems: what was left out, and why.
    """

    hpid: str
    beds: int | None
    figure_at: datetime | None
    capabilities: dict[Capability, bool] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def said_at_start(settings: Settings) -> str:
    """One line for the log: whether the feed is on, and what to set when it is not."""
    if not settings.egen_key or not settings.egen_regions:
        return "the bed feed is off: set GOLDENTIME_EGEN_KEY and GOLDENTIME_EGEN_REGIONS"
    regions = ", ".join(settings.egen_regions)
    return f"the bed feed is on: {regions}, every {settings.egen_poll_s:g} s"


def configured(settings: Settings) -> bool:
    """Whether this process may ask the feed; others only need to know that it is expected."""
    return bool(settings.egen_key and settings.egen_regions)


def expected(settings: Settings) -> bool:
    """Whether figures of a feed are expected here, whoever asks it."""
    return bool(settings.egen_regions)


class Egen:
    """A client of the service. `sleep` is what waits between tries."""

    def __init__(self, settings: Settings, sleep: Callable[[float], object] = time.sleep) -> None:
        url = urlsplit(settings.egen_url)
        loopback = url.hostname in {"127.0.0.1", "localhost", "::1"}
        if not url.hostname or not (url.scheme == "https" or (url.scheme == "http" and loopback)):
            raise BadSetting("GOLDENTIME_EGEN_URL must be https: the key travels in the address")
        self._url = settings.egen_url.rstrip("/")
        # data.go.kr gives the key in two writings; the client library writes it anew anyway.
        self._key = unquote(settings.egen_key) if "%" in settings.egen_key else settings.egen_key
        self._sleep = sleep

    def beds(self, region: str) -> list[Figures]:
        """Live figures of one region ("서울특별시", "서울특별시/종로구"), or FeedFailed."""
        return [
            _beds_of(item) for page in self._pages(BEDS, _stages(region)) for item in items(page)
        ]

    def severe(self, region: str) -> tuple[dict[str, dict[Capability, bool]], str | None]:
        """Conditions that hospitals can take, by hospital; and why none was used, if so."""
        rows = [item for page in self._pages(SEVERE, _stages(region)) for item in items(page)]
        return severe_of(rows)

    def _pages(self, operation: str, where: Mapping[str, str]) -> Iterator[ET.Element]:
        seen = 0
        for number in range(1, MAX_PAGES + 1):
            page = self._page(operation, {**where, "pageNo": str(number)})
            yield page
            rows = len(items(page))
            seen += rows
            if rows == 0 or seen >= total(page):
                return
        raise FeedFailed(f"{operation}: more than {MAX_PAGES} pages", reason="endless")

    def _page(self, operation: str, query: Mapping[str, str]) -> ET.Element:
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(operation, query)
            except QuotaSpent:
                raise
            except FeedFailed as failure:
                if attempt == TRIES or not failure.extra.get("again"):
                    raise
                self._sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _once(self, operation: str, query: Mapping[str, str]) -> ET.Element:
        body = self._get(operation, query)
        document = read_xml(body, operation)
        code = result_code(document)
        if code in OK_CODES or code in NO_DATA:
            return document
        if code in QUOTA:
            raise QuotaSpent(f"{operation}: result code {code}: the quota is spent", reason=code)
        raise FeedFailed(
            f"{operation}: result code {code or 'missing'}", reason=code, again=code in TRY_AGAIN
        )

    def _get(self, operation: str, query: Mapping[str, str]) -> bytes:
        until = time.monotonic() + ANSWER_S
        with requests.Session() as client:
            client.trust_env = False  # no proxy and no .netrc of this machine
            try:
                with client.get(
                    f"{self._url}/{operation}",
                    params={**query, "numOfRows": str(PAGE_ROWS), "serviceKey": self._key},
                    timeout=(CONNECT_S, READ_S),
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    if answer.status_code != 200:
                        again = answer.status_code >= 500 or answer.status_code == 429
                        raise FeedFailed(
                            f"{operation}: HTTP {answer.status_code}", reason="http", again=again
                        )
                    body = b""
                    for chunk in answer.iter_content(64 * 1024):
                        body += chunk
                        if len(body) > MAX_BYTES:
                            raise FeedFailed(f"{operation}: longer than {MAX_BYTES} bytes")
                        if time.monotonic() > until:
                            raise FeedFailed(f"{operation}: slower than {ANSWER_S:g} s", again=True)
                    return body
            except requests.RequestException as error:
                # Its text holds the whole address, and so the key: only its kind is told.
                kind = type(error).__name__
                raise FeedFailed(f"{operation}: {kind}", reason="network", again=True) from None


def read_xml(body: bytes, operation: str) -> ET.Element:
    """The document, or FeedFailed when it is no harmless XML."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FeedFailed(f"{operation}: the answer is not UTF-8", reason="xml") from None
    if "<!doctype" in text.casefold():
        raise FeedFailed(f"{operation}: the answer has a DOCTYPE", reason="xml")
    try:
        # Without a DOCTYPE there is no entity to expand; the text's own encoding line is moot.
        return ET.fromstring(text)  # noqa: S314  # made harmless above
    except (ET.ParseError, ValueError, RecursionError) as error:
        raise FeedFailed(f"{operation}: the answer is no XML: {error}", reason="xml") from None


def result_code(document: ET.Element) -> str | None:
    """header/resultCode, or returnReasonCode of the gateway in front of the service."""
    for name in ("resultcode", "returnreasoncode"):
        for element in document.iter():
            if _name(element) == name:
                return (element.text or "").strip()
    return None


def total(document: ET.Element) -> int:
    """body/totalCount; 0 when it is missing or no number."""
    for element in document.iter():
        if _name(element) == "totalcount":
            try:
                return int(element.text or "")
            except ValueError:
                return 0
    return 0


def items(document: ET.Element) -> list[dict[str, str]]:
    """Every item as {field in small letters: text}; a field that stands twice keeps its first."""
    found = []
    for element in document.iter():
        if _name(element) == "item":
            row: dict[str, str] = {}
            for child in element:
                row.setdefault(_name(child), (child.text or "").strip())
            found.append(row)
    return found


def severe_of(
    rows: Sequence[Mapping[str, str]],
) -> tuple[dict[str, dict[Capability, bool]], str | None]:
    """Conditions by hospital, if they are numbered as now; else nothing, and why."""
    numbered = any(name.startswith("mkioskty") for row in rows for name in row)
    if numbered and not any(NUMBERED_NOW & row.keys() for row in rows):
        return {}, "severe conditions are numbered the old way (no MKioskTy26 to 28): not used"
    found: dict[str, dict[Capability, bool]] = {}
    for row in rows:
        if hpid := row.get("hpid"):
            said = {
                capability: answer
                for name, capability in SEVERE_CONDITIONS.items()
                if (answer := _yes_or_no(row.get(name))) is not None
            }
            found[hpid] = said
    return found, None


def _beds_of(row: Mapping[str, str]) -> Figures:
    problems: list[str] = []
    at = _time(row.get("hvidate"), problems)
    capabilities: dict[Capability, bool] = {}
    for name, capability in FLAGS.items():
        answer = _yes_or_no(row.get(name))
        if answer is not None:
            capabilities[capability] = answer
    for capability, names in COUNTS.items():
        counts = [_count(name, row.get(name), problems) for name in names]
        known = [count for count in counts if count is not None]
        if known:
            capabilities[capability] = any(count > 0 for count in known)
    return Figures(
        hpid=row.get("hpid", ""),
        beds=_count("hvec", row.get("hvec"), problems),
        figure_at=at,
        capabilities=capabilities,
        problems=tuple(problems),
    )


def _stages(region: str) -> dict[str, str]:
    first, _, second = region.partition("/")
    return {"STAGE1": first.strip(), **({"STAGE2": second.strip()} if second.strip() else {})}


def _name(element: ET.Element) -> str:
    return element.tag.casefold() if isinstance(element.tag, str) else ""


def _yes_or_no(text: str | None) -> bool | None:
    """Y, N, or N with a number behind it; anything else is not said."""
    match (text or "").strip().upper()[:1]:
        case "Y":
            return True
        case "N":
            return False
        case _:
            return None


def _count(name: str, text: str | None, problems: list[str]) -> int | None:
    if not text:
        return None
    try:
        count = int(text)
    except ValueError:
        problems.append(f"{name}: {text[:20]!r} is no whole number")
        return None
    if not LEAST_BEDS <= count <= MOST_BEDS:
        problems.append(f"{name}: {count} is outside {LEAST_BEDS} to {MOST_BEDS}")
        return None
    return count


def _time(text: str | None, problems: list[str]) -> datetime | None:
    said = text or ""
    try:
        if not re.fullmatch(r"\d{14}", said):  # strptime would make sense of shorter ones
            raise ValueError(said)
        return datetime.strptime(said + "+0900", "%Y%m%d%H%M%S%z").astimezone(UTC)
    except (ValueError, OverflowError):
        problems.append(f"hvidate: {said[:20]!r} is no time like 20261124103000")
        return None
