"""How long each stage of a case takes, from rows: percentiles for the board, histograms for alarms.

A stage is a pair of times of one row. Nothing clinical but the acuity, which sorts the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from broker import database
from broker.lifecycle import OfferStatus, ReadingKind, ReadingStatus
from broker.tables import Case, Distribution, Message, Offer, Reading

LIMIT = 5000
"""Most rows of one stage that a look takes, the latest."""
EDGE = timedelta(days=1)
"""A case that began earlier than this before the window does not count in it."""
BUCKETS_S = (0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600)
"""Upper edges in seconds. Half an hour must be in it: a wait of that length is what alarms are for
(FIELD 3.10)."""
PERCENTILES = (50, 95, 99)
ANSWERED = (OfferStatus.ACCEPTED, OfferStatus.ACCEPTED_WITH_DELAY, OfferStatus.REJECTED)


class Stage(StrEnum):
    """A part of a case's way that somebody waits for."""

    WAIT_CLASSIFY = "wait_classify"
    """From the film to the worker that takes it."""
    WAIT_DETECT = "wait_detect"
    READ_CLASSIFY = "read_classify"
    """From the worker's claim to what was found."""
    READ_DETECT = "read_detect"
    FIRST_OFFER = "first_offer"
    """From the receipt to the first ERs asked."""
    FIRST_ANSWER = "first_answer"
    """From the first offer to the first answer of any ER."""
    ASSIGNED = "assigned"
    """From the receipt to the ER that holds the case."""
    ACKNOWLEDGED = "acknowledged"
    """From the ER's acceptance to the crew's acknowledgement."""
    DELIVERY = "delivery"
    """From a message to the screen that got it."""


@dataclass(frozen=True)
class Took:
    """One stage of one case."""

    case_id: UUID
    acuity: int
    """1 to 5, 0 when none is known."""
    ended_at: datetime
    seconds: float


def took(
    session: Session, stage: Stage, since: datetime, until: datetime, limit: int = LIMIT
) -> list[Took]:
    """The stages that ended in (since, until], the latest first."""
    query = _query(stage, since, until)
    return [
        Took(case_id, acuity, ended, max(0.0, (ended - began).total_seconds()))
        for case_id, acuity, began, ended in session.execute(query.limit(limit))
    ]


