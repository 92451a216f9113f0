"""Free beds and what is there just now: figures from a feed, a file or a person, and their age.

A figure never replaces a newer one, and a figure from the future is not taken at all. Nothing here
stops an offer: a feed that falls silent leaves figures that grow old, routing trusts them less and
less, and the control room is told. Routing's trust in a bed figure is ranking.py's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Invalid, NotFound
from broker.lifecycle import Role
from broker.settings import Settings
from broker.tables import BedFeed, EmergencyRoom
from dispatch import egen
from dispatch.access import SYSTEM, Actor
from dispatch.egen import Figures
from dispatch.rules import Capability

LATE_MIN = 15.0
"""A figure older than this is late: hospitals are asked for at least four an hour."""
SKEW = timedelta(minutes=2)
"""How far in the future a figure may be for two clocks that differ."""
REPORTED_FOR = timedelta(minutes=60)
"""How long a feed's word about a capability counts; then the ER's own list does."""
FEED = "egen"
LEAST_BEDS, MOST_BEDS = egen.LEAST_BEDS, egen.MOST_BEDS


class BedSource(StrEnum):
    """Who gave a bed figure."""

    FEED = "feed"
    FILE = "file"
    EMERGENCY_ROOM = "emergency_room"
    CONTROL_ROOM = "control_room"
    ADMIN = "admin"


@dataclass
class Report:
    """What one look at the feed brought."""

    hospitals: int = 0
    matched: int = 0
    updated: int = 0
    unknown: int = 0
    """Hospitals of the feed that are none of ours."""
    late: int = 0
    future: int = 0
    twice: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Keep a problem; the first twenty are enough to see what is wrong."""
        if len(self.problems) < 20:
            self.problems.append(problem[:200])


def capabilities(room: EmergencyRoom, now: datetime) -> frozenset[Capability]:
    """What an ER offers now: its own list, changed by what the feed has said in the last hour."""
    offered = {Capability(c) for c in room.capabilities}
    if room.reported_at is not None and -SKEW <= now - room.reported_at <= REPORTED_FOR:
        for name, there in (room.reported_capabilities or {}).items():
            (offered.add if there else offered.discard)(Capability(name))
    return frozenset(offered)


def set_beds(
    session: Session,
    room: EmergencyRoom,
    beds: int,
    at: datetime,
    source: BedSource,
    now: datetime,
) -> bool:
    """Write a figure unless a newer one is there (a newer one from the future does not count).

    Returns False when it was not newer. Invalid for a number or a time that cannot be.
    """
    if not LEAST_BEDS <= beds <= MOST_BEDS:
        raise Invalid(
            f"beds_available: {beds} is outside {LEAST_BEDS} to {MOST_BEDS} (negative: over "
            "capacity)",
            field="beds_available",
        )
    if at > now + SKEW:
        raise Invalid(f"beds_at: {at.isoformat()} is in the future", field="beds_at")
    won = database.changed(
        session,
        update(EmergencyRoom)
        .where(
            EmergencyRoom.id == room.id,
            or_(
                EmergencyRoom.beds_at.is_(None),
                EmergencyRoom.beds_at < at,
                EmergencyRoom.beds_at > now + SKEW,
            ),
        )
        .values(beds_available=beds, beds_at=at, beds_source=source.value),
    )
    session.refresh(room)
    return won == 1


def set_by_hand(session: Session, room: EmergencyRoom, beds: int, role: Role) -> None:
    """A person says how many beds are free now."""
    now = database.now(session)
    set_beds(session, room, beds, now, BedSource(role.value), now)


def set_capabilities(
    session: Session, actor: Actor, room_id: UUID, offered: Sequence[Capability]
) -> EmergencyRoom:
    """An administrator sets what an ER offers around the clock; NotFound for an unknown one."""
    room = session.get(EmergencyRoom, room_id)
    if room is None:
        raise NotFound(f"there is no emergency room {room_id}")
    before = list(room.capabilities)
    room.capabilities = sorted({c.value for c in offered})
    room.version += 1
    session.flush()
    events.audit(
        session,
        actor.name,
        "capabilities.set",
        None,
        room=str(room.id),
        before=before,
        after=room.capabilities,
    )
    tell_changed(session, [room.id])
    return room


def tell_changed(session: Session, room_ids: Sequence[UUID]) -> None:
    """The control room's board shows new figures."""
    if room_ids:
        ids = [str(id_) for id_ in room_ids[:200]]
        events.announce(session, events.CONTROL_ROOM, "beds.changed", None, room_ids=ids)


def take_turn(session: Session, settings: Settings) -> bool:
    """Whether this process is to ask the feed now; of two that ask at once, one is told yes."""
    now = database.now(session)
    _ensure(session, now)
    won = database.changed(
        session,
        update(BedFeed)
        .where(BedFeed.name == FEED, BedFeed.due_at <= now)
        .values(due_at=now + timedelta(seconds=settings.egen_poll_s), polled_at=now),
    )
    return won == 1


