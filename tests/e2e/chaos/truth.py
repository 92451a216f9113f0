"""The independent judge: compares the clients' own log with rows and files, by SQL of its own.

Shares nothing with the services that wrote the rows but the tables' names.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, bindparam, text
from sqlalchemy.types import Uuid

from broker import check
from tests.e2e.chaos.box import Box
from tests.e2e.chaos.crowd import Crowd, Life
from tests.e2e.chaos.pool import LABELS


def holds(box: Box, limit_s: float = 30) -> None:
    """Every invariant of `goldentime check`; late deadlines get a while to be caught up."""
    until = time.monotonic() + limit_s
    while (report := check.run(box.record, hashes=True)).violations:
        now = check.run(box.record, hashes=True, stopped=True).violations
        assert now == [], now  # what is no matter of time must hold at every moment
        assert time.monotonic() < until, report.violations
        time.sleep(1)


def nothing_lost(box: Box, crowd: Crowd, lives: Iterable[Life]) -> None:
    """Each receipt has its case, once, and its film, byte for byte; the receipt comes again."""
    found = _all(
        box,
        "SELECT c.id, i.sha256 FROM cases c JOIN images i ON i.case_id = c.id "
        "WHERE c.idempotency_key = :key",
    )
    for life in lives:
        rows = found(key=life.key)  # and no open read unit across requests: it holds writers back
        assert len(rows) == 1, (life.key, rows)
        assert UUID(str(rows[0][0])) == UUID(life.case_id)
        assert rows[0][1] == life.sha256 == life.receipt["image_sha256"]
        stored = box.settings.images / UUID(life.case_id).hex[:2] / UUID(life.case_id).hex
        assert hashlib.sha256((stored / life.sha256).read_bytes()).hexdigest() == life.sha256
        assert crowd.again(life) == life.receipt


def one_holder(box: Box, lives: Iterable[Life]) -> None:
    """One ER was told yes; it is the one that the record says; all others were told no."""
    for life in lives:
        assert len(life.winners) == 1, (life.case_id, life.winners)
        accepted = _of_case(
            box, "SELECT id FROM offers WHERE case_id = :case AND status = 'accepted'"
        )(life)
        assert [UUID(str(row[0])) for row in accepted] == [UUID(life.winners[0])]


def no_effect_twice(
    box: Box, lives: Iterable[Life], *, readings: int = 2, answered: bool = True
) -> None:
    """One result per reading, three offers, one event per transition and audience.

    A case that nobody answered is offered to more, in time: three in the first round, no more in a
    later one, and each is told once of each offer.
    """
    for life in lives:
        found = _of_case(
            box,
            "SELECT r.kind, COUNT(f.id) FROM readings r LEFT JOIN findings f "
            "ON f.reading_id = r.id WHERE r.case_id = :case AND r.status = 'done' GROUP BY r.kind",
        )(life)
        assert (
            sorted(tuple(row) for row in found)
            == [
                ("classify", LABELS),
                ("detect", LABELS),
            ][:readings]
        ), life.case_id
        if not answered:
            rounds = _of_case(
                box,
                "SELECT COUNT(*) FROM offers WHERE case_id = :case GROUP BY round ORDER BY round",
            )(life)
            asked = [int(row[0]) for row in rounds]
            assert asked[0] == 3, life.case_id
            assert max(asked) <= 3, life.case_id
            ((said,),) = _of_case(
                box,
                "SELECT COUNT(*) FROM events WHERE case_id = :case AND type = 'offer.requested'",
            )(life)
            assert said == sum(asked), life.case_id
            continue
        ((offers,),) = _of_case(box, "SELECT COUNT(*) FROM offers WHERE case_id = :case")(life)
        assert offers == 3, life.case_id
        told = _of_case(
            box,
            "SELECT audience, type, COUNT(*) FROM events WHERE case_id = :case AND type IN "
            "('case.received', 'case.offering', 'case.assigned', 'case.acknowledged', "
            "'offer.requested', 'offer.accepted', 'offer.withdrawn') GROUP BY audience, type",
        )(life)
        assert [tuple(row) for row in told if row[2] != 1] == [], life.case_id
        assert len({row[0] for row in told if row[1] == "offer.requested"}) == 3


def unfinished_readings(box: Box) -> int:
    """Readings that still wait or run."""
    with box.record.read() as session:
        found = session.scalar(
            text("SELECT COUNT(*) FROM readings WHERE status IN ('pending', 'running')")
        )
    return int(found or 0)


def _all(box: Box, query: str, **types: Any) -> Callable[..., Sequence[Row[Any]]]:
    """Asks a query with its parameters; the unit ends before the rows are judged."""
    asked = text(query).bindparams(*(bindparam(name, type_=of) for name, of in types.items()))

    def ask(**parameters: Any) -> Sequence[Row[Any]]:
        with box.record.read() as session:
            return session.execute(asked, parameters).all()

    return ask


def _of_case(box: Box, query: str) -> Callable[[Life], Sequence[Row[Any]]]:
    ask = _all(box, query, case=Uuid())
    return lambda life: ask(case=UUID(life.case_id))