def percentiles(durations: Iterable[float]) -> dict[str, float | int | None]:
    """p50, p95, p99 (nearest rank) and how many there were."""
    ordered = sorted(durations)
    found: dict[str, float | int | None] = {"count": len(ordered)}
    for percent in PERCENTILES:
        rank = max(0, -(-len(ordered) * percent // 100) - 1)
        found[f"p{percent}_s"] = ordered[rank] if ordered else None
    return found


def by_acuity(found: Sequence[Took]) -> list[dict[str, Any]]:
    """Percentiles of all (acuity None) and of each acuity that occurs."""
    rows = [{"acuity": None, **percentiles(item.seconds for item in found)}]
    for acuity in sorted({item.acuity for item in found}):
        of_it = (item.seconds for item in found if item.acuity == acuity)
        rows.append({"acuity": acuity, **percentiles(of_it)})
    return rows


WAITS = (
    Stage.WAIT_CLASSIFY,
    Stage.WAIT_DETECT,
    Stage.FIRST_OFFER,
    Stage.FIRST_ANSWER,
    Stage.ASSIGNED,
    Stage.ACKNOWLEDGED,
)
RUNS = (Stage.READ_CLASSIFY, Stage.READ_DETECT)


def count_on(session: Session, since: datetime, until: datetime) -> None:
    """Add what ended in (since, until] to the histograms; for the one who writes that sample.

    The caller's unit holds the sample's unique key, so that nothing is counted twice.
    """
    for stage in (*WAITS, *RUNS):
        metric = "stage_wait_seconds" if stage in WAITS else "stage_run_seconds"
        _add(session, metric, stage.value, took(session, stage, since, until))
    _add(session, "decision_delivery_seconds", "", took(session, Stage.DELIVERY, since, until))
    _add(session, "offer_answer_seconds", "", _pairs(session, _answers(since, until)))
    _add(session, "case_e2e_seconds", "", _pairs(session, _whole_cases(since, until)))


def distributions(session: Session) -> Sequence[Distribution]:
    """Every histogram."""
    return session.scalars(
        select(Distribution).order_by(Distribution.metric, Distribution.stage, Distribution.acuity)
    ).all()


def _pairs(session: Session, query: Select[*tuple[Any, ...]]) -> list[Took]:
    return [
        Took(case_id, acuity, ended, max(0.0, (ended - began).total_seconds()))
        for case_id, acuity, began, ended in session.execute(query)
    ]


def _add(session: Session, metric: str, stage: str, found: Sequence[Took]) -> None:
    for acuity in sorted({item.acuity for item in found}):
        durations = [item.seconds for item in found if item.acuity == acuity]
        row = session.get(Distribution, (metric, stage, acuity))
        if row is None:
            session.execute(
                database.insert(session, Distribution)
                .values(
                    metric=metric,
                    stage=stage,
                    acuity=acuity,
                    counts=[0] * (len(BUCKETS_S) + 1),
                    total_s=0.0,
                )
                .on_conflict_do_nothing()
            )
            row = session.get_one(Distribution, (metric, stage, acuity))
        counts = list(row.counts)
        for seconds in durations:
            counts[next((i for i, edge in enumerate(BUCKETS_S) if seconds <= edge), -1)] += 1
        row.counts, row.total_s = counts, row.total_s + sum(durations)


_ACUITY = func.coalesce(Case.acuity, Case.crew_pre_ktas, 0)


def _query(stage: Stage, since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
    match stage:
        case Stage.WAIT_CLASSIFY:
            return _readings(
                ReadingKind.CLASSIFY, Reading.created_at, Reading.claimed_at, since, until
            )
        case Stage.WAIT_DETECT:
            return _readings(
                ReadingKind.DETECT, Reading.created_at, Reading.claimed_at, since, until
            )
        case Stage.READ_CLASSIFY:
            return _readings(
                ReadingKind.CLASSIFY, Reading.claimed_at, Reading.finished_at, since, until
            )
        case Stage.READ_DETECT:
            return _readings(
                ReadingKind.DETECT, Reading.claimed_at, Reading.finished_at, since, until
            )
        case Stage.FIRST_OFFER:
            return _cases(Case.received_at, Case.first_offer_at, since, until)
        case Stage.ASSIGNED:
            return _cases(Case.received_at, Case.assigned_at, since, until)
        case Stage.ACKNOWLEDGED:
            return _cases(Case.assigned_at, Case.acknowledged_at, since, until)
        case Stage.FIRST_ANSWER:
            first = (
                select(Offer.case_id, func.min(Offer.decided_at).label("at"))
                .where(
                    Offer.offered_at > since - EDGE,
                    Offer.offered_at <= until,
                    Offer.status.in_(ANSWERED),
                )
                .group_by(Offer.case_id)
                .subquery()
            )
            return (
                select(Case.id, _ACUITY, Case.first_offer_at, first.c.at)
                .join(first, first.c.case_id == Case.id)
                .where(first.c.at > since, first.c.at <= until, Case.first_offer_at.is_not(None))
                .order_by(first.c.at.desc())
            )
        case Stage.DELIVERY:
            return (
                select(Message.case_id, _ACUITY, Message.sent_at, Message.delivered_at)
                .join(Case, Case.id == Message.case_id)
                .where(
                    Message.sent_at > since - EDGE,
                    Message.sent_at <= until,
                    Message.delivered_at > since,
                    Message.delivered_at <= until,
                )
                .order_by(Message.delivered_at.desc())
            )


def _readings(
    kind: ReadingKind, began: Any, ended: Any, since: datetime, until: datetime
) -> Select[*tuple[Any, ...]]:
    return (
        select(Reading.case_id, _ACUITY, began, ended)
        .join(Case, Case.id == Reading.case_id)
        .where(
            Reading.kind == kind,
            Reading.status == ReadingStatus.DONE,
            Reading.claimed_at.is_not(None),  # done before this column was there
            Reading.finished_at > since,
            Reading.finished_at <= until,
        )
        .order_by(Reading.finished_at.desc())
    )


def _cases(began: Any, ended: Any, since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
    return (
        select(Case.id, _ACUITY, began, ended)
        .where(
            Case.received_at > since - EDGE,
            Case.received_at <= until,
            began.is_not(None),
            ended > since,
            ended <= until,
        )
        .order_by(ended.desc())
    )


def _answers(since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
    return (
        select(Offer.case_id, _ACUITY, Offer.offered_at, Offer.decided_at)
        .join(Case, Case.id == Offer.case_id)
        .where(
            Offer.offered_at > since - EDGE,
            Offer.offered_at <= until,
            Offer.status.in_(ANSWERED),
            Offer.decided_at > since,
            Offer.decided_at <= until,
        )
    )


def _whole_cases(since: datetime, until: datetime) -> Select[*tuple[Any, ...]]:
    return _cases(Case.received_at, Case.acknowledged_at, since, until)
