"""`goldentime check`: is everything that must always be true of the record true just now?

Looks at rows and files only, through SQL of its own rather than the services that wrote them, so
that a fault there is seen here. Never writes. An operator may run it at any time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.orm import Session

from broker import database, health, keyring, seals, settings as settings_
from broker.errors import IdentityUnreadable, NotFound
from broker.imagestore import ImageStore, sha256_of
from broker.lifecycle import (
    HELD_CASES,
    LIVE_CASES,
    OPEN_OFFERS,
    SEEKING_CASES,
    TERMINAL_CASES,
    NotificationStatus,
    OfferStatus,
    ReadingStatus,
)
from broker.record import Record
from broker.settings import Settings
from broker.tables import (
    AudienceSequence,
    Case,
    ElsewherePlacement,
    Event,
    Finding,
    Image,
    Notification,
    Offer,
    Patient,
    PatientIdentity,
    PatientMerge,
    Reading,
)

MANY = 20
"""Lines about the audit after which the rest is not worth reading."""
OVERDUE_S = 10.0
"""A live case or a lease this long behind its deadline waits in silence (RELIABILITY P8)."""


UNSENT_S = 60.0
"""A notification this late is one that nobody sends; each try may take seconds."""


@dataclass(frozen=True)
class Stored:
    """What a row says about one file of the image store."""

    case_id: UUID
    sha256: str
    byte_count: int | None
    """None where the row keeps no length (renditions)."""


@dataclass
class Report:
    """What was found; `notes` are information and no fault."""

    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(
    record: Record,
    *,
    hashes: bool = False,
    stopped: bool = False,
    audit: bool = True,
    kept: seals.Head | None = None,
) -> Report:
    """Check rows, the audit's chain, then files; one line per violation, none when all is well.

    hashes: read every image and compare its SHA-256; otherwise existence and length only.
    stopped: the installation does not run, so that late deadlines are nobody's fault.
    audit: follow the chain of seals from its beginning; on years of rows that takes minutes.
    kept: a seal that was written down elsewhere and must still be there.
    """
    report = Report()
    sqlite = record.engine.dialect.name == "sqlite"
    with record.read() as session:
        if not sqlite:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            session.execute(text("SET LOCAL statement_timeout = 0"))
        if wrong := health.schema(session):
            return Report([f"tables: {wrong}"])
        if later := health.of_a_later_version(session):
            report.notes.append(f"the tables are at {later}, a later version's: only what we know")
        if not sqlite:
            report.violations += rows(session, record.settings, thorough=hashes, stopped=stopped)
        stored = list(images(session))
    if sqlite:
        # One unit per rule: a reader of SQLite holds every writer back until it has read all.
        for rule in _rules(record.settings, thorough=hashes, stopped=stopped):
            with record.read() as session:
                report.violations += rule(session)
    if audit:
        report.violations += islice(seals.verify(record), MANY)
    if kept is not None:
        with record.read() as session:
            if not seals.holds(session, kept):
                report.violations.append(
                    f"audit: seal {kept.number} is not the one that was kept: entries were taken "
                    "off the end, or all of them were sealed anew"
                )
    # Files after the transaction: they outlive rows, and reading them all may take a while.
    store = ImageStore(record.settings)
    report.violations += _files(store, stored, hashes=hashes)
    report.notes += _orphans(store.root, stored)
    return report


def rows(
    session: Session, settings: Settings, *, thorough: bool = False, stopped: bool = False
) -> list[str]:
    """What is wrong with the rows that this session sees; `stopped` as in run()."""
    return [
        line
        for rule in _rules(settings, thorough=thorough, stopped=stopped)
        for line in rule(session)
    ]


def _rules(
    settings: Settings, *, thorough: bool, stopped: bool
) -> list[Callable[[Session], Iterator[str]]]:
    """Each judges by itself, so that a snapshot across them is not needed."""
    return [
        partial(_sqlite, thorough=thorough),
        _offers,
        _cases,
        _readings,
        _events,
        seals.guards,
        partial(_patients, settings=settings, thorough=thorough),
        *([] if stopped else [partial(_late, settings=settings)]),
    ]


def images(session: Session) -> Iterator[Stored]:
    """Every file that a row speaks of: originals and renditions."""
    for case_id, original, byte_count, rendition in session.execute(
        select(Image.case_id, Image.sha256, Image.byte_count, Image.rendition_sha256)
    ):
        yield Stored(case_id, original, byte_count)
        if rendition != original:
            yield Stored(case_id, rendition, None)


def main(argv: list[str]) -> int:
    """`goldentime check`: look for anything in the record that must never be."""
    parser = argparse.ArgumentParser(
        prog="goldentime check",
        description="Check database and image store. Writes nothing; exit status 1 and one line "
        "per violation when something is wrong.",
        epilog="example: goldentime check --hashes",
    )
    parser.add_argument("--hashes", action="store_true", help="read every image and its hash")
    parser.add_argument(
        "--stopped", action="store_true", help="nothing runs: do not judge deadlines"
    )
    parser.add_argument(
        "--sealed",
        metavar="NUMBER:DIGEST",
        type=seals.Head.parse,
        help="a seal of the audit that you kept elsewhere (upkeep logs one each hour, a backup "
        "keeps one): it must still be there",
    )
    options = parser.parse_args(argv)
    record = Record(settings_.from_env())
    try:
        report = run(record, hashes=options.hashes, stopped=options.stopped, kept=options.sealed)
    finally:
        record.close()
    for line in report.violations:
        print(line)
    for line in report.notes:
        print(f"note: {line}")
    if report.violations:
        return 1
    print("all invariants hold")
    return 0


def _sqlite(session: Session, *, thorough: bool) -> Iterator[str]:
    """SQLite's own look at its pages, CHECKs and foreign keys; PostgreSQL has no such question."""
    if session.get_bind().dialect.name != "sqlite":
        return
    for (said,) in session.execute(
        text("PRAGMA integrity_check" if thorough else "PRAGMA quick_check")
    ):
        if said != "ok":
            yield f"database: {said}"
    for row in session.execute(text("PRAGMA foreign_key_check")):
        yield f"database: a row of {row[0]} points at a {row[2]} that does not exist"


