"""The guard against asking twice for one patient: it flags and tells, and never refuses.

Two live cases may be one patient's when the identifier, or name and birth date, are the same, or
when one ambulance sends the same temporary description within minutes. "The same patient" is told
to everybody concerned and ends nothing: whoever carries the patient must not lose the case by it.
"Two patients", or one case called off, settles the question and is written once: of two people who
call off the two cases at the same moment only the first one succeeds, or the patient would have no
case left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database, events, keyring
from broker.errors import AlreadyDecided, Invalid, NotFound
from broker.lifecycle import LIVE_CASES, DuplicateReason, DuplicateResolution
from broker.settings import Settings
from broker.tables import Case, DuplicateSuspicion, Patient, PatientIdentity
from dispatch import access, patients, transport
from dispatch.access import Actor

AGE_APART_YEARS = 5.0
"""Two estimates of one person's age are rarely farther apart."""
MOST = 3
"""So many other cases are named at a time: whoever sees three looks for the rest."""
_STRENGTH = {reason: place for place, reason in enumerate(DuplicateReason)}


def look(session: Session, settings: Settings, case: Case) -> list[DuplicateSuspicion]:
    """Flag the latest live cases that may be of this case's patient; crews and control are told.

    Calling it again flags nothing twice; a stronger ground opens a settled question again.
    """
    return _look(session, settings, [case])


def look_at_patient(session: Session, settings: Settings, patient: Patient) -> None:
    """The same for every live case of a patient, after it was merged or its identity changed."""
    _look(session, settings, patients.live_cases(session, patient))


def open_of(
    session: Session, cases: Mapping[UUID, Case]
) -> dict[UUID, list[tuple[DuplicateSuspicion, Case]]]:
    """The questions about each case that nobody has answered, while both cases are live; each with
    the other case."""
    asked = session.scalars(
        select(DuplicateSuspicion)
        .where(
            or_(DuplicateSuspicion.case_id.in_(cases), DuplicateSuspicion.other_case_id.in_(cases)),
            DuplicateSuspicion.resolution.is_(None),
        )
        .order_by(DuplicateSuspicion.raised_at, DuplicateSuspicion.id)
    ).all()
    others = {id_ for s in asked for id_ in (s.case_id, s.other_case_id)} - cases.keys()
    known = dict(cases)
    if others:
        known |= {c.id: c for c in session.scalars(select(Case).where(Case.id.in_(others)))}
    found: dict[UUID, list[tuple[DuplicateSuspicion, Case]]] = {id_: [] for id_ in cases}
    for suspicion in asked:
        pair = (known[suspicion.case_id], known[suspicion.other_case_id])
        if all(case.status in LIVE_CASES for case in pair):
            for case, other in (pair, pair[::-1]):
                if case.id in found:
                    found[case.id].append((suspicion, other))
    return found


def cases_of(session: Session, suspicion: DuplicateSuspicion) -> tuple[Case, Case]:
    """The later case and the earlier one."""
    return (
        session.get_one(Case, suspicion.case_id),
        session.get_one(Case, suspicion.other_case_id),
    )


def say_different(session: Session, actor: Actor, suspicion_id: UUID) -> DuplicateSuspicion:
    """Two patients: both cases go on. The same answer twice is one; another one is a 409."""
    suspicion = _visible(session, actor, suspicion_id)
    if suspicion.resolution is DuplicateResolution.DIFFERENT:
        return suspicion
    _settle(session, actor, suspicion, DuplicateResolution.DIFFERENT, None)
    return suspicion


def say_same(session: Session, actor: Actor, suspicion_id: UUID) -> DuplicateSuspicion:
    """One patient: both crews and the control room are told, and one of them calls a case off.

    Both cases and their offers go on until then. Said twice is said once; a 409 once it is settled.
    """
    suspicion = _visible(session, actor, suspicion_id)
    said = database.changed(
        session,
        update(DuplicateSuspicion)
        .where(
            DuplicateSuspicion.id == suspicion.id,
            DuplicateSuspicion.resolution.is_(None),
            DuplicateSuspicion.same_said_at.is_(None),
        )
        .values(same_said_at=database.now(session), same_said_by=actor.audience),
    )
    session.refresh(suspicion)
    if said == 1:
        _note(session, actor, suspicion, "duplicate.same")
    elif suspicion.resolution is not None:
        raise _answered(suspicion)
    return suspicion


