"""Counts how ERs answered, from offers that have ended, and reads the counts for the ranking.

One small table per ER and hour of the week instead of a look over all offers at every round: a year
of offers costs the same as a day. What the counts mean is behaviour.py's; nothing is decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from broker import database
from broker.errors import LostRace
from broker.lifecycle import OPEN_OFFERS, DeclineReason, OfferStatus
from broker.settings import Settings
from broker.tables import AnswerCount, AnswerCountProgress, Case, Offer
from dispatch import behaviour, refusals
from dispatch.behaviour import ALL_HOURS, Behaviour, Counts, hour_of_week
from dispatch.refusals import Answer
from dispatch.transition import Ended
from dispatch.triage import Capability

SETTLES_AFTER_S = 1800.0
"""An offer older than this has ended, or says nothing more."""
WINDOW = timedelta(hours=6)
"""Offers counted in one unit: an installation with a year of offers catches up in small steps."""


def count(session: Session, settings: Settings) -> bool:
    """Count the next window of ended offers, each exactly once; True when more are waiting.

    Counts and progress change in one unit; LostRace when another process counted this window.
    """
    now = database.now(session)
    until = now - timedelta(seconds=settings.scaled(SETTLES_AFTER_S))
    progress = session.get(AnswerCountProgress, 1, populate_existing=True)
    since = progress.counted_until_at if progress else None
    query = select(Offer).where(Offer.offered_at < until)
    if since is not None:
        query = query.where(Offer.offered_at >= since)
    first = session.scalars(query.order_by(Offer.offered_at).limit(1)).one_or_none()
    if first is None:
        return False
    end = min(until, first.offered_at + WINDOW)
    if progress is None:
        session.add(AnswerCountProgress(id=1, counted_until_at=end))
        try:
            session.flush()  # the key is the race: a second first count fails on it
        except IntegrityError as error:
            raise LostRace(window="the first") from error
    else:
        won = database.changed(
            session,
            update(AnswerCountProgress)
            .where(AnswerCountProgress.id == 1, AnswerCountProgress.counted_until_at == since)
            .values(counted_until_at=end),
        )
        if won != 1:
            raise LostRace(window=str(since))
    found: dict[tuple[int, UUID], Counts] = defaultdict(Counts)
    rows = session.execute(
        query.where(Offer.offered_at < end)
        .join(Case, Case.id == Offer.case_id)
        .add_columns(Case.assigned_at, Case.ended_at, Case.acuity)
    )
    for offer, assigned_at, ended_at, acuity in rows:
        counts = counted(settings, offer, assigned_at or ended_at, acuity or 3)
        for hour in (hour_of_week(offer.offered_at), ALL_HOURS):
            found[hour, offer.emergency_room_id] += counts
    _add(session, found, end)
    return end < until


def counted(settings: Settings, offer: Offer, settled_at: datetime | None, acuity: int) -> Counts:
    """What one ended offer says about its ER; settled_at: when its case needed no answer more."""
    if offer.assigned_by is not None:
        return Counts()  # the control room answered in its place
    if offer.decided_at is not None:
        answered_in = _unscaled(settings, offer.decided_at - offer.offered_at)
        yes = _said_yes(offer.status, offer.ended_reason, offer.delay_min)
        return behaviour.answered(answered_in, yes)
    if offer.status in OPEN_OFFERS or offer.ended_reason == Ended.CONTROL_ROOM:
        return Counts()  # still open after so long the case is stuck; a veto says nothing
    waited = timedelta(seconds=settings.steps(acuity).unplaced_s)
    if offer.status is OfferStatus.WITHDRAWN and settled_at is not None:
        waited = min(waited, max(settled_at - offer.offered_at, timedelta()))
    return behaviour.silent(_unscaled(settings, waited))


def lately(session: Session, now: datetime, besides: UUID) -> dict[UUID, list[Answer]]:
    """How ERs answered offers of the last hour, those of one case left out: it knows its own.

    Columns, no objects: it is asked for while a search holds its case.
    """
    rows = session.execute(
        select(
            *(Offer.emergency_room_id, Offer.case_id, Offer.decided_at, Offer.reason_code),
            *(Offer.status, Offer.ended_reason, Offer.delay_min),
        ).where(
            Offer.offered_at >= now - timedelta(minutes=refusals.REMEMBERED_MIN),
            Offer.decided_at.is_not(None),
            Offer.assigned_by.is_(None),
            Offer.case_id != besides,
        )
    ).all()
    shared = {row.case_id for row in rows if row.reason_code in refusals.OF_WHO_SHARES_A_NEED}
    needs = {
        case: frozenset(Capability(need) for need in (judged or {}).get("needs", []))
        for case, judged in _judged(session, shared)
    }
    found: dict[UUID, list[Answer]] = defaultdict(list)
    for row in rows:
        yes = _said_yes(row.status, row.ended_reason, row.delay_min)
        reason = None if yes else row.reason_code or DeclineReason.OTHER
        answer = Answer(row.decided_at, reason, needs.get(row.case_id, frozenset()))
        found[row.emergency_room_id].append(answer)
    return found


def _judged(session: Session, cases: Set[UUID]) -> Iterable[tuple[UUID, Any]]:
    """The triage of some cases."""
    if not cases:
        return ()
    found = session.execute(select(Case.id, Case.triage).where(Case.id.in_(cases)))
    return [(row[0], row[1]) for row in found]


def _said_yes(status: OfferStatus, ended_reason: str | None, delay_min: int | None) -> bool:
    """Whether the answer of an ER was a yes; one that gave the patient back said none."""
    return (
        status in {OfferStatus.ACCEPTED, OfferStatus.ACCEPTED_WITH_DELAY}
        or ended_reason == Ended.PASSED_BY_CREW
        or (delay_min is not None and status is not OfferStatus.REJECTED)
    ) and ended_reason != Ended.GIVEN_BACK


def read(session: Session, now: datetime) -> dict[UUID, Behaviour]:
    """What to expect of each ER now; one that was never asked is missing (behaviour.PRIOR)."""
    hour = hour_of_week(now)
    found: dict[UUID, dict[int, Counts]] = defaultdict(dict)
    rows = session.scalars(
        select(AnswerCount).where(AnswerCount.hour_of_week.in_((hour, ALL_HOURS)))
    )
    for row in rows:
        found[row.emergency_room_id][row.hour_of_week] = _faded(row, now)
    return {
        id_: behaviour.estimate(counts.get(hour, Counts()), counts.get(ALL_HOURS, Counts()))
        for id_, counts in found.items()
    }


def _add(session: Session, found: Mapping[tuple[int, UUID], Counts], as_of: datetime) -> None:
    known = {
        (row.hour_of_week, row.emergency_room_id): row
        for row in session.scalars(
            select(AnswerCount).where(AnswerCount.hour_of_week.in_({hour for hour, _ in found}))
        )
    }
    for (hour, id_), counts in found.items():
        row = known.get((hour, id_))
        if row is None:
            row = AnswerCount(hour_of_week=hour, emergency_room_id=id_)
            session.add(row)
        else:
            counts = _faded(row, as_of) + counts
        row.offers, row.answered = counts.offers, counts.answered
        row.accepted, row.log_answer_s = counts.accepted, counts.log_answer_s
        row.as_of_at = as_of


def _faded(row: AnswerCount, now: datetime) -> Counts:
    counts = Counts(row.offers, row.answered, row.accepted, row.log_answer_s)
    return counts.faded((now - row.as_of_at) / timedelta(days=1))


def _unscaled(settings: Settings, waited: timedelta) -> float:
    return waited.total_seconds() / (settings.time_scale or 1.0)
