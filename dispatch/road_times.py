"""Ways by road as rows: which are wanted, what was learnt, who may use it, and for how long.

The start is rounded to a square of 0.002 degrees (about 220 m), so that a hundred positions of one
ambulance are a few questions, and the service learns of no patient's door. Nobody waits for an
answer: workers/road_times.py fills the rows, everybody else reads what is there, and a way that is
not there is estimated (travel.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from broker import database
from broker.lifecycle import ON_THE_WAY_CASES, SEEKING_CASES, OfferStatus
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Offer, RoadService, RoadTime
from dispatch import osrm, travel
from dispatch.osrm import MOST_PLACES
from dispatch.routing_facts import EmergencyRoomFacts
from dispatch.travel import Position, Travel, TravelSource, position_or_none

SQUARE_DEGREES = 0.002
NEAREST = 2 * MOST_PLACES
"""Of a search, so many of the nearest ERs are asked about; nobody drives past that many."""
USED_FOR = timedelta(hours=1)
"""A road time is used for so long; it is asked for anew much earlier, while somebody needs it."""
SERVICE = "osrm"


@dataclass(frozen=True)
class Square:
    """A start: rows and columns of SQUARE_DEGREES from 0, 0."""

    row: int
    column: int

    @classmethod
    def of(cls, position: Position) -> Square:
        """The square that a position lies in."""
        return cls(
            math.floor(position.latitude / SQUARE_DEGREES),
            math.floor(position.longitude / SQUARE_DEGREES),
        )

    @property
    def middle(self) -> Position:
        """What the service is asked about."""
        return Position(
            min(90.0, (self.row + 0.5) * SQUARE_DEGREES),
            min(180.0, (self.column + 0.5) * SQUARE_DEGREES),
        )


@dataclass(frozen=True)
class Question:
    """A start and at most MOST_PLACES ERs whose ways from there are wanted."""

    square: Square
    rooms: tuple[tuple[UUID, Position], ...]


def by_road(
    session: Session,
    settings: Settings,
    position: Position | None,
    rooms: Iterable[EmergencyRoomFacts | EmergencyRoom],
) -> dict[UUID, Travel]:
    """The ways from a position that a road service has worked out; empty while it is off.

    Their distance stays an estimate: a table service is asked for minutes only.
    """
    if position is None:
        return {}
    seconds = _learnt(session, settings, {Square.of(position)}).get(Square.of(position), {})
    found = {}
    for room in rooms if seconds else ():
        end = position_or_none(room.latitude, room.longitude)
        if room.id in seconds and end is not None:
            distance_km = travel.estimate(position, end).distance_km
            found[room.id] = Travel(distance_km, seconds[room.id] / 60, TravelSource.ROAD)
    return found


def now_of(session: Session, settings: Settings, offers: Sequence[Offer]) -> dict[UUID, Travel]:
    """The ways of the ambulances of some offers to their ERs, from where each was last seen, by
    road or estimated; by offer. One whose ambulance or ER is nowhere is not in it."""
    ends = {}
    for offer in offers:
        start = position_or_none(offer.case.latitude, offer.case.longitude)
        room = offer.emergency_room
        end = position_or_none(room.latitude, room.longitude)
        if start is not None and end is not None:
            ends[offer] = (start, end)
    learnt = _learnt(session, settings, {Square.of(start) for start, _ in ends.values()})
    found = {}
    for offer, (start, end) in ends.items():
        found[offer.id] = way = travel.estimate(start, end)
        seconds = learnt.get(Square.of(start), {}).get(offer.emergency_room_id)
        if seconds is not None:
            found[offer.id] = Travel(way.distance_km, seconds / 60, TravelSource.ROAD)
    return found


def _learnt(
    session: Session, settings: Settings, squares: Set[Square]
) -> dict[Square, dict[UUID, float]]:
    """Seconds by road from these squares, by ER; empty while no road service is configured."""
    found: dict[Square, dict[UUID, float]] = {}
    if not squares or not osrm.configured(settings):
        return found
    for row, column, room_id, duration_s in session.execute(
        select(
            *(RoadTime.square_row, RoadTime.square_column),
            *(RoadTime.emergency_room_id, RoadTime.duration_s),
        ).where(
            # More squares than were asked for, where rows and columns cross: few, and soon told.
            RoadTime.square_row.in_({square.row for square in squares}),
            RoadTime.square_column.in_({square.column for square in squares}),
            RoadTime.measured_at > database.now(session) - USED_FOR,
            RoadTime.duration_s.is_not(None),
        )
    ):
        found.setdefault(Square(row, column), {})[room_id] = duration_s or 0.0
    return found


def wanted(session: Session, settings: Settings) -> list[Question]:
    """What live cases need and no row answers freshly enough, the most urgent case first.

    A case that nobody holds needs the nearest ERs, one that is on its way only the ER it goes to.
    """
    fresh = database.now(session) - timedelta(seconds=settings.road_times_keep_s)
    rooms = {
        room.id: (room.id, place)
        for room in session.scalars(select(EmergencyRoom).where(EmergencyRoom.active))
        if (place := position_or_none(room.latitude, room.longitude)) is not None
    }
    holder = (
        select(Offer.emergency_room_id)
        .where(Offer.case_id == Case.id, Offer.status == OfferStatus.ACCEPTED)
        .scalar_subquery()
    )
    cases = session.execute(
        select(Case.status, Case.latitude, Case.longitude, holder)
        .where(Case.status.in_(SEEKING_CASES | ON_THE_WAY_CASES), Case.latitude.is_not(None))
        .order_by(Case.acuity.is_(None), Case.acuity, Case.received_at)
    ).all()
    needed: dict[Square, dict[UUID, Position]] = {}
    for status, latitude, longitude, held_by in cases:
        start = position_or_none(latitude, longitude)
        if start is None:
            continue
        need = needed.setdefault(Square.of(start), {})
        if status in SEEKING_CASES:
            need.update(_nearest(start, [*rooms.values()]))
        elif held_by in rooms:
            need.update([rooms[held_by]])
    questions = []
    for square, places in needed.items():
        known = set(
            session.scalars(
                select(RoadTime.emergency_room_id).where(
                    RoadTime.square_row == square.row,
                    RoadTime.square_column == square.column,
                    RoadTime.measured_at > fresh,
                )
            )
        )
        missing = [item for item in places.items() if item[0] not in known]
        questions += [
            Question(square, tuple(missing[at : at + MOST_PLACES]))
            for at in range(0, len(missing), MOST_PLACES)
        ]
    return questions


def keep(session: Session, question: Question, answer: osrm.Answer) -> None:
    """Write an answer; a way that is not known is a row without a duration, and not asked again
    before its time."""
    now = database.now(session)
    new = database.insert(session, RoadTime).values(
        [
            {
                "square_row": question.square.row,
                "square_column": question.square.column,
                "emergency_room_id": room,
                "duration_s": duration_s,
                "measured_at": now,
            }
            for (room, _), duration_s in zip(question.rooms, answer.durations_s, strict=True)
        ]
    )
    session.execute(
        new.on_conflict_do_update(
            index_elements=[
                RoadTime.square_row,
                RoadTime.square_column,
                RoadTime.emergency_room_id,
            ],
            set_={
                "duration_s": new.excluded.duration_s,
                "measured_at": new.excluded.measured_at,
            },
        )
    )
    problem = f"not believed: {answer.problems[0]}"[:200] if answer.problems else None
    _say(session, {"succeeded_at": now, "failing_since_at": None, "error": problem})


def failed(session: Session, failure: osrm.RoadTimesFailed) -> None:
    """Note that the service gave nothing, and since when."""
    now = database.now(session)
    _say(session, {"error": failure.message[:200]})
    session.execute(
        update(RoadService)
        .where(RoadService.name == SERVICE, RoadService.failing_since_at.is_(None))
        .values(failing_since_at=now)
    )


def forget_old(session: Session) -> int:
    """Delete ways that nobody may use any more; how many."""
    before = database.now(session) - USED_FOR
    return database.changed(session, delete(RoadTime).where(RoadTime.measured_at < before))


def forget_failure(session: Session) -> None:
    """Whoever starts asking has seen no failure yet; switched off, there is none any more."""
    session.execute(update(RoadService).values(failing_since_at=None))


def _nearest(
    start: Position, rooms: Sequence[tuple[UUID, Position]]
) -> Sequence[tuple[UUID, Position]]:
    if len(rooms) <= NEAREST:
        return rooms
    return sorted(rooms, key=lambda r: (travel.great_circle_km(start, r[1]), r[0]))[:NEAREST]


def _say(session: Session, values: Mapping[str, object]) -> None:
    session.execute(
        database.insert(session, RoadService)
        .values(name=SERVICE, since_at=database.now(session), **values)
        .on_conflict_do_update(index_elements=[RoadService.name], set_=dict(values))
    )
