"""Patients: list, search, one patient and its story, print-out, merge and split, duplicates.

For crew, ER and control room, each of whom sees what access.py grants; operations never. Lists hold
no identity; whoever opens one patient leaves an audit row in the same transaction.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from broker import database, events
from broker.lifecycle import Role
from broker.tables import Account, DeviceToken, DuplicateSuspicion, Patient, PatientMerge
from dispatch import access, chronicle, duplicates, merging, patient_search, patients
from dispatch.access import Actor
from dispatch.patient_search import Page
from web.auth import actor, allow
from web.bodies import Room
from web.film_pictures import NOTICE
from web.patient_pictures import identity_picture, merge_picture, patient_line
from web.schemas import patients as schemas
from web.state import here

blueprint = Room("patients", __name__, url_prefix="/api/v1", description="Patients over cases")
PARTIES = (Role.CREW, Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
MAY_MERGE = (Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
PRINTED_ENTRIES = 24
"""So many lines fit on one sheet of A4 with everything else."""


@blueprint.route("/patients", methods=["GET"])
@blueprint.arguments(schemas.PatientsQuery, location="query")
@blueprint.response(200, schemas.PatientsOut)
@allow(*PARTIES)
def list_patients(query: dict[str, Any]) -> dict[str, Any]:
    """Patients that you may see, newest first; no identity."""
    return _found(query)


@blueprint.route("/patients/search", methods=["POST"])
@blueprint.arguments(schemas.PatientSearchIn)
@blueprint.response(200, schemas.PatientsOut)
@allow(*PARTIES)
def search_patients(data: dict[str, Any]) -> dict[str, Any]:
    """Patients by temporary name, or by exact name, identifier or birth date; all words count."""
    if "birth_date" in data:
        data = {**data, "birth_date": data["birth_date"].isoformat()}
    return _found(data)


@blueprint.route("/patients/<uuid:patient_id>", methods=["GET"])
@blueprint.response(200, schemas.PatientDetailOut)
@allow(*PARTIES)
def get_patient(patient_id: UUID) -> dict[str, Any]:
    """One patient; an absorbed one leads to the patient that stands for it."""
    who = actor()
    with here().record.look() as session:
        return _detail(
            session, who, patients.root(session, access.patient(session, who, patient_id))
        )


@blueprint.route("/patients/<uuid:patient_id>", methods=["PATCH"])
@blueprint.arguments(schemas.PatientPatchIn)
@blueprint.response(200, schemas.PatientDetailOut)
@allow(*PARTIES)
def patch_patient(data: dict[str, Any], patient_id: UUID) -> dict[str, Any]:
    """Say who a patient is, or correct it; an ER only after it has accepted a case."""
    state, who = here(), actor()
    changes = {name: value for name, value in data.items() if name != "version"}
    if changes.get("birth_date"):
        changes["birth_date"] = changes["birth_date"].isoformat()

    def unit(session: Session) -> dict[str, Any]:
        patient = patients.edit(session, state.settings, who, patient_id, data["version"], changes)
        duplicates.look_at_patient(session, state.settings, patient)
        return _detail(session, who, patient)

    return state.record.again(unit)


@blueprint.route("/patients/<uuid:patient_id>/timeline", methods=["GET"])
@blueprint.response(200, schemas.StoryOut)
@allow(*PARTIES)
def get_timeline(patient_id: UUID) -> dict[str, Any]:
    """Everything that happened over all cases of a patient that you may see, in one list."""
    who = actor()
    with here().record.look() as session:
        patient = patients.root(session, access.patient(session, who, patient_id))
        events.audit(session, who.name, "patient.timeline", None, patient_id=patient.id)
        return _story(session, who, patient)


@blueprint.route("/patients/<uuid:patient_id>/print", methods=["POST"])
@blueprint.response(200, schemas.PrintOut)
@allow(*PARTIES)
def print_patient(patient_id: UUID) -> dict[str, Any]:
    """One sheet: identity, the newest case and its last entries, who printed it and when."""
    who = actor()
    with here().record.look() as session:
        patient = patients.root(session, access.patient(session, who, patient_id))
        events.audit(session, who.name, "patient.printed", None, patient_id=patient.id)
        story = _story(session, who, patient)
        return {
            "patient": _detail(session, who, patient),
            "story": {**story, "entries": story["entries"][-PRINTED_ENTRIES:]},
            "printed_at": database.now(session),
            "printed_by": _name_of(session, who),
        }


@blueprint.route("/patients/<uuid:patient_id>/merge", methods=["POST"])
@blueprint.arguments(schemas.MergeIn)
@blueprint.response(200, schemas.PatientDetailOut)
@allow(*MAY_MERGE)
def merge_patients(data: dict[str, Any], patient_id: UUID) -> dict[str, Any]:
    """Another patient is the same person: it becomes part of this one; split takes it back."""
    state, who = here(), actor()
    versions = (data["version"], data["absorb_version"])
    return state.record.again(
        lambda s: _detail(
            s,
            who,
            merging.merge(
                s,
                state.settings,
                who,
                patient_id,
                data["absorb"],
                versions,
                reason=data.get("reason"),
            ),
        )
    )


@blueprint.route("/merges/<uuid:merge_id>/split", methods=["POST"])
@blueprint.arguments(schemas.SplitIn)
@blueprint.response(200, schemas.MergeOut)
@allow(*MAY_MERGE)
def split_patients(data: dict[str, Any], merge_id: UUID) -> dict[str, Any]:
    """They were two people after all: both are again what they were."""
    who = actor()

    def unit(session: Session) -> dict[str, Any]:
        row: PatientMerge = merging.split(
            session, who, merge_id, data["version"], reason=data.get("reason")
        )
        return merge_picture(row, session.get_one(Patient, row.absorbed_id))

    return here().record.again(unit)


@blueprint.route("/duplicates/<uuid:suspicion_id>/different", methods=["POST"])
@blueprint.response(200, schemas.SuspicionOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def say_different(suspicion_id: UUID) -> DuplicateSuspicion:
    """Two cases that looked like one patient's are two patients'."""
    return here().record.again(lambda s: duplicates.say_different(s, actor(), suspicion_id))


@blueprint.route("/duplicates/<uuid:suspicion_id>/same", methods=["POST"])
@blueprint.response(200, schemas.SuspicionOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def say_same(suspicion_id: UUID) -> DuplicateSuspicion:
    """Two cases are one patient's: crews and control room are told; both go on until one is off."""
    return here().record.again(lambda s: duplicates.say_same(s, actor(), suspicion_id))