def _offers(session: Session) -> Iterator[str]:
    held_twice = (
        select(Offer.case_id, func.count())
        .where(Offer.status == OfferStatus.ACCEPTED)
        .group_by(Offer.case_id)
        .having(func.count() > 1)
    )
    for case_id, count in session.execute(held_twice):
        yield f"case {case_id}: {count} emergency rooms hold it"
    accepted = (
        select(Offer.id)
        .where(Offer.case_id == Case.id, Offer.status == OfferStatus.ACCEPTED)
        .exists()
    )
    elsewhere = (
        select(ElsewherePlacement.id)
        .where(ElsewherePlacement.case_id == Case.id, ElsewherePlacement.ended_at.is_(None))
        .exists()
    )
    for case_id, status in session.execute(
        select(Case.id, Case.status).where(Case.status.in_(HELD_CASES), ~accepted, ~elsewhere)
    ):
        yield f"case {case_id}: {status}, but no emergency room holds it"
    for case_id, status in session.execute(
        select(Case.id, Case.status).where(Case.status.in_(SEEKING_CASES), accepted)
    ):
        yield f"case {case_id}: {status}, but an emergency room holds it"
    for case_id, status in session.execute(
        select(Case.id, Case.status).where(elsewhere, or_(accepted, Case.status.in_(SEEKING_CASES)))
    ):
        yield f"case {case_id}: {status}, but a hospital outside has it"
    still_open = select(Offer.id, Case.id, Case.status, Offer.status).where(
        Offer.case_id == Case.id,
        Offer.status.in_(OPEN_OFFERS),
        Case.status.in_(TERMINAL_CASES | HELD_CASES),
    )
    for offer_id, case_id, case_status, offer_status in session.execute(still_open):
        yield f"offer {offer_id}: {offer_status}, but case {case_id} is {case_status}"
    for (offer_id,) in session.execute(
        select(Offer.id).where(Offer.status == OfferStatus.REJECTED, Offer.reason_code.is_(None))
    ):
        yield f"offer {offer_id}: rejected without a reason"


