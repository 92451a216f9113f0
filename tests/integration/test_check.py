"""`goldentime check` sees each broken promise, and nothing where none is broken."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text, update
from sqlalchemy.orm import Session

from broker import check, health, invariants, settings as settings_
from broker.imagestore import ImageStore
from broker.lifecycle import (
    CaseStatus,
    Channel,
    DeclineReason,
    NotificationStatus,
    NotificationStep,
    OfferStatus,
    ReadingKind,
)
from broker.record import Record
from broker.settings import Settings
from broker.tables import (
    AudienceSequence,
    Case,
    Event,
    Finding,
    Image,
    Notification,
    Offer,
    Reading,
)
from dispatch import transport
from dispatch.offers import Decision
from tests.conftest import IDENTITY_KEYS
from tests.integration.city import City

FILM = b"not a film, but bytes with a hash"


@pytest.fixture(scope="module")
def lived(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """A city after one case of each kind; every test leaves it as it was."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("lived"),
        database_url=module_database_url,
        identity_keys=IDENTITY_KEYS,
        node="test",
    )
    record = Record(settings)
    city = City.found(record)
    _, opened = city.offered()
    city.decide(opened[0], Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    city.decide(opened[1], Decision.ACCEPT)
    city.offered()
    closed, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    city.do(transport.arrive, settings, city.crew, closed)
    city.do(transport.close, city.crew, closed)
    cancelled, _ = city.offered()
    city.do(transport.cancel, city.crew, cancelled, "called off")
    film = city.submit_film()
    city.read(city.claim(ReadingKind.CLASSIFY), "Mass")
    city.claim(ReadingKind.DETECT)
    store, name = ImageStore(settings), hashlib.sha256(FILM).hexdigest()
    with store.incoming() as (upload, rendition):
        upload.write_bytes(FILM)
        rendition.write_bytes(FILM + b"!")
        store.keep(upload, film, name)
        other = hashlib.sha256(FILM + b"!").hexdigest()
        store.keep(rendition, film, other)
    with record.write() as session:
        session.execute(
            update(Image).values(sha256=name, rendition_sha256=other, byte_count=len(FILM))
        )
    yield city
    record.close()


def first(session: Session, status: CaseStatus) -> Case:
    case = session.query(Case).filter_by(status=status).first()
    assert case is not None
    return case


def only_film(city: City) -> Path:
    (path,) = city.settings.images.rglob(hashlib.sha256(FILM).hexdigest())
    return path


def two_accepted(city: City, session: Session) -> None:
    for offer in first(session, CaseStatus.OFFERING).offers[:2]:
        offer.status = OfferStatus.ACCEPTED


def nobody_holds(city: City, session: Session) -> None:
    session.execute(
        update(Offer).where(Offer.status == OfferStatus.ACCEPTED).values(status=OfferStatus.EXPIRED)
    )


def open_and_held(city: City, session: Session) -> None:
    first(session, CaseStatus.ASSIGNED).offers[2].status = OfferStatus.REQUESTED


def open_and_over(city: City, session: Session) -> None:
    first(session, CaseStatus.CANCELLED).offers[0].status = OfferStatus.RECEIVED


def no_reason(city: City, session: Session) -> None:
    session.execute(update(Offer).values(reason_code=None))


def no_deadline(city: City, session: Session) -> None:
    first(session, CaseStatus.OFFERING).deadline_at = None


def silence(city: City, session: Session) -> None:
    case = first(session, CaseStatus.OFFERING)
    assert case.deadline_at
    case.deadline_at = case.received_at.replace(year=2020)


def lost_event(city: City, session: Session) -> None:
    session.execute(text("DELETE FROM events WHERE audience = 'control_room' AND seq = 3"))


def wrong_sequence(city: City, session: Session) -> None:
    session.execute(update(AudienceSequence).values(seq=AudienceSequence.seq + 1))


def log_gone(city: City, session: Session) -> None:
    session.query(Event).filter_by(audience="control_room").delete()


def no_lease(city: City, session: Session) -> None:
    session.execute(update(Reading).where(Reading.status == "running").values(lease_until_at=None))


def old_lease(city: City, session: Session) -> None:
    for row in session.query(Reading).filter(Reading.lease_until_at.is_not(None)):
        row.lease_until_at = row.created_at.replace(year=2020)


def early_findings(city: City, session: Session) -> None:
    row = session.query(Reading).filter_by(status="running").one()
    session.add(Finding(reading_id=row.id, rank=1, label="x", score=0.1, above_threshold=False))


def unsent(city: City, session: Session) -> None:
    long_ago = first(session, CaseStatus.OFFERING).received_at.replace(year=2020)
    session.add(
        Notification(
            offer_id=session.query(Offer).first().id,
            step=NotificationStep.OFFERED,
            channel=Channel.EMAIL,
            status=NotificationStatus.PENDING,
            due_at=long_ago,
            created_at=long_ago,
        )
    )


BROKEN: dict[Callable[[City, Session], None], str] = {
    two_accepted: "2 emergency rooms hold it",
    nobody_holds: "no emergency room holds it",
    open_and_held: "is assigned",
    open_and_over: "is cancelled",
    no_reason: "rejected without a reason",
    no_deadline: "without a deadline",
    silence: "behind its deadline",
    lost_event: "audience control_room",
    wrong_sequence: "its sequence says",
    log_gone: "has no events",
    no_lease: "running without a lease",
    old_lease: "nobody rescued it",
    early_findings: "has findings, but is not done",
    unsent: "nobody sent it",
}


def test_a_lived_in_record_holds(lived: City, capsys: pytest.CaptureFixture[str]):
    report = check.run(lived.record, hashes=True)
    assert report.violations == []
    assert report.notes == []
    lived.check()


@pytest.mark.parametrize("harm", BROKEN, ids=lambda harm: harm.__name__)
def test_each_broken_promise_is_seen(lived: City, harm: Callable[[City, Session], Any]):
    with lived.record.engine.connect() as connection:
        let_everything_in(connection)
        with Session(connection) as session:
            harm(lived, session)
            session.flush()
            found = invariants.rows(session, lived.settings)
        connection.rollback()
    assert [line for line in found if BROKEN[harm] in line], found


def test_harm_to_a_film_is_seen(lived: City):
    path = only_film(lived)
    try:
        path.unlink()
        (said,) = check.run(lived.record).violations
        assert "not in the store" in said
        path.write_bytes(FILM[:-1])
        (said,) = check.run(lived.record).violations
        assert f"{len(FILM) - 1} bytes in the store, {len(FILM)} in the record" in said
        path.write_bytes(FILM[::-1])  # only its hash can tell
        assert check.run(lived.record).violations == []
        (said,) = check.run(lived.record, hashes=True).violations
        assert "another SHA-256" in said
    finally:
        path.write_bytes(FILM)


def test_an_orphan_is_a_note_and_no_fault(lived: City):
    orphan = only_film(lived).with_name("0" * 64)
    orphan.write_bytes(b"x")
    report = check.run(lived.record)
    orphan.unlink()
    assert report.violations == []
    assert "1 files in the store belong to no row" in report.notes[0]


def test_the_command_tells_by_line_and_exit_status(
    lived: City, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(settings_, "from_env", lambda: lived.settings)
    path = only_film(lived)
    assert check.main(["--stopped"]) == 0
    assert capsys.readouterr().out == "all invariants hold\n"
    path.unlink()
    status = check.main(["--hashes", "--stopped"])
    path.write_bytes(FILM)
    assert status == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("not in the store")


def test_nothing_is_judged_by_the_clock_when_all_is_stopped(lived: City):
    with Session(lived.record.engine) as session:
        silence(lived, session)
        session.flush()
        assert invariants.rows(session, lived.settings)
        assert invariants.rows(session, lived.settings, stopped=True) == []


def test_tables_of_a_later_version_are_no_fault_and_of_an_earlier_one_are(lived: City):
    """In the middle of an update the tables are expanded first; the code follows."""

    def at(version: str) -> check.Report:
        with lived.record.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :at"), {"at": version})
        return check.run(lived.record, stopped=True)  # nobody works off its deadlines here

    with lived.record.read() as session:
        head = health.revision(session)
    assert head
    try:
        later = at("9999")
        assert (later.violations, len(later.notes)) == ([], 1)
        assert "run goldentime migrate" in at("0003").violations[0]
    finally:
        at(head)


def test_a_database_without_tables_is_one_line(tmp_path: Path):
    record = Record(dataclasses.replace(Settings(), data_dir=tmp_path))
    (line,) = check.run(record).violations
    assert "goldentime migrate" in line
    record.close()


def let_everything_in(connection: Connection) -> None:
    """Take away the database's own refusals, which would stop most of the harm before us."""
    connection.exec_driver_sql("DROP INDEX uq_offers_one_accepted")
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        return
    for table, name in connection.exec_driver_sql(
        "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c' "
        "AND conrelid IN ('cases'::regclass, 'offers'::regclass, 'readings'::regclass)"
    ).all():
        connection.exec_driver_sql(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
