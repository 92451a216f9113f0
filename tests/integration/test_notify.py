"""The second channel: planned once, signed, sent until taken, silent about the patient."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from broker import check, events
from broker.errors import Invalid
from broker.lifecycle import (
    Channel,
    DeclineReason,
    NotificationStatus,
    NotificationStep,
    OfferStatus,
    ReadingKind,
)
from broker.record import Record
from broker.settings import Settings
from broker.tables import AuditEntry, Notification
from dispatch import notify
from dispatch.offers import Decision
from tests.integration.city import City
from tests.integration.receivers import Gateway, MailServer, gateway, mail_server
from web import registry
from workers.delivering import deliver
from workers.upkeep import Upkeep

SECRET = "a secret of the tests that is long enough"
SENT, PENDING, FAILED, DROPPED = (
    NotificationStatus.SENT,
    NotificationStatus.PENDING,
    NotificationStatus.FAILED,
    NotificationStatus.DROPPED,
)


@pytest.fixture
def pager() -> Iterator[Gateway]:
    with gateway() as running:
        yield running


@pytest.fixture
def post_office() -> Iterator[MailServer]:
    with mail_server() as running:
        yield running


@pytest.fixture
def told(record: Record, pager: Gateway, post_office: MailServer) -> City:
    """A city whose ERs all have a pager and a mailbox."""
    configure(
        record,
        webhook_secret=SECRET,
        webhook_hosts=("127.0.0.1",),
        smtp_url=f"smtp://127.0.0.1:{post_office.port}",
        mail_from="goldentime@example.org",
    )
    city = City.found(record, rooms=4)
    city.change_rooms(notify_webhook=pager.address, notify_email="er@example.org")
    return city


def configure(record: Record, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(record.settings, name, value)


def rows(city: City) -> Sequence[Notification]:
    with city.record.read() as session:
        return session.scalars(select(Notification).order_by(Notification.created_at)).all()


def due(city: City) -> Sequence[object]:
    with city.record.read() as session:
        return notify.due(session)


def deliver_all(city: City) -> None:
    for row in rows(city):
        deliver(city.record, row.id)


def make_due(city: City) -> None:
    """As if an hour had gone by."""
    with city.record.write() as session:
        for row in session.scalars(select(Notification)):
            row.due_at -= timedelta(hours=1)


def kinds(city: City) -> set[tuple[NotificationStep, Channel]]:
    return {(row.step, row.channel) for row in rows(city)}


def test_nothing_is_planned_until_it_is_configured(city: City, pager: Gateway):
    city.change_rooms(notify_webhook=pager.address, notify_email="er@example.org")
    case_id, _ = city.offered(crew_pre_ktas=1)
    city.let_pass(case_id, 30)
    city.advance(case_id)
    assert rows(city) == []
    on, said = notify.configured(city.settings)
    assert on == frozenset()
    assert "webhooks are off" in said
    assert "e-mail is off" in said


def test_an_urgent_case_is_told_at_once_and_reminded_once(told: City):
    case_id, opened = told.offered(crew_pre_ktas=2)
    assert kinds(told) == {(NotificationStep.OFFERED, c) for c in Channel}
    assert len(rows(told)) == 2 * len(opened)
    told.let_pass(case_id, 25)
    told.advance(case_id)
    told.advance(case_id)
    assert kinds(told) == {(s, c) for s in NotificationStep for c in Channel}
    assert len(rows(told)) == 4 * len(opened)


def test_another_case_is_told_at_the_reminder_and_only_silent_ers(told: City):
    case_id, opened = told.offered(crew_pre_ktas=4)
    assert rows(told) == []
    told.decide(opened[0], Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    told.let_pass(case_id, 130)
    told.advance(case_id)
    assert kinds(told) == {(NotificationStep.REMINDED, c) for c in Channel}
    silent = told.offers(case_id, OfferStatus.REQUESTED)  # with the one asked in its place
    assert {row.offer_id for row in rows(told)} == {o.id for o in silent}
    assert {o.id for o in silent} > {o.id for o in opened[1:]}


def test_findings_that_make_a_case_urgent_are_told_at_once(told: City):
    case_id = told.submit_film(crew_pre_ktas=3, age_years=60.0)
    told.let_pass(case_id, 5)
    told.advance(case_id)
    assert rows(told) == []
    told.read(told.claim(ReadingKind.CLASSIFY), "Pneumothorax", score=0.99)
    acuity = told.case(case_id).acuity
    assert (kinds(told) == {(NotificationStep.OFFERED, c) for c in Channel}) == (acuity == 2)


def test_an_er_without_an_address_is_left_out(told: City):
    told.change_rooms(notify_webhook=None)
    told.offered(crew_pre_ktas=1)
    assert {row.channel for row in rows(told)} == {Channel.EMAIL}


def test_what_goes_out_is_signed_and_names_no_patient(
    told: City, pager: Gateway, post_office: MailServer
):
    case_id, opened = told.offered(
        crew_pre_ktas=1,
        complaint="Canary complaint",
        patient={"name": "Canary Gildong", "identifier": "CANARY-1", "phone": "010-9999-0000"},
    )
    deliver_all(told)
    assert {row.status for row in rows(told)} == {SENT}
    assert len(pager.taken) == len(post_office.taken) == 3
    for headers, body in pager.taken:
        stamp, _ = headers[notify.SIGNATURE_HEADER].split(",")
        expected = notify.signature(SECRET, int(stamp.removeprefix("t=")), body)
        assert headers[notify.SIGNATURE_HEADER] == expected
        assert expected != notify.signature(SECRET, int(stamp.removeprefix("t=")), body + b" ")
        said = json.loads(body)
        assert set(said) == {
            *("notification_id", "step", "offer_id", "case_id", "acuity", "assigned"),
            *("emergency_room", "link"),
        }
        assert said["case_id"] == str(case_id)
        assert said["link"] == f"{told.settings.public_url}/er?offer={said['offer_id']}"
        assert headers["Idempotency-Key"] == said["notification_id"]
        assert b"Canary" not in body
    for to, text in post_office.taken:
        assert to == "er@example.org"
        assert "/er?offer=" in text
        assert "canary" not in text.lower()
    assert {json.loads(body)["offer_id"] for _, body in pager.taken} == {str(o.id) for o in opened}
    assert check.run(told.record).violations == []


def test_it_is_sent_again_with_patience_until_it_is_taken(told: City, pager: Gateway):
    told.change_rooms(notify_email=None)
    configure(told.record, offers_per_round=1)
    told.offered(crew_pre_ktas=1)
    pager.answers[:] = [503, 302, 204]
    waits = []
    for _ in range(3):
        deliver_all(told)
        (row,) = rows(told)
        waits.append((row.due_at - row.created_at).total_seconds())
        deliver_all(told)  # not due yet: a bell too many sends nothing
        make_due(told)
    assert row.status is SENT
    assert row.attempt == 3
    assert len(pager.taken) == 3  # the redirect was not followed
    assert 1.5 < waits[0] < 4 < waits[1] + 0.5


def test_after_the_last_try_it_is_given_up_aloud(told: City, pager: Gateway):
    told.change_rooms(notify_email=None)
    configure(told.record, offers_per_round=1)
    told.offered(crew_pre_ktas=1)
    pager.answers[:] = [500]
    for _ in range(notify.TRIES + 2):
        make_due(told)
        deliver_all(told)
    (row,) = rows(told)
    assert row.status is FAILED
    assert row.error == "the webhook answered 500"
    assert len(pager.taken) == notify.TRIES
    assert told.heard(events.CONTROL_ROOM)[-1] == "notification.failed"
    with told.record.read() as session:
        actions = session.scalars(select(AuditEntry.action)).all()
    assert "notification.failed" in actions


def test_an_answer_makes_it_needless(told: City, pager: Gateway, post_office: MailServer):
    _, opened = told.offered(crew_pre_ktas=1)
    told.decide(opened[0], Decision.ACCEPT)
    deliver_all(told)
    assert {row.status for row in rows(told)} == {DROPPED}
    assert pager.taken == post_office.taken == []


def test_many_that_deliver_at_once_send_it_once(
    told: City, pager: Gateway, monkeypatch: pytest.MonkeyPatch
):
    told.change_rooms(notify_email=None)
    configure(told.record, offers_per_round=1)
    told.offered(crew_pre_ktas=1)
    (row,) = rows(told)
    if told.record.engine.dialect.name == "postgresql":  # SQLite lets one write at a time
        all_have_looked, claims = threading.Barrier(5), itertools.count()

        def together(*args: object, mine=notify._mine, **values: object) -> bool:
            if next(claims) < 5:
                all_have_looked.wait(20)
            return mine(*args, **values)

        monkeypatch.setattr(notify, "_mine", together)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: deliver(told.record, row.id), range(5)))
    assert len(pager.taken) == 1
    assert rows(told)[0].status is SENT


def test_a_sender_that_died_is_followed_by_another(told: City, pager: Gateway):
    told.change_rooms(notify_email=None)
    configure(told.record, offers_per_round=1)
    told.offered(crew_pre_ktas=1)
    (row,) = rows(told)
    dead = told.do(notify.claim, told.settings, row.id)
    assert dead is not None
    assert due(told) == []
    make_due(told)
    deliver(told.record, row.id)
    assert len(pager.taken) == 1
    told.do(notify.failed, dead, "a late word of the dead one")
    assert rows(told)[0].status is SENT


def test_upkeep_sends_what_no_worker_sent(told: City, pager: Gateway):
    told.change_rooms(notify_email=None)
    told.offered(crew_pre_ktas=1)
    make_due(told)
    upkeep = Upkeep(told.settings)
    object.__setattr__(upkeep, "record", told.record)

    class OneLook:
        looked = False

        def wait(self, _s: float) -> bool:
            self.looked, before = True, self.looked
            return before

    object.__setattr__(upkeep, "over", OneLook())
    upkeep._deliver()
    assert len(pager.taken) == 3


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("http://pager.example.org/x", "https"),
        ("ftp://127.0.0.1/x", "https"),
        ("https://user:pw@pager.example.org/", "no name or password"),
        ("https:///x", "host"),
        ("http://127.0.0.1.example.org/", "https"),
        ("https://elsewhere.example.org/", "not among"),
        ("https://169.254.169.254/latest", "not among"),
        ("https://2130706433/", "not among"),
    ],
)
def test_a_webhook_goes_only_where_it_may(told: City, pager: Gateway, address: str, fault: str):
    assert fault in (notify.webhook_fault(address, ("pager.example.org",)) or "")
    told.change_rooms(notify_webhook=address, notify_email=None)
    told.offered(crew_pre_ktas=1)
    deliver_all(told)
    assert pager.taken == []
    assert {row.status for row in rows(told)} == {PENDING}


def test_an_allowed_host_may(settings: Settings):
    assert notify.webhook_fault("https://pager.example.org/x", ("pager.example.org",)) is None
    assert notify.webhook_fault("https://pager.example.org:8443/", ("pager.example.org",)) is None


def test_addresses_come_with_the_city_file(record: Record):
    facts = {"name": "A", "latitude": 37.5, "longitude": 127.0}
    with record.write() as session:
        room = registry.put_emergency_room(
            session,
            {
                **facts,
                "notify_email": "er@example.org",
                "notify_webhook": "https://pager.example.org/1",
            },
        )
        assert room.notify_email == "er@example.org"
        assert room.notify_webhook == "https://pager.example.org/1"
        with pytest.raises(Invalid, match="https"):
            registry.put_emergency_room(session, {**facts, "notify_webhook": "http://a.example/"})
        with pytest.raises(Invalid, match="e-mail"):
            registry.put_emergency_room(session, {**facts, "notify_email": "nobody"})