def _cases(session: Session) -> Iterator[str]:
    for case_id, status in session.execute(
        select(Case.id, Case.status).where(Case.status.in_(LIVE_CASES), Case.deadline_at.is_(None))
    ):
        yield f"case {case_id}: {status} without a deadline"
    for case_id, status in session.execute(
        select(Case.id, Case.status).where(
            Case.status.in_(TERMINAL_CASES), Case.deadline_at.is_not(None)
        )
    ):
        yield f"case {case_id}: {status}, but with a deadline"


def _readings(session: Session) -> Iterator[str]:
    running = Reading.status == ReadingStatus.RUNNING
    leased = and_(Reading.lease_until_at.is_not(None), Reading.lease_owner.is_not(None))
    ended = Reading.status.in_([ReadingStatus.DONE, ReadingStatus.FAILED])
    rules: list[tuple[Any, str]] = [
        (and_(running, ~leased), "running without a lease"),
        (and_(~running, Reading.lease_until_at.is_not(None)), "not running, but leased"),
        (and_(running, Reading.attempt < 1), "running before its first attempt"),
        (and_(ended, Reading.finished_at.is_(None)), "ended at no time"),
        (and_(~ended, Reading.finished_at.is_not(None)), "not ended, but with a time of its end"),
        (
            and_(Reading.status == ReadingStatus.DONE, Reading.model["sha256"].is_(None)),
            "done by no known model",
        ),
        (
            and_(
                Reading.status != ReadingStatus.DONE,
                select(Finding.id).where(Finding.reading_id == Reading.id).exists(),
            ),
            "has findings, but is not done",
        ),
    ]
    for rule, said in rules:
        for reading_id, status in session.execute(select(Reading.id, Reading.status).where(rule)):
            yield f"reading {reading_id}: {status}: {said}"
    for reading_id, image_id in session.execute(
        select(Reading.id, Image.id).where(
            Image.id == Reading.image_id, Image.case_id != Reading.case_id
        )
    ):
        yield f"reading {reading_id}: of another case than its image {image_id}"


def _events(session: Session) -> Iterator[str]:
    logs = (
        select(
            Event.audience,
            func.count().label("count"),
            func.min(Event.seq).label("first"),
            func.max(Event.seq).label("last"),
        )
        .group_by(Event.audience)
        .subquery()
    )
    for audience, count, first, last, seq in session.execute(
        select(logs, AudienceSequence.seq).outerjoin(
            AudienceSequence, AudienceSequence.audience == logs.c.audience
        )
    ):
        if first != 1 or last != count:
            yield f"audience {audience}: {count} events are numbered {first} to {last}"
        if seq != last:
            yield f"audience {audience}: its last event is {last}, its sequence says {seq}"
    for audience, seq in session.execute(
        select(AudienceSequence.audience, AudienceSequence.seq).where(
            AudienceSequence.seq > 0,
            ~select(Event.seq).where(Event.audience == AudienceSequence.audience).exists(),
        )
    ):
        yield f"audience {audience}: its sequence says {seq}, but it has no events"