def apply(
    session: Session,
    figures: Sequence[Figures],
    severe: Mapping[str, Mapping[Capability, bool]],
    problems: Sequence[str] = (),
) -> Report:
    """Write the figures of the feed to the ERs that it knows, and that it answered."""
    now = database.now(session)
    report = Report(hospitals=len(figures))
    for problem in problems:
        report.note(problem)
    rooms = {
        room.feed_id: room
        for room in session.scalars(
            select(EmergencyRoom).where(EmergencyRoom.feed_id.is_not(None))
        ).all()
    }
    newest: dict[str, Figures] = {}
    for found in figures:
        known = newest.get(found.hpid)
        if known is not None:
            report.twice += 1
        if known is None or _at(found) > _at(known):
            newest[found.hpid] = found
    changed = []
    for hpid, found in newest.items():
        room = rooms.get(hpid)
        if room is None:
            report.unknown += 1
            continue
        report.matched += 1
        for problem in found.problems:
            report.note(f"{hpid}: {problem}")
        if _take(session, room, found, severe.get(hpid, {}), now, report):
            report.updated += 1
            changed.append(room.id)
    tell_changed(session, changed)
    _succeeded(session, now, report)
    return report


def failed(session: Session, settings: Settings, failure: egen.FeedFailed) -> None:
    """Note why the feed brought nothing; a spent quota is not asked again for an hour."""
    values: dict[str, Any] = {"error": failure.message[:200]}
    if isinstance(failure, egen.QuotaSpent):
        values["due_at"] = database.now(session) + timedelta(hours=1)
    session.execute(update(BedFeed).where(BedFeed.name == FEED).values(**values))


def alarm_if_silent(session: Session, settings: Settings) -> bool:
    """Tell the control room once when the feed has been silent for too long."""
    if not egen.expected(settings):
        return False
    now = database.now(session)
    _ensure(session, now)
    feed = session.get_one(BedFeed, FEED)
    heard_at = feed.succeeded_at or feed.since_at
    silent = timedelta(seconds=settings.scaled(settings.bed_feed_silent_s))
    if feed.alarmed_at is not None or heard_at > now - silent:
        return False
    won = database.changed(
        session,
        update(BedFeed)
        .where(BedFeed.name == FEED, BedFeed.alarmed_at.is_(None))
        .values(alarmed_at=now),
    )
    if won != 1:
        return False
    age_s = round((now - heard_at).total_seconds())
    events.announce(
        session, events.CONTROL_ROOM, "alarm.bed_feed", None, age_s=age_s, error=feed.error
    )
    events.audit(session, SYSTEM.name, "bed_feed.silent", None, age_s=age_s, error=feed.error)
    return True


def state(session: Session, settings: Settings) -> dict[str, Any]:
    """How the feed is doing, for screens: on or off, age of its last success, last error."""
    feed = session.get(BedFeed, FEED)
    on = egen.expected(settings)
    if feed is None or not on:
        return {"on": on, "age_s": None, "silent": False, "error": None, "report": None}
    now = database.now(session)
    age_s = (now - feed.succeeded_at).total_seconds() if feed.succeeded_at else None
    return {
        "on": True,
        "age_s": age_s,
        "silent": feed.alarmed_at is not None,
        "error": feed.error,
        "report": feed.report,
    }


def _take(
    session: Session,
    room: EmergencyRoom,
    found: Figures,
    severe: Mapping[Capability, bool],
    now: datetime,
    report: Report,
) -> bool:
    at = found.figure_at
    if at is None:
        return False
    if at > now + SKEW:
        report.future += 1
        report.note(f"{found.hpid}: hvidate is in the future")
        return False
    if now - at > timedelta(minutes=LATE_MIN):
        report.late += 1
    reported = {**found.capabilities, **severe}
    if reported and (room.reported_at is None or room.reported_at <= at):
        room.reported_capabilities = {c.value: there for c, there in reported.items()}
        room.reported_at = at
        session.flush()
    if found.beds is None:
        return False
    return set_beds(session, room, found.beds, at, BedSource.FEED, now)


def _at(found: Figures) -> float:
    return found.figure_at.timestamp() if found.figure_at else 0.0


def _succeeded(session: Session, now: datetime, report: Report) -> None:
    _ensure(session, now)
    feed = session.get_one(BedFeed, FEED, populate_existing=True)
    if feed.alarmed_at is not None:
        events.announce(session, events.CONTROL_ROOM, "bed_feed.back", None)
        events.audit(session, SYSTEM.name, "bed_feed.back", None)
    feed.succeeded_at, feed.error, feed.alarmed_at = now, None, None
    feed.report = dict(vars(report))
    session.flush()


def _ensure(session: Session, now: datetime) -> None:
    """The feed's one row; two processes may start at the same moment."""
    session.execute(
        database.insert(session, BedFeed)
        .values(name=FEED, due_at=now, since_at=now)
        .on_conflict_do_nothing(index_elements=[BedFeed.name])
    )
