"""Rows into what one actor may see, as plain dicts for the schemas.

The only place that decides which fields leave for whom: identity goes to crew, control room and the
ER that holds the case; other ERs get an age band.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.lifecycle import LIVE_CASES, CaseStatus, ReadingKind, ReadingStatus, Role
from broker.settings import Settings
from broker.tables import (
    Case,
    DuplicateSuspicion,
    ElsewherePlacement,
    EmergencyRoom,
    Finding,
    Image,
    Offer,
    Patient,
    PatientMerge,
    Reading,
)
from dispatch import (
    access,
    assessing,
    basis,
    directives,
    duplicates,
    elsewhere,
    instructions,
    measured,
    news2,
    outcome,
    patients,
    road_times,
    routing,
    temporary_names,
    transport,
    triage,
)
from dispatch.access import GRANTING_OFFERS, Actor
from dispatch.patients import Identity, IdentityState
from dispatch.travel import TravelSource
from web import language as words

NOTICE = "AI output of research software, not a medical device: not for diagnosis."
TOP = 3
UNDER_WAY = LIVE_CASES - {CaseStatus.ARRIVED}
TREND = 60
"""The latest sets of vital signs that a trend is drawn from."""
MODEL_IDENTITY = ("name", "version", "sha256")
IDENTIFYING_FACTS = frozenset({"patient_age_years", "study_time"})


def case_picture(session: Session, settings: Settings, actor: Actor, case: Case) -> dict[str, Any]:
    """Everything this actor may see of a case; an identity in it leaves its audit row."""
    shown = _case(session, settings, actor, case)
    _disclosed(session, actor, shown)
    return shown


def case_pictures(
    session: Session, settings: Settings, actor: Actor, cases: Iterable[Case]
) -> list[dict[str, Any]]:
    """The same of a list of cases; one audit row for all identities in it."""
    shown = [_case(session, settings, actor, case) for case in cases]
    _disclosed_together(session, actor, shown)
    return shown


def _case(session: Session, settings: Settings, actor: Actor, case: Case) -> dict[str, Any]:
    identity = access.sees_identity(session, actor, case)
    shown = {
        name: getattr(case, name)
        for name in (
            *("id", "status", "version", "received_at", "first_offer_at", "assigned_at"),
            *("acknowledged_at", "arrived_at", "ended_at", "ended_reason", "round"),
            *("crew_pre_ktas", "acuity", "partial", "image_unusable", "needs_review"),
            *("sex", "pregnant", "complaint", "latitude", "longitude", "position_at"),
        )
    }
    shown["seems_arrived_at"] = transport.seems_arrived_at(case)
    shown["call_sign"] = case.ambulance.call_sign
    shown["age_band"] = age_band(case.age_years)
    shown["age_years"] = case.age_years if identity else None
    shown |= _patient_of(session, settings, actor, case, identity)
    shown["vitals"] = vitals_picture(measured.latest(session, case.id))
    shown["vitals_trend"] = case.vital_signs[-TREND:]
    shown["triage"] = triage_picture(case.triage)
    image = assessing.current_image(session, case.id)
    shown["image"] = image_picture(session, image, identity) if image else None
    shown["instructions"] = instructions.latest(session, case.id) if identity else None
    shown["outcome"] = outcome.latest(session, case.id) if identity else None
    if actor.role is not Role.EMERGENCY_ROOM:
        shown["control_room_until_at"] = case.control_room_until_at
    if actor.role is Role.CONTROL_ROOM:
        shown["directives"] = directives.of_case(session, case.id)
    if actor.role is not Role.EMERGENCY_ROOM:
        shown["offers"] = [_offer(session, settings, None, o) for o in case.offers]
        shown["elsewhere"] = elsewhere_picture(elsewhere.open_placement(session, case.id))
    return shown


def elsewhere_picture(row: ElsewherePlacement | None) -> dict[str, Any] | None:
    """A hospital outside, said to be so in its very name: nobody may take it for an ER's yes."""
    if row is None:
        return None
    names = words.in_every("elsewhere.named", hospital=row.hospital)
    return {
        **{
            name: getattr(row, name)
            for name in ("id", "hospital", "reason", "recorded_at", "recorded_by_role")
        },
        "emergency_room": {"name": names["en"], "name_ko": names["ko"], "phone": row.phone},
    }


def _patient_of(
    session: Session, settings: Settings, actor: Actor, case: Case, identity: bool
) -> dict[str, Any]:
    """Whose case it is; who shows it writes the audit row."""
    shown: dict[str, Any] = {
        "temporary_name": None,
        "identity": IdentityState.HIDDEN if not identity else IdentityState.UNKNOWN,
        "patient_id": None,
        "patient": None,
    }
    if case.patient is None:
        return shown
    patient = patients.root(session, case.patient)
    if patient.number is not None:
        shown["temporary_name"] = temporary_names.of(patient.number)
    if not identity:
        return shown
    who = patients.identity_of(session, settings, patient)
    shown |= {
        "identity": who.state,
        "patient_id": patient.id,
        "patient": who if who.known else None,
    }
    if actor.role in {Role.CREW, Role.CONTROL_ROOM}:
        shown["possible_duplicates"] = [
            duplicate_picture(session, case, s) for s in duplicates.open_of(session, case)
        ]
    return shown