def _patients(session: Session, *, settings: Settings, thorough: bool) -> Iterator[str]:
    """Identities that nobody can read, or that anybody could; merges that contradict the rows."""
    keys = keyring.of(settings) if settings.identity_keys else None
    known = keys.ids if keys else ()
    for key_id, count in session.execute(
        select(PatientIdentity.key_id, func.count())
        .where(PatientIdentity.key_id.not_in(known))
        .group_by(PatientIdentity.key_id)
    ):
        yield (
            f"{count} identities are encrypted with key {key_id}, which is not among "
            "GOLDENTIME_IDENTITY_KEYS: they cannot be read"
        )
    if thorough and keys:
        rows = session.execute(
            select(PatientIdentity.patient_id, PatientIdentity.token).where(
                PatientIdentity.key_id.in_(known)
            )
        ).all()
        for patient_id, token in rows:
            try:
                keys.decrypt(patient_id, token)
            except IdentityUnreadable as error:
                yield f"patient {patient_id}: {error.message}"
    plain = or_(
        Patient.plain_name.is_not(None),
        Patient.plain_identifier.is_not(None),
        Patient.plain_phone.is_not(None),
    )
    if unhidden := session.scalar(select(func.count()).select_from(Patient).where(plain)):
        yield f"{unhidden} identities are not encrypted: run goldentime encrypt"
    absorbed = (
        select(PatientMerge.id)
        .where(PatientMerge.absorbed_id == Patient.id, PatientMerge.split_at.is_(None))
        .exists()
    )
    for (patient_id,) in session.execute(
        select(Patient.id).where(Patient.root_id != Patient.id, ~absorbed)
    ):
        yield f"patient {patient_id}: part of another one, but no merge says so"
    for (patient_id,) in session.execute(
        select(Patient.id).where(Patient.root_id == Patient.id, absorbed)
    ):
        yield f"patient {patient_id}: merged, but stands for itself"


def _late(session: Session, settings: Settings) -> Iterator[str]:
    now = database.now(session)
    # Upkeep looks no oftener than this, however much the deadlines are scaled down.
    before = now - timedelta(seconds=max(settings.scaled(OVERDUE_S), settings.sweep_s))
    for case_id, status, deadline_at in session.execute(
        select(Case.id, Case.status, Case.deadline_at).where(
            Case.status.in_(LIVE_CASES), Case.deadline_at < before
        )
    ):
        assert deadline_at is not None  # the query asked
        late_s = (now - deadline_at).total_seconds()
        yield f"case {case_id}: {status}, {late_s:.0f} s behind its deadline"
    for reading_id, lease_until_at in session.execute(
        select(Reading.id, Reading.lease_until_at).where(
            Reading.status == ReadingStatus.RUNNING,
            Reading.lease_until_at < now - timedelta(seconds=OVERDUE_S),
        )
    ):
        assert lease_until_at is not None
        late_s = (now - lease_until_at).total_seconds()
        yield f"reading {reading_id}: its lease ran out {late_s:.0f} s ago and nobody rescued it"

    for notification_id, due_at in session.execute(
        select(Notification.id, Notification.due_at).where(
            Notification.status == NotificationStatus.PENDING,
            Notification.due_at < now - timedelta(seconds=UNSENT_S),
        )
    ):
        late_s = (now - due_at).total_seconds()
        yield f"notification {notification_id}: due {late_s:.0f} s ago and nobody sent it"


def _files(store: ImageStore, stored: Iterable[Stored], *, hashes: bool) -> Iterator[str]:
    for item in stored:
        name = f"image {item.sha256[:12]} of case {item.case_id}"
        try:
            path = store.path(item.case_id, item.sha256)
        except NotFound:
            yield f"{name}: not in the store"
            continue
        length = path.stat().st_size
        if length == 0 or (item.byte_count is not None and length != item.byte_count):
            yield f"{name}: {length} bytes in the store, {item.byte_count or 'some'} in the record"
        elif hashes and sha256_of(path) != item.sha256:
            yield f"{name}: its bytes have another SHA-256"


def _orphans(root: Path, stored: Iterable[Stored]) -> Iterator[str]:
    """Files that no row speaks of: a submission that was never answered, or one under way."""
    known = {(item.case_id.hex, item.sha256) for item in stored}
    found = [
        path
        for path in root.glob("[0-9a-f][0-9a-f]/*/*")
        # What was derived from a kept file lies beside it, under its name.
        if (path.parent.name, path.name.partition(".")[0]) not in known
    ]
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found[:3])
        yield f"{len(found)} files in the store belong to no row ({names}{' …' * (len(found) > 3)})"
    waiting = sum(1 for _ in root.glob("incoming/*"))
    if waiting:
        yield f"{waiting} uploads under way, or left over until upkeep sweeps them"
