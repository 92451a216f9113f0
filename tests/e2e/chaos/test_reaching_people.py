"""What must reach people whatever breaks: events (P11), offers without AI (P7), alarms (P17)."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

import psutil
import pytest
from sqlalchemy import select

from broker import events
from broker.lifecycle import AlarmCode
from broker.queues import Queue
from broker.tables import Alarm, Case, Offer
from tests.e2e.chaos import pool, truth
from tests.e2e.chaos.box import Box
from tests.e2e.chaos.crowd import Crowd
from tests.e2e.chaos.listeners import Listener

pytestmark = pytest.mark.timeout(3600)
QUIET_S = 3.0
"""Until the last events of a phase have come; polling takes a second or two."""


def test_events_come_in_order_and_none_is_missing(
    box: Box, crowd: Crowd, seed: int, long_run: bool
):
    """Redis up; Redis dead; listeners that hang up and a stream that is killed."""
    print(f"seed {seed} (replay with --seed {seed})")
    chance = random.Random(seed)
    # An ER's audience is named after it; the first few of the city hear most offers.
    rooms = list(box.people.tokens.emergency_rooms.items())[:4]
    tokens = {events.emergency_room(UUID(room)): token for room, token in rooms}
    with box.record.read() as session:
        case = session.get_one(Case, UUID(crowd.submit().case_id))
    tokens[events.ambulance(case.ambulance_id)] = box.people.tokens.crew
    with box.record.read() as session:
        last = {audience: events.last_seq(session, audience) for audience in tokens}
    ears = {
        audience: Listener(box, token, last[audience], random.Random(chance.random()))
        for audience, token in tokens.items()
    }
    for listener in ears.values():
        listener.start()
    count = 60 if long_run else 6
    spans: dict[str, tuple[float, float]] = {}
    try:
        time.sleep(1)
        spans["Redis up"] = _play(crowd, count)
        box.strike("redis stopped")
        box.redis.kill()
        spans["Redis dead"] = _play(crowd, count)
        box.redis.start()
        for listener in ears.values():
            listener.hangs_up = True
        box.strike("stream killed")
        box.kill("stream")
        spans["hung up, stream killed"] = _play(crowd, count)
        for _ in range(10):
            if _called_again(ears.values()):
                break
            _play(crowd, count)
        for audience, listener in ears.items():
            box.wait(lambda a=audience, e=listener: e.last == _written(box, a), "all its events")
    finally:
        for listener in ears.values():
            listener.over.set()
    for listener in ears.values():
        listener.join(20)
    for name, (began, ended) in spans.items():
        waits = sorted(s for e in ears.values() for _, at, s in e.heard if began <= at < ended)
        print(
            f"{name}: {len(waits)} events, p50 {_part(waits, 50):.2f} s, p95 "
            f"{_part(waits, 95):.2f} s, p99 {_part(waits, 99):.2f} s, longest {waits[-1]:.2f} s"
        )
        if long_run and name == "Redis up":
            assert _part(waits, 95) <= 1
            assert _part(waits, 99) <= 3
        if long_run and name == "Redis dead":
            assert waits[-1] <= 6
    for audience, listener in ears.items():
        heard = [seq for seq, _, _ in listener.heard]
        assert heard == list(range(listener.first + 1, _written(box, audience) + 1)), audience
    assert _called_again(ears.values())
    box.heal()
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    truth.holds(box)


def _called_again(ears: Collection[Listener]) -> bool:
    return sum(listener.connections for listener in ears) > 2 * len(ears)


def _written(box: Box, audience: str) -> int:
    with box.record.read() as session:
        return events.last_seq(session, audience)


def _play(crowd: Crowd, count: int) -> tuple[float, float]:
    """So many whole cases, and the time in which their events were written."""
    began = time.time()
    crowd.live(count)
    ended = time.time()
    time.sleep(QUIET_S)
    return began, ended


def _part(values: list[float], percent: int) -> float:
    return values[min(len(values) - 1, len(values) * percent // 100)]


def test_with_ai_dead_the_offers_go_out_at_the_reading_deadline(
    box: Box, crowd: Crowd, long_run: bool
):
    """Both networks' pools stand still; their late words take no offer back."""
    victims = [v for part in ("classify", "classify2", "detect") for v in box.processes(part)]
    box.strike("AI frozen")
    for victim in victims:
        victim.send_signal(signal.SIGSTOP)
    try:
        lives = [crowd.submit() for _ in range(4)]  # before the watchdog ends the frozen
        for life in lives:
            crowd.offers(life)
            assert crowd.case(life)["partial"]
        before = {life.case_id: _offers(box, life.case_id) for life in lives}
    finally:
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGCONT)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", 120)
    waits = [life.offered_s for life in lives]
    deadline_s = box.settings.reading_deadline_s
    print(f"AI dead: offered after at most {max(waits):.1f} s, reading deadline {deadline_s:g} s")
    if long_run:
        assert max(waits) <= deadline_s + 2
    for life in lives:
        case = crowd.case(life)
        assert not case["partial"]
        assert len(case["image"]["findings"]) == pool.LABELS
        assert _offers(box, life.case_id) == before[life.case_id]
    truth.no_effect_twice(box, lives)
    truth.holds(box)


def test_a_queue_that_stands_still_alarms(box: Box, crowd: Crowd, long_run: bool):
    """Every pool of it is frozen, and whoever takes its place; nothing of ours counts the time."""
    over = threading.Event()

    def freeze() -> None:
        while not over.wait(0.2):
            for part in ("classify", "classify2"):
                for process in box.processes(part):
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(signal.SIGSTOP)

    freezer = threading.Thread(target=freeze)
    box.strike("classify frozen")
    freezer.start()
    try:
        time.sleep(0.5)
        life, began = crowd.submit(), time.time()
        alarm = box.wait(lambda: _alarm(box, began), "the alarm", 90)
    finally:
        over.set()
        freezer.join()
        for part in ("classify", "classify2"):
            for process in box.processes(part):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
    after_s = alarm.opened_at.timestamp() - began
    print(f"a queue frozen: the alarm stood {after_s:.1f} s after the film was sent")
    if long_run:
        assert after_s <= 30
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", 120)
    box.wait(lambda: (_alarm(box, began) or alarm).closed_at, "the end of the alarm", 60)
    crowd.offers(life)
    box.heal()
    truth.holds(box)


def _alarm(box: Box, since: float) -> Alarm | None:
    """The alarm of the frozen queue, as its row stands."""
    with box.record.read() as session:
        return session.scalars(
            select(Alarm).where(
                Alarm.code == AlarmCode.QUEUE_STUCK,
                Alarm.subject == Queue.CLASSIFY.value,
                Alarm.opened_at >= datetime.fromtimestamp(since, UTC),
            )
        ).first()


def _offers(box: Box, case_id: str) -> list[tuple[object, ...]]:
    """What was offered to whom, and when; the ranks of open offers may follow the findings."""
    columns = (Offer.id, Offer.emergency_room_id, Offer.round, Offer.offered_at)
    with box.record.read() as session:
        found = session.execute(
            select(*columns).where(Offer.case_id == UUID(case_id)).order_by(Offer.id)
        )
        return [tuple(row) for row in found]
