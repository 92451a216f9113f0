"""The bed feed against a stand-in over real HTTP: figures, traps, codes, silence, the key."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker import database, events, logs, settings as settings_
from broker.errors import BadSetting
from broker.record import Record
from broker.settings import Settings
from broker.tables import BedFeed, Case, EmergencyRoom
from dispatch import asking, beds, egen
from dispatch.egen import Egen, FeedFailed, QuotaSpent
from dispatch.rules import Capability
from tests.integration.city import City
from tests.integration.egen import KEY, Service, code, korean, recorded, serving
from workers.bed_feed import BedFeedLoop

REGION = "서울특별시"


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.fixture
def service(stand_in: Service) -> Service:
    """The stand-in as it is by default."""
    fresh = Service()
    stand_in.asked.clear()
    stand_in.answers = fresh.answers
    return stand_in


def on(settings: Settings, service: Service, **more: Any) -> Settings:
    return replace(settings, egen_url=service.url, egen_key=KEY, egen_regions=(REGION,), **more)


def client(service: Service) -> Egen:
    waited: list[float] = []
    return Egen(on(Settings(), service), sleep=waited.append)


@pytest.fixture
def loop(record: Record, service: Service) -> Iterator[BedFeedLoop]:
    """A loop over a city whose first five ERs have names in the feed."""
    made = BedFeedLoop(on(record.settings, service))
    made.client = client(service)
    city = City.found(record)
    with record.write() as session:
        for number, room in enumerate(city.rooms[:5], start=1):
            session.get_one(EmergencyRoom, room).feed_id = f"T000000{number}"
    made.city = city  # type: ignore[attr-defined]
    yield made
    made.record.close()


def rooms(record: Record) -> dict[str, EmergencyRoom]:
    with record.read() as session:
        found = session.query(EmergencyRoom).where(EmergencyRoom.feed_id.is_not(None)).all()
        return {str(room.feed_id): room for room in found}


def due(record: Record) -> None:
    """Make the feed's next turn now."""
    with record.write() as session:
        session.get_one(BedFeed, beds.FEED).due_at = database.now(session)


# --- over the wire --------------------------------------------------------------------------------


def test_figures_of_a_recorded_answer(service: Service) -> None:
    found = {f.hpid: f for f in reversed(client(service).beds(f"{REGION}/종로구"))}
    operation, query = service.asked[0]
    assert operation == egen.BEDS
    assert (query["STAGE1"], query["STAGE2"]) == (REGION, "종로구")
    assert query["serviceKey"] == KEY
    first = found["T0000001"]
    assert first.beds == 4
    assert first.figure_at is not None
    assert abs(datetime.now(UTC) - first.figure_at - timedelta(minutes=2)) < timedelta(seconds=5)
    assert first.capabilities == {
        Capability.VENTILATOR: True,
        Capability.CT: True,
        Capability.INTERVENTIONAL_RADIOLOGY: True,
        Capability.ECMO: False,
        Capability.OPERATING_ROOM: True,
        Capability.THORACIC_ICU: False,
        Capability.GENERAL_ICU: True,
        Capability.NEGATIVE_PRESSURE_ROOM: True,
    }
    over = found["T0000002"]  # capital tags; negative beds are kept; what is not Y or N is not said
    assert over.beds == -12
    assert over.capabilities == {Capability.VENTILATOR: False, Capability.GENERAL_ICU: False}
    assert found["T0000004"].beds is None
    assert found["T0000004"].problems == (
        "hvicc: 999999 is outside -500 to 5000",
        "hvec: 'NaN' is no whole number",
    )
    assert found["T0000005"].figure_at is None