def _disclosed(session: Session, actor: Actor, shown: dict[str, Any]) -> None:
    if shown["patient"] is not None:
        patients.audit_shown(session, actor, shown["patient_id"], shown["patient"], shown["id"])


def _disclosed_together(session: Session, actor: Actor, shown: Iterable[dict[str, Any]]) -> None:
    patients.audit_list_shown(
        session,
        actor,
        [(c["id"], c["patient_id"], c["patient"]) for c in shown if c["patient"] is not None],
    )


def duplicate_picture(
    session: Session, case: Case, suspicion: DuplicateSuspicion
) -> dict[str, Any]:
    """The other case of a suspected pair: where it stands and whom to ask, nothing clinical."""
    other = next(c for c in duplicates.cases_of(session, suspicion) if c.id != case.id)
    holder = access.holding_emergency_room(session, other.id)
    return {
        "id": suspicion.id,
        "reason": suspicion.reason,
        "raised_at": suspicion.raised_at,
        "same_said_at": suspicion.same_said_at,
        "same_said_by": (suspicion.same_said_by or "").split(":")[0] or None,
        "case_id": other.id,
        "call_sign": other.ambulance.call_sign,
        "phone": other.ambulance.phone,
        "status": other.status,
        "received_at": other.received_at,
        "same_unit": other.ambulance_id == case.ambulance_id,
        "emergency_room": session.get(EmergencyRoom, holder) if holder else None,
    }


def patient_line(patient: Patient, cases: int, latest: Case | None) -> dict[str, Any]:
    """A patient in a list: no identity, so that looking for one discloses nobody else."""
    return {
        "id": patient.id,
        "temporary_name": temporary_names.of(patient.number) if patient.number else None,
        "sex": patient.sex,
        "estimated_age_years": patient.estimated_age_years,
        "version": patient.version,
        "created_at": patient.created_at,
        "updated_at": patient.updated_at,
        "erased_at": patient.erased_at,
        "cases": cases,
        "latest_case_id": latest.id if latest else None,
        "latest_status": latest.status if latest else None,
        "latest_at": latest.received_at if latest else None,
        "latest_acuity": latest.acuity if latest else None,
        "call_sign": latest.ambulance.call_sign if latest else None,
    }


def merge_picture(session: Session, row: PatientMerge) -> dict[str, Any]:
    """A merge, with the temporary name of the patient that splitting it gives back."""
    number = session.get_one(Patient, row.absorbed_id).number
    return {
        **{
            name: getattr(row, name)
            for name in ("id", "surviving_id", "absorbed_id", "merged_at", "split_at")
        },
        "absorbed_name": temporary_names.of(number) if number else None,
    }


def identity_picture(who: Identity) -> dict[str, Any]:
    """An identity and how much of it is known."""
    return {"identity": who.state, "patient": who if who.known else None}


def offer_picture(
    session: Session, settings: Settings, actor: Actor | None, offer: Offer
) -> dict[str, Any]:
    """An offer; with the case while it grants it, for the ER that `actor` belongs to."""
    shown = _offer(session, settings, actor, offer)
    if actor is not None and shown["case"] is not None:
        _disclosed(session, actor, shown["case"])
    return shown


def offer_pictures(
    session: Session, settings: Settings, actor: Actor | None, offers: Iterable[Offer]
) -> list[dict[str, Any]]:
    """The same of a list of offers; one audit row for all identities in it."""
    shown = [_offer(session, settings, actor, offer) for offer in offers]
    if actor is not None:
        cases = [offer["case"] for offer in shown if offer["case"] is not None]
        _disclosed_together(session, actor, cases)
    return shown


def _offer(
    session: Session, settings: Settings, actor: Actor | None, offer: Offer
) -> dict[str, Any]:
    steps = settings.steps(offer.case.acuity or 3)
    shown: dict[str, Any] = {
        name: getattr(offer, name)
        for name in (
            *("id", "case_id", "emergency_room", "round", "rank", "status", "eta_min"),
            *("distance_km", "explanation", "offered_at", "received_at", "decided_at"),
            *("reason_code", "note", "delay_min", "ended_reason", "assigned_reason"),
        )
    }
    shown["explanation"] = explanation_picture(offer.explanation)
    shown["way"] = way = _way(session, settings, offer)
    shown["eta_now_min"] = way["eta_min"] if way and way["position_at"] else None
    shown["answer_by_at"] = offer.offered_at + timedelta(seconds=steps.unplaced_s)
    if actor is not None:
        del shown["explanation"]["set"]  # what it says of other ERs is none of this one's business
        granted = offer.status in GRANTING_OFFERS
        shown["case"] = _case(session, settings, actor, offer.case) if granted else None
        shown["basis"] = basis.mark(session, offer.case) if granted else None
    return shown


