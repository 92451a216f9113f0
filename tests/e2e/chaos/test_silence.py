"""Nothing waits in silence, and nothing ends before its time (P8): a soak of a city that dawdles.

Real deadlines, real clocks. Each second the judge looks, by SQL of its own, how far behind its
deadline any live case is; afterwards it compares when people were reminded and alarmed with the
steps that the settings promise. `--long` is one hour.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import func, select

from broker import database, events
from broker.errors import DatabaseBusy
from broker.lifecycle import LIVE_CASES, OfferStatus
from broker.tables import Case, Event, Offer
from tests.e2e.chaos import truth
from tests.e2e.chaos.box import Box
from tests.e2e.chaos.crowd import Crowd, Life

LATE_S = 10.0
"""P8: no case is longer behind its deadline than this."""


class Fate(Enum):
    """What the people of one case do."""

    NOBODY_ANSWERS = auto()
    ALL_DECLINE = auto()
    CREW_SILENT = auto()
    GIVEN_BACK = auto()
    CALLED_OFF = auto()
    ENDS_WELL = auto()


def test_nobody_waits_in_silence(box: Box, crowd: Crowd, seed: int, long_run: bool):
    dice = random.Random(seed)
    lasts_s, every_s = (3600.0, 12.0) if long_run else (30.0, 3.0)
    fates: dict[Fate, list[Life]] = {fate: [] for fate in Fate}
    waiting: list[tuple[float, Callable[[], None]]] = []
    until = time.monotonic() + lasts_s
    with _watched(box) as late:
        next_case = time.monotonic()
        while time.monotonic() < until:
            if time.monotonic() >= next_case:
                next_case += every_s * dice.uniform(0.5, 1.5)
                # The first is urgent and unheard, so that a short run sees a reminder, too.
                first = not any(fates.values())
                fate = dice.choice([*Fate]) if not first else Fate.NOBODY_ANSWERS
                life = crowd.submit(pre_ktas=dice.randint(1, 5) if not first else 1)
                fates[fate].append(life)
                waiting += _script(crowd, life, fate, dice)
            due = [step for step in waiting if step[0] <= time.monotonic()]
            waiting = [step for step in waiting if step not in due]
            for _, act in due:
                act()
            time.sleep(0.05)
    counts = {fate.name.lower(): len(lives) for fate, lives in fates.items()}
    print(f"{lasts_s:g} s, cases: {counts}; furthest behind a deadline {max(late):.1f} s")
    assert max(late) <= LATE_S
    print(_compare(box, fates[Fate.NOBODY_ANSWERS]))
    lives = [life for fate in fates.values() for life in fate]
    for life in lives:
        crowd.crew_says(life, "cancel", reason="the soak is over")
    truth.nothing_lost(box, crowd, lives)
    truth.holds(box)


def _script(
    crowd: Crowd, life: Life, fate: Fate, dice: random.Random
) -> Iterator[tuple[float, Callable[[], None]]]:
    """When (monotonic) who does what."""
    born, think_s = time.monotonic(), dice.uniform(6, 15)

    def offers() -> list[dict[str, object]]:
        return crowd.offers(life)

    def accept() -> None:
        crowd.answer(offers()[0], decision="accept")

    match fate:
        case Fate.ALL_DECLINE:
            for number in range(3):
                yield (
                    born + think_s + 2 * number,
                    lambda n=number: crowd.answer(
                        offers()[n], decision="reject", reason_code="no_er_bed"
                    ),
                )
        case Fate.CREW_SILENT:
            yield born + think_s, accept
        case Fate.GIVEN_BACK:
            yield born + think_s, accept
            yield (
                born + think_s + dice.uniform(1, 30),
                lambda: crowd.answer(offers()[0], "withdraw", reason_code="no_intensive_care_bed"),
            )
        case Fate.CALLED_OFF:
            yield (
                born + dice.uniform(0, 300),
                lambda: crowd.crew_says(life, "cancel", reason="better"),
            )
        case Fate.ENDS_WELL:
            yield born + think_s, accept
            yield born + think_s + dice.uniform(0, 20), lambda: crowd.crew_says(life, "acknowledge")
            yield born + think_s + 30, lambda: crowd.crew_says(life, "arrive")
        case Fate.NOBODY_ANSWERS:
            # Else they pile up: ERs are asked again and again for as long as a case lives.
            yield born + 900, lambda: crowd.crew_says(life, "cancel", reason="long enough")


@contextmanager
def _watched(box: Box) -> Iterator[list[float]]:
    """Each second, by how much the latest live case is behind its deadline (the base's clock)."""
    found, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(1):
            with suppress(DatabaseBusy), box.record.read() as session:
                first = session.scalar(
                    select(func.min(Case.deadline_at)).where(Case.status.in_(LIVE_CASES))
                )
                if first is not None:
                    found.append((database.now(session) - first).total_seconds())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def _compare(box: Box, lives: list[Life]) -> str:
    """Of cases that nobody answered: each step came, in time, and none too early."""
    behind: dict[str, list[float]] = {"reminded": [], "widened": [], "unplaced": []}
    with box.record.read() as session:
        now = database.now(session)
        for life in lives:
            case = session.scalars(select(Case).where(Case.idempotency_key == life.key)).one()
            opened = case.search_opened_at
            if opened is None:
                continue
            steps = box.settings.steps(case.acuity or 3)
            heard = events.ambulance(case.ambulance_id)
            firsts = session.execute(
                select(Event.type, func.min(Event.created_at))
                .where(Event.case_id == case.id, Event.audience == heard)
                .group_by(Event.type)
            )
            told: dict[str, datetime] = {row[0]: row[1] for row in firsts}
            second = session.scalar(
                select(func.min(Offer.offered_at)).where(Offer.case_id == case.id, Offer.round == 2)
            )
            ended = case.ended_at or now
            for name, at, step_s in (
                ("reminded", told.get("offer.reminded"), steps.remind_s),
                ("widened", second, steps.widen_s),
                ("unplaced", told.get("case.unplaced"), steps.unplaced_s),
            ):
                if at is None:  # its time had not come
                    assert ended < opened + timedelta(seconds=step_s + LATE_S), (name, case.id)
                    continue
                behind[name].append((at - opened).total_seconds() - step_s)
            expired = session.execute(
                select(Offer.offered_at, Offer.decided_at).where(
                    Offer.case_id == case.id, Offer.status == OfferStatus.EXPIRED
                )
            )
            for offered_at, decided_at in expired:
                assert (
                    decided_at is None
                    or (decided_at - offered_at).total_seconds() >= steps.unplaced_s - 0.1
                ), case.id
    said = []
    for name, seconds in behind.items():
        if seconds:
            assert min(seconds) >= -0.1, (name, min(seconds))
            assert max(seconds) <= LATE_S, (name, max(seconds))
            said.append(f"{name} {len(seconds)} times, at most {max(seconds):.1f} s late")
    return "; ".join(said) or "no step was due yet"
