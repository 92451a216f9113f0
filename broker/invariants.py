"""What must always be true of the rows, rule by rule.

SQL of its own rather than the services that wrote the rows, so that a fault there is seen here.
Reads only. Files and the command are check.py's, the audit's chain is seals.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.orm import Session

from broker import database, keyring, seals
from broker.errors import IdentityUnreadable
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

OVERDUE_S = 10.0
"""A live case or a lease this long behind its deadline waits in silence (RELIABILITY P8)."""
UNSENT_S = 60.0
"""A notification this late is one that nobody sends; each try may take seconds."""


def rows(
    session: Session, settings: Settings, *, thorough: bool = False, stopped: bool = False
) -> list[str]:
    """What is wrong with the rows that this session sees; `stopped` as in rules()."""
    return [
        line
        for rule in rules(settings, thorough=thorough, stopped=stopped)
        for line in rule(session)
    ]


def rules(
    settings: Settings, *, thorough: bool, stopped: bool
) -> list[Callable[[Session], Iterator[str]]]:
    """Each judges by itself, so that a snapshot across them is not needed.

    thorough: every page and identity too. stopped: nothing runs, so late deadlines are no fault.
    """
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
