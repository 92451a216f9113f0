"""The control room's door: who waits, whom to ask first or never, assign, what is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import case as sql_case, select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import NotFound
from broker.lifecycle import LIVE_CASES, CaseStatus, Role
from broker.tables import Case, Directive, EmergencyRoom
from dispatch import access, asking, assigning, control_log, directives, routing, shortages
from dispatch.control_log import CaseAlarm, Entry
from web import schemas
from web.auth import actor, allow
from web.board import names_of
from web.bodies import Room
from web.presenting import case_picture, case_pictures, offer_picture
from web.schemas import control_room as control_room_schemas
from web.state import here

blueprint = Room(
    "control_room", __name__, url_prefix="/api/v1/control-room", description="What the control "
    "room does"
)  # fmt: skip


@blueprint.route("/cases", methods=["GET"])
@blueprint.arguments(schemas.BoardQuery, location="query")
@blueprint.response(200, schemas.CaseOut(many=True))
@allow(Role.CONTROL_ROOM)
def board(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Live cases, those that need somebody first: waiting for you, unplaced, then by urgency."""
    state, who = here(), actor()
    with state.record.look() as session:
        now = database.now(session)
        waits = (Case.status == CaseStatus.RECEIVED) & (Case.control_room_until_at > now)
        need = sql_case((waits, 0), (Case.status == CaseStatus.UNPLACED, 1), else_=2)
        urgency = sql_case((Case.acuity.is_(None), 3), else_=Case.acuity)
        rows = session.scalars(
            select(Case)
            .where(access.cases_visible_to(who), Case.status.in_(LIVE_CASES))
            .order_by(need, urgency, Case.received_at)
            .limit(query["limit"])
        ).all()
        if rows:
            ids = [str(case.id) for case in rows]
            events.audit(session, who.name, "cases.listed", None, cases=ids)
        return case_pictures(session, state.settings, who, rows)


@blueprint.route("/cases/<uuid:case_id>/ranking", methods=["GET"])
@blueprint.response(200, schemas.RankedOut(many=True))
@allow(Role.CONTROL_ROOM)
def ranking(case_id: UUID) -> list[dict[str, Any]]:
    """Every ER in the order in which it suits the case, with why, and what you said of it."""
    state = here()
    with state.record.read() as session:
        case = access.case(session, actor(), case_id)
        now = database.now(session)
        rooms = {
            room.id: room
            for room in session.scalars(select(EmergencyRoom).where(EmergencyRoom.active))
        }
        said = {d.emergency_room_id: d for d in directives.of_case(session, case.id)}
        facts = asking.facts(session, case, [*rooms.values()], now)
        ranked = asking.rank(session, state.settings, case, facts, now)
        return [
            {
                "emergency_room": rooms[found.id],
                "eta_min": found.eta_min,
                "way": found.eta_source
                and {"eta_min": found.eta_min, "source": found.eta_source, "position_at": None},
                "distance_km": found.distance_km,
                "expected_min": found.expected_min,
                "suitable": found.excluded_reason is None,
                "reasons": [
                    {language: routing.explain(reason, language) for language in ("en", "ko")}
                    for reason in (
                        *([found.excluded_reason] if found.excluded_reason else []),
                        *found.reasons,
                    )
                ],
                "directive": said.get(found.id),
            }
            for found in list(ranked)[:50]
        ]


@blueprint.route("/cases/<uuid:case_id>/directives/<uuid:emergency_room_id>", methods=["PUT"])
@blueprint.arguments(schemas.DirectiveIn)
@blueprint.response(200, schemas.DirectiveOut)
@allow(Role.CONTROL_ROOM)
def direct(data: dict[str, Any], case_id: UUID, emergency_room_id: UUID) -> Directive:
    """Ask this ER next (pin), or never (veto), with a reason."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: assigning.direct(
            s, state.settings, who, case_id, emergency_room_id, data["kind"], data["reason"]
        )
    )


@blueprint.route("/cases/<uuid:case_id>/directives/<uuid:emergency_room_id>", methods=["DELETE"])
@blueprint.response(204)
@allow(Role.CONTROL_ROOM)
def lift(case_id: UUID, emergency_room_id: UUID) -> None:
    """Take a pin or a veto back."""
    who = actor()
    here().record.again(lambda s: assigning.lift(s, who, case_id, emergency_room_id))


@blueprint.route("/cases/<uuid:case_id>/assign", methods=["POST"])
@blueprint.arguments(schemas.AssignIn)
@blueprint.response(200, schemas.OfferBrief)
@allow(Role.CONTROL_ROOM)
def assign(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """Place a case at an ER on your word; the ER is told, and may give it back with a reason."""
    state, who = here(), actor()

    def unit(session: Any) -> dict[str, Any]:
        offer = assigning.assign(
            session, state.settings, who, case_id, data["emergency_room_id"], data["reason"]
        )
        return offer_picture(session, state.settings, None, offer)

    return state.record.again(unit)


@blueprint.route("/cases/<uuid:case_id>/proceed", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CONTROL_ROOM)
def proceed(case_id: UUID) -> dict[str, Any]:
    """Let a case that waits for your choice go on by itself now."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(
            s, state.settings, who, assigning.proceed(s, state.settings, who, case_id)
        )
    )


@blueprint.route("/log", methods=["GET"])
@blueprint.response(200, control_room_schemas.LogEntryOut(many=True))
@allow(Role.CONTROL_ROOM)
def log() -> list[dict[str, Any]]:
    """Alarms that were taken and calls that were made for live cases, oldest first."""
    with here().record.read() as session:
        return _named(session, control_log.of_live_cases(session, actor()))


@blueprint.route("/cases/<uuid:case_id>/alarms/<alarm>/take", methods=["POST"])
@blueprint.response(200, control_room_schemas.LogEntryOut)
@allow(Role.CONTROL_ROOM)
def take_alarm(case_id: UUID, alarm: str) -> dict[str, Any]:
    """Take a case's alarm: it falls silent for everybody, and your name stands beside it."""
    who = actor()
    try:
        which = CaseAlarm(alarm)
    except ValueError:
        raise NotFound(f"a case has no alarm {alarm!r}") from None
    return here().record.again(lambda s: _named(s, [control_log.take(s, who, case_id, which)])[0])


@blueprint.route("/cases/<uuid:case_id>/calls", methods=["POST"])
@blueprint.arguments(control_room_schemas.CallIn)
@blueprint.response(201, control_room_schemas.LogEntryOut)
@allow(Role.CONTROL_ROOM)
def write_call(data: dict[str, Any], case_id: UUID) -> dict[str, Any]:
    """Write down a telephone call about a case: with whom, and what was said."""
    who = actor()
    return here().record.again(
        lambda s: _named(s, [control_log.telephoned(s, who, case_id, data["to"], data["said"])])[0]
    )


def _named(session: Session, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    names = names_of(session, (entry.by for entry in entries))
    return [{**asdict(entry), "by_name": names.get(entry.by, entry.by)} for entry in entries]


@blueprint.route("/shortages", methods=["GET"])
@blueprint.arguments(schemas.ShortagesQuery, location="query")
@blueprint.response(200, schemas.ShortagesOut)
@allow(Role.CONTROL_ROOM, Role.OPERATIONS, Role.ADMIN)
def what_is_short(query: dict[str, Any]) -> shortages.Shortages:
    """Reasons of "cannot take now" by reason and hour, over all ERs together."""
    with here().record.read() as session:
        return shortages.of_last(session, query["hours"])
