"""What crew, ER and control room do alike: cases and films, events, messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from flask import Response, redirect, request
from sqlalchemy import select
from werkzeug.wrappers import Response as BaseResponse

from broker import events
from broker.lifecycle import LIVE_CASES, ReadingKind, Role
from broker.tables import Case, EmergencyRoom, Finding, Message, Reading
from dispatch import access, assessing, inbox, transport
from models import xray
from models.xray import Box
from web import schemas
from web.auth import actor, allow
from web.bodies import Room
from web.presenting import case_picture, case_pictures
from web.state import here

blueprint = Room("cases", __name__, url_prefix="/api/v1", description="Cases, events, messages")
PARTIES = (Role.CREW, Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)


@blueprint.route("/cases", methods=["GET"])
@blueprint.arguments(schemas.CasesQuery, location="query")
@blueprint.response(200, schemas.CaseOut(many=True))
@allow(*PARTIES)
def list_cases(query: dict[str, Any]) -> list[dict[str, Any]]:
    """Cases that you may see, newest first."""
    state, who = here(), actor()
    with state.record.look() as session:
        if query["live"]:  # few at any time, of whomever; a unit's own are a year's
            wanted = select(Case).where(
                Case.status.in_(LIVE_CASES), access.each_case_visible_to(who)
            )
        else:
            wanted = select(Case).where(access.all_cases_of(session, who))
        if "before" in query:
            wanted = wanted.where(Case.received_at < query["before"])
        rows = session.scalars(wanted.order_by(Case.received_at.desc()).limit(query["limit"])).all()
        if rows:  # a list shows patients as a case does, so it leaves the same trace
            ids = [str(case.id) for case in rows]
            events.audit(session, who.name, "cases.listed", None, cases=ids)
        return case_pictures(session, state.settings, who, rows)


@blueprint.route("/cases/<uuid:case_id>", methods=["GET"])
@blueprint.response(200, schemas.CaseOut)
@allow(*PARTIES)
def get_case(case_id: UUID) -> dict[str, Any]:
    """One case as you may see it."""
    state, who = here(), actor()
    with state.record.look() as session:
        case = access.case(session, who, case_id)
        events.audit(session, who.name, "case.viewed", case_id)
        return case_picture(session, state.settings, who, case)


@blueprint.route("/cases/<uuid:case_id>/close", methods=["POST"])
@blueprint.response(200, schemas.CaseOut)
@allow(Role.CREW, Role.EMERGENCY_ROOM)
def close_case(case_id: UUID) -> dict[str, Any]:
    """The patient is handed over; crew or the ER that holds the case."""
    state, who = here(), actor()
    return state.record.again(
        lambda s: case_picture(s, state.settings, who, transport.close(s, who, case_id))
    )


@blueprint.route("/cases/<uuid:case_id>/image", methods=["GET"])
@blueprint.arguments(schemas.ImageQuery, location="query")
@blueprint.response(200, content_type="image/png")
@allow(*PARTIES)
def get_image(query: dict[str, Any], case_id: UUID) -> Response:
    """The film, re-encoded; `boxes=1` draws the suspicious regions and "not for diagnosis" in."""
    state, who = here(), actor()
    with state.record.look() as session:
        image = assessing.film_for(session, who, case_id, query.get("film"))
        boxes = session.scalars(
            select(Finding)
            .join(Reading, Reading.id == Finding.reading_id)
            .where(Reading.image_id == image.id, Reading.kind == ReadingKind.DETECT)
        ).all()
        events.audit(session, who.name, "image.viewed", case_id, film=image.sha256)
    png = state.store.get(case_id, image.rendition_sha256)
    if query["boxes"] or "width_px" in query:
        pixels = xray.decode(png).pixels
        scale = image.rendition_width_px / image.width_px
        scaled = [
            Box(found.label, found.score, *(corner * scale for corner in corners(found)))
            for found in boxes
            if found.above_threshold
        ]
        if query["boxes"]:
            pixels = xray.draw_boxes(pixels, scaled)
        if "width_px" in query:
            pixels = xray.resize_to(pixels, query["width_px"])
        png = xray.encode_png(pixels)
    response = Response(png, mimetype="image/png")
    response.headers["Content-Disposition"] = f'inline; filename="{case_id}.png"'
    return response


def corners(found: Finding) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a region in pixels of the original film."""
    x0, y0, x1, y1 = found.x0, found.y0, found.x1, found.y1
    assert x0 is not None  # detect writes boxes only
    assert y0 is not None
    assert x1 is not None
    assert y1 is not None
    return x0, y0, x1, y1


@blueprint.route("/emergency-rooms", methods=["GET"])
@blueprint.response(200, schemas.EmergencyRoomOut(many=True))
@allow(*PARTIES)
def list_emergency_rooms() -> Sequence[EmergencyRoom]:
    """Every ER that may be asked."""
    with here().record.read() as session:
        return session.scalars(
            select(EmergencyRoom).where(EmergencyRoom.active).order_by(EmergencyRoom.name)
        ).all()


@blueprint.route("/inbox", methods=["GET"])
@blueprint.arguments(schemas.InboxQuery, location="query")
@blueprint.response(200, schemas.InboxOut)
@allow(*PARTIES)
def poll_inbox(query: dict[str, Any]) -> dict[str, Any]:
    """Your events after a number, polled; the same list as the stream."""
    audience = actor().audience or ""
    with here().record.read() as session:
        entries = events.after(session, audience, query["after"])
        # A number from elsewhere would wait for ever.
        last = min(query["after"], events.last_seq(session, audience))
        return {"events": entries, "last_seq": entries[-1].seq if entries else last}


@blueprint.route("/events", methods=["GET"])
@blueprint.doc(
    responses={
        "307": {"description": "Server-sent events are served by the stream process; follow there"}
    }
)
@allow(*PARTIES)
def to_stream() -> BaseResponse:
    """Server-sent events (Last-Event-ID resumes without a gap)."""
    after = request.args.get("after")
    query = f"?{urlencode({'after': after})}" if after else ""
    return redirect(f"{here().settings.stream_url}/api/v1/events{query}", code=307)


@blueprint.route("/cases/<uuid:case_id>/messages", methods=["POST"])
@blueprint.arguments(schemas.MessageIn)
@blueprint.response(201, schemas.MessageOut)
@allow(*PARTIES)
def send_message(data: dict[str, Any], case_id: UUID) -> Message:
    """Write to the crew, the ER that holds the case, or the control room."""
    return here().record.again(lambda s: inbox.send(s, actor(), case_id, data["to"], data["body"]))


@blueprint.route("/cases/<uuid:case_id>/messages", methods=["GET"])
@blueprint.response(200, schemas.MessageOut(many=True))
@allow(*PARTIES)
def list_messages(case_id: UUID) -> Sequence[Message]:
    """Messages of a case that you sent or got; those to you count as delivered now."""
    who = actor()

    def fetch(session: Any) -> Sequence[Message]:
        found = inbox.of_case(session, who, case_id)
        inbox.delivered(session, who, [m.id for m in found])
        session.expire_all()
        return inbox.of_case(session, who, case_id)

    return here().record.again(fetch)


@blueprint.route("/messages/<uuid:message_id>/seen", methods=["POST"])
@blueprint.response(200, schemas.MessageOut)
@allow(*PARTIES)
def mark_seen(message_id: UUID) -> Message:
    """A person has read this message."""
    return here().record.again(lambda s: inbox.seen(s, actor(), message_id))
