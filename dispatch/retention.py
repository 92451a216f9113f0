"""What is done to many patients at a time: encryption with the first key, and erasure in time.

Both go in small units of their own, so that nobody waits for them, and both may be stopped and
begun again at any row.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from broker import database, events, keyring
from broker.errors import IdentityUnreadable
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case, Patient, PatientIdentity
from dispatch import access, patients

BATCH = 200


def encrypt_all(record: Record) -> tuple[int, int]:
    """Bring every row to the first key, plain ones of the version before too; (done, unreadable).

    Cases that the version before took in without a patient get one. Run it after an upgrade and
    after a new key was put first; an old key may go when it counts no unreadable row and ends.
    """
    settings = record.settings
    done = unreadable = 0
    for step in (_hide_requests, _give_patients):  # what waiting() looks for goes last
        while some := record.again(partial(step, settings=settings)):
            done += some
    last: UUID | None = None
    while True:
        good, bad, last = record.again(partial(_some, settings=settings, after=last))
        done, unreadable = done + good, unreadable + bad
        if last is None:
            return done, unreadable


def waiting(session: Session, settings: Settings) -> bool:
    """Whether encrypt_all() has something to do, by indexes: a start must not read whole tables.

    What the version before wrote is a case without a patient or a patient without a number.
    """
    first = keyring.of(settings).writes_with
    key_id = PatientIdentity.key_id
    for query in (
        select(Case.id).where(Case.patient_id.is_(None)),
        select(Patient.id).where(Patient.number.is_(None)),
        select(key_id).where(key_id < first),
        select(key_id).where(key_id > first),
    ):
        if session.execute(query.limit(1)).first() is not None:
            return True
    return False


def erase_due(session: Session, settings: Settings, limit: int = BATCH) -> int:
    """Erase the identities whose time has come; how many. Nothing while the setting is 0.

    A patient's time begins when the last case of all that was merged with it has ended. Temporary
    name, cases and findings stay; names inside free text and inside uploaded files do too.
    """
    if settings.identity_retention_days <= 0:
        return 0
    before = database.now(session) - timedelta(days=settings.identity_retention_days)
    member, holder = aliased(Patient), aliased(Patient)
    kept = exists().where(
        Case.patient_id == member.id,
        member.root_id == holder.root_id,
        or_(Case.ended_at.is_(None), Case.ended_at > before),
    )
    due = session.scalars(
        select(holder)
        .join(PatientIdentity, PatientIdentity.patient_id == holder.id)
        .where(~kept, holder.created_at <= before)
        .limit(limit)
    ).all()
    for patient in due:
        patients.touch(session, patient, patient.version, erased_at=database.now(session))
        session.execute(delete(PatientIdentity).where(PatientIdentity.patient_id == patient.id))
        events.audit(session, access.SYSTEM.name, "patient.erased", None, patient_id=patient.id)
    return len(due)


def _some(session: Session, settings: Settings, after: UUID | None) -> tuple[int, int, UUID | None]:
    """Rewrite the next rows by id: (done, unreadable, the last one); None at the end."""
    first = keyring.of(settings).writes_with
    query = (
        select(Patient)
        .outerjoin(PatientIdentity, PatientIdentity.patient_id == Patient.id)
        .where(
            or_(
                Patient.number.is_(None),
                Patient.root_id.is_(None),
                Patient.plain_name.is_not(None),
                Patient.plain_identifier.is_not(None),
                Patient.plain_phone.is_not(None),
                PatientIdentity.key_id != first,
            )
        )
        .order_by(Patient.id)
        .limit(BATCH)
    )
    if after is not None:
        query = query.where(Patient.id > after)
    rows = session.scalars(query).all()
    unreadable = 0
    for patient in rows:
        try:
            patients.encrypt_row(session, settings, patient)
        except IdentityUnreadable:
            unreadable += 1
    return len(rows) - unreadable, unreadable, rows[-1].id if rows else None


def _give_patients(session: Session, settings: Settings) -> int:
    rows = session.scalars(select(Case).where(Case.patient_id.is_(None)).limit(BATCH)).all()
    for case in rows:
        case.patient = patients.create(
            session, settings, sex=case.sex, estimated_age_years=case.age_years, identity=None
        )
    session.flush()
    return len(rows)


def _hide_requests(session: Session, settings: Settings) -> int:
    """Key the hashes of requests that were kept without one: names could be tried against them."""
    keys = keyring.of(settings)
    rows = session.execute(
        select(Case.id, Case.request_sha256)
        .where(func.substr(Case.request_sha256, 1, 1) != "k")
        .limit(BATCH)
    ).all()
    for case_id, plain in rows:
        session.execute(
            update(Case)
            .where(Case.id == case_id)
            .values(request_sha256=keys.fingerprints(plain)[0])
            .execution_options(synchronize_session=False)
        )
    return len(rows)
