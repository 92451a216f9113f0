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

from broker import events, keyring
from broker.lifecycle import LIVE_CASES
from broker.settings import Settings
from broker.tables import Case, Patient, PatientIdentity
from dispatch import access, patients, temporary_names
from dispatch.access import Actor


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
    if wanted.get("before") is not None:
        query = query.where(Patient.number < wanted["before"])
    limit = wanted["limit"]
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
                *(_indexed(settings, field, known[field]) for field in fields),
            )
            found |= {p.id: p for p in session.scalars(query.limit(10))}
    return list(found.values())


def _conditions(settings: Settings, wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        _indexed(settings, field, wanted[field]) for field in patients.INDEXED if wanted.get(field)
    ]
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


def _indexed(settings: Settings, field: str, text: str) -> ColumnElement[bool]:
    column = {
        "name": PatientIdentity.name_index,
        "birth_date": PatientIdentity.birth_date_index,
        "identifier": PatientIdentity.identifier_index,
    }[field]
    member = aliased(Patient)
    return Patient.id.in_(
        select(member.root_id)
        .join(PatientIdentity, PatientIdentity.patient_id == member.id)
        .where(column.in_(keyring.of(settings).indexes(field, text)))
    )


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
