"""Races with real threads and processes: one winner, defined losers, no locking error, no gap."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError

from broker import database, events
from broker.errors import AlreadyTaken, GoldentimeError, LostRace
from broker.lifecycle import CaseStatus, DeclineReason, OfferStatus, ReadingKind
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case, Event, Offer
from dispatch import advance, offers, reading, transport
from dispatch.access import Actor
from dispatch.offers import Decision
from tests.integration.city import MODEL, City

FULL = DeclineReason.NO_ER_BED
NO = DeclineReason.OTHER
"""Says nothing of the next case (refusals.py), so that every case asks the same ERs."""


@pytest.fixture(autouse=True)
def locking_errors(record: Record) -> Iterator[list[str]]:
    """No statement may fail for a lock or a deadlock, not even one that was tried again.

    Waiting is longer than in service here, or a machine with too much to do would look like a lock.
    """
    errors: list[str] = []

    def be_patient(connection: Any, _: Any) -> None:
        with closing(connection.cursor()) as cursor:
            if record.engine.dialect.name == "sqlite":
                cursor.execute("PRAGMA busy_timeout=60000")
            else:
                cursor.execute("SET lock_timeout = '60s'; SET statement_timeout = '60s'")
                connection.commit()

    def note(context: Any) -> None:
        if not isinstance(context.sqlalchemy_exception, IntegrityError):
            errors.append(str(context.original_exception))

    record.engine.dispose()
    event.listen(record.engine, "connect", be_patient)
    event.listen(record.engine, "handle_error", note)
    yield errors
    event.remove(record.engine, "handle_error", note)
    assert errors == []


def at_once(steps: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run every step in a thread of its own, behind a barrier; results or errors, in order."""
    barrier = threading.Barrier(len(steps))

    def run(step: Callable[[], Any]) -> Any:
        barrier.wait(10)
        try:
            return step()
        except GoldentimeError as error:
            return error

    with ThreadPoolExecutor(len(steps)) as pool:
        return list(pool.map(run, steps))


def names(results: Sequence[Any]) -> Counter[str]:
    return Counter(type(result).__name__ for result in results)


def many(record: Record, rooms: int) -> City:
    """A city whose rounds ask every ER."""
    object.__setattr__(record.settings, "offers_per_round", rooms)
    return City.found(record, rooms=rooms)


@pytest.mark.parametrize("rooms", [3, 10])
def test_one_of_many_that_accept_at_once_wins(record: Record, rooms: int, long_run: bool):
    city = many(record, rooms)
    for _ in range(1000 if long_run else 8):
        case_id, opened = city.offered()
        assert len(opened) == rooms
        results = at_once(
            [lambda o=o: city.decide(o, Decision.ACCEPT) for o in opened]  # type: ignore[misc]
        )
        assert names(results) == {"Offer": 1, "AlreadyTaken": rooms - 1}
        (winner,) = [r for r in results if isinstance(r, Offer)]
        assert [o.id for o in city.offers(case_id, OfferStatus.ACCEPTED)] == [winner.id]
        for lost in (r for r in results if isinstance(r, AlreadyTaken)):
            assert set(lost.extra) <= {"status", "offer_status", "reason"}
    heard = Counter(city.crew_heard())
    assert heard["case.assigned"] == heard["case.offering"] == (1000 if long_run else 8)
    city.check()


def accept_all(
    settings: Settings, actor: Actor, offer_ids: list[UUID], barrier: Barrier, answers: Any
) -> None:
    """One ER as a process of its own."""
    record = Record(settings)
    said = []
    for offer_id in offer_ids:
        barrier.wait(30)
        try:
            record.again(
                lambda s, offer_id=offer_id: offers.decide(  # type: ignore[misc]
                    s, settings, actor, offer_id, Decision.ACCEPT
                )
            )
            said.append("won")
        except GoldentimeError as error:
            said.append(error.code)
    record.close()
    answers.put(said)


