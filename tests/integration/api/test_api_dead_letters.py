"""Dead letters: operations look, try out, replay and close; every hand is on record."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import select

from broker.lifecycle import ReadingKind, ReadingStatus
from broker.tables import AuditEntry
from dispatch import reading
from tests.integration.api.doors import House, film

LETTERS = "/operations/dead-letters"


@pytest.fixture
def dead(house: House) -> tuple[str, str]:
    """A case whose classify reading gave up: (case id, reading id)."""
    case_id = house.submitted(film())
    for _ in range(house.settings.reading_attempts):
        claim = house.record.again(
            lambda s: reading.claim(s, house.settings, ReadingKind.CLASSIFY, "a test")
        )
        assert claim is not None
        assert str(claim.case_id) == case_id
        house.record.again(
            lambda s, claim=claim: reading.failed(s, house.settings, claim, "broken", "it broke")
        )
    house.read_films()
    return case_id, str(house.readings(case_id)[ReadingKind.CLASSIFY].id)


def audited(house: House, case_id: str) -> list[str]:
    with house.record.read() as db:
        rows = select(AuditEntry.action).where(AuditEntry.case_id == UUID(case_id))
        return [action for action in db.scalars(rows) if action.startswith("reading.")]


def test_a_dead_letter_is_seen_with_its_reason(house: House, dead: tuple[str, str]) -> None:
    case_id, reading_id = dead
    (letter,) = [x for x in house.operations.get(LETTERS).json if x["reading_id"] == reading_id]
    assert letter["case_id"] == case_id
    assert letter["case_status"] == "offering"  # it did not wait for its reading
    assert (letter["kind"], letter["attempts"]) == ("classify", 3)
    assert (letter["error_code"], letter["error"]) == ("broken", "it broke")
    assert "Canary" not in house.operations.get(LETTERS).text
    assert house.case(house.crew, case_id)["needs_review"]


def test_a_dry_run_changes_nothing_and_a_replay_reads_again(
    house: House, dead: tuple[str, str]
) -> None:
    case_id, reading_id = dead
    before = house.rows()
    answer = house.operations.post(f"{LETTERS}/{reading_id}/replay?dry_run=1")
    assert answer.status_code == 200
    assert (answer.json["dry_run"], answer.json["film_stored"]) == (True, True)
    assert house.rows() == before
    assert house.readings(case_id)[ReadingKind.CLASSIFY].status is ReadingStatus.FAILED
    answer = house.operations.post(f"{LETTERS}/{reading_id}/replay")
    assert (answer.status_code, answer.json["dry_run"]) == (200, False)
    row = house.readings(case_id)[ReadingKind.CLASSIFY]
    assert (row.status, row.attempt) == (ReadingStatus.PENDING, 0)
    house.read_films()
    assert house.readings(case_id)[ReadingKind.CLASSIFY].status is ReadingStatus.DONE
    assert house.case(house.crew, case_id)["partial"] is False
    assert audited(house, case_id) == ["reading.failed", "reading.replayed"]
    again = house.operations.post(f"{LETTERS}/{reading_id}/replay")
    assert (again.status_code, again.json["code"]) == (409, "conflict")


def test_a_dry_run_says_that_the_film_is_gone(house: House, dead: tuple[str, str]) -> None:
    case_id, reading_id = dead
    for path in house.settings.images.glob(f"*/{UUID(case_id).hex}/*"):
        path.unlink()
    answer = house.operations.post(f"{LETTERS}/{reading_id}/replay?dry_run=1")
    assert answer.json["film_stored"] is False


def test_a_closed_letter_is_out_of_the_list(house: House, dead: tuple[str, str]) -> None:
    case_id, reading_id = dead
    for _ in range(2):
        assert house.operations.post(f"{LETTERS}/{reading_id}/close").status_code == 200
    assert reading_id not in {x["reading_id"] for x in house.operations.get(LETTERS).json}
    assert audited(house, case_id) == ["reading.failed", "reading.closed"]
    assert house.readings(case_id)[ReadingKind.CLASSIFY].status is ReadingStatus.FAILED


def test_others_may_look_at_most(house: House, dead: tuple[str, str]) -> None:
    _, reading_id = dead
    assert house.control.get(LETTERS).status_code == 200
    for who in (house.crew, house.er(house.rooms[0]), house.control):
        for step in ("replay", "replay?dry_run=1", "close"):
            assert who.post(f"{LETTERS}/{reading_id}/{step}").status_code == 403
    assert house.crew.get(LETTERS).status_code == 403