def test_pages_are_followed_to_the_total(service: Service) -> None:
    def page(query: dict[str, str]) -> bytes:
        number = int(query["pageNo"])
        rows = "".join(f"<item><hpid>P{number}-{n}</hpid></item>" for n in range(2))
        head = "<header><resultCode>00</resultCode></header>"
        body = f"<items>{rows}</items><totalCount>5</totalCount>"
        return f"<response>{head}<body>{body}</body></response>".encode()

    service.beds(page)
    assert [q["pageNo"] for _, q in service.asked] == []
    found = client(service).beds(REGION)
    assert [q["pageNo"] for _, q in service.asked] == ["1", "2", "3"]
    assert len(found) == 6  # what came, whatever the total said
    service.beds(lambda _: page({"pageNo": "1"}).replace(b">5<", b">99999<"))
    with pytest.raises(FeedFailed, match="more than 50 pages"):
        client(service).beds(REGION)


@pytest.mark.parametrize("number", ["01", "02", "04", "05", "99"])
def test_passing_faults_are_tried_again_with_longer_waits(service: Service, number: str) -> None:
    answers = [code(number), code(number), recorded("beds.xml")]
    service.beds(lambda _: answers.pop(0))
    waited: list[float] = []
    assert Egen(on(Settings(), service), sleep=waited.append).beds(REGION)
    assert waited == [1.0, 2.0]
    service.beds(lambda _: code(number))
    with pytest.raises(FeedFailed, match=f"result code {number}"):
        client(service).beds(REGION)
    assert len(service.asked) == 6


@pytest.mark.parametrize(
    ("answer", "told", "tries"),
    [
        (code("22"), "result code 22: the quota is spent", 1),
        (code("30"), "result code 30", 1),
        (
            b"<OpenAPI_ServiceResponse><cmmMsgHeader><returnReasonCode>30</returnReasonCode>"
            b"</cmmMsgHeader></OpenAPI_ServiceResponse>",
            "result code 30",
            1,
        ),
        (b"<response/>", "result code missing", 1),
        (b"not xml", "is no XML", 1),
        (b"", "is no XML", 1),
        ("<response>서울</response>".encode("euc-kr"), "not UTF-8", 1),
        (b'<!DOCTYPE r [<!ENTITY a "b">]><response>&a;</response>', "has a DOCTYPE", 1),
        (b"<?xml version='1.0' encoding='utf-16'?><!doctype r><r/>", "has a DOCTYPE", 1),
        ((404, b""), "HTTP 404", 1),
        ((302, b""), "HTTP 302", 1),
        ((503, b""), "HTTP 503", 3),
        (b" " * (egen.MAX_BYTES + 1), "longer than", 1),
        (None, "ConnectionError", 3),
    ],
)
def test_answers_that_are_none(service: Service, answer: Any, told: str, tries: int) -> None:
    service.beds(lambda _: answer)
    with pytest.raises(FeedFailed, match=told) as caught:
        client(service).beds(REGION)
    assert len(service.asked) == tries
    assert KEY not in repr(caught.value)
    assert "serviceKey" not in str(caught.value)


def test_no_data_is_an_answer(service: Service) -> None:
    service.beds(lambda _: code("03"))
    assert client(service).beds(REGION) == []


def test_severe_conditions_by_the_numbering_in_force_only(service: Service) -> None:
    found, refused = client(service).severe(REGION)
    assert refused is None
    assert found == {
        "T0000001": {Capability.CARDIOLOGY: True, Capability.BRONCHOSCOPY: False}
    }  # 26 is not said
    service.severe(lambda _: recorded("severe_numbered_before.xml"))
    found, refused = client(service).severe(REGION)
    assert found == {}
    assert refused is not None
    assert "numbered the old way" in refused


def test_the_key_never_goes_over_plain_http_to_another_machine() -> None:
    for url in ("http://apis.data.go.kr/x", "ftp://127.0.0.1/x", "nonsense"):
        with pytest.raises(BadSetting, match="GOLDENTIME_EGEN_URL must be https"):
            Egen(Settings(egen_key=KEY, egen_url=url))


# --- into the record ------------------------------------------------------------------------------


