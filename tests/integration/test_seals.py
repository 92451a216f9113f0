"""The audit's chain: who changes, takes out or slips in an entry is found, on both databases."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from broker import backup, check, database, events, keyring, seals
from broker.record import Record
from broker.seals import Head
from broker.settings import Settings
from broker.tables import AuditEntry, AuditSeal
from tests.conftest import IDENTITY_KEYS
from tests.integration.emptying import unguarded
from workers.upkeep import Upkeep

ANOTHER_KEY = Fernet.generate_key().decode()


def write(record: Record, count: int) -> None:
    with record.write() as session:
        for number in range(count):
            events.audit(session, "system", "case.viewed", None, number=number, share=0.1, who="김")


@pytest.fixture
def sealed(record: Record) -> Record:
    """Twelve entries, sealed in three turns."""
    for _ in range(3):
        write(record, 4)
        assert seals.seal(record) == 4
    assert list(seals.verify(record)) == []
    return record


def nth(session: Session, number: int) -> AuditSeal:
    return session.get_one(AuditSeal, number)


def changed(session: Session) -> None:
    entry = session.get_one(AuditEntry, nth(session, 5).entry_id)
    entry.details = {**entry.details, "number": 99}


def actor_changed(session: Session) -> None:
    session.get_one(AuditEntry, nth(session, 5).entry_id).actor = "account:somebody-else"


def link_taken_out(session: Session) -> None:
    link = nth(session, 5)
    session.execute(delete(AuditSeal).where(AuditSeal.number == 5))
    session.execute(delete(AuditEntry).where(AuditEntry.id == link.entry_id))


def two_swapped(session: Session) -> None:
    first, second = nth(session, 5).entry_id, nth(session, 6).entry_id
    spare = nth(session, 1).entry_id
    for number, entry in ((1, None), (5, spare), (6, first), (5, second)):
        if entry is None:
            session.execute(delete(AuditSeal).where(AuditSeal.number == number))
        else:
            session.execute(
                update(AuditSeal).where(AuditSeal.number == number).values(entry_id=entry)
            )


def slipped_in(session: Session) -> None:
    events.audit(session, "account:innocent", "case.viewed", None)
    session.flush()
    entry = session.scalars(select(AuditEntry).where(AuditEntry.actor == "account:innocent")).one()
    entry.at -= timedelta(days=3)


def chained_anew(session: Session) -> None:
    """Somebody who knows how digests are made, but not the key."""
    changed(session)
    session.flush()
    before = nth(session, 4).digest
    for number in range(5, 13):
        link = nth(session, number)
        entry = session.get_one(AuditEntry, link.entry_id)
        link.digest = seals._digest(number, before, link.latest_at, link.sealed_at, entry)
        before = link.digest


def chained_anew_with_a_key_of_their_own(session: Session) -> None:
    chained_anew(session)
    ring = keyring.Keyring((ANOTHER_KEY,))
    for number in range(5, 13):
        link = nth(session, number)
        link.key_id, link.signature = ring.writes_with, ring.sign(link.digest)


HARM: dict[Callable[[Session], None], str] = {
    changed: "seal 5 .* is not what was sealed",
    actor_changed: "seal 5 .* is not what was sealed",
    link_taken_out: "seal 6 .*the seals 5 to 5 before it are missing",
    two_swapped: "seal 2 .*the seals 1 to 1 before it are missing",
    slipped_in: "has no seal, though later ones have",
    chained_anew: "seal 5 .* its signature is none of ours",
    chained_anew_with_a_key_of_their_own: "signs the seals from 5, key",
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_harm_is_found_and_named(sealed: Record, harm: Callable[[Session], None]):
    with sealed.write() as session, unguarded(session):
        harm(session)
        session.flush()
    seals.seal(sealed)  # upkeep goes on and covers nothing up
    lines = list(seals.verify(sealed))
    assert re.search(HARM[harm], lines[0]), lines
    assert check.run(sealed).violations[: len(lines)][0] == lines[0]


def test_a_seal_without_its_entry_is_found(sealed: Record):
    """The foreign key goes first: whoever owns the database can do that."""
    if sealed.engine.dialect.name == "postgresql":
        pytest.skip("the foreign key holds; SQLite lets every client leave it out")
    with sealed.read() as session:
        entry_id = nth(session, 5).entry_id
    with closing(sqlite3.connect(sealed.engine.url.database, isolation_level=None)) as foreign:
        trigger = "name = 'audit_entries_no_delete'"
        (guard,) = foreign.execute(f"SELECT sql FROM sqlite_master WHERE {trigger}").fetchone()
        foreign.execute("DROP TRIGGER audit_entries_no_delete")
        foreign.execute("DELETE FROM audit_entries WHERE id = ?", (entry_id.hex,))
        foreign.execute(guard)
    (line,) = seals.verify(sealed)
    assert "seal 5 " in line
    assert "is missing" in line


@pytest.mark.parametrize("table", [AuditEntry, AuditSeal])
def test_the_database_refuses_to_change_and_to_delete(sealed: Record, table: type):
    column = AuditEntry.actor if table is AuditEntry else AuditSeal.digest
    for statement in (update(table).values({column: "x"}), delete(table)):
        with pytest.raises(DBAPIError, match="only ever added to"), sealed.write() as session:
            session.execute(statement)
    if sealed.engine.dialect.name == "postgresql":
        with pytest.raises(DBAPIError, match="only ever added to"), sealed.write() as session:
            session.execute(text(f"TRUNCATE {table.__tablename__} CASCADE"))
    assert list(seals.verify(sealed)) == []


def test_check_says_when_a_guard_is_gone(sealed: Record):
    sqlite = sealed.engine.dialect.name == "sqlite"
    with sealed.write() as session, unguarded(session):
        found = list(seals.guards(session))
    assert len(found) == 2, found
    assert "no longer refuses" in found[0]
    with sealed.read() as session:
        assert list(seals.guards(session)) == []
    assert sqlite or found


def test_processes_that_seal_at_once_make_one_chain(record: Record, settings: Settings):
    """Two upkeeps, and people who write meanwhile: nobody fails, nothing is sealed twice."""
    others = [Record(settings) for _ in range(3)]
    over, errors = threading.Event(), []

    def run(step: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                step()
        except Exception as error:
            errors.append(error)

    steps = [
        lambda: seals.seal(others[0], 7),
        lambda: seals.seal(others[1], 11),
        lambda: write(others[2], 3),
        lambda: write(record, 1),
    ]
    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    try:
        for _ in range(600):
            with record.read() as session:
                if (session.scalar(select(func.count()).select_from(AuditSeal)) or 0) >= 60:
                    break
            over.wait(0.1)
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert errors == []
    while seals.seal(record):
        pass
    assert list(seals.verify(record)) == []
    with record.read() as session:
        entries = session.scalar(select(func.count()).select_from(AuditEntry))
        assert session.scalar(select(func.count()).select_from(AuditSeal)) == entries
        assert (entries or 0) >= 60
    for other in others:
        other.close()


def test_a_unit_that_commits_late_is_sealed_behind(record: Record):
    """Entries do not commit in the order of their times."""
    with record.write() as session:
        late = database.now(session) - timedelta(seconds=30)
    write(record, 2)
    assert seals.seal(record) == 2
    with record.write() as session:
        session.add(AuditEntry(at=late, actor="system", action="late", details={}))
    assert seals.seal(record) == 1
    assert list(seals.verify(record)) == []


def test_what_an_earlier_version_wrote_is_sealed_while_everything_works(record: Record):
    with record.write() as session:
        began = database.now(session) - timedelta(days=400)
        for day in range(0, 400, 4):
            at = began + timedelta(days=day)
            session.add(AuditEntry(at=at, actor="system", action="old", details={"day": day}))
    assert [seals.seal(record, 40) for _ in range(4)] == [40, 40, 20, 0]
    assert list(seals.verify(record)) == []


def test_keys_change_and_the_old_one_may_go(sealed: Record, settings: Settings):
    """A later signature covers every seal before it."""
    without_old = Record(replace(settings, identity_keys=(ANOTHER_KEY,)))
    (line,) = seals.verify(without_old)
    assert "signs the seals from 1, key" in line
    both = Record(replace(settings, identity_keys=(ANOTHER_KEY, *IDENTITY_KEYS)))
    write(both, 1)
    assert seals.seal(both) == 1
    assert list(seals.verify(both)) == []
    assert list(seals.verify(without_old)) == []
    without_any = Record(replace(settings, identity_keys=()))
    assert list(seals.verify(without_any)) == []
    for record in (without_old, both, without_any):
        record.close()


def test_an_end_that_was_cut_off_is_found_by_what_was_kept_elsewhere(
    sealed: Record, tmp_path: Path
):
    with sealed.read() as session:
        kept = seals.head(session)
    assert kept is not None
    assert kept.number == 12
    assert Head.parse(str(kept)) == kept
    assert check.run(sealed, kept=kept).violations == []
    if sealed.engine.dialect.name == "sqlite":
        assert backup.make(sealed.settings, tmp_path).is_file()
    with sealed.write() as session, unguarded(session):
        last = nth(session, 12).entry_id
        session.execute(delete(AuditSeal).where(AuditSeal.number == 12))
        session.execute(delete(AuditEntry).where(AuditEntry.id == last))
    assert list(seals.verify(sealed)) == []  # a shorter chain is a chain
    (line,) = check.run(sealed, kept=kept).violations
    assert "seal 12 is not the one that was kept" in line
    if sealed.engine.dialect.name == "sqlite":
        assert "lacks seal 12" in backup.make(sealed.settings, tmp_path).read_text()


def test_upkeep_seals_and_without_a_key_says_so(settings: Settings, record: Record):
    write(record, 3)
    upkeep = Upkeep(settings)
    assert upkeep.seal() == 3
    assert upkeep.seal() == 0
    upkeep.record.close()
    write(record, 1)
    keyless = Upkeep(replace(settings, identity_keys=()))
    assert keyless.seal() == 0
    keyless.record.close()
    with record.read() as session:
        assert 0 < seals.unsealed_s(session) < 300