def _way(session: Session, settings: Settings, offer: Offer) -> dict[str, Any] | None:
    """The way from where the ambulance was last seen; as it was when it was offered where that is
    not known any more, or over."""
    case = offer.case
    if offer.status in GRANTING_OFFERS and case.status in UNDER_WAY:
        room = offer.emergency_room
        now = road_times.now_from(session, settings, case, [room]).get(room.id)
        if now is not None:
            seen_at = case.position_at or case.received_at
            return {"eta_min": now.eta_min, "source": now.source, "position_at": seen_at}
    if offer.eta_min is None:
        return None
    source = offer.explanation.get("eta_source") or TravelSource.STRAIGHT_LINE
    return {"eta_min": offer.eta_min, "source": source, "position_at": None}


def image_picture(session: Session, image: Image, identity: bool) -> dict[str, Any]:
    """The film's facts, how far its readings are, and what they found.

    Without `identity` the header's facts go out as an age band and no time.
    """
    readings = session.scalars(
        select(Reading).where(Reading.image_id == image.id).order_by(Reading.kind)
    ).all()
    found: dict[ReadingKind, list[Finding]] = {
        reading.kind: list(
            session.scalars(
                select(Finding).where(Finding.reading_id == reading.id).order_by(Finding.rank)
            )
        )
        for reading in readings
    }
    done = [
        r for r in readings if r.kind is ReadingKind.CLASSIFY and r.status is ReadingStatus.DONE
    ]
    model = (done[-1].model or {}) if done else {}
    labels = [finding_picture(f, model) for f in found.get(ReadingKind.CLASSIFY, [])]
    return {
        "sha256": image.sha256,
        "url": f"/api/v1/cases/{image.case_id}/image",
        "received_at": image.received_at,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "unusable_reason": image.unusable_reason,
        "facts": {
            name: fact
            for name, fact in (image.facts or {}).items()
            if identity or name not in IDENTIFYING_FACTS
        }
        or None,
        "readings": [reading_picture(reading) for reading in readings],
        "findings": labels,
        "top3": labels[:TOP],
        "nothing_above_threshold": (
            not any(f["above_threshold"] for f in labels) if done else None
        ),
        "score_kind": model.get("score_kind"),
        "prediction_set": model.get("prediction_set"),
        "heatmaps": sorted(model.get("heatmaps", {})),
        "boxes": found.get(ReadingKind.DETECT, []),
        "notice": NOTICE,
    }


def reading_picture(reading: Reading) -> dict[str, Any]:
    """How far a reading is, and whose it is; what its numbers mean stands beside them."""
    model = reading.model and {name: reading.model.get(name) for name in MODEL_IDENTITY}
    return {
        "kind": reading.kind,
        "status": reading.status,
        "model": model,
        "seconds": reading.seconds,
        "error_code": reading.error_code,
    }


def finding_picture(finding: Finding, model: dict[str, Any]) -> dict[str, Any]:
    """A label's score beside the operating point that its model stated when it read the film.

    `model` is the reading's; a reading of an older version, which kept no points, shows none.
    """
    point = model.get("operating_points", {}).get(finding.label, {})
    return {
        "label": finding.label,
        "score": finding.score,
        "above_threshold": finding.above_threshold,
        "threshold": point.get("threshold"),
        "sensitivity": point.get("sensitivity"),
        "specificity": point.get("specificity"),
    }


def triage_picture(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """The stored triage with its reasons in words, in both languages."""
    if stored is None:
        return None
    reasons = []
    for reason in stored["reasons"]:
        known = triage.Reason(reason["code"], reason["params"], reason.get("text"))
        text = {language: triage.explain(known, language) for language in ("en", "ko")}
        reasons.append({**reason, "text": text})
    return {**stored, "reasons": reasons, "credit": news2.CREDIT}


def vitals_picture(found: measured.Measured | None) -> dict[str, Any] | None:
    """Each sign's last measured value, and which of them are older than the last set."""
    if found is None:
        return None
    return {
        **found.values,
        "spo2_scale": found.spo2_scale,
        "spo2_scale_confirmed": found.spo2_scale_confirmed,
        "recorded_at": found.recorded_at,
        "earlier": found.earlier,
    }


def explanation_picture(stored: dict[str, Any]) -> dict[str, Any]:
    """The stored explanation of an offer with its reasons in words, in both languages."""

    def worded(reason: dict[str, Any] | None) -> dict[str, Any] | None:
        if reason is None:
            return None
        known = routing.RoutingReason(routing.RoutingReasonCode(reason["code"]), reason["params"])
        text = {language: routing.explain(known, language) for language in ("en", "ko")}
        return {**reason, "text": text}

    shown = dict(stored)
    shown["reasons"] = [worded(reason) for reason in stored.get("reasons", ())]
    shown["excluded_reason"] = worded(stored.get("excluded_reason"))
    of_set = stored.get("set") or {}  # rows of an older version have none
    shown["set"] = {**of_set, "not_nearest": worded(of_set.get("not_nearest"))}
    return shown


def age_band(age_years: float | None) -> str | None:
    """Ten years wide; under one year and above 90 are bands of their own."""
    if age_years is None:
        return None
    if age_years < 1:
        return "0"
    if age_years >= 90:
        return "90+"
    low = int(age_years // 10) * 10
    return f"{low}-{low + 9}"