def call_off(
    session: Session, actor: Actor, suspicion_id: UUID, case_id: UUID
) -> DuplicateSuspicion:
    """One patient: this case of the two is called off, the other one goes on.

    A crew calls off its own only. AlreadyDecided (409) when the other one was called off a moment
    before: this one is then the patient's only case.
    """
    suspicion = _visible(session, actor, suspicion_id)
    if case_id not in (suspicion.case_id, suspicion.other_case_id):
        raise Invalid("case_id: name one of the two cases", field="case_id")
    case = access.case(session, actor, case_id)
    if suspicion.cancelled_case_id == case_id:
        return suspicion
    # The answer first: it is what two people race for.
    _settle(session, actor, suspicion, DuplicateResolution.CANCELLED, case_id)
    kept = next(c for c in cases_of(session, suspicion) if c.id != case_id)
    transport.cancel(session, actor, case.id, f"duplicate of case {kept.id}")
    return suspicion


def _look(session: Session, settings: Settings, cases: Sequence[Case]) -> list[DuplicateSuspicion]:
    grounds = [
        (case, _grounds(session, settings, case))
        for case in cases
        if case.patient_id is not None and case.status in LIVE_CASES
    ]
    # Submissions of one patient queue up, or two at once would not see each other.
    database.one_at_a_time(session, *(lock for _, some in grounds for _, _, lock in some))
    raised = []
    for case, some in grounds:
        seen: set[UUID] = set()
        for reason, query, _ in some:
            for other in session.scalars(query.where(Case.id != case.id).limit(MOST)):
                if other.id not in seen and len(seen) < MOST:
                    seen.add(other.id)
                    raised += _flag(session, case, other, reason)
    return raised


def _grounds(
    session: Session, settings: Settings, case: Case
) -> list[tuple[DuplicateReason, Select[Case], str]]:
    """(reason, cases, name of its lock), the strongest first."""
    patient = patients.root(session, session.get_one(Patient, case.patient_id))
    live = (
        select(Case)
        .join(Patient, Patient.id == Case.patient_id)
        .where(Case.status.in_(LIVE_CASES))
        .order_by(Case.received_at.desc(), Case.id)
    )
    grounds = [(DuplicateReason.MERGED, live.where(Patient.root_id == patient.id), "")]
    identity = patients.identity_of(session, settings, patient)
    indexes: dict[str, list[str]] = {}
    if identity.known:
        keys = keyring.of(settings)
        indexes = {
            field: keys.indexes(field, identity.known[field])
            for field in patients.INDEXED
            if field in identity.known
        }

    def known_by(*conditions: ColumnElement[bool]) -> Select[Case]:
        named = (
            select(Patient.root_id)
            .join(PatientIdentity, PatientIdentity.patient_id == Patient.id)
            .where(*conditions)
        )
        return live.where(Patient.root_id.in_(named))

    if "identifier" in indexes:
        same = known_by(PatientIdentity.identifier_index.in_(indexes["identifier"]))
        grounds.append((DuplicateReason.IDENTIFIER, same, indexes["identifier"][0]))
    if "name" in indexes and "birth_date" in indexes:
        same = known_by(
            PatientIdentity.name_index.in_(indexes["name"]),
            database.not_sought(PatientIdentity.birth_date_index).in_(indexes["birth_date"]),
        )
        lock = indexes["name"][0] + indexes["birth_date"][0]
        grounds.append((DuplicateReason.NAME_AND_BIRTH_DATE, same, lock))
    since = case.received_at - timedelta(minutes=settings.duplicate_window_min)
    alike = live.outerjoin(PatientIdentity, PatientIdentity.patient_id == Patient.id).where(
        Case.ambulance_id == case.ambulance_id,
        Case.received_at >= since,
        Case.received_at <= case.received_at + timedelta(minutes=settings.duplicate_window_min),
        *_same_description(patient),
        # Two who are known to be two are not alike.
        *(
            or_(column.is_(None), column.in_(indexes[field]))
            for field, column in (
                ("name", PatientIdentity.name_index),
                ("birth_date", PatientIdentity.birth_date_index),
                ("identifier", PatientIdentity.identifier_index),
            )
            if field in indexes
        ),
    )
    grounds.append((DuplicateReason.SAME_CREW, alike, str(case.ambulance_id)))
    return grounds


