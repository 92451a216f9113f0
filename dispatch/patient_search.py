"""Finding patients: newest first, by temporary name, or by exact name, identifier or birth date.

An identity is found through its blind index (broker/keyring.py): whoever searches must know it
whole, and no list says who anybody is. Only what access.py lets the actor see is found; the search
itself is written down, without the words that were searched for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, false, func, select
from sqlalchemy.orm import Session, aliased, joinedload

from broker import database, events, keyring
from broker.lifecycle import LIVE_CASES
from broker.settings import Settings
from broker.tables import Case, Patient, PatientIdentity
from dispatch import access, patients, temporary_names
from dispatch.access import Actor

_COLUMNS = {
    "identifier": PatientIdentity.identifier_index,
    "name": PatientIdentity.name_index,
    "birth_date": PatientIdentity.birth_date_index,
}
RAREST_FIRST = tuple(_COLUMNS)
LATEST = 2000
"""So many patients of all are asked one by one whose they are."""


@dataclass(frozen=True)
class Line:
    """A patient in a list, with the newest of its cases that the actor may see."""

    patient: Patient
    cases: int
    latest: Case | None


@dataclass(frozen=True)
class Page:
    """Some patients, and the number to ask for the next ones with."""

    lines: list[Line]
    next_before: int | None


def find(session: Session, settings: Settings, actor: Actor, wanted: Mapping[str, Any]) -> Page:
    """Patients that fit every word of `wanted`, newest first.

    wanted: temporary_name, name, birth_date (ISO), identifier, live (has a case under way), before
    (a number of an earlier page), limit. Words that nobody has find nothing.
    """
    conditions = _conditions(settings, wanted)
    # What was found by a word is asked whether it may be seen; without one, the actor's own cases
    # are where to begin: one way would grow with the table, the other with every hit.
    visible = access.patients_visible_to(actor) if conditions else access.patients_of(actor)
    query = select(Patient).where(visible, Patient.root_id == Patient.id, *conditions)
    before, limit = wanted.get("before"), wanted["limit"]
    if before is not None:
        query = query.where(Patient.number < before)
    found: Sequence[Patient] = []
    if not conditions:
        found = _newest(session, actor, before, limit + 1)
    if len(found) <= limit:
        found = session.scalars(query.order_by(Patient.number.desc()).limit(limit + 1)).all()
    asked = sorted(k for k in (*patients.INDEXED, "temporary_name") if wanted.get(k))
    if asked:
        events.audit(
            session, actor.name, "patients.searched", None, by=asked, found=len(found[:limit])
        )
    return Page(
        lines(session, actor, found[:limit]),
        found[limit - 1].number if len(found) > limit else None,
    )


def _newest(session: Session, actor: Actor, before: int | None, limit: int) -> Sequence[Patient]:
    """Those of this actor among the latest patients of all: a full page of a busy unit's, without
    going through all that it ever brought or took; less than a page says nothing."""
    top = before or (session.scalar(select(func.max(Patient.number))) or 0) + 1
    return session.scalars(
        select(Patient)
        .where(
            Patient.number < top,
            Patient.number >= top - LATEST,
            Patient.root_id == Patient.id,
            access.patients_visible_to(actor),
        )
        .order_by(Patient.number.desc())
        .limit(limit)
    ).all()


def same_identity(
    session: Session, settings: Settings, actor: Actor, patient: Patient
) -> Sequence[Patient]:
    """Other patients that may be this one: the same identifier, or the same name and birth date.

    At most ten; somebody may want to merge them.
    """
    known = patients.identity_of(session, settings, patient).known
    grounds = [("identifier",), ("name", "birth_date")]
    found: dict[Any, Patient] = {}
    for fields in grounds:
        if all(field in known for field in fields):
            query = select(Patient).where(
                access.patients_visible_to(actor),
                Patient.root_id == Patient.id,
                Patient.id != patient.id,
                *_known_by(settings, {field: known[field] for field in fields}),
            )
            found |= {p.id: p for p in session.scalars(query.limit(10))}
    return list(found.values())


def _conditions(settings: Settings, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    conditions = _known_by(settings, {k: wanted[k] for k in patients.INDEXED if wanted.get(k)})
    if said := wanted.get("temporary_name"):
        number = temporary_names.number_of(said)
        # An absorbed patient's name leads to the one that stands for it.
        roots = select(Patient.root_id).where(Patient.number == number)
        conditions.append(false() if number is None else Patient.id.in_(roots))
    if wanted.get("live"):
        member = aliased(Patient)
        live = (
            select(member.root_id)
            .join(Case, Case.patient_id == member.id)
            .where(Case.status.in_(LIVE_CASES))
        )
        conditions.append(Patient.id.in_(live))
    return conditions


def _known_by(settings: Settings, words: Mapping[str, str]) -> list[ColumnElement[bool]]:
    """Patients of whom all these words are known, of one member or of several.

    The rarest word finds them, the others are asked of each that was found: a birth date is shared
    by many.
    """
    conditions: list[ColumnElement[bool]] = []
    for field in RAREST_FIRST:
        if field not in words:
            continue
        member = aliased(Patient)
        column, indexes = _COLUMNS[field], keyring.of(settings).indexes(field, words[field])
        known = select(member.root_id).join(
            PatientIdentity, PatientIdentity.patient_id == member.id
        )
        if not conditions:
            conditions.append(Patient.id.in_(known.where(column.in_(indexes))))
        else:
            theirs = (member.root_id == Patient.id, database.not_sought(column).in_(indexes))
            conditions.append(known.where(*theirs).exists())
    return conditions


def lines(session: Session, actor: Actor, roots: Sequence[Patient]) -> list[Line]:
    """Patients with the number and the newest of their cases that this actor may see."""
    root, newest_first = Patient.root_id, (Case.received_at.desc(), Case.id)
    seen = (
        select(
            Case.id,
            root,
            func.count().over(partition_by=root).label("cases"),
            func.row_number().over(partition_by=root, order_by=newest_first).label("place"),
        )
        .join(Patient, Patient.id == Case.patient_id)
        .where(root.in_([patient.id for patient in roots]), access.identified_cases(actor))
        .subquery()
    )
    found = {
        root_id: (cases, latest)
        for latest, root_id, cases in session.execute(
            select(Case, seen.c.root_id, seen.c.cases)
            .join(seen, seen.c.id == Case.id)
            .where(seen.c.place == 1)
            .options(joinedload(Case.ambulance))
        )
    }
    return [Line(patient, *found.get(patient.id, (0, None))) for patient in roots]
