"""The ER's door: see offers, say yes or no in one step, give back, go on diversion."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from broker import database, events
from broker.errors import NotFound
from broker.lifecycle import HELD_CASES, LIVE_CASES, OPEN_OFFERS, OfferStatus, Role
from broker.tables import Case, EmergencyRoom, Offer
from dispatch import access, advance, basis, beds, instructions, offers, outcome
from dispatch.access import Actor
from dispatch.offers import Decision
from web import schemas
from web.auth import actor, allow
from web.bodies import Room
from web.presenting import case_picture, offer_picture, offer_pictures
from web.state import here

blueprint = Room("emergency_room", __name__, url_prefix="/api/v1", description="What an ER does")


@blueprint.route("/offers", methods=["GET"])
@blueprint.arguments(schemas.OffersQuery, location="query")
@blueprint.response(200, schemas.OfferOut(many=True))
@allow(Role.EMERGENCY_ROOM, Role.CREW, Role.CONTROL_ROOM)
def list_offers(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Your offers, newest first: open and held ones, or all."""
    state, who = here(), actor()
    with state.record.look() as session:
        if query["open"]:
            # From the live cases on: an ER's own offers of years are many, live cases are few.
            live = select(Case.id).where(Case.status.in_(LIVE_CASES))
            held = (Offer.status == OfferStatus.ACCEPTED) & Case.status.in_(HELD_CASES)
            wanted = (
                select(Offer)
                .join(Offer.case)
                .where(
                    Offer.case_id.in_(live),
                    Offer.status.in_(OPEN_OFFERS) | held,
                    access.each_offer_visible_to(who),
                )
            )
        else:
            wanted = select(Offer).where(access.offers_visible_to(who))
        rows = session.scalars(wanted.order_by(Offer.offered_at.desc()).limit(query["limit"])).all()
        if query["cases"] and rows:
            ids = [str(offer.id) for offer in rows]
            events.audit(session, who.name, "offers.listed", None, offers=ids)
        reader = who if query["cases"] else None
        return offer_pictures(session, state.settings, reader, rows)


@blueprint.route("/offers/<uuid:offer_id>", methods=["GET"])
@blueprint.response(200, schemas.OfferOut)
@allow(Role.EMERGENCY_ROOM, Role.CREW, Role.CONTROL_ROOM)
def get_offer(offer_id: UUID) -> dict[str, Any]:
    """One offer, with the case while it is open or held."""
    state, who = here(), actor()
    with state.record.look() as session:
        offer = access.offer(session, who, offer_id)
        events.audit(session, who.name, "offer.viewed", offer.case_id, offer_id=str(offer_id))
        return offer_picture(session, state.settings, who, offer)


@blueprint.route("/offers/<uuid:offer_id>/received", methods=["POST"])
@blueprint.response(200, schemas.OfferBrief)
@allow(Role.EMERGENCY_ROOM)
def mark_received(offer_id: UUID) -> dict[str, Any]:
    """The offer is on your screen (the crew sees that)."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: offer_picture(s, state.settings, None, offers.mark_received(s, who, offer_id))
    )


@blueprint.route("/offers/<uuid:offer_id>/decision", methods=["POST"])
@blueprint.arguments(schemas.DecisionIn)
@blueprint.response(200, schemas.OfferOut)
@allow(Role.EMERGENCY_ROOM)
def decide(data: dict[str, Any], offer_id: UUID) -> dict[str, Any]:
    """Accept, accept with delay, or reject with a reason; the first acceptance wins."""
    state, who = here(), actor()

    def unit(session: Any) -> dict[str, Any]:
        asked = access.offer(session, who, offer_id)
        if asked.status in OPEN_OFFERS:  # what is over is refused for what it is
            basis.check(session, asked.case, data.get("basis"))
        offer = offers.decide(
            session,
            state.settings,
            who,
            offer_id,
            data["decision"],
            reason_code=data.get("reason_code"),
            note=data.get("note"),
            delay_min=data.get("delay_min"),
        )
        if data["decision"] is Decision.REJECT:
            advance.advance(session, state.settings, offer.case_id)
        return offer_picture(session, state.settings, who, offer)

    return state.record.again(unit)


@blueprint.route("/offers/<uuid:offer_id>/withdraw", methods=["POST"])
@blueprint.arguments(schemas.WithdrawIn)
@blueprint.response(200, schemas.OfferBrief)
@allow(Role.EMERGENCY_ROOM)
def withdraw(data: dict[str, Any], offer_id: UUID) -> dict[str, Any]:
    """Give an accepted case back, with a reason; others are asked at once."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: offer_picture(
            s,
            state.settings,
            None,
            offers.withdraw(
                s, state.settings, who, offer_id, data["reason_code"], data.get("note")
            ),
        )
    )