@blueprint.route("/duplicates/<uuid:suspicion_id>/cancel", methods=["POST"])
@blueprint.arguments(schemas.CallOffIn)
@blueprint.response(200, schemas.SuspicionOut)
@allow(Role.CREW, Role.CONTROL_ROOM)
def call_off_duplicate(data: dict[str, Any], suspicion_id: UUID) -> DuplicateSuspicion:
    """Call one of two cases off as a duplicate; a crew only its own, and only the first wins."""
    return here().record.again(
        lambda s: duplicates.call_off(s, actor(), suspicion_id, data["case_id"])
    )


def _found(wanted: dict[str, Any]) -> dict[str, Any]:
    state, who = here(), actor()
    with state.record.look() as session:
        page: Page = patient_search.find(session, state.settings, who, wanted)
        return {
            "patients": [
                patient_line(line.patient, line.cases, line.latest) for line in page.lines
            ],
            "next_before": page.next_before,
        }


def _detail(session: Session, who: Actor, patient: Patient) -> dict[str, Any]:
    """A root with its identity: the audit row of the look lies in the same unit."""
    settings = here().settings
    identity = patients.identity_of(session, settings, patient)
    alike = patient_search.same_identity(session, settings, who, patient)
    line, *same = patient_search.lines(session, who, [patient, *alike])
    events.audit(session, who.name, "patient.viewed", None, patient_id=patient.id)
    patients.audit_shown(session, who, patient.id, identity, None)
    return {
        **patient_line(patient, line.cases, line.latest),
        **identity_picture(identity),
        "merges": [merge_picture(*pair) for pair in patients.merges_of(session, patient)],
        "maybe_same": [patient_line(s.patient, s.cases, s.latest) for s in same],
    }


def _story(session: Session, who: Actor, patient: Patient) -> dict[str, Any]:
    story = chronicle.of_patient(session, who, patient)
    return {
        "patient_id": patient.id,
        "cases": [
            {
                **{
                    name: getattr(case, name)
                    for name in (
                        *("id", "status", "received_at", "ended_at", "ended_reason"),
                        *("acuity", "age_years", "sex", "complaint"),
                    )
                },
                "call_sign": case.ambulance.call_sign,
            }
            for case in story.cases
        ],
        "entries": story.entries,
        "more_cases": story.more_cases,
        "notice": NOTICE,
    }


def _name_of(session: Session, who: Actor) -> str:
    """The person's or device's name, for the foot of a print-out."""
    kind, _, id_ = who.name.partition(":")
    if kind == "account":
        return session.get_one(Account, UUID(id_)).display_name
    return session.get_one(DeviceToken, UUID(id_)).label
