"""Break it, and compare what clients were told with what is there: real processes, real kill -9.

Small numbers by default, the issue's with --long. The networks are stood in for (pool.py says how);
everything else is the installation that the demo starts.
"""

from __future__ import annotations

import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from broker import heartbeat, migrate
from broker.celery_app import make_celery
from broker.lifecycle import ReadingStatus
from broker.queues import ROUTES, Task
from broker.settings import Settings
from broker.tables import Case, Reading
from tests.e2e.chaos import pool, truth
from tests.e2e.chaos.box import DOORS, POOLS, Box
from tests.e2e.chaos.crowd import Crowd, Life
from tests.e2e.chaos.inspector import Inspector
from tests.e2e.chaos.nemesis import Nemesis, kills, restart_redis
from tests.migration.expanding import next_version

pytestmark = pytest.mark.timeout(3600)


def p99(seconds: Sequence[float]) -> float:
    """The 99th percentile, rounded up to a measured value."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))]


def test_no_receipt_is_lost_under_kill_9(box: Box, crowd: Crowd, seed: int, long_run: bool):
    # A part needs seconds to come up: the long run leaves it time to serve before the next blow.
    every_s = (2.0, 8.0) if long_run else (0.5, 3.0)
    try:
        with Nemesis(box, seed, kills(box), every_s):
            lives = crowd.live(2000 if long_run else 16, clients=8 if long_run else 4)
    finally:
        restart_redis(box)  # one that the nemesis started ended with its thread (PDEATHSIG)
    box.heal()
    truth.nothing_lost(box, crowd, lives)
    truth.one_holder(box, lives)
    truth.holds(box)
    assert crowd.refusals == []
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", 120)
    waits = [life.offered_s for life in lives]
    print(
        f"{len(lives)} cases, {crowd.retries.total()} retries, "
        f"receipt to offers p99 {p99(waits):.1f} s"
    )


def test_redis_that_forgets_costs_time_only(box: Box, crowd: Crowd, seed: int, long_run: bool):
    every_s = 10.0 if long_run else 0.4
    with Nemesis(box, seed, [("flushall", box.redis.flush)], (every_s, every_s)):
        lives = crowd.live(300 if long_run else 10, tries=False)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    truth.no_effect_twice(box, lives)
    truth.holds(box)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_redis_away_fails_no_submission(box: Box, crowd: Crowd, how: str, long_run: bool):
    away_s = (60 if how == "stopped" else 120) if long_run else 5
    box.strike(f"redis {how}")
    box.redis.kill() if how == "stopped" else box.redis.freeze()
    began, lives = time.monotonic(), []
    try:
        while time.monotonic() - began < away_s:
            lives.append(crowd.submit(tries=False))  # one try: a refusal fails the test
            time.sleep(0.2)
    finally:
        box.redis.start() if how == "stopped" else box.redis.thaw()
    back = time.time()
    for life in lives:
        crowd.offers(life)
    patience_s = 300 if long_run else 60  # what piled up in two minutes is worked off, too
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", patience_s)
    with box.record.read() as session:
        of_these = Reading.case_id.in_([UUID(life.case_id) for life in lives])
        ends = [r.finished_at.timestamp() - back for r in session.query(Reading).where(of_these)]
        cases = session.query(Case).where(Case.id.in_([UUID(life.case_id) for life in lives]))
        offered = [(case.first_offer_at - case.received_at).total_seconds() for case in cases]
    late = sorted(seconds for seconds in ends if seconds > 0)
    answered = [life.answered_s for life in lives]
    print(
        f"Redis {how} {away_s} s: {len(lives)} submits, p99 {p99(answered):.2f} s; receipt to "
        f"offers p99 {p99(offered):.1f} s; {len(late)} readings waited for its return, the first "
        f"ended {late[0]:.1f} s after it, half of them after {late[len(late) // 2]:.1f} s, all "
        f"after {late[-1]:.1f} s"
    )
    truth.nothing_lost(box, crowd, lives)
    truth.holds(box)


@pytest.mark.parametrize("fault", ["reader killed", "child killed", "pool killed", "pool frozen"])
def test_a_lost_workers_reading_is_rescued(box: Box, crowd: Crowd, fault: str, long_run: bool):
    rescues = [_rescue(box, crowd, fault) for _ in range(50 if long_run else 1)]
    lease_s = box.settings.reading_lease_s
    print(f"{fault}, lease {lease_s:g} s: rescued after p99 {p99(rescues):.1f} s of {rescues}")
    assert p99(rescues) <= 15
    truth.holds(box)


def _rescue(box: Box, crowd: Crowd, fault: str) -> float:
    """Seconds from the fault to the reading's end by another worker."""
    life = crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:])

    def caught() -> Reading | None:
        row = _reading(box, life)
        return row if row.status is ReadingStatus.RUNNING else None

    running = box.wait(caught, "a worker at the film")
    assert running.lease_owner
    child = psutil.Process(int(running.lease_owner.rsplit(":", 1)[1]))
    parent = child.parent()
    assert parent
    time.sleep(0.5)  # in the middle of it
    readers = child.children()
    assert len(readers) == 1
    victims = {
        "reader killed": readers,
        "child killed": [child],
        "pool killed": [parent, child],
        "pool frozen": [parent, child],
    }[fault]
    how = signal.SIGSTOP if fault == "pool frozen" else signal.SIGKILL
    box.strike(fault)
    for victim in victims:
        victim.send_signal(how)
    began = time.monotonic()
    try:
        done = box.wait(lambda: _ended(_reading(box, life)), "the rescue", 40)
    finally:
        if fault == "pool frozen":
            for victim in victims:
                victim.send_signal(signal.SIGCONT)
    rescued_s = time.monotonic() - began
    assert done.attempt >= 2
    assert done.status is ReadingStatus.DONE
    if fault == "pool frozen":
        time.sleep(pool.SLOW_S)  # its late word comes now, and must not count
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the other reading")
    crowd.offers(life)
    truth.no_effect_twice(box, [life])
    return rescued_s