def test_figures_reach_the_ers_and_nothing_older_or_from_the_future_does(
    loop: BedFeedLoop,
) -> None:
    assert loop.look()
    found = rooms(loop.record)
    assert (found["T0000001"].beds_available, found["T0000001"].beds_source) == (4, "feed")
    assert found["T0000002"].beds_available == -12
    for hpid in ("T0000003", "T0000004", "T0000005"):
        assert found[hpid].beds_available is None, hpid
    with loop.record.read() as session:
        state = beds.state(session, loop.settings)
        now = database.now(session)
        assert Capability.BRONCHOSCOPY not in beds.capabilities(found["T0000001"], now)
        assert Capability.CARDIOLOGY in beds.capabilities(found["T0000001"], now)
        assert Capability.CT in beds.capabilities(found["T0000004"], now)
    assert state["on"]
    assert state["age_s"] < 60
    report = state["report"]
    assert {key: report[key] for key in ("hospitals", "matched", "updated", "unknown")} == {
        "hospitals": 7, "matched": 5, "updated": 2, "unknown": 1
    }  # fmt: skip
    assert (report["late"], report["future"], report["twice"]) == (1, 1, 1)
    assert any("T0000004: hvec" in problem for problem in report["problems"])
    assert not loop.look(), "not due yet"


def test_a_newer_figure_by_hand_is_not_overwritten_by_an_older_one_of_the_feed(
    loop: BedFeedLoop,
) -> None:
    with loop.record.write() as session:
        room = session.query(EmergencyRoom).where(EmergencyRoom.feed_id == "T0000001").one()
        beds.set_by_hand(session, room, 1, beds.Role.EMERGENCY_ROOM)
        ahead = session.query(EmergencyRoom).where(EmergencyRoom.feed_id == "T0000002").one()
        ahead.beds_available, ahead.beds_at = 9, database.now(session) + timedelta(days=2)
    assert loop.look()
    found = rooms(loop.record)
    assert (found["T0000001"].beds_available, found["T0000001"].beds_source) == (
        1, "emergency_room"
    )  # fmt: skip
    assert found["T0000002"].beds_available == -12, "a figure from the future stands in no way"


def test_what_the_feed_says_of_capabilities_grows_old(loop: BedFeedLoop) -> None:
    city: City = loop.city  # type: ignore[attr-defined]
    with loop.record.write() as session:
        session.get_one(EmergencyRoom, city.rooms[0]).capabilities = ["ecmo", "bronchoscopy"]
    assert loop.look()
    room = rooms(loop.record)["T0000001"]
    now = datetime.now(UTC)
    assert not {Capability.ECMO, Capability.BRONCHOSCOPY} & beds.capabilities(room, now)
    later = beds.capabilities(room, now + timedelta(hours=2))
    assert later == {Capability.ECMO, Capability.BRONCHOSCOPY}, "its own list rules again"
    case_id = city.submit()
    with loop.record.read() as session:
        case = session.get_one(Case, case_id)
        (facts, *_) = asking.facts(session, case, [room], now)
    assert Capability.VENTILATOR in facts.capabilities


def test_old_severe_numbering_is_flagged_and_the_beds_are_still_taken(
    loop: BedFeedLoop, service: Service
) -> None:
    service.severe(lambda _: recorded("severe_numbered_before.xml"))
    assert loop.look()
    room = rooms(loop.record)["T0000001"]
    assert room.beds_available == 4
    assert Capability.CARDIOLOGY not in beds.capabilities(room, datetime.now(UTC))
    with loop.record.read() as session:
        report = beds.state(session, loop.settings)["report"]
    assert "numbered the old way" in report["problems"][0]