@blueprint.route("/emergency-rooms/<uuid:emergency_room_id>/diversion", methods=["POST"])
@blueprint.arguments(schemas.DiversionIn)
@blueprint.response(200, schemas.DiversionOut)
@allow(Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
def set_diversion(data: dict[str, Any], emergency_room_id: UUID) -> EmergencyRoom:
    """Stop new offers for a while, or take patients again; open offers stay."""
    who = actor()

    def unit(session: Any) -> EmergencyRoom:
        room = _own_room(session, who, emergency_room_id)
        until = database.now(session) + timedelta(minutes=data.get("minutes") or 60)
        room.diversion_until_at = until if data["on"] else None
        room.diversion_reason = data.get("reason") if data["on"] else None
        _tell_room(session, who, room, "diversion", on=data["on"])
        return room

    return here().record.again(unit)


@blueprint.route("/emergency-rooms/<uuid:emergency_room_id>/beds", methods=["POST"])
@blueprint.arguments(schemas.BedsIn)
@blueprint.response(200, schemas.DiversionOut)
@allow(Role.EMERGENCY_ROOM, Role.CONTROL_ROOM, Role.ADMIN)
def set_beds(data: dict[str, Any], emergency_room_id: UUID) -> EmergencyRoom:
    """How many beds you have free just now; ranking believes it for a while."""
    who = actor()

    def unit(session: Any) -> EmergencyRoom:
        room = _own_room(session, who, emergency_room_id)
        beds.set_by_hand(session, room, data["available"], who.role)
        _tell_room(session, who, room, "beds", available=data["available"])
        return room

    return here().record.again(unit)


@blueprint.route("/cases/<uuid:case_id>/outcome", methods=["PUT"])
@blueprint.arguments(schemas.OutcomeIn)
@blueprint.response(200, schemas.CaseOut)
@allow(Role.EMERGENCY_ROOM)
def tell_outcome(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """Tell the crew what became of the patient it brought you."""
    state, who = here(), actor()

    def unit(session: Any) -> dict[str, Any]:
        outcome.record(session, who, case_id, data["diagnosis"], data["disposition"])
        return case_picture(session, state.settings, who, access.case(session, who, case_id))

    return state.record.again(unit)


@blueprint.route("/cases/<uuid:case_id>/instructions", methods=["PUT"])
@blueprint.arguments(schemas.InstructionsIn)
@blueprint.response(200, schemas.CaseOut)
@allow(Role.EMERGENCY_ROOM)
def instruct(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """Tell the crew of your patient where to come to, what to do and what to bring."""
    state, who = here(), actor()

    def unit(session: Any) -> dict[str, Any]:
        instructions.give(session, who, case_id, data["items"], data.get("note"))
        return case_picture(session, state.settings, who, access.case(session, who, case_id))

    return state.record.again(unit)


def _own_room(session: Any, who: Actor, emergency_room_id: UUID) -> EmergencyRoom:
    """The ER that somebody may speak for: its own, or any for control room and administrators."""
    room: EmergencyRoom | None = session.get(EmergencyRoom, emergency_room_id)
    every = who.role in {Role.CONTROL_ROOM, Role.ADMIN}
    own = every or who.emergency_room_id == emergency_room_id
    if room is None or not own:
        raise NotFound(f"there is no emergency room {emergency_room_id}, or it is not yours")
    return room


def _tell_room(session: Any, who: Actor, room: EmergencyRoom, what: str, **facts: Any) -> None:
    """A change of an ER's own state: on record, and told to it and to the control room."""
    events.audit(session, who.name, what, None, room=str(room.id), **facts)
    for audience in (events.CONTROL_ROOM, events.emergency_room(room.id)):
        events.announce(session, audience, what, None, room_id=str(room.id), **facts)
