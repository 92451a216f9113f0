"""How long the board's looks take after a year: a small record beside one of 200,000 cases.

Run as `python -m tests.bench.board --cases 200000`. Both records are filled alike in one run, so
that the ratio says what a year costs, whatever the machine. SQLite in a temporary folder, or
PostgreSQL with --database.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from broker import alarms, board, database, history, metrics, migrate, timeline, trail
from broker.lifecycle import CaseStatus, OfferStatus, ReadingKind, ReadingStatus
from broker.record import Record
from broker.settings import Settings
from broker.stages import Stage
from broker.tables import (
    Ambulance,
    AuditEntry,
    Case,
    EmergencyRoom,
    Image,
    Offer,
    Reading,
    Sample,
)
from tests.servers import database_in

CHUNK = 2000
SMALL = 2000
ROUNDS = 7


def main() -> None:
    """Fill, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    print(json.dumps({"database": options.database, "cases": options.cases}))
    found: dict[int, dict[str, float]] = {}
    for cases in (SMALL, options.cases):
        with tempfile.TemporaryDirectory(prefix="gt-board-") as folder:
            Path(folder).chmod(0o711)
            with database_in(Path(folder), options.database) as url:
                found[cases] = _measure(Settings(data_dir=Path(folder), database_url=url), cases)
    small, large = found.values()
    for name, seconds in large.items():
        print(f"{name:24} {seconds * 1000:8.1f} ms  x{seconds / max(small[name], 1e-4):.1f}")


def _measure(settings: Settings, cases: int) -> dict[str, float]:
    migrate.upgrade(settings)
    record = Record(settings)
    began = time.monotonic()
    some = fill(record, cases)
    print(f"{cases} cases written in {time.monotonic() - began:.0f} s", flush=True)
    looks: dict[str, Callable[[Session], object]] = {
        "who waits": board.live,
        "answers by region": board.answer_rates,
        "stages, 1 hour": lambda s: board.stage_times(s, 1.0),
        "stages, 24 hours": lambda s: board.stage_times(s, 24.0),
        "queues": lambda s: metrics.queues(s, None),
        "throughput": board.throughput,
        "alarms": lambda s: alarms.conditions(s, settings),
        "a minute's sample": lambda s: history.figures_now(s, None),
        "charts, 24 hours": lambda s: history.charts(s, "24h"),
        "charts, 7 days": lambda s: history.charts(s, "7d"),
        "cases behind a stage": lambda s: board.slowest(s, Stage.ASSIGNED, 24.0),
        "find by prefix": lambda s: board.find(s, some.hex[:6]),
        "one timeline": lambda s: timeline.of_case(s, some),
    }
    found = {}
    for name, look in looks.items():
        with record.read() as session:
            found[name] = _median_s(lambda look=look, session=session: look(session))
    with record.write() as session:
        found["audit by action"] = _median_s(
            lambda: trail.search(session, "bench", trail.Wanted(action="case.viewed"))
        )
        session.rollback()
    record.close()
    return found


def _median_s(look: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        look()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def fill(record: Record, cases: int) -> UUID:
    """A year of closed cases up to now, the last few live; returns one of them."""
    chance = random.Random(1)
    with record.write() as session:
        now = database.now(session)
        ambulance = Ambulance(call_sign="bench")
        rooms = [
            EmergencyRoom(
                name=f"ER {number}", region=f"region {number % 5}", latitude=37.5, longitude=127.0
            )
            for number in range(30)
        ]
        session.add_all([ambulance, *rooms])
        session.flush()
        units = (ambulance.id, [room.id for room in rooms])
    some = uuid4()
    for first in range(0, cases, CHUNK):
        rows: dict[Any, list[dict[str, Any]]] = {
            table: [] for table in (Case, Image, Reading, Offer, AuditEntry)
        }
        for number in range(first, min(cases, first + CHUNK)):
            at = now - timedelta(days=365) * (1 - number / cases) - timedelta(seconds=30)
            id_ = some if number == cases // 2 else uuid4()
            _case(rows, chance, id_, at, units, live=cases - number <= 20)
        with record.write() as session:
            for table, values in rows.items():
                session.execute(insert(table), values)
    with record.write() as session:
        figures = dict.fromkeys(history.SERIES, 1.0)
        week = [now - timedelta(minutes=minute) for minute in range(2 * 24 * 60)]
        year = [now - timedelta(hours=hour) for hour in range(2 * 24, 8760)]
        spans = [(60, at) for at in week] + [(3600, at) for at in year]
        for span_s, keep in history.FOLDED.items():
            step = timedelta(seconds=span_s)
            newest = history._floor(now, span_s) - step
            spans += [(span_s, newest - step * back) for back in range(keep // step)]
        session.execute(
            insert(Sample), [{"span_s": s, "at": at, "figures": figures} for s, at in spans]
        )
        assert session.scalar(select(func.count(Case.id))) == cases
    return some


def _case(
    rows: dict[Any, list[dict[str, Any]]],
    chance: random.Random,
    id_: UUID,
    at: datetime,
    units: tuple[UUID, list[UUID]],
    *,
    live: bool,
) -> None:
    ambulance, rooms = units
    later = [at + timedelta(seconds=s) for s in (2, 40, 60, 1800)]
    rows[Case].append(
        {
            "id": id_,
            "ambulance_id": ambulance,
            "idempotency_key": str(id_),
            "request_sha256": "0" * 64,
            "status": CaseStatus.OFFERING if live else CaseStatus.CLOSED,
            "received_at": at,
            "updated_at": later[3],
            "first_offer_at": later[0],
            "assigned_at": None if live else later[1],
            "acknowledged_at": None if live else later[2],
            "ended_at": None if live else later[3],
            "deadline_at": later[3] + timedelta(days=400) if live else None,
            "acuity": chance.randint(1, 5),
            "round": 1,
        }
    )
    image = uuid4()
    rows[Image].append(
        {
            "id": image,
            "case_id": id_,
            "sha256": image.hex * 2,
            "rendition_sha256": image.hex * 2,
            "media_type": "image/png",
            "byte_count": 1,
            "width_px": 1,
            "height_px": 1,
            "rendition_width_px": 1,
            "rendition_height_px": 1,
            "received_at": at,
        }
    )
    for kind in ReadingKind:
        rows[Reading].append(
            {
                "id": uuid4(),
                "image_id": image,
                "case_id": id_,
                "kind": kind,
                "status": ReadingStatus.DONE,
                "due_at": at,
                "created_at": at,
                "claimed_at": at + timedelta(seconds=0.3),
                "finished_at": later[0],
            }
        )
    for rank, room in enumerate(chance.sample(rooms, 3), start=1):
        rows[Offer].append(
            {
                "id": uuid4(),
                "case_id": id_,
                "emergency_room_id": room,
                "round": 1,
                "rank": rank,
                "explanation": {},
                "offered_at": later[0],
                "status": OfferStatus.REQUESTED if live else OfferStatus.WITHDRAWN,
                "decided_at": None,
            }
        )
    if not live:
        rows[Offer][-1].update(status=OfferStatus.ACCEPTED, decided_at=later[1])
    for action in ("case.received", "case.viewed", "case.viewed", "case.closed"):
        rows[AuditEntry].append(
            {
                "id": uuid4(),
                "at": later[1],
                "actor": "system",
                "action": action,
                "case_id": id_,
                "details": {},
            }
        )


if __name__ == "__main__":
    main()