def test_a_dead_feed_says_so_once_blocks_nothing_and_comes_back(
    loop: BedFeedLoop, service: Service
) -> None:
    city: City = loop.city  # type: ignore[attr-defined]
    assert loop.look()
    service.beds(lambda _: None)
    due(loop.record)
    assert loop.look()
    with loop.record.read() as session:
        state = beds.state(session, loop.settings)
    assert "ConnectionError" in state["error"]
    assert not state["silent"]

    def alarm() -> bool:
        return loop.record.again(lambda s: beds.alarm_if_silent(s, loop.settings))

    assert not alarm(), "silent for a moment only"
    with loop.record.write() as session:
        feed = session.get_one(BedFeed, beds.FEED)
        assert feed.succeeded_at is not None
        feed.succeeded_at -= timedelta(seconds=loop.settings.bed_feed_silent_s + 1)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(alarm())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, False, False, True]
    told = city.last_event(events.CONTROL_ROOM)
    assert told.type == "alarm.bed_feed"
    assert told.body["age_s"] > 1800
    _, opened = city.offered()  # nobody waits for beds
    assert len(opened) == 3
    fresh = Service()
    service.answers = fresh.answers
    due(loop.record)
    assert loop.look()
    assert "bed_feed.back" in city.heard(events.CONTROL_ROOM)
    with loop.record.read() as session:
        assert not beds.state(session, loop.settings)["silent"]


def test_a_feed_that_never_answered_is_silent_from_when_it_was_switched_on(
    loop: BedFeedLoop,
) -> None:
    assert not loop.record.again(lambda s: beds.alarm_if_silent(s, loop.settings))
    with loop.record.write() as session:
        session.get_one(BedFeed, beds.FEED).since_at -= timedelta(hours=1)
    assert loop.record.again(lambda s: beds.alarm_if_silent(s, loop.settings))


def test_a_spent_quota_is_left_alone_for_an_hour(loop: BedFeedLoop, service: Service) -> None:
    service.beds(lambda _: code("22"))
    assert loop.look()
    assert len(service.asked) == 1
    with loop.record.read() as session:
        feed = session.get_one(BedFeed, beds.FEED)
        assert (feed.due_at - database.now(session)).total_seconds() > 3500
    with pytest.raises(QuotaSpent):
        client(service).beds(REGION)


def test_two_processes_ask_once(loop: BedFeedLoop, service: Service) -> None:
    other = BedFeedLoop(loop.settings)
    done: list[bool] = []
    threads = [
        threading.Thread(target=lambda one=one: done.append(one.look())) for one in (loop, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.record.close()
    assert sorted(done) == [False, True]
    assert [operation for operation, _ in service.asked].count(egen.BEDS) == 1


def test_off_until_configured_and_said(settings: Settings) -> None:
    assert "is off: set GOLDENTIME_EGEN_KEY" in egen.said_at_start(settings)
    chosen = settings_.from_env(
        {"GOLDENTIME_EGEN_KEY": KEY, "GOLDENTIME_EGEN_REGIONS": "서울특별시, 경기도/성남시"}
    )
    said = egen.said_at_start(chosen)
    assert said == "the bed feed is on: 서울특별시, 경기도/성남시, every 300 s"
    assert KEY not in repr(chosen)


def test_the_key_is_in_no_log_even_at_debug(
    loop: BedFeedLoop, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.getLogger("urllib3").level)
    try:
        logs.set_up(replace(loop.settings, log_level="DEBUG"), "bed_feed")
        logging.getLogger("a.library").debug("logging works")
        due_now = loop.look()
        service.beds(lambda _: None)
        due(loop.record)
        loop.look()
    finally:
        root.handlers[:], level, quiet = before
        root.setLevel(level)
        logging.getLogger("urllib3").setLevel(quiet)
    assert due_now
    said = capfd.readouterr().err
    assert "logging works" in said
    for canary in (KEY, "canary", "serviceKey"):
        assert canary not in said
    with loop.record.read() as session:
        feed = session.get_one(BedFeed, beds.FEED)
    assert "canary" not in f"{feed.error} {feed.report}"


def test_korean_time_is_nine_hours_ahead() -> None:
    problems: list[str] = []
    assert egen._time("20260101083000", problems) == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert egen._time(korean(), problems) is not None
    assert problems == []
    for wrong in ("", "2026010108300", "20261301083000", "0000000000000x", "99999999999999"):
        assert egen._time(wrong, problems) is None
    assert len(problems) == 5