def test_one_of_three_processes_wins(city: City, long_run: bool):
    cases = [city.offered() for _ in range(1000 if long_run else 8)]
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(3), spawn.Queue()
    processes = [
        spawn.Process(
            target=accept_all,
            args=(
                city.settings,
                city.er(city.rooms[n]),
                [opened[n].id for _, opened in cases],
                barrier,
                answers,
            ),
        )
        for n in range(3)
    ]
    for process in processes:
        process.start()
    said = [answers.get(timeout=1200 if long_run else 120) for _ in processes]
    for process in processes:
        process.join(10)
        assert process.exitcode == 0
    answers.close()
    answers.join_thread()
    for of_one_case in zip(*said, strict=True):
        assert sorted(of_one_case) == ["already_taken", "already_taken", "won"]
    city.check()


def test_ten_that_decline_at_once_are_all_heard(record: Record):
    city = many(record, 10)
    case_id, opened = city.offered()
    results = at_once(
        [lambda o=o: city.decide(o, Decision.REJECT, reason_code=FULL) for o in opened]  # type: ignore[misc]
    )
    assert names(results) == {"Offer": 10}
    assert len(city.offers(case_id, OfferStatus.REJECTED)) == 10
    with record.read() as session:
        assert city.case(case_id).deadline_at <= database.now(session)
    city.check()


def asked(city: City, case_id: UUID) -> list[UUID]:
    """Whom a case asks and has asked, in the order of their places."""
    return [o.emergency_room_id for o in city.offers(case_id)]


@pytest.mark.parametrize("declining", [2, 3])
def test_ers_that_decline_at_once_are_replaced_by_different_ones(
    city: City, declining: int, long_run: bool
):
    calm, opened = city.offered()
    for offer in opened[:declining]:
        city.decide(offer, Decision.REJECT, reason_code=NO)
    expected = asked(city, calm)
    assert len(set(expected)) == 3 + declining
    city.do(transport.cancel, city.crew, calm, "only to be compared with")
    for _ in range(200 if long_run else 8):
        case_id, opened = city.offered()
        results = at_once(
            [
                lambda o=o: city.decide(o, Decision.REJECT, reason_code=NO)  # type: ignore[misc]
                for o in opened[:declining]
            ]
        )
        assert names(results) == {"Offer": declining}
        assert asked(city, case_id) == expected, "the same ones as when they decline one by one"
        ranks = [offer.rank for offer in city.offers(case_id)]
        assert ranks == list(range(1, 4 + declining))
        assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 3
        city.do(transport.cancel, city.crew, case_id, "end of the round")
    city.check()


def test_a_no_against_a_yes_leaves_nobody_asked(city: City, long_run: bool):
    seen: Counter[int] = Counter()
    for _ in range(200 if long_run else 8):
        case_id, (first, second, third) = city.offered()
        answers = at_once(
            [
                lambda: city.decide(first, Decision.REJECT, reason_code=NO),
                lambda: city.decide(second, Decision.ACCEPT),
                lambda: city.decide(third, Decision.REJECT, reason_code=NO),
            ]
        )
        assert isinstance(answers[1], Offer), answers[1]
        assert set(names(answers)) <= {"Offer", "AlreadyTaken"}
        assert city.case(case_id).status is CaseStatus.ASSIGNED
        assert {o.status for o in city.offers(case_id)} <= {
            OfferStatus.ACCEPTED,
            OfferStatus.REJECTED,
            OfferStatus.WITHDRAWN,
        }
        seen[len(city.offers(case_id))] += 1
        city.check()
    assert set(seen) <= {3, 4, 5}


def test_a_no_against_the_next_round_asks_nobody_twice(city: City, long_run: bool):
    for _ in range(200 if long_run else 8):
        case_id, opened = city.offered(crew_pre_ktas=2)
        city.let_pass(case_id, 45)  # the next three are due
        answers = at_once(
            [
                lambda: city.decide(opened[0], Decision.REJECT, reason_code=NO),
                lambda: city.decide(opened[1], Decision.REJECT, reason_code=NO),
                lambda: city.advance(case_id),
                lambda: city.advance(case_id),
            ]
        )
        assert set(names(answers)) == {"Offer", "NoneType"}
        rooms = asked(city, case_id)
        assert len(set(rooms)) == len(rooms)
        assert city.case(case_id).round == 2
        assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 6
        city.do(transport.cancel, city.crew, case_id, "end of the round")
    city.check()


