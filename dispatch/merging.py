"""Two patients are one, or were not after all: merge and split, audited, each the other's way back.

Nothing is moved: a case keeps the patient that it came with, an identity stays in its row, and a
merge only says which patient stands for which (`root_id`). So a split restores exactly what the
merge joined. Each takes the version that the person looked at; a stale one is refused.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict, Invalid, LostRace, NotFound
from broker.settings import Settings
from broker.tables import Patient, PatientMerge
from dispatch import access, duplicates, patients
from dispatch.access import Actor


def merge(
    session: Session,
    settings: Settings,
    actor: Actor,
    surviving_id: UUID,
    absorbed_id: UUID,
    versions: tuple[int, int],
    *,
    reason: str | None = None,
) -> Patient:
    """Say that both are one person; returns the surviving one. The same merge twice is one.

    versions: of the surviving and of the absorbed patient, as they were looked at; reason: why,
    for the audit. Raises NotFound unless the actor may see both, StalePatient (409), Conflict when
    one of them is merged already.
    """
    if surviving_id == absorbed_id:
        raise Invalid("a patient cannot be merged with itself", field="absorb")
    surviving = access.patient(session, actor, surviving_id)
    absorbed = access.patient(session, actor, absorbed_id)
    _in_turn(session, surviving, absorbed)
    in_force = _in_force(session, absorbed.id)
    if in_force and in_force.surviving_id == surviving.id:
        return patients.root(session, surviving)
    for patient in (surviving, absorbed):
        if patient.root_id != patient.id:
            raise Conflict("one of the two is part of another patient; merge that one", field="id")
    _touch(session, (surviving, versions[0]), (absorbed, versions[1]))
    row = PatientMerge(
        surviving_id=surviving.id,
        absorbed_id=absorbed.id,
        merged_at=database.now(session),
        merged_by=actor.name,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:  # merged elsewhere at the same moment
        raise LostRace(patient_id=str(absorbed.id)) from error
    _set_root(session, surviving.id, _tree(session, absorbed.id))
    session.refresh(absorbed)
    _write_down(session, actor, "patient.merged", row, surviving, reason)
    patients.tell(session, surviving, "patient.merged")
    duplicates.look_at_patient(session, settings, surviving)
    return surviving


def split(
    session: Session, actor: Actor, merge_id: UUID, version: int, *, reason: str | None = None
) -> PatientMerge:
    """Take a merge back: both patients are again what they were, with their own cases.

    version: of the patient that the person looked at, the root. The same split twice is one.
    """
    row = session.get(PatientMerge, merge_id)
    if row is None:
        raise NotFound(f"there is no merge {merge_id}, or you may not see it")
    try:
        surviving = access.patient(session, actor, row.surviving_id)
    except NotFound as hidden:
        raise NotFound(f"there is no merge {merge_id}, or you may not see it") from hidden
    _in_turn(session, surviving)
    session.refresh(row)
    if row.split_at is not None:
        return row
    root = patients.root(session, surviving)
    absorbed = session.get_one(Patient, row.absorbed_id)
    for patient in (root, absorbed):
        session.refresh(patient)
    _touch(session, (root, version), (absorbed, absorbed.version))
    # Told before they part: everybody with an open case of either must look again.
    patients.tell(session, root, "patient.split")
    row.split_at, row.split_by = database.now(session), actor.name
    session.flush()
    _set_root(session, absorbed.id, _tree(session, absorbed.id))
    session.refresh(absorbed)
    _write_down(session, actor, "patient.split", row, root, reason)
    return row


def _in_turn(session: Session, *some: Patient) -> None:
    """Wait for whoever merges or splits just now, then look again.

    A merge changes two whole trees, and which rows these are may change while one waits for the
    first of them: locking rows, in whatever order, would meet another in a circle.
    """
    database.one_at_a_time(session, "patients.trees")
    for patient in some:
        session.refresh(patient)


def _touch(session: Session, *wanted: tuple[Patient, int]) -> None:
    """Raise both versions above either, in the order of their ids.

    A person looked at a version of a root, and the root changes with the tree: no version that was
    seen of either comes again, or a stale page would pass for a fresh one.
    """
    highest = max(patient.version for patient, _ in wanted)
    for patient, version in sorted(wanted, key=lambda item: item[0].id):
        patients.touch(session, patient, version, to=highest + 1)


def _tree(session: Session, patient_id: UUID) -> list[UUID]:
    """A patient and all that was merged into it, whatever it was merged into itself."""
    found, ahead = [patient_id], [patient_id]
    while ahead:
        ahead = list(
            session.scalars(
                select(PatientMerge.absorbed_id).where(
                    PatientMerge.surviving_id.in_(ahead), PatientMerge.split_at.is_(None)
                )
            )
        )
        found += ahead
    return found


def _set_root(session: Session, root_id: UUID, tree: list[UUID]) -> None:
    session.execute(
        update(Patient)
        .where(Patient.id.in_(tree))
        .values(root_id=root_id)
        .execution_options(synchronize_session=False)
    )


def _in_force(session: Session, absorbed_id: UUID) -> PatientMerge | None:
    return session.scalars(
        select(PatientMerge).where(
            PatientMerge.absorbed_id == absorbed_id, PatientMerge.split_at.is_(None)
        )
    ).one_or_none()


def _write_down(
    session: Session,
    actor: Actor,
    action: str,
    row: PatientMerge,
    root: Patient,
    reason: str | None,
) -> None:
    for patient_id in (row.surviving_id, row.absorbed_id):
        events.audit(
            session,
            actor.name,
            action,
            None,
            patient_id=patient_id,
            merge_id=str(row.id),
            surviving=str(row.surviving_id),
            absorbed=str(row.absorbed_id),
            root=str(root.id),
            version=root.version,
            reason=reason,
        )