def test_a_killed_child_does_not_mute_its_pool(box: Box, crowd: Crowd):
    """The next film is read at once, whether or not the killing one is tried again."""
    poison = crowd.submit(pool.film(pool.Film.KILLS))
    box.wait(lambda: _reading(box, poison, "detect").attempt, "the first attempt")
    good = crowd.submit()
    done = box.wait(lambda: _ended(_reading(box, good, "detect")), "the next film's reading")
    waited_s = (done.finished_at - done.created_at).total_seconds()
    assert waited_s < box.settings.reading_lease_s
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")


def test_who_is_frozen_for_good_is_replaced(box: Box, crowd: Crowd, seed: int, long_run: bool):
    """All classify pools, the child of detect and upkeep stand still; nobody ever thaws them."""
    limit_s = Settings.reading_lease_s + heartbeat.STALE_S  # as shipped, and P3's longest rescue
    waits = []
    for _ in range(10 if long_run else 1):
        pools = ("classify", "classify2")
        victims = [process for pool_ in pools for process in box.processes(pool_)]
        victims += [*box.children("detect"), *box.processes("upkeep")]
        box.strike("froze the pools, a child and upkeep")
        for victim in victims:
            victim.send_signal(signal.SIGSTOP)
        life, began = crowd.submit(), time.monotonic()
        box.wait(lambda life=life: _ended(_reading(box, life)), "its reading", limit_s + 30)
        waits.append(time.monotonic() - began)
        box.wait(lambda: truth.unfinished_readings(box) == 0, "the other reading", 90)
        box.wait(lambda old=victims: not any(v.is_running() for v in old), "their end")
        crowd.offers(life)
        truth.no_effect_twice(box, [life])
        box.heal()
    print(f"frozen for good: read after {[round(s, 1) for s in waits]} s, aim {limit_s:g} s")
    # In the short run a machine busy with other tests may take its time to start Python anew.
    assert max(waits) <= limit_s + (0 if long_run else 15)
    truth.holds(box)


def _ended(row: Reading) -> Reading | None:
    return row if row.finished_at else None


def _reading(box: Box, life: Life, kind: str = "classify") -> Reading:
    with box.record.read() as session:
        return session.query(Reading).filter_by(case_id=UUID(life.case_id), kind=kind).one()


