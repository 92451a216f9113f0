"""Patients: a temporary name from the first moment, an encrypted identity as it becomes known.

Every patient has a temporary name; who it really is may be said at submission or later, lies
encrypted (broker/keyring.py) and is found again by exact search only. Services take a session and
neither commit nor enqueue. Who may see a patient is access.py's; merging is merging.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from broker import database, events, keyring, logs
from broker.errors import IdentityUnreadable, LostRace, StalePatient
from broker.lifecycle import LIVE_CASES
from broker.settings import Settings
from broker.tables import Case, Patient, PatientIdentity, PatientMerge, TemporaryName
from dispatch import access
from dispatch.access import Actor
from dispatch.transition import tell_crew, tell_holder

INDEXED = ("name", "birth_date", "identifier")
"""What exact search finds; a telephone number is kept, but not searched by."""


class IdentityState(StrEnum):
    """What an actor learns about who a patient is."""

    UNKNOWN = "unknown"
    """Nobody has said."""
    KNOWN = "known"
    HIDDEN = "hidden"
    """Only the ER that accepts is told."""
    UNREADABLE = "unreadable"
    """Encrypted with a key that this installation does not have."""


@dataclass(frozen=True)
class Identity:
    """Who a patient is, as far as it is known; birth_date is an ISO date."""

    name: str | None = None
    birth_date: str | None = None
    identifier: str | None = None
    phone: str | None = None
    unreadable: bool = False

    @property
    def known(self) -> dict[str, str]:
        """The fields that are known."""
        found = {name: getattr(self, name) for name in IDENTITY_FIELDS}
        return {name: text for name, text in found.items() if text}

    @property
    def state(self) -> IdentityState:
        """Of the three that an actor with the right to look may meet."""
        if self.unreadable:
            return IdentityState.UNREADABLE
        return IdentityState.KNOWN if self.known else IdentityState.UNKNOWN


IDENTITY_FIELDS = tuple(f.name for f in fields(Identity) if f.name != "unreadable")


def create(
    session: Session,
    settings: Settings,
    *,
    sex: str | None,
    estimated_age_years: float | None,
    identity: Mapping[str, str | None] | None,
) -> Patient:
    """A new patient with a temporary name; BadSetting when an identity is given without a key."""
    now = database.now(session)
    patient = Patient(
        number=_next_number(session, now),
        sex=sex,
        estimated_age_years=estimated_age_years,
        created_at=now,
        updated_at=now,
    )
    session.add(patient)
    session.flush()
    patient.root_id = patient.id
    _write(session, settings, patient, {k: v for k, v in (identity or {}).items() if v})
    return patient


def root(session: Session, patient: Patient) -> Patient:
    """The patient that stands for this one: itself, or the one that it was merged into."""
    if patient.root_id in (None, patient.id):
        return patient
    return session.get_one(Patient, patient.root_id)


def roots_of(session: Session, some: Iterable[Patient]) -> dict[UUID, Patient]:
    """The same of many patients, by patient."""
    by_id = {patient.id: patient for patient in some}
    roots = {id_: patient.root_id or id_ for id_, patient in by_id.items()}
    missing = {*roots.values()} - by_id.keys()
    if missing:
        found = session.scalars(select(Patient).where(Patient.id.in_(missing)))
        by_id |= {patient.id: patient for patient in found}
    return {id_: by_id[root_id] for id_, root_id in roots.items()}


def identity_of(session: Session, settings: Settings, patient: Patient) -> Identity:
    """Who a patient is: what its root knows, its gaps filled by what was merged into it.

    A token that cannot be decrypted is logged by id and hides nothing else of the case. The caller
    has asked access.py, and writes the audit row.
    """
    return identities_of(session, settings, [patient])[patient.id][1]


def identities_of(
    session: Session, settings: Settings, some: Iterable[Patient]
) -> dict[UUID, tuple[Patient, Identity]]:
    """The same of many patients, by patient; each with its root."""
    roots = {patient.id: patient.root_id or patient.id for patient in some}
    if not roots:
        return {}
    wanted = {*roots.values()}
    people: dict[UUID, list[Patient]] = {id_: [] for id_ in wanted}
    for member, root_id in session.execute(
        select(Patient, Patient.root_id)
        .where(or_(Patient.root_id.in_(wanted), Patient.id.in_(wanted)))
        .order_by(Patient.number)
    ):
        # Merged since we looked: what we asked for, it still is.
        people[root_id if root_id in people else member.id].append(member)
    tokens = _tokens(session, [member.id for of_one in people.values() for member in of_one])
    found: dict[UUID, tuple[Patient, Identity]] = {}
    for id_, of_one in people.items():
        of_one.sort(key=lambda member: member.id != id_)  # the root's word goes first
        found[id_] = (of_one[0], _together(settings, of_one, tokens))
    return {id_: found[root_id] for id_, root_id in roots.items()}


def _together(
    settings: Settings, people: Sequence[Patient], tokens: Mapping[UUID, PatientIdentity]
) -> Identity:
    together: dict[str, str] = {}
    unreadable = False
    for member in people:
        try:
            known = _said(settings, member, tokens.get(member.id))
        except IdentityUnreadable:
            logs.logger().error(
                "an identity cannot be decrypted",
                action="identity.unreadable",
                patient_id=str(member.id),
            )
            unreadable = True
        else:
            together = {**known, **together}
    return Identity(**together, unreadable=unreadable)


def audit_shown(
    session: Session, actor: Actor, patient_id: UUID, identity: Identity, case_id: UUID | None
) -> None:
    """Write down that somebody was shown who a patient is; nothing known leaves nothing."""
    if identity.known:
        events.audit(
            session,
            actor.name,
            "identity.shown",
            case_id,
            patient_id=patient_id,
            fields=sorted(identity.known),
        )


def audit_list_shown(
    session: Session, actor: Actor, shown: Sequence[tuple[UUID, UUID, Identity]]
) -> None:
    """The same for a list of (case, patient, identity): one row for all of it.

    Pages ask for their list every few seconds; a row for each case would bury the record.
    """
    if shown:
        events.audit(
            session,
            actor.name,
            "identity.shown",
            None,
            cases=[str(case_id) for case_id, _, _ in shown],
            patients=sorted({str(patient_id) for _, patient_id, _ in shown}),
            fields=sorted({field for _, _, identity in shown for field in identity.known}),
        )


def edit(
    session: Session,
    settings: Settings,
    actor: Actor,
    patient_id: UUID,
    version: int,
    changes: Mapping[str, Any],
) -> Patient:
    """Say more about a patient, or take something back (None); the same words twice are one change.

    Crew, control room and the ER that holds a case of it. Raises StalePatient (409) when somebody
    changed the patient since `version`. An absorbed patient's root is changed.
    """
    patient = root(session, access.patient(session, actor, patient_id))
    session.refresh(patient)
    described = {k: v for k, v in changes.items() if k in {"sex", "estimated_age_years"}}
    said = {k: v or None for k, v in changes.items() if k in IDENTITY_FIELDS}
    known = _read(session, settings, patient)
    new_described = {k: v for k, v in described.items() if getattr(patient, k) != v}
    new_said = {k: v for k, v in said.items() if known.get(k) != v}
    if not new_described and not new_said:
        return patient
    touch(session, patient, version, **new_described)
    if new_said:
        _write(session, settings, patient, {k: v for k, v in (known | new_said).items() if v})
    events.audit(
        session,
        actor.name,
        "patient.changed",
        None,
        patient_id=patient.id,
        fields=sorted([*new_described, *new_said]),
        version=patient.version,
    )
    tell(session, patient, "patient.changed")
    return patient


def touch(
    session: Session, patient: Patient, version: int, *, to: int | None = None, **values: Any
) -> None:
    """Raise a patient's version, by one or `to`: the lock and the race of every change.

    StalePatient when `version` is not the present one, LostRace when somebody changes it just now.
    """
    if patient.version != version:
        raise StalePatient(patient_id=str(patient.id), version=patient.version)
    won = database.changed(
        session,
        update(Patient)
        .where(Patient.id == patient.id, Patient.version == version)
        .values(version=to or version + 1, updated_at=database.now(session), **values),
    )
    if won != 1:
        raise LostRace(patient_id=str(patient.id))
    session.refresh(patient)


def live_cases(session: Session, patient: Patient) -> Sequence[Case]:
    """Cases under way of a root and of all that was merged into it, in the order they came."""
    return session.scalars(
        select(Case)
        .join(Patient, Patient.id == Case.patient_id)
        .where(Patient.root_id == patient.id, Case.status.in_(LIVE_CASES))
        .order_by(Case.received_at, Case.id)
    ).all()


def tell(session: Session, patient: Patient, type_: str) -> None:
    """An event for everybody with an open case of this patient: ids only, details are fetched."""
    for case in live_cases(session, patient):
        tell_crew(session, case, type_, patient_id=str(patient.id))
        tell_holder(session, case, type_, patient_id=str(patient.id))


def merges_of(session: Session, patient: Patient) -> Sequence[tuple[PatientMerge, Patient]]:
    """The merges in force of which a root consists, oldest first, each with whom it absorbed."""
    rows = session.execute(
        select(PatientMerge, Patient)
        .join(Patient, Patient.id == PatientMerge.absorbed_id)
        .where(Patient.root_id == patient.id, PatientMerge.split_at.is_(None))
        .order_by(PatientMerge.merged_at, PatientMerge.id)
    )
    return [(row[0], row[1]) for row in rows]


def age_years(birth_date: str | None, on: date) -> int | None:
    """Whole years of age on a day."""
    if birth_date is None:
        return None
    born = date.fromisoformat(birth_date)
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def encrypt_row(session: Session, settings: Settings, patient: Patient) -> None:
    """Bring one row to this version and to the first key: what `goldentime encrypt` does to each.

    IdentityUnreadable when its key is gone; nothing is changed then.
    """
    now = database.now(session)
    if patient.number is None:
        patient.number = _next_number(session, now)
        patient.created_at = patient.created_at or now
        patient.updated_at = patient.updated_at or now
    if patient.root_id is None:
        patient.root_id = patient.id
    _write(session, settings, patient, _read(session, settings, patient))


def _next_number(session: Session, now: datetime) -> int:
    row = TemporaryName(given_at=now)
    session.add(row)
    session.flush()
    return row.number


def _read(session: Session, settings: Settings, patient: Patient) -> dict[str, str]:
    """What one row says; {} when it says nothing."""
    return _said(settings, patient, _tokens(session, [patient.id]).get(patient.id))


def _tokens(session: Session, patient_ids: Sequence[UUID]) -> dict[UUID, PatientIdentity]:
    rows = session.scalars(
        select(PatientIdentity).where(PatientIdentity.patient_id.in_(patient_ids)),
        execution_options={"populate_existing": True},
    )
    return {row.patient_id: row for row in rows}


def _said(settings: Settings, patient: Patient, row: PatientIdentity | None) -> dict[str, str]:
    if row is not None:
        if not settings.identity_keys:
            raise IdentityUnreadable()
        return keyring.of(settings).decrypt(patient.id, row.token)
    plain = {
        "name": patient.plain_name,
        "identifier": patient.plain_identifier,
        "phone": patient.plain_phone,
    }
    return {name: text for name, text in plain.items() if text}


def _write(session: Session, settings: Settings, patient: Patient, said: Mapping[str, str]) -> None:
    """Encrypt and index what is known; the plain columns of the version before are emptied."""
    patient.plain_name = patient.plain_identifier = patient.plain_phone = None
    row = session.get(PatientIdentity, patient.id)
    if not said:
        if row is not None:
            session.delete(row)
        session.flush()
        return
    keys = keyring.of(settings)
    if row is None:
        row = PatientIdentity(patient_id=patient.id)
        session.add(row)
    row.token = keys.encrypt(patient.id, said)
    row.key_id = keys.writes_with
    row.name_index, row.birth_date_index, row.identifier_index = (
        keys.index(field, said[field]) if field in said else None for field in INDEXED
    )
    session.flush()
