"""Every figure as Prometheus reads it; names, labels and meanings stand in docs/operations.md.

A test compares them. What the figures are is metrics.py's, stages.py's and board.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import alarms, board, database, metrics, seals, stages
from broker.lifecycle import (
    AlarmCode,
    NotificationStatus,
    ReadingStatus,
    Role,
)
from broker.settings import Settings
from broker.tables import (
    Alarm,
    AuditEntry,
    Case,
    EmergencyRoom,
    Image,
    Notification,
    Offer,
    Reading,
)

SHIFT = timedelta(hours=8)
PREFIX = "goldentime_"


def text(session: Session, settings: Settings) -> bytes:
    """Every figure in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Now(session, settings))
    return generate_latest(registry)


class _Now(Collector):
    """The metrics of one look; rows are read while Prometheus' library asks."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session, self._settings = session, settings

    def collect(self) -> Iterator[Metric]:
        """Gauges of this moment, then the histograms that samples count on."""
        bells = metrics.doorbells(self._settings)
        yield _gauge("redis_up", "1: Redis answers", [], [((), float(bells is not None))])
        yield from self._queues(bells)
        yield from self._processes()
        yield from self._cases()
        yield from self._people()
        yield from self._histograms()

    def _queues(self, bells: Mapping[str, int] | None) -> Iterator[Metric]:
        rows = metrics.queues(self._session, bells)
        now = database.now(self._session)
        per_queue: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
            "queue_depth": ("Rows that wait", lambda q: q["pending"]),
            "queue_running": ("Rows under a lease", lambda q: q["running"]),
            "queue_oldest_age_seconds": (
                "Age of the row that waits longest",
                lambda q: q["oldest_pending_s"] or 0.0,
            ),
            "queue_doorbells": ("Messages in Redis", lambda q: q["doorbells"]),
            "queue_paused": ("1: paused by a person", lambda q: float(bool(q["pause"]))),
            "queue_last_progress_seconds": (
                "Since a row of this queue was last finished",
                lambda q: q["progress_at"] and (now - q["progress_at"]).total_seconds(),
            ),
            "canary_roundtrip_seconds": (
                "From bell to row of the last canary that came back",
                lambda q: q["canary"] and q["canary"]["roundtrip_s"],
            ),
            "canary_age_seconds": (
                "Since the last canary was sent that has not come back; 0 when it has",
                lambda q: _canary_age_s(q["canary"], now),
            ),
            "dlq_depth": ("Rows that gave up and nobody closed", lambda q: q["dead"]),
            "dlq_oldest_age_seconds": (
                "Since the first of them gave up",
                lambda q: q["oldest_dead_s"] or 0.0,
            ),
        }
        for name, (meaning, value) in per_queue.items():
            yield _gauge(name, meaning, ["queue"], [((row["kind"],), value(row)) for row in rows])

    def _processes(self) -> Iterator[Metric]:
        rows = metrics.processes(self._session)
        now = database.now(self._session)
        kinds = dict.fromkeys(alarms.PROCESSES, 0.0)  # a kind that was never seen is 0, not absent
        for row in rows:
            kinds[row["kind"]] = kinds.get(row["kind"], 0.0) + float(row["alive"])
        yield _gauge(
            "processes_alive",
            "Processes with a fresh sign of life",
            ["kind"],
            [((kind,), count) for kind, count in kinds.items()],
        )
        yield _gauge(
            "worker_last_progress_seconds",
            "Since a process last finished something; those that beat",
            ["process"],
            [
                ((row["name"],), (now - row["progress_at"]).total_seconds())
                for row in rows
                if row["alive"] and row["progress_at"]
            ],
        )

    def _cases(self) -> Iterator[Metric]:
        live = board.live(self._session)
        yield _gauge(
            "cases",
            "Live cases by state",
            ["status"],
            [((status,), n) for status, n in metrics.cases_by_status(self._session).items()],
        )
        yield _gauge(
            "cases_oldest_age_seconds",
            "Longest wait of a live case by state and acuity",
            ["status", "acuity"],
            [
                ((row["status"].value, str(row["acuity"] or 0)), row["oldest_s"])
                for row in board.by_state(live)
            ],
        )
        yield _gauge(
            "waiting_patient_minutes",
            "Minutes that patients wait for us, weighed by acuity (level 4 counts 1)",
            [],
            [((), sum(case["weighted_min"] for case in live))],
        )

    def _people(self) -> Iterator[Metric]:
        session, now = self._session, database.now(self._session)
        yield _gauge(
            "answer_rate",
            "Share of offers that an ER answered before they ran out, 24 h",
            ["hospital"],
            [((r["place"],), r["rate"]) for r in board.answer_rates(session, by_room=True)],
        )
        yield _gauge(
            "offers_per_accept",
            "Offers per case that an ER took, 24 h",
            [],
            [((), board.offers_per_accept(session))],
        )
        newest = session.scalar(select(func.max(EmergencyRoom.beds_at)).where(EmergencyRoom.active))
        yield _gauge(
            "bed_feed_age_seconds",
            "Age of the newest figure of free beds",
            [],
            [((), (now - newest).total_seconds() if newest else None)],
        )
        yield _gauge(
            "model_abstain_rate",
            "Share of films that no network could read, 24 h: unusable, or given up",
            [],
            [((), _abstain_rate(session, now))],
        )
        yield _gauge(
            "alerts_per_shift",
            "Calls for attention in the last 8 h: per ER, at the control room, at operations",
            ["audience"],
            [((audience,), count) for audience, count in _alerts(session, now).items()],
        )
        opened = {
            str(code): count
            for code, count in session.execute(
                select(Alarm.code, func.count())
                .where(Alarm.closed_at.is_(None))
                .group_by(Alarm.code)
            )
        }
        yield _gauge(
            "audit_unsealed_seconds",
            "For how long the oldest audit entry has waited for its seal",
            [],
            [((), seals.unsealed_s(session))],
        )
        yield _gauge(
            "alarms_open",
            "Alarms about machines that are not over",
            ["code"],
            [((code.value,), opened.get(code.value, 0)) for code in AlarmCode],
        )

    def _histograms(self) -> Iterator[Metric]:
        kinds = {
            "case_e2e_seconds": ("From the receipt to the crew's acknowledgement", False),
            "stage_wait_seconds": ("What somebody waits for, by stage", True),
            "stage_run_seconds": ("Work of a network, by stage", True),
            "offer_answer_seconds": ("From an offer to its ER's answer", False),
            "decision_delivery_seconds": ("From a message to the screen that got it", False),
        }
        families = {
            name: HistogramMetricFamily(
                PREFIX + name, meaning, labels=["stage", "acuity"] if staged else ["acuity"]
            )
            for name, (meaning, staged) in kinds.items()
        }
        for row in stages.distributions(self._session):
            if row.metric not in families:
                continue
            so_far, buckets = 0, []
            edges = [*map(str, stages.BUCKETS_S), "+Inf"]
            for edge, count in zip(edges, row.counts, strict=True):
                so_far += count
                buckets.append((edge, float(so_far)))
            labels = [row.stage, str(row.acuity)] if kinds[row.metric][1] else [str(row.acuity)]
            families[row.metric].add_metric(labels, buckets, row.total_s)
        yield from families.values()


def _gauge(
    name: str,
    meaning: str,
    labels: list[str],
    values: list[tuple[tuple[str, ...], float | None]],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=labels)
    for key, value in values:
        if value is not None:  # what is not known is absent, not nought
            family.add_metric(list(key), float(value))
    return family


def _canary_age_s(flight: Mapping[str, Any] | None, now: datetime) -> float | None:
    if flight is None:
        return None
    done = flight["done_at"] is not None and flight["error"] is None
    return 0.0 if done else (now - flight["sent_at"]).total_seconds()


def _abstain_rate(session: Session, now: datetime) -> float | None:
    failed = (
        select(Reading.id)
        .where(Reading.image_id == Image.id, Reading.status == ReadingStatus.FAILED)
        .exists()
    )
    rows = session.execute(
        select(Image.unusable_reason.is_not(None) | failed, func.count())
        .where(
            # Not a join: its plan would read every image and look up the case of each.
            Image.case_id.in_(select(Case.id).where(Case.received_at > now - timedelta(hours=24)))
        )
        .group_by(Image.unusable_reason.is_not(None) | failed)
    ).all()
    total = sum(count for _, count in rows)
    return sum(count for unread, count in rows if unread) / total if total else None


def _alerts(session: Session, now: datetime) -> dict[str, float]:
    since = now - SHIFT
    rooms = session.scalar(
        select(func.count()).select_from(EmergencyRoom).where(EmergencyRoom.active)
    )
    offered = session.scalar(select(func.count(Offer.id)).where(Offer.offered_at > since)) or 0
    sent = session.scalar(
        select(func.count(Notification.id)).where(
            Notification.status == NotificationStatus.SENT, Notification.finished_at > since
        )
    )
    control = session.scalar(
        select(func.count(AuditEntry.id)).where(
            AuditEntry.action.in_(("case.unplaced", "case.unacknowledged")), AuditEntry.at > since
        )
    )
    raised = session.scalar(
        select(func.coalesce(func.sum(1 + Alarm.repeats), 0)).where(Alarm.opened_at > since)
    )
    return {
        Role.EMERGENCY_ROOM.value: (offered + (sent or 0)) / rooms if rooms else 0.0,
        Role.CONTROL_ROOM.value: float(control or 0),
        Role.OPERATIONS.value: float(raised or 0),
    }
