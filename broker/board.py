"""The board of operations: is anybody waiting, and why. Ids and states only, nothing clinical.

Every figure is taken from rows at the moment somebody asks. Waiting is weighed: a minute of a
patient who may die in it counts more (FIELD 4.10).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from broker import database, stages
from broker.errors import Invalid
from broker.lifecycle import (
    LIVE_CASES,
    UNANSWERED_OFFERS,
    CaseStatus,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
)
from broker.pauses import in_force
from broker.queues import Queue
from broker.stages import ANSWERED, Stage
from broker.tables import Ambulance, Case, EmergencyRoom, Offer, Reading

WEIGHTS = {1: 8.0, 2: 4.0, 3: 2.0, 4: 1.0, 5: 0.5}
"""What a waiting minute counts for. CTAS asks to look again after 15, 30, 60 and 120 min at levels
2 to 5 (Bullard et al., CJEM 2017;19(S2):S18): one over those times, level 4 as the measure; level 1
is to be watched all the time and counts twice as much as level 2."""
UNKNOWN_WEIGHT = 2.0
"""Nobody has said how urgent: as level 3, as the reading queue takes it."""
WAITING = (CaseStatus.RECEIVED, CaseStatus.OFFERING, CaseStatus.UNPLACED, CaseStatus.ASSIGNED)
"""Somebody waits for us: for an ER, or for a crew to learn which."""
LONGEST_LIST = 200
OVERDUE_S = 5.0
RATE_WINDOW = timedelta(hours=24)
MIN_PREFIX = 4


class Why(StrEnum):
    """What a waiting case waits for; the first that holds is told."""

    NOBODY_ACTS = "nobody_acts"
    """Its deadline passed and nothing was done."""
    NOBODY_ACCEPTED = "nobody_accepted"
    READING_PAUSED = "reading_paused"
    READING_FAILED = "reading_failed"
    READING_WAITS = "reading_waits"
    """No worker has begun to read its film."""
    READING = "reading"
    ANSWER = "answer"
    """ERs were asked and have not answered."""
    NOBODY_ASKED = "nobody_asked"
    """No offer is open."""
    ACKNOWLEDGEMENT = "acknowledgement"
    """An ER accepted; the crew has not confirmed."""


def weight(acuity: int | None) -> float:
    """What a minute of this acuity counts for."""
    return WEIGHTS.get(acuity or 0, UNKNOWN_WEIGHT)


def live(session: Session) -> list[dict[str, Any]]:
    """Every live case with how long it waits and why, the heaviest wait first."""
    now = database.now(session)
    in_pause = in_force(session)
    paused = [kind for kind in ReadingKind if Queue(kind.value) in in_pause]
    silent = _count(Offer, Offer.status.in_(UNANSWERED_OFFERS))
    pending = _count(Reading, Reading.status == ReadingStatus.PENDING)
    stopped = _count(Reading, Reading.status == ReadingStatus.PENDING, Reading.kind.in_(paused))
    running = _count(Reading, Reading.status == ReadingStatus.RUNNING)
    dead = _count(Reading, Reading.status == ReadingStatus.FAILED)
    rows = session.execute(
        select(
            Case.id,
            Case.status,
            func.coalesce(Case.acuity, Case.crew_pre_ktas).label("acuity"),
            Ambulance.call_sign,
            Case.round,
            Case.received_at,
            Case.search_opened_at,
            Case.assigned_at,
            Case.updated_at,
            Case.deadline_at,
            Case.partial,
            Case.needs_review,
            silent.label("silent"),
            pending.label("pending"),
            stopped.label("stopped"),
            running.label("running"),
            dead.label("dead"),
        )
        .join(Ambulance, Ambulance.id == Case.ambulance_id)
        .where(Case.status.in_(LIVE_CASES))
    )
    found = [_live_case(row, now) for row in rows]
    return sorted(found, key=lambda case: (-case["weighted_min"], case["deadline_in_s"] or 0))


def by_state(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Live cases by state and acuity: how many, the oldest, weighted minutes; heaviest first."""
    groups: dict[tuple[CaseStatus, int | None], list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault((case["status"], case["acuity"]), []).append(case)
    rows = [
        {
            "status": status,
            "acuity": acuity,
            "count": len(members),
            "oldest_s": max(member["waits_s"] for member in members),
            "oldest_case_id": max(members, key=lambda member: member["waits_s"])["id"],
            "weighted_min": sum(member["weighted_min"] for member in members),
        }
        for (status, acuity), members in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["weighted_min"], -row["oldest_s"]))


class Flow(StrEnum):
    """What passes through, per minute."""

    RECEIVED = "received"
    ASSIGNED = "assigned"
    READINGS = "readings"


FLOW_WINDOW = timedelta(minutes=5)


