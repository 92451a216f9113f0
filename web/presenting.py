"""Rows into what one actor may see, as plain dicts for the schemas.

The only place that decides which fields leave for whom: identity goes to crew, control room and the
ER that holds the case; other ERs get an age band.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from broker.lifecycle import Role
from broker.settings import Settings
from broker.tables import Case, Offer
from dispatch import basis, measured, patients, temporary_names, transport
from dispatch.access import GRANTING_OFFERS, Actor
from dispatch.measured import Measured
from dispatch.patients import IdentityState
from dispatch.travel import Travel, TravelSource
from web import dossier
from web.dossier import Dossier
from web.film_pictures import image_picture
from web.patient_pictures import duplicate_picture
from web.wording import elsewhere_picture, explanation_picture, triage_picture

TREND = 60
"""The latest sets of vital signs that a trend is drawn from."""


def case_picture(session: Session, settings: Settings, actor: Actor, case: Case) -> dict[str, Any]:
    """Everything this actor may see of a case; an identity in it leaves its audit row."""
    shown = _case(settings, actor, dossier.of_cases(session, settings, actor, [case])[case.id])
    _disclosed(session, actor, shown)
    return shown


def case_pictures(
    session: Session, settings: Settings, actor: Actor, cases: Sequence[Case]
) -> list[dict[str, Any]]:
    """The same of a list of cases; one audit row for all identities in it."""
    found = dossier.of_cases(session, settings, actor, cases)
    shown = [_case(settings, actor, found[case.id]) for case in cases]
    _disclosed_together(session, actor, shown)
    return shown


def _case(settings: Settings, actor: Actor, of: Dossier) -> dict[str, Any]:
    case, identity = of.case, of.identified
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
    shown["call_sign"] = of.ambulance.call_sign
    shown["age_band"] = age_band(case.age_years)
    shown["age_years"] = case.age_years if identity else None
    shown |= _patient_of(actor, of)
    shown["vitals"] = vitals_picture(measured.together(of.vital_signs))
    shown["vitals_trend"] = of.vital_signs[:TREND][::-1]
    shown["triage"] = triage_picture(case.triage)
    shown["image"] = image_picture(of.film, identity) if of.film else None
    shown["instructions"] = of.instructions
    shown["outcome"] = of.outcome
    if actor.role is not Role.EMERGENCY_ROOM:
        shown["control_room_until_at"] = case.control_room_until_at
    if actor.role is Role.CONTROL_ROOM:
        shown["directives"] = of.directives
    if actor.role is not Role.EMERGENCY_ROOM:
        shown["offers"] = [_offer(settings, o, of.ways.get(o.id)) for o in of.offers]
        shown["elsewhere"] = elsewhere_picture(of.elsewhere)
    return shown


def _patient_of(actor: Actor, of: Dossier) -> dict[str, Any]:
    """Whose case it is; who shows it writes the audit row."""
    shown: dict[str, Any] = {
        "temporary_name": None,
        "identity": IdentityState.HIDDEN if not of.identified else IdentityState.UNKNOWN,
        "patient_id": None,
        "patient": None,
    }
    if of.patient is None:
        return shown
    if of.patient.number is not None:
        shown["temporary_name"] = temporary_names.of(of.patient.number)
    if of.identity is None:
        return shown
    shown |= {
        "identity": of.identity.state,
        "patient_id": of.patient.id,
        "patient": of.identity if of.identity.known else None,
    }
    if actor.role in {Role.CREW, Role.CONTROL_ROOM}:
        shown["possible_duplicates"] = [duplicate_picture(of.case, q) for q in of.questions]
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


def offer_picture(
    session: Session, settings: Settings, actor: Actor | None, offer: Offer
) -> dict[str, Any]:
    """An offer; with the case while it grants it, for the ER that `actor` belongs to."""
    (shown,) = _offers(session, settings, actor, [offer])
    if actor is not None and shown["case"] is not None:
        _disclosed(session, actor, shown["case"])
    return shown


def offer_pictures(
    session: Session, settings: Settings, actor: Actor | None, offers: Sequence[Offer]
) -> list[dict[str, Any]]:
    """The same of a list of offers; one audit row for all identities in it."""
    shown = _offers(session, settings, actor, offers)
    if actor is not None:
        cases = [offer["case"] for offer in shown if offer["case"] is not None]
        _disclosed_together(session, actor, cases)
    return shown


def _offers(
    session: Session, settings: Settings, actor: Actor | None, offers: Sequence[Offer]
) -> list[dict[str, Any]]:
    dossier.complete(session, offers)
    ways = dossier.ways_of(session, settings, offers)
    shown = [_offer(settings, offer, ways.get(offer.id)) for offer in offers]
    if actor is None:
        return shown
    granted = [offer.case for offer in offers if offer.status in GRANTING_OFFERS]
    found = dossier.of_cases(session, settings, actor, granted)
    for offer, picture in zip(offers, shown, strict=True):
        # What it says of other ERs is none of this one's business.
        del picture["explanation"]["set"]
        of = found[offer.case_id] if offer.status in GRANTING_OFFERS else None
        picture["case"] = _case(settings, actor, of) if of else None
        picture["basis"] = _basis(of) if of else None
    return shown


def _basis(of: Dossier) -> str:
    image = of.film.image if of.film else None
    return basis.mark(of.case, image, measured.together(of.vital_signs))


def _offer(settings: Settings, offer: Offer, now: Travel | None) -> dict[str, Any]:
    """`now`: the way from where the ambulance was last seen, while it is expected."""
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
    shown["way"] = way = _way(offer, now)
    shown["eta_now_min"] = way["eta_min"] if way and way["position_at"] else None
    shown["answer_by_at"] = offer.offered_at + timedelta(seconds=steps.unplaced_s)
    return shown


def _way(offer: Offer, now: Travel | None) -> dict[str, Any] | None:
    """As it was when it was offered, where it is not known any more, or over."""
    if now is not None:
        seen_at = offer.case.position_at or offer.case.received_at
        return {"eta_min": now.eta_min, "source": now.source, "position_at": seen_at}
    if offer.eta_min is None:
        return None
    source = offer.explanation.get("eta_source") or TravelSource.STRAIGHT_LINE
    return {"eta_min": offer.eta_min, "source": source, "position_at": None}


def vitals_picture(found: Measured | None) -> dict[str, Any] | None:
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
