"""The door of free beds: the board with the age of each figure, and what an ER offers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from broker import database
from broker.lifecycle import Role
from broker.tables import EmergencyRoom
from dispatch import beds
from web import schemas
from web.auth import actor, allow
from web.bodies import Room
from web.state import here

blueprint = Room("beds", __name__, url_prefix="/api/v1", description="Free beds and capabilities")


@blueprint.route("/beds", methods=["GET"])
@blueprint.response(200, schemas.BedBoardOut)
@allow(Role.CONTROL_ROOM, Role.OPERATIONS, Role.ADMIN)
def board() -> dict[str, Any]:
    """Free beds of every ER with the age of the figure, and how the feed is doing."""
    state = here()
    with state.record.read() as session:
        now = database.now(session)
        rooms = session.scalars(
            select(EmergencyRoom).where(EmergencyRoom.active).order_by(EmergencyRoom.name)
        )
        return {
            "feed": beds.state(session, state.settings),
            "rooms": [room_picture(room, now) for room in rooms],
        }


@blueprint.route("/emergency-rooms/<uuid:emergency_room_id>/capabilities", methods=["PUT"])
@blueprint.arguments(schemas.CapabilitiesIn)
@blueprint.response(200, schemas.BedRoomOut)
@allow(Role.ADMIN)
def set_capabilities(data: dict[str, Any], emergency_room_id: UUID) -> dict[str, Any]:
    """What this ER offers around the clock."""
    who, offered = actor(), data["capabilities"]

    def unit(session: Any) -> dict[str, Any]:
        room = beds.set_capabilities(session, who, emergency_room_id, offered)
        return room_picture(room, database.now(session))

    return here().record.again(unit)


def room_picture(room: EmergencyRoom, now: datetime) -> dict[str, Any]:
    """An ER's figures with their age; late = older than hospitals are asked to report."""
    age_s = (now - room.beds_at).total_seconds() if room.beds_at else None
    return {
        "id": room.id,
        "name": room.name,
        "name_ko": room.name_ko,
        "feed_id": room.feed_id,
        "beds_available": room.beds_available,
        "beds_at": room.beds_at,
        "beds_source": room.beds_source,
        "age_s": age_s,
        "late": age_s is None or age_s > beds.LATE_MIN * 60,
        "future": age_s is not None and age_s < -beds.SKEW.total_seconds(),
        "capabilities": room.capabilities,
        "offered_now": sorted(c.value for c in beds.capabilities(room, now)),
        "reported_at": room.reported_at,
        "diversion_until_at": room.diversion_until_at,
    }