def _flow(flow: Flow, since: datetime) -> Select[*tuple[Any, ...]]:
    """Case id and moment of everything that passed since then."""
    if flow is Flow.RECEIVED:
        return select(Case.id, Case.received_at).where(Case.received_at > since)
    if flow is Flow.ASSIGNED:
        return select(Case.id, Case.assigned_at).where(
            Case.received_at > since - stages.EDGE, Case.assigned_at > since
        )
    return select(Reading.case_id, Reading.finished_at).where(
        Reading.kind.in_(tuple(ReadingKind)),
        Reading.status == ReadingStatus.DONE,
        Reading.finished_at > since,
    )


def throughput(session: Session) -> dict[str, float]:
    """Per minute, over the last five: cases received, assigned, readings done."""
    since = database.now(session) - FLOW_WINDOW
    minutes = FLOW_WINDOW.total_seconds() / 60
    return {
        f"{flow}_per_min": _number(
            session, select(func.count()).select_from(_flow(flow, since).subquery())
        )
        / minutes
        for flow in Flow
    }


def flowed(session: Session, flow: Flow) -> list[dict[str, Any]]:
    """The cases behind a throughput, the newest first."""
    now = database.now(session)
    query = _flow(flow, now - FLOW_WINDOW)
    rows = session.execute(query.order_by(query.selected_columns[1].desc()).limit(LONGEST_LIST))
    return _briefs(session, _seconds(rows, now))


def answer_rates(session: Session, *, by_room: bool = False) -> list[dict[str, Any]]:
    """Per region (or ER): offers that ended with an answer, of all that ended.

    Over the last 24 hours. An offer that was withdrawn before its time counts for nobody.
    """
    now = database.now(session)
    place = EmergencyRoom.name if by_room else EmergencyRoom.region
    rows = session.execute(
        select(place, Offer.status, Offer.offered_at, Offer.decided_at)
        .join(EmergencyRoom, EmergencyRoom.id == Offer.emergency_room_id)
        .where(
            Offer.offered_at > now - RATE_WINDOW,
            Offer.status.in_((*ANSWERED, OfferStatus.EXPIRED, OfferStatus.WITHDRAWN)),
        )
    )
    groups: dict[str, list[tuple[bool, float]]] = {}
    for name, status, offered_at, decided_at in rows:
        answered = decided_at is not None
        if answered or status is OfferStatus.EXPIRED:
            seconds = (decided_at - offered_at).total_seconds() if decided_at else 0.0
            groups.setdefault(name, []).append((answered, seconds))
    return [
        {
            "place": name,
            "ended": len(ends),
            "answered": sum(answered for answered, _ in ends),
            "rate": sum(answered for answered, _ in ends) / len(ends),
            "median_answer_s": stages.percentiles(s for answered, s in ends if answered)["p50_s"],
        }
        for name, ends in sorted(groups.items())
    ]


def stage_times(session: Session, hours: float) -> list[dict[str, Any]]:
    """Percentiles of every stage that ended in the last hours, by acuity."""
    now = database.now(session)
    return [
        {
            "stage": stage,
            "rows": stages.by_acuity(
                stages.took(session, stage, now - timedelta(hours=hours), now)
            ),
        }
        for stage in Stage
    ]


def slowest(
    session: Session, stage: Stage, hours: float, acuity: int | None = None
) -> list[dict[str, Any]]:
    """The cases behind a stage's percentiles, the slowest first."""
    now = database.now(session)
    found = stages.took(session, stage, now - timedelta(hours=hours), now)
    worst = sorted(
        (item for item in found if acuity is None or item.acuity == acuity),
        key=lambda item: -item.seconds,
    )[:LONGEST_LIST]
    seconds: dict[UUID, float] = {}
    for item in worst:  # a case may have been through the stage twice: its slowest counts
        seconds.setdefault(item.case_id, item.seconds)
    return _briefs(session, seconds)


def in_queue(session: Session, queue: Queue) -> list[dict[str, Any]]:
    """The cases behind a queue's depth, the oldest work first."""
    now = database.now(session)
    if queue is Queue.DISPATCH:
        query = select(Case.id, Case.deadline_at).where(
            Case.status.in_(LIVE_CASES), Case.deadline_at <= now
        )
    else:
        query = select(Reading.case_id, Reading.created_at).where(
            Reading.kind == ReadingKind(queue.value),
            Reading.status.in_((ReadingStatus.PENDING, ReadingStatus.RUNNING)),
        )
    rows = session.execute(query.order_by(query.selected_columns[1]).limit(LONGEST_LIST))
    return _briefs(session, _seconds(rows, now))