def test_a_rolling_restart_refuses_and_loses_nothing(
    box: Box, crowd: Crowd, seed: int, long_run: bool, tmp_path: Path
):
    """Every part in turn, as for an update; each door by SIGTERM, every second time by SIGHUP.

    In the middle of it the tables are expanded for a version to come.
    """
    crowd.wait_s = 1.0  # as the page's outbox does before it sends again
    over, lives, slow = threading.Event(), [], []

    def load() -> None:
        while not over.is_set():
            lives.extend(crowd.live(4, clients=4))
            slow.append(crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:]))
            over.wait(0.5)

    client = threading.Thread(target=load)
    client.start()
    rounds, took = 0, {}
    lasts_s = 15 * 60 if long_run else 0
    until, middle = time.monotonic() + lasts_s, time.monotonic() + lasts_s / 2
    scripts: Path | None = next_version(tmp_path)
    try:
        while not rounds or time.monotonic() < until:
            rounds += 1
            for part in (*POOLS, "relay", "upkeep"):
                if scripts and time.monotonic() >= middle and part == "relay":
                    migrate.upgrade(box.settings, scripts=scripts)
                    box.strike("tables expanded")
                    scripts = None
                took[part] = _timed(lambda part=part: box.restart(part))
            how = signal.SIGHUP if rounds % 2 == 0 else signal.SIGTERM
            for door in DOORS:
                took[door] = _timed(lambda door=door, how=how: box.restart(door, how))
            over.wait(30 if long_run else 0)
    finally:
        over.set()
        client.join(180)
    assert not client.is_alive()
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    with box.record.read() as session:
        again = session.query(Reading).filter(Reading.attempt > 1).count()
    tries = max(life.retries for life in [*lives, *slow])
    print(
        f"{rounds} rounds, {len(lives) + len(slow)} cases, retries {dict(crowd.retries)}, most of "
        f"one submit {tries}, {again} readings of all begun again, seconds per part {took}"
    )
    assert scripts is None
    assert lives
    assert tries <= 1
    assert crowd.refusals == []
    for life in slow:
        crowd.offers(life)
    truth.nothing_lost(box, crowd, [*lives, *slow])
    truth.one_holder(box, lives)
    truth.no_effect_twice(box, lives)
    truth.no_effect_twice(box, slow, answered=False)
    truth.holds(box)


def test_both_gateways_restarted_at_once_are_a_pause(box: Box, crowd: Crowd):
    """The supervisor keeps their port: callers wait in its queue until a new one answers."""
    crowd.wait_s = 1.0
    gateways = DOORS[:2]
    with ThreadPoolExecutor(4) as senders, ThreadPoolExecutor(2) as operators:
        sent = [senders.submit(crowd.submit) for _ in range(8)]
        seconds = _timed(lambda: list(operators.map(box.restart, gateways)))
        sent += [senders.submit(crowd.submit) for _ in range(4)]
        lives = [life.result() for life in sent]
    tries = max(life.retries for life in lives)
    print(
        f"gateways back after {seconds} s; retries {dict(crowd.retries)}, most of one submit "
        f"{tries}, longest submit {max(life.answered_s for life in lives):.1f} s"
    )
    truth.nothing_lost(box, crowd, lives)
    for life in lives:
        crowd.offers(life)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    truth.no_effect_twice(box, lives)
    assert tries <= 1
    assert crowd.refusals == []


def test_the_doors_ports_outlive_everybody_behind_them(box: Box, crowd: Crowd):
    """kill -9 of every gateway and of the stream at once: no caller is refused at the door."""
    crowd.wait_s = 1.0
    box.strike("all doors killed")
    for door in DOORS:
        box.kill(door)
    with ThreadPoolExecutor(4) as senders:
        lives = list(senders.map(lambda _: crowd.submit(), range(4)))
    print(f"all doors killed: retries {dict(crowd.retries)}")
    assert "ConnectionError" not in crowd.retries or max(life.retries for life in lives) <= 1
    box.heal()
    truth.nothing_lost(box, crowd, lives)
    for life in lives:
        crowd.offers(life)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")