def _same_description(patient: Patient) -> Iterable[ColumnElement[bool]]:
    sex = patient.sex if patient.sex != "unknown" else None
    if sex is not None:
        yield or_(Patient.sex.is_(None), Patient.sex == "unknown", Patient.sex == sex)
    age = patient.estimated_age_years
    if age is not None:
        yield or_(
            Patient.estimated_age_years.is_(None),
            Patient.estimated_age_years.between(age - AGE_APART_YEARS, age + AGE_APART_YEARS),
        )


def _flag(
    session: Session, case: Case, other: Case, reason: DuplicateReason
) -> list[DuplicateSuspicion]:
    later, earlier = sorted((case, other), key=lambda c: (c.received_at, c.id), reverse=True)
    now = database.now(session)
    known = session.scalars(
        select(DuplicateSuspicion).where(
            or_(
                (DuplicateSuspicion.case_id == later.id)
                & (DuplicateSuspicion.other_case_id == earlier.id),
                (DuplicateSuspicion.case_id == earlier.id)
                & (DuplicateSuspicion.other_case_id == later.id),
            )
        )
    ).one_or_none()
    if known is None:
        known = DuplicateSuspicion(
            case_id=later.id, other_case_id=earlier.id, reason=reason, raised_at=now
        )
        try:
            with session.begin_nested():
                session.add(known)
        except IntegrityError:  # the same pair, a moment earlier, on another ground
            return []
    elif _STRENGTH[known.reason] < _STRENGTH[reason]:
        known.reason, known.raised_at = reason, now
        known.resolution = known.resolved_at = known.resolved_by = None
        known.same_said_at = known.same_said_by = None
        known.cancelled_case_id = None
    else:
        return []
    session.flush()
    events.audit(
        session,
        access.SYSTEM.name,
        "duplicate.suspected",
        later.id,
        other=str(earlier.id),
        reason=reason,
        suspicion_id=str(known.id),
    )
    _tell(session, known, "duplicate.suspected")
    return [known]


def _settle(
    session: Session,
    actor: Actor,
    suspicion: DuplicateSuspicion,
    resolution: DuplicateResolution,
    cancelled_case_id: UUID | None,
) -> None:
    won = database.changed(
        session,
        update(DuplicateSuspicion)
        .where(DuplicateSuspicion.id == suspicion.id, DuplicateSuspicion.resolution.is_(None))
        .values(
            resolution=resolution,
            cancelled_case_id=cancelled_case_id,
            resolved_at=database.now(session),
            resolved_by=actor.name,
        ),
    )
    session.refresh(suspicion)
    if won != 1:
        raise _answered(suspicion)
    _note(session, actor, suspicion, f"duplicate.{resolution}")


def _answered(suspicion: DuplicateSuspicion) -> AlreadyDecided:
    return AlreadyDecided(
        "somebody has already answered whether this is one patient; look again",
        resolution=str(suspicion.resolution),
        cancelled_case_id=suspicion.cancelled_case_id,
    )


def _note(session: Session, actor: Actor, suspicion: DuplicateSuspicion, type_: str) -> None:
    events.audit(
        session,
        actor.name,
        type_,
        suspicion.case_id,
        other=str(suspicion.other_case_id),
        suspicion_id=str(suspicion.id),
    )
    _tell(session, suspicion, type_)


def _visible(session: Session, actor: Actor, suspicion_id: UUID) -> DuplicateSuspicion:
    seen = select(Case.id).where(access.cases_visible_to(actor))
    found = session.scalars(
        select(DuplicateSuspicion).where(
            DuplicateSuspicion.id == suspicion_id,
            or_(DuplicateSuspicion.case_id.in_(seen), DuplicateSuspicion.other_case_id.in_(seen)),
        )
    ).one_or_none()
    if found is None:
        raise NotFound(f"there is no such question {suspicion_id}, or you may not see it")
    return found


def _tell(session: Session, suspicion: DuplicateSuspicion, type_: str) -> None:
    """Each crew hears about its own case; the control room once about the later one."""
    later, earlier = cases_of(session, suspicion)
    body = {"suspicion_id": str(suspicion.id), "reason": suspicion.reason}
    for case in (later, earlier):
        facts = {"status": case.status, "version": case.version, "acuity": case.acuity, **body}
        events.announce(session, events.ambulance(case.ambulance_id), type_, case.id, **facts)
        if case is later:
            events.announce(session, events.CONTROL_ROOM, type_, case.id, **facts)