def test_ten_cases_whose_ers_decline_at_once_meet_in_no_circle(city: City, long_run: bool):
    """The same ten ERs stand in every case: whoever asks next must not wait for each other."""

    def decline_all(opened: Sequence[Offer]) -> None:
        for offer in opened:
            city.decide(offer, Decision.REJECT, reason_code=NO)

    for _ in range(20 if long_run else 2):
        cases = [city.offered() for _ in range(10)]
        results = at_once([lambda o=opened: decline_all(o) for _, opened in cases])  # type: ignore[misc]
        assert results == [None] * 10
        assert len({tuple(asked(city, case_id)) for case_id, _ in cases}) == 1
        for case_id, _ in cases:
            assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 3
            city.do(transport.cancel, city.crew, case_id, "end of the round")
    city.check()


def test_twenty_submissions_with_one_key_are_one_case(city: City):
    for _ in range(3):
        key = uuid4().hex
        results = at_once([lambda: city.submit(key=key, complaint="fever")] * 20)
        assert len(set(results)) == 1, names(results)
    with city.record.read() as session:
        assert session.scalar(select(func.count()).select_from(Case)) == 3
    assert city.crew_heard() == ["case.received"] * 3
    city.check()


def test_two_readings_that_end_at_once_move_the_case_on(city: City, long_run: bool):
    for _ in range(300 if long_run else 10):
        case_id = city.submit_film()
        claims = [city.claim(kind) for kind in ReadingKind]
        results = at_once([lambda c=c: city.read(c, "Mass") for c in claims])  # type: ignore[misc]
        assert results == [None, None]
        case = city.case(case_id)
        assert case.status is CaseStatus.OFFERING
        assert not case.partial
        assert len(city.offers(case_id)) == 3
    city.check()


def test_two_workers_never_claim_the_same_film(city: City):
    for _ in range(12):
        city.submit_film(readings=[ReadingKind.CLASSIFY])
    claims = at_once(
        [
            lambda n=n: [  # type: ignore[misc]
                city.do(reading.claim, city.settings, ReadingKind.CLASSIFY, f"worker {n}")
                for _ in range(6)
            ]
            for n in range(4)
        ]
    )
    taken = [claim.reading_id for of_one in claims for claim in of_one if claim]
    assert len(taken) == 12
    assert len(set(taken)) == 12


def test_a_film_delivered_five_times_is_written_once(city: City):
    case_id = city.submit_film()
    claim = city.claim(ReadingKind.CLASSIFY)
    results = at_once([lambda: city.read(claim, "Mass")] * 5)
    assert names(results) == {"NoneType": 1, "LeaseLost": 4}
    with city.record.read() as session:
        (row,) = [r for r in session.get_one(Case, case_id).images[0].readings if r.findings]
        assert [f.label for f in row.findings] == ["Mass"]


def test_accept_against_the_deadline(city: City, long_run: bool):
    """Whoever comes first; never both, never neither."""
    for _ in range(200 if long_run else 8):
        case_id, opened = city.offered()
        city.let_pass(case_id, 10_000)
        steps = [lambda: city.advance(case_id)] * 3
        answers = at_once([lambda: city.decide(opened[0], Decision.ACCEPT), *steps])
        accepted = isinstance(answers[0], Offer)
        case = city.case(case_id)
        if accepted:
            assert case.status is CaseStatus.ASSIGNED
        else:
            assert type(answers[0]).__name__ == "OfferGone"
            assert case.status is CaseStatus.UNPLACED
            assert case.round == 2  # three bells, one step
        city.check()


def test_accept_against_cancel_take_and_withdraw(city: City, long_run: bool):
    seen: Counter[str] = Counter()
    for _ in range(200 if long_run else 6):
        case_id, (first, second, third) = city.offered()
        city.decide(first, Decision.ACCEPT_WITH_DELAY, delay_min=10)
        answers = at_once(
            [
                lambda: city.decide(second, Decision.ACCEPT),
                lambda: city.do(offers.take, city.settings, city.crew, first.id),
                lambda: city.do(transport.cancel, city.crew, case_id, "called off"),
                lambda: city.decide(third, Decision.REJECT, reason_code=FULL),
            ]
        )
        assert not [a for a in answers if isinstance(a, LostRace)]
        assert city.case(case_id).status is CaseStatus.CANCELLED
        assert sum(isinstance(a, Offer) for a in answers[:2]) <= 1
        seen += names(answers)
        city.check()
    assert set(seen) <= {"Offer", "Case", "AlreadyTaken", "OfferGone", "Conflict"}


