"""Two upkeeps and two relays as real processes at once: every deadline has its effect once.

On two machines by name, with one database and one Redis. Nobody answers, so that everything that
happens to a case is theirs: its offers, the wider round, the alarm.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import ColumnElement, func, select

from broker import check, events, heartbeat, seals
from broker.lifecycle import CaseStatus
from broker.record import Record
from broker.settings import Settings
from broker.tables import AuditEntry, AuditSeal, Case, Event, Offer
from tests.integration.api.processes import log_of, running
from tests.integration.city import City

LOOPS = {"upkeep": "workers.upkeep", "relay": "broker.relay"}
PATIENCE_S = 120.0


def test_two_upkeeps_and_two_relays_have_every_effect_once(
    record: Record, settings: Settings, redis_url: str
):
    quick = replace(settings, redis_url=redis_url, time_scale=0.02, sweep_s=0.3)
    city = City.found(record, rooms=9)
    with contextlib.ExitStack() as running_loops:
        for name, module in LOOPS.items():
            for node in ("left", "right"):
                command = [sys.executable, "-m", module]
                mine = replace(quick, node=node)
                running_loops.enter_context(running(command, mine, f"{name}-{node}"))
        _wait(lambda: all(_alive(record, kind) == 2 for kind in LOOPS))
        cases = [city.submit() for _ in range(4)]
        _wait(lambda: _count(record, Case.status == CaseStatus.UNPLACED) == len(cases))
        _wait(lambda: _sealed(record))
    for case_id in cases:
        with record.read() as session:
            of_case = Event.case_id == case_id
            told = session.execute(
                select(Event.audience, Event.type, func.count())
                .where(of_case, Event.type.in_(("offer.requested", "case.unplaced")))
                .group_by(Event.audience, Event.type)
            ).all()
            asked = session.execute(
                select(Offer.emergency_room_id, Offer.round).where(Offer.case_id == case_id)
            ).all()
            alarms = session.scalar(
                select(func.count())
                .select_from(AuditEntry)
                .where(AuditEntry.case_id == case_id, AuditEntry.action == "case.unplaced")
            )
        requested = {row[0]: row[2] for row in told if row[1] == "offer.requested"}
        # In time an ER is asked again: each offer is told once, and a round has three at most.
        assert requested == Counter(events.emergency_room(room) for room, _ in asked)
        rounds = Counter(number for _, number in asked)
        assert rounds[1] == 3
        assert max(rounds.values()) <= 3
        unplaced = [row[2] for row in told if row[1] == "case.unplaced"]
        assert unplaced
        assert set(unplaced) == {1}
        assert alarms == 1
    assert check.run(record, stopped=True).violations == []
    for name in LOOPS:
        for node in ("left", "right"):
            said = log_of(quick, f"{name}-{node}").read_text()
            assert "Traceback" not in said, said[-3000:]


def _alive(record: Record, kind: str) -> int:
    with record.read() as session:
        return len(heartbeat.alive(session, kind))


def _count(record: Record, where: ColumnElement[bool]) -> int:
    with record.read() as session:
        return session.scalar(select(func.count()).select_from(Case).where(where)) or 0


def _sealed(record: Record) -> bool:
    """Both upkeeps seal; every entry that is there now has its place in one chain."""
    with record.read() as session:
        entries = session.scalar(select(func.count()).select_from(AuditEntry)) or 0
        links = session.scalar(select(func.count()).select_from(AuditSeal)) or 0
    return links >= entries > 0 and list(seals.verify(record)) == []


def _wait(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.2)
