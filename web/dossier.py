"""All that the pictures of some cases are made of, fetched together.

So many statements for one case as for a page of them. Only what this actor may be told is fetched;
what leaves of it is presenting.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, load_only

from broker.lifecycle import LIVE_CASES, CaseStatus, OfferStatus, Role
from broker.settings import Settings
from broker.tables import (
    Ambulance,
    Case,
    Directive,
    DuplicateSuspicion,
    ElsewherePlacement,
    EmergencyRoom,
    Finding,
    Image,
    Instructions,
    Offer,
    Outcome,
    Patient,
    Reading,
    VitalSignsEntry,
)
from dispatch import (
    access,
    assessing,
    directives,
    duplicates,
    elsewhere,
    instructions,
    measured,
    outcome,
    patients,
    road_times,
)
from dispatch.access import GRANTING_OFFERS, Actor
from dispatch.patients import Identity
from dispatch.travel import Travel

UNDER_WAY = LIVE_CASES - {CaseStatus.ARRIVED}
Row = TypeVar("Row", Case, Ambulance, EmergencyRoom, Patient)


@dataclass(frozen=True)
class Question:
    """The other case of a suspected pair, with its ambulance and the ER that holds it."""

    suspicion: DuplicateSuspicion
    other: Case
    ambulance: Ambulance
    holder: EmergencyRoom | None


@dataclass(frozen=True)
class Film:
    """The film that counts, its readings by kind, and the findings of each."""

    image: Image
    readings: list[Reading]
    findings: dict[UUID, list[Finding]]


@dataclass(frozen=True)
class Dossier:
    """One case with all that stands around it; what the actor may not be told is empty."""

    case: Case
    ambulance: Ambulance
    identified: bool
    """Whether the actor may be told who the patient is."""
    patient: Patient | None
    """The root."""
    identity: Identity | None
    questions: list[Question]
    vital_signs: list[VitalSignsEntry]
    """The newest first."""
    film: Film | None
    instructions: Instructions | None
    outcome: Outcome | None
    directives: list[Directive]
    offers: list[Offer]
    ways: Mapping[UUID, Travel]
    """Where an ambulance is on its way, by offer."""
    elsewhere: ElsewherePlacement | None


def of_cases(
    session: Session, settings: Settings, actor: Actor, cases: Iterable[Case]
) -> dict[UUID, Dossier]:
    """The dossiers of cases that this actor may see, by case."""
    by_id = {case.id: case for case in cases}
    if not by_id:
        return {}
    is_room = actor.role is Role.EMERGENCY_ROOM
    is_control = actor.role is Role.CONTROL_ROOM
    offers = {} if is_room else _offers(session, by_id)
    held = access.holders(session, by_id) if is_room else _holders(offers)
    named = {id_: c for id_, c in by_id.items() if access.sees_identity(actor, held.get(id_))}
    roots, known = _patients(session, settings, by_id, named)
    asks = actor.role in {Role.CREW, Role.CONTROL_ROOM}
    pairs = duplicates.open_of(session, named) if asks else {}
    others = {other.id: other for some in pairs.values() for _, other in some}
    theirs = access.holders(session, others) if others else {}
    ambulances = _rows(
        session, Ambulance, {case.ambulance_id for case in (*by_id.values(), *others.values())}
    )
    rooms = _rows(session, EmergencyRoom, {*theirs.values()})
    vital_signs = measured.sets(session, by_id)
    films = _films(session, by_id)
    wanted = instructions.latest_of(session, {k: v for k, v in held.items() if k in named})
    ends = outcome.latest_of(session, named) if named else {}
    said = directives.of_cases(session, by_id) if is_control else {}
    outside = {} if is_room else elsewhere.open_placements(session, by_id)
    ways = ways_of(session, settings, [offer for some in offers.values() for offer in some])
    return {
        id_: Dossier(
            case=case,
            ambulance=ambulances[case.ambulance_id],
            identified=id_ in named,
            patient=roots.get(case.patient_id),
            identity=known.get(case.patient_id) if id_ in named else None,
            questions=[
                Question(s, other, ambulances[other.ambulance_id], rooms.get(theirs.get(other.id)))
                for s, other in pairs.get(id_, ())
            ],
            vital_signs=vital_signs[id_],
            film=films.get(id_),
            instructions=wanted.get(id_),
            outcome=ends.get(id_),
            directives=said.get(id_, []),
            offers=offers.get(id_, []),
            ways=ways,
            elsewhere=outside.get(id_),
        )
        for id_, case in by_id.items()
    }


def complete(session: Session, offers: Sequence[Offer]) -> None:
    """Give these offers their cases and ERs, if they have them not: with one statement for all."""
    session.scalars(
        select(Offer)
        .where(Offer.id.in_([offer.id for offer in offers]))
        .options(load_only(Offer.id), joinedload(Offer.case), joinedload(Offer.emergency_room))
    ).all()


def ways_of(session: Session, settings: Settings, offers: Iterable[Offer]) -> dict[UUID, Travel]:
    """How far the ambulances are from the ERs that may expect them, by offer."""
    expected = [
        offer
        for offer in offers
        if offer.status in GRANTING_OFFERS and offer.case.status in UNDER_WAY
    ]
    return road_times.now_of(session, settings, expected)


def _patients(
    session: Session, settings: Settings, cases: Mapping[UUID, Case], named: Mapping[UUID, Case]
) -> tuple[dict[UUID | None, Patient], dict[UUID | None, Identity]]:
    """Roots by patient, and who they are where that may be told."""
    people = _rows(session, Patient, {c.patient_id for c in cases.values() if c.patient_id})
    told = {case.patient_id for case in named.values()}
    found = patients.identities_of(session, settings, [p for p in people.values() if p.id in told])
    hidden = [p for p in people.values() if p.id not in told]
    roots: dict[UUID | None, Patient] = {id_: root for id_, (root, _) in found.items()}
    roots.update(patients.roots_of(session, hidden).items())
    return roots, {id_: who for id_, (_, who) in found.items()}


def _films(session: Session, case_ids: Collection[UUID]) -> dict[UUID, Film]:
    images = assessing.current_images(session, case_ids)
    if not images:
        return {}
    readings: dict[UUID, list[Reading]] = {image.id: [] for image in images.values()}
    for reading in session.scalars(
        select(Reading).where(Reading.image_id.in_(readings)).order_by(Reading.kind)
    ):
        readings[reading.image_id].append(reading)
    findings: dict[UUID, list[Finding]] = {r.id: [] for some in readings.values() for r in some}
    for finding in session.scalars(
        select(Finding).where(Finding.reading_id.in_(findings)).order_by(Finding.rank)
    ):
        findings[finding.reading_id].append(finding)
    return {id_: Film(image, readings[image.id], findings) for id_, image in images.items()}


def _offers(session: Session, case_ids: Collection[UUID]) -> dict[UUID, list[Offer]]:
    found: dict[UUID, list[Offer]] = {}
    for offer in session.scalars(
        select(Offer)
        .where(Offer.case_id.in_(case_ids))
        .order_by(Offer.round, Offer.rank)
        .options(joinedload(Offer.emergency_room))
    ):
        found.setdefault(offer.case_id, []).append(offer)
    return found


def _holders(offers: Mapping[UUID, Sequence[Offer]]) -> dict[UUID, UUID]:
    return {
        id_: offer.emergency_room_id
        for id_, some in offers.items()
        for offer in some
        if offer.status is OfferStatus.ACCEPTED
    }


def _rows(session: Session, table: type[Row], ids: Collection[UUID]) -> dict[UUID | None, Row]:
    if not ids:
        return {}
    return {row.id: row for row in session.scalars(select(table).where(table.id.in_(ids)))}