def unanswered_in(session: Session, region: str) -> list[dict[str, Any]]:
    """The cases behind a region's answer rate: offers that nobody there answered in 24 hours."""
    now = database.now(session)
    rows = session.execute(
        select(Offer.case_id, Offer.offered_at)
        .join(EmergencyRoom, EmergencyRoom.id == Offer.emergency_room_id)
        .where(
            EmergencyRoom.region == region,
            Offer.offered_at > now - RATE_WINDOW,
            Offer.status == OfferStatus.EXPIRED,
            Offer.decided_at.is_(None),
        )
        .order_by(Offer.offered_at.desc())
        .limit(LONGEST_LIST)
    )
    return _briefs(session, _seconds(rows, now))


def find(session: Session, start: str, limit: int = 20) -> list[dict[str, Any]]:
    """Cases whose id begins so (hexadecimal, with or without dashes); Invalid for anything else."""
    digits = start.strip().lower().replace("-", "")
    if not MIN_PREFIX <= len(digits) <= 32 or set(digits) - set("0123456789abcdef"):
        raise Invalid(
            f"a case's id has digits 0-9 and a-f; give at least its first {MIN_PREFIX}",
            field="id",
        )
    low, high = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    now = database.now(session)
    rows = session.execute(
        select(Case.id, Case.received_at)
        .where(Case.id >= low, Case.id <= high)
        .order_by(Case.id)
        .limit(limit)
    )
    return _briefs(session, _seconds(rows, now))


def offers_per_accept(session: Session) -> float | None:
    """How many ERs were asked per case that one took, over the last 24 hours."""
    since = database.now(session) - RATE_WINDOW
    asked, taken = session.execute(
        select(
            func.count(Offer.id),
            func.count(func.distinct(Case.id)),
        )
        .join(Case, Case.id == Offer.case_id)
        .where(Case.received_at > since, Case.assigned_at.is_not(None))
    ).one()
    return asked / taken if taken else None


def _live_case(row: Any, now: datetime) -> dict[str, Any]:
    since = row.search_opened_at or row.received_at
    if row.status is CaseStatus.ASSIGNED:
        since = row.assigned_at or since
    elif row.status not in WAITING:
        since = row.updated_at
    waits_s = max(0.0, (now - since).total_seconds())
    waiting = row.status in WAITING
    deadline_in_s = (row.deadline_at - now).total_seconds() if row.deadline_at else None
    return {
        "id": row.id,
        "status": row.status,
        "acuity": row.acuity,
        "call_sign": row.call_sign,
        "round": row.round,
        "age_s": max(0.0, (now - row.received_at).total_seconds()),
        "waits_s": waits_s,
        "weighted_min": waits_s / 60 * weight(row.acuity) if waiting else 0.0,
        "why": _why(row, deadline_in_s) if waiting else None,
        "deadline_in_s": deadline_in_s,
        "partial": row.partial,
        "needs_review": row.needs_review,
        "dead_readings": row.dead,
    }


def _why(row: Any, deadline_in_s: float | None) -> Why:
    if deadline_in_s is not None and deadline_in_s < -OVERDUE_S:
        return Why.NOBODY_ACTS
    if row.status is CaseStatus.UNPLACED:
        return Why.NOBODY_ACCEPTED
    if row.status is CaseStatus.ASSIGNED:
        return Why.ACKNOWLEDGEMENT
    if row.status is CaseStatus.RECEIVED:
        if row.stopped:
            return Why.READING_PAUSED
        if row.running:
            return Why.READING
        if row.pending:
            return Why.READING_WAITS
        return Why.READING_FAILED if row.dead else Why.NOBODY_ASKED
    return Why.ANSWER if row.silent else Why.NOBODY_ASKED


def _briefs(session: Session, seconds: dict[UUID, float]) -> list[dict[str, Any]]:
    """Cases by id with a number of seconds beside each, in the order given."""
    if not seconds:
        return []
    rows = {
        row.id: row
        for row in session.execute(
            select(
                Case.id,
                Case.status,
                func.coalesce(Case.acuity, Case.crew_pre_ktas).label("acuity"),
                Ambulance.call_sign,
                Case.round,
                Case.received_at,
                Case.ended_at,
            )
            .join(Ambulance, Ambulance.id == Case.ambulance_id)
            .where(Case.id.in_(seconds))
        )
    }
    return [{**rows[id_]._asdict(), "seconds": seconds[id_]} for id_ in seconds if id_ in rows]


def _seconds(rows: Iterable[Any], now: datetime) -> dict[UUID, float]:
    """Seconds since each case's time; the first row of a case counts."""
    found: dict[UUID, float] = {}
    for id_, since in rows:
        found.setdefault(id_, (now - since).total_seconds())
    return found


def _count(table: type[Offer] | type[Reading], *which: Any) -> Any:
    return (
        select(func.count())
        .select_from(table)
        .where(table.case_id == Case.id, *which)
        .scalar_subquery()
    )


def _number(session: Session, query: Select[Any]) -> int:
    return session.scalar(query) or 0
