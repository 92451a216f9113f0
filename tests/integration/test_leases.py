"""Leases of readings: rescue, fencing, the cap on attempts, a second chance by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from broker import database
from broker.errors import LeaseLost
from broker.imagestore import ImageStore
from broker.lifecycle import CaseStatus, ReadingKind, ReadingStatus
from broker.tables import Case, Reading
from broker.tuning import Tuned
from dispatch import dead_letters, reading
from tests.integration.city import City
from workers.children import Children
from workers.process import Process
from workers.upkeep import Upkeep

Child = subprocess.Popen[bytes]
CLASSIFY = ReadingKind.CLASSIFY


@pytest.fixture
def upkeep(city: City):
    upkeep = Upkeep(city.settings)
    yield upkeep
    upkeep.record.close()


def fall_silent(city: City) -> None:
    """Every lease has run out."""
    with city.record.write() as session:
        session.execute(
            update(Reading)
            .where(Reading.status == ReadingStatus.RUNNING)
            .values(lease_until_at=database.now(session) - timedelta(seconds=0.001))
        )


def test_a_silent_workers_film_is_read_by_another(city: City, upkeep: Upkeep):
    case_id = city.submit_film()
    dead = city.claim(CLASSIFY, "worker 1")
    assert city.do(reading.claim, city.settings, CLASSIFY, "worker 2") is None
    assert upkeep.look() == 0  # its lease is fresh
    fall_silent(city)
    upkeep.look()
    row = city.readings(case_id)[CLASSIFY]
    assert row.status is ReadingStatus.PENDING
    assert row.error_code == "worker_lost"
    assert "worker 1" in row.error
    alive = city.claim(CLASSIFY, "worker 2")
    assert alive.reading_id == dead.reading_id
    assert alive.attempt == 2

    # The first worker was only frozen: nothing that it writes may count.
    for write in (
        lambda: city.read(dead, "Hernia"),
        lambda: city.do(reading.renew, city.settings, dead),
        lambda: city.do(reading.failed, city.settings, dead, "reading_failed", "late"),
    ):
        with pytest.raises(LeaseLost):
            write()
    city.read(alive, "Mass")
    with pytest.raises(LeaseLost):
        city.read(alive, "Mass")
    with city.record.read() as session:
        row = session.get_one(Reading, dead.reading_id)
        assert row.status is ReadingStatus.DONE
        assert [f.label for f in row.findings] == ["Mass"]


@pytest.fixture
def child() -> Iterator[Child]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def pool(city: City, *children: Child, kind: ReadingKind = CLASSIFY) -> Children:
    mine = Process(Tuned(city.record), city.record, ImageStore(city.settings))
    return Children(mine, [kind], lambda: [c.pid for c in children if c.poll() is None])


def test_what_a_killed_child_read_goes_back_at_once(city: City, child: Child):
    """Its lease has long to run; who was killed in the middle of a film will not end it."""
    case_id = city.submit_film()
    ours = pool(city, child)
    assert ours.look() == 0
    city.claim(CLASSIFY, f"{city.settings.node}:{child.pid}")
    city.claim(ReadingKind.DETECT, f"another machine:{child.pid}")
    assert ours.look() == 0
    child.kill()
    child.wait()
    assert ours.look() == 1
    assert city.readings(case_id)[CLASSIFY].status is ReadingStatus.PENDING
    assert city.readings(case_id)[ReadingKind.DETECT].status is ReadingStatus.RUNNING
    assert ours.look() == 0
    assert city.claim(CLASSIFY, "worker 2").attempt == 2


def test_a_pool_that_starts_gives_back_what_the_one_before_it_held(city: City, child: Child):
    case_id = city.submit_film()
    city.claim(CLASSIFY, f"{city.settings.node}:{child.pid}")
    assert pool(city).take_stock() == 0  # alive, perhaps another pool's
    child.kill()
    child.wait()
    assert pool(city, kind=ReadingKind.DETECT).take_stock() == 0
    assert pool(city).take_stock() == 1
    assert city.readings(case_id)[CLASSIFY].status is ReadingStatus.PENDING


def test_a_name_that_is_no_process_is_let_alone(city: City):
    case_id = city.submit_film()
    city.claim(CLASSIFY, f"{city.settings.node}:worker 1")
    assert pool(city).take_stock() == 0
    assert city.readings(case_id)[CLASSIFY].status is ReadingStatus.RUNNING


def test_renewing_keeps_the_lease(city: City, upkeep: Upkeep):
    city.submit_film()
    claim = city.claim(CLASSIFY)
    before = city.readings(claim.case_id)[CLASSIFY].lease_until_at
    city.do(reading.renew, city.settings, claim)
    assert city.readings(claim.case_id)[CLASSIFY].lease_until_at > before
    assert upkeep.look() == 0


def test_a_film_that_kills_its_workers_is_given_up_and_the_case_goes_on(city: City, upkeep: Upkeep):
    case_id = city.submit_film(readings=[CLASSIFY])
    for attempt in range(1, city.settings.reading_attempts + 1):
        assert city.claim(CLASSIFY).attempt == attempt
        fall_silent(city)
        upkeep.look()
    row = city.readings(case_id)[CLASSIFY]
    assert row.status is ReadingStatus.FAILED
    assert row.error_code == reading.TOO_MANY_ATTEMPTS
    assert row.finished_at is not None
    assert city.do(reading.claim, city.settings, CLASSIFY, "w") is None
    case = city.case(case_id)
    assert case.needs_review
    assert case.partial
    assert case.status is CaseStatus.OFFERING  # at once, not at the deadline
    city.check()


def test_a_worker_that_says_why_is_tried_again(city: City):
    case_id = city.submit_film(readings=[CLASSIFY])
    claim = city.claim(CLASSIFY)
    city.do(reading.failed, city.settings, claim, "reading_failed", "x" * 9000)
    row = city.readings(case_id)[CLASSIFY]
    assert row.status is ReadingStatus.PENDING
    assert len(row.error) == 500
    with city.record.read() as session:
        assert row.due_at > database.now(session)  # not in a tight loop
    city.read(city.claim(CLASSIFY))
    assert city.case(case_id).status is CaseStatus.OFFERING
    assert not city.case(case_id).partial


def test_one_lost_reader_may_be_an_accident_and_its_film_is_read_again_at_once(city: City):
    case_id = city.submit_film(readings=[CLASSIFY])
    due_in_s = []
    for _ in range(2):
        city.do(reading.failed, city.settings, city.claim(CLASSIFY), reading.WORKER_LOST, "ended")
        row = city.readings(case_id)[CLASSIFY]
        with city.record.read() as session:
            due_in_s.append((row.due_at - database.now(session)).total_seconds())
    assert due_in_s[0] <= 0 < due_in_s[1]


def test_a_dead_letter_can_be_tried_again(city: City):
    case_id = city.submit_film(readings=[CLASSIFY])
    for _ in range(city.settings.reading_attempts):
        city.do(reading.failed, city.settings, city.claim(CLASSIFY), "reading_failed", "no")
    with city.record.write() as session:
        again = dead_letters.requeue(session, "account:operations", session.get_one(Case, case_id))
    assert len(again) == 1
    claim = city.claim(CLASSIFY)
    assert claim.attempt == 1
    city.read(claim, "Mass")
    case = city.case(case_id)
    assert not case.partial
    assert case.status is CaseStatus.OFFERING
    with city.record.write() as session:
        assert (
            dead_letters.requeue(session, "account:operations", session.get_one(Case, case_id))
            == []
        )


def test_the_most_urgent_film_is_claimed_first(city: City):
    mild, worst, middle = (city.submit_film(crew_pre_ktas=level) for level in (5, 1, 3))
    order = [city.claim(CLASSIFY).case_id for _ in range(3)]
    assert order == [worst, middle, mild]


def test_a_film_that_cost_a_worker_waits_behind_its_equals(city: City, upkeep: Upkeep):
    """Or a few that kill their readers would hold up all others, three times each."""
    costly = city.submit_film()
    assert city.claim(CLASSIFY, "worker 1").case_id == costly
    fall_silent(city)
    upkeep.look()
    fresh, urgent = city.submit_film(), city.submit_film(crew_pre_ktas=1)
    claimed = [city.claim(CLASSIFY, f"worker {number}").case_id for number in range(2, 5)]
    assert claimed == [urgent, fresh, costly]


def test_what_is_found_is_kept_with_its_model(city: City):
    case_id = city.submit_film()
    claim = city.claim(ReadingKind.DETECT)
    assert (claim.scale_x, claim.scale_y) == (2.0, 2.0)
    boxes = [reading.Found("Mass", 0.7, True, (1.0, 2.0, 30.0, 40.0))]
    city.do(reading.done, city.settings, claim, boxes, {"name": "n"}, {"run": 0.5})
    with city.record.read() as session:
        row = session.get_one(Reading, claim.reading_id)
        (finding,) = row.findings
        assert (finding.x0, finding.y0, finding.x1, finding.y1) == (1, 2, 30, 40)
        assert row.model == {"name": "n"}
        assert row.case_id == case_id