def test_the_winner_gives_back_while_the_crew_confirms(city: City):
    for _ in range(6):
        case_id, (first, *_) = city.offered()
        city.decide(first, Decision.ACCEPT)
        er = city.er(first.emergency_room_id)
        at_once(
            [
                lambda: city.do(offers.withdraw, city.settings, er, first.id, FULL, None),
                lambda: city.do(transport.acknowledge, city.settings, city.crew, case_id),
            ]
        )
        assert city.case(case_id).status is CaseStatus.OFFERING
        assert city.offers(case_id, OfferStatus.ACCEPTED) == []
        city.check()


def test_readers_of_ten_cases_at_once_see_every_event_in_order(record: Record, long_run: bool):
    city = many(record, 3)
    audiences = [
        events.CONTROL_ROOM,
        events.ambulance(city.crew.ambulance_id),  # type: ignore[arg-type]
        *(events.emergency_room(room) for room in city.rooms),
    ]
    over = threading.Event()
    read: dict[str, list[int]] = {audience: [] for audience in audiences}

    def follow(audience: str) -> None:
        last = False
        while not last:
            last = over.is_set()  # one more look after the end
            with record.read() as session:
                new = events.after(session, audience, read[audience][-1] if read[audience] else 0)
            read[audience] += [entry.seq for entry in new]
            over.wait(0.02)

    def play(number: int) -> None:
        for _ in range(20 if long_run else 2):
            case_id, opened = city.offered()
            for offer in opened:
                city.do(offers.mark_received, city.er(offer.emergency_room_id), offer.id)
            winner = opened[number % len(opened)]
            for offer in opened:
                if offer.id != winner.id and number % 2:
                    city.decide(offer, Decision.REJECT, reason_code=FULL)
            city.decide(winner, Decision.ACCEPT)
            city.do(transport.arrive, city.settings, city.crew, case_id)
            city.do(transport.close, city.crew, case_id)

    readers = [threading.Thread(target=follow, args=(audience,)) for audience in audiences]
    for reader in readers:
        reader.start()
    try:
        results = at_once([lambda n=n: play(n) for n in range(10)])  # type: ignore[misc]
    finally:
        over.set()
        for reader in readers:
            reader.join(20)
    assert results == [None] * 10
    with record.read() as session:
        for audience, seqs in read.items():
            count = session.scalar(
                select(func.count()).select_from(Event).where(Event.audience == audience)
            )
            assert seqs == list(range(1, count + 1)), audience
            assert count
    city.check()


def test_rescue_and_a_late_worker_never_wait_in_a_circle(city: City):
    """Both readings of a case are rescued for good while the worker of one still writes."""
    for _ in range(6):
        case_id = city.submit_film()
        claims = [city.claim(kind) for kind in ReadingKind]
        with city.record.write() as session:
            for claim in claims:
                row = session.get_one(reading.Reading, claim.reading_id)
                row.lease_until_at = city.case(case_id).received_at
                row.attempt = city.settings.reading_attempts
        late = [
            reading.Claim(**{**vars(c), "attempt": city.settings.reading_attempts}) for c in claims
        ]
        results = at_once(
            [
                lambda: city.do(reading.rescue, city.settings, claims[0].reading_id),
                lambda: city.do(reading.rescue, city.settings, claims[1].reading_id),
                lambda: city.do(reading.done, city.settings, late[0], [], MODEL, {}),
                lambda: city.do(reading.done, city.settings, late[1], [], MODEL, {}),
                lambda: city.do(advance.advance, city.settings, case_id),
            ]
        )
        assert not [r for r in results if isinstance(r, LostRace)]
        assert city.case(case_id).status is CaseStatus.OFFERING
        city.check()


def test_many_bells_at_one_deadline_take_one_step(city: City, long_run: bool):
    for _ in range(100 if long_run else 6):
        case_id, _opened = city.offered(crew_pre_ktas=2)
        city.let_pass(case_id, 45)  # the next three, not yet the alarm
        heard = city.crew_heard().count("case.offering")
        assert at_once([lambda: city.advance(case_id)] * 5) == [None] * 5
        assert city.case(case_id).round == 2
        assert len(city.offers(case_id)) == 6
        assert city.crew_heard().count("case.offering") == heard + 1
        city.do(transport.cancel, city.crew, case_id, "end of the round")
    city.check()