def _timed(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return round(time.monotonic() - began, 1)


def test_the_inspector_sees_what_lasts_a_moment(box: Box, crowd: Crowd, inspector: Inspector):
    """A film that is gone for two seconds and comes back."""
    life = crowd.submit()
    stored = box.settings.images / UUID(life.case_id).hex[:2] / UUID(life.case_id).hex
    box.strike("film moved")

    def gone_for_a_while() -> None:
        with Inspector(box):
            (stored / life.sha256).rename(stored / "away")
            time.sleep(3)
            (stored / "away").rename(stored / life.sha256)

    with pytest.raises(AssertionError, match=r"not in the store.*film moved"):
        gone_for_a_while()
    assert inspector.seen
    inspector.seen.clear()
    crowd.offers(life)


def test_of_ers_that_accept_at_once_one_holds(box: Box, crowd: Crowd, long_run: bool):
    lives = crowd.live(1000 if long_run else 8)
    truth.one_holder(box, lives)
    assert {len(life.losers) for life in lives} == {2}
    assert crowd.refusals == []
    truth.holds(box)


def test_every_message_delivered_five_times_counts_once(box: Box, crowd: Crowd, long_run: bool):
    celery = make_celery(box.settings)

    def five_times(life: Life) -> None:
        with box.record.read() as session:
            readings = session.query(Reading).filter_by(case_id=UUID(life.case_id)).all()
        bells = [(Task(row.kind.value), str(row.id)) for row in readings]
        for task, row_id in [*bells, (Task.ROUTE, life.case_id)]:
            for _ in range(4):  # beside the relay's own
                celery.send_task(task.value, args=[row_id], queue=ROUTES[task].value)

    lives = crowd.live(1000 if long_run else 8, between=five_times)
    celery.close()
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    truth.no_effect_twice(box, lives)
    truth.one_holder(box, lives)
    truth.holds(box)


def test_poison_dies_three_times_and_its_case_goes_on(box: Box, crowd: Crowd, long_run: bool):
    count = 200 if long_run else 6
    kinds = [pool.Film.KILLS, pool.Film.BREAKS] * (50 if long_run else 1)
    box.heal()
    children = _pids_of_children(box)
    full = _among_poison(
        box, crowd, kinds, "as many as four clients can", lambda: crowd.live(count)
    )
    truth.holds(box)
    if long_run:
        paced = _among_poison(
            box, crowd, kinds, "one each second", lambda: crowd.live_every(1.0, count)
        )
        truth.holds(box)
        assert paced <= 1.5
        assert full <= 1.5
    else:  # in a long run children end as planned, after so many films
        assert _pids_of_children(box) == children  # poison costs a reader, not its child


def _pids_of_children(box: Box) -> set[int]:
    return {child.pid for part in ("classify", "detect") for child in box.children(part)}


def _among_poison(
    box: Box, crowd: Crowd, kinds: list[pool.Film], pace: str, live: Callable[[], list[Life]]
) -> float:
    """By how much poison lengthens good cases' p95 until their offers."""
    began = time.monotonic()
    quiet = [life.offered_s for life in live()]
    took_s = time.monotonic() - began

    def poison() -> list[Life]:
        lives = []
        for kind in kinds:  # spread over the time that the good cases take
            lives.append(crowd.submit(pool.film(kind)))
            time.sleep(took_s / len(kinds))
        return lives

    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(poison)
        mixed = [life.offered_s for life in live()]
        bad = sent.result()
    for life in bad:
        crowd.offers(life)  # AI or not, it goes out
    limit_s = 3 * (box.settings.reading_lease_s + 10) * len(kinds)
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of all poison", limit_s)
    for life in bad:
        case = crowd.case(life)
        assert case["needs_review"]
        assert case["partial"]
        with box.record.read() as session:
            rows = session.query(Reading).filter_by(case_id=UUID(life.case_id)).all()
        assert [(row.status, row.attempt) for row in rows] == [(ReadingStatus.FAILED, 3)] * 2
    quiet_s, mixed_s = (statistics.quantiles(s, n=20)[-1] for s in (quiet, mixed))
    print(f"good cases, {pace}, p95 until offers: {quiet_s:.2f} s quiet ({took_s:.0f} s in all),")
    print(f"{mixed_s:.2f} s among {len(kinds)} films of poison")
    return mixed_s / quiet_s


def test_postgresql_restarted_under_load(box: Box, crowd: Crowd, long_run: bool):
    if box.postgres is None:
        pytest.skip("SQLite has no server to restart")
    over, lives = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            lives.extend(crowd.live(4, clients=4))

    client = threading.Thread(target=load)
    client.start()
    try:
        for _ in range(20 if long_run else 2):
            time.sleep(3)
            box.strike("postgresql restarted")
            box.postgres.restart()
    finally:
        over.set()
        client.join(180)
    assert not client.is_alive()
    box.heal()
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    print(f"{len(lives)} cases, {crowd.retries.total()} retries")
    truth.nothing_lost(box, crowd, lives)
    truth.one_holder(box, lives)
    truth.no_effect_twice(box, lives)
    truth.holds(box)
    assert crowd.refusals == []


def test_a_killed_gateway_leaves_no_orphan_at_its_port(box: Box, crowd: Crowd):
    """Workers that outlived their arbiter would hold the port and answer nobody."""
    workers = box.children("gateway1")
    assert workers
    with ThreadPoolExecutor(4) as pool_:
        sent = [pool_.submit(crowd.submit) for _ in range(4)]
        time.sleep(0.1)  # requests are under way
        box.strike("gateway1 killed")
        box.kill("gateway1")
        began = time.monotonic()
        box.wait(lambda: not any(worker.is_running() for worker in workers), "their end", 5)
        lives = [life.result() for life in sent]
    print(f"4 submits across the kill answered after {time.monotonic() - began:.1f} s")
    truth.nothing_lost(box, crowd, lives)
    for life in lives:
        crowd.offers(life)
