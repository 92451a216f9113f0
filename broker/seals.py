"""The audit's seals: who changes, takes out or slips in an entry behind our back is found.

Entries are plain inserts, so that nobody who reads a case queues for a number. Upkeep seals them
some seconds later, in a chain: each digest covers its entry and the digest before it, each
signature a key that the database does not hold. Why so: docs/decisions/0022-the-audit-is-sealed.md.
Knows nothing of what entries mean; never changes one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import Session

from broker import database, keyring
from broker.errors import LostRace
from broker.keyring import Keyring
from broker.record import Record
from broker.tables import AuditEntry, AuditSeal

BATCH = 500
PAGE = 1000
LATE = timedelta(minutes=10)
"""A unit commits some seconds after it wrote its entry at most. What turns up later than this below
the newest sealed time was not written by us: it stays without a seal, and verify() names it."""
GUARDED = ("audit_entries", "audit_seals")
NOUGHT = "0" * 64
"""Stands for the digest before the first."""


class Head(NamedTuple):
    """The newest seal: who keeps it elsewhere can tell whether the end of the chain was cut off."""

    number: int
    digest: str

    def __str__(self) -> str:
        """As operators copy it, number:digest."""
        return f"{self.number}:{self.digest}"

    @classmethod
    def parse(cls, said: str) -> Head:
        """The reverse; ValueError when it is no such thing."""
        number, _, digest = said.strip().partition(":")
        if len(digest) != len(NOUGHT):
            raise ValueError(f"{said} is not NUMBER:DIGEST")
        return cls(int(number), digest)


@dataclass(frozen=True)
class Standing:
    """Up to where the audit is sealed: the newest seal, its entry, its key."""

    number: int
    digest: str
    entry_id: UUID
    entry_at: datetime
    sealed_at: datetime
    key_id: str


@dataclass(frozen=True)
class _Link:
    """What the next seal builds on."""

    number: int = 0
    digest: str = NOUGHT
    latest_at: datetime | None = None


def seal(record: Record, limit: int = BATCH) -> int:
    """Seal the oldest entries that have none; how many. 0 when another process was faster.

    BadSetting without identity keys. Reads and reckons before it writes, so that SQLite's writers
    wait for one INSERT only.
    """
    ring = keyring.of(record.settings)
    with record.read() as session:
        last = _last(session)
        rows = _unsealed(session, last, limit)
        now = database.now(session)
    if not rows:
        return 0
    links, at = [], last.latest_at
    for row in rows:
        at = row.at if at is None else max(at, row.at)
        number = last.number + 1
        digest = _digest(number, last.digest, at, now, row)
        links.append(
            {
                "number": number,
                "entry_id": row.id,
                "latest_at": at,
                "sealed_at": now,
                "digest": digest,
                "key_id": ring.writes_with,
                "signature": ring.sign(digest),
            }
        )
        last = _Link(number, digest, at)
    try:
        with record.write() as session:
            written = session.scalars(
                database.insert(session, AuditSeal)
                .values(links)
                .on_conflict_do_nothing()
                .returning(AuditSeal.number)
            ).all()
            if len(written) < len(links):
                raise LostRace("another process sealed these entries")
    except LostRace:
        return 0
    return len(links)


def head(session: Session) -> Head | None:
    """The newest seal, or None when there is none yet."""
    last = _last(session)
    return Head(last.number, last.digest) if last.number else None


def standing(session: Session) -> Standing | None:
    """The newest seal with its entry and its key, or None when there is none yet."""
    row = session.execute(
        select(
            *(AuditSeal.number, AuditSeal.digest, AuditSeal.entry_id, AuditEntry.at),
            *(AuditSeal.sealed_at, AuditSeal.key_id),
        )
        .join(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
        .where(AuditSeal.number == _last(session).number)
    ).one_or_none()
    return Standing(*row) if row else None


def holds(session: Session, kept: Head) -> bool:
    """Whether the chain still has a seal that somebody kept elsewhere."""
    return (
        session.scalar(select(AuditSeal.digest).where(AuditSeal.number == kept.number))
        == kept.digest
    )


def unsealed_s(session: Session) -> float:
    """For how long the oldest entry has waited for its seal; 0 when none waits."""
    waits = _unsealed(session, _last(session), 1)
    return (database.now(session) - waits[0].at).total_seconds() if waits else 0.0


def guards(session: Session) -> Iterator[str]:
    """Tables of the audit that the database would let anybody change."""
    if session.get_bind().dialect.name == "sqlite":
        found = text("SELECT tbl_name FROM sqlite_master WHERE type = 'trigger'")
        wanted = 2  # one for UPDATE, one for DELETE
    else:
        found = text(
            "SELECT tgrelid::regclass::text FROM pg_trigger "
            "WHERE tgfoid = 'refuse_change'::regproc AND tgenabled <> 'D'"
        )
        wanted = 1
    tables = list(session.scalars(found))
    for table in GUARDED:
        if tables.count(table) < wanted:
            yield f"{table}: the database no longer refuses to change or delete its rows"


def verify(record: Record) -> Iterator[str]:
    """Follow the whole chain; one line for each seal or entry that is not what was sealed.

    In units of PAGE rows: a reader of SQLite holds writers back. Without identity keys the
    signatures go unread, but every change that left the digests alone is still found.
    """
    ring = keyring.of(record.settings) if record.settings.identity_keys else None
    last, unknown = _Link(), ""
    while True:
        with record.read() as session:
            page = session.execute(
                select(AuditSeal, AuditEntry)
                .outerjoin(AuditEntry, AuditEntry.id == AuditSeal.entry_id)
                .where(AuditSeal.number > last.number)
                .order_by(AuditSeal.number)
                .limit(PAGE)
            ).all()
        if not page:
            break
        for link, entry in page:
            yield from _wrong(ring, last, link, entry)
            if ring is not None:
                known = link.key_id in ring.ids
                unknown = "" if known else unknown or f"{link.number}, key {link.key_id}"
            last = _Link(link.number, link.digest, link.latest_at)
    if unknown:  # a later signature with a key of ours would have covered these, too
        yield (
            f"audit: nothing that this installation can read signs the seals from {unknown} on; "
            "put that key into GOLDENTIME_IDENTITY_KEYS behind the first"
        )
    if last.latest_at is not None:
        yield from _slipped_in(record, last.latest_at - LATE)


def _wrong(
    ring: Keyring | None, last: _Link, link: AuditSeal, entry: AuditEntry | None
) -> Iterator[str]:
    where = f"audit: seal {link.number} ({link.sealed_at.isoformat(timespec='seconds')})"
    if link.number != last.number + 1:
        yield f"{where}: the seals {last.number + 1} to {link.number - 1} before it are missing"
        return
    if entry is None:
        yield f"{where}: its entry {link.entry_id} is missing"
        return
    expected = _digest(link.number, last.digest, link.latest_at, link.sealed_at, entry)
    if expected != link.digest:
        yield f"{where}: its entry {entry.id} of {entry.at.isoformat()} is not what was sealed"
    elif ring is not None and ring.signed(link.key_id, link.digest, link.signature) is False:
        yield f"{where}: its signature is none of ours"


def _slipped_in(record: Record, before: datetime) -> Iterator[str]:
    """Entries older than any that upkeep would still seal."""
    at, id_ = datetime.min.replace(tzinfo=before.tzinfo), UUID(int=0)
    while True:
        with record.read() as session:
            page = session.execute(
                select(AuditEntry.at, AuditEntry.id, AuditSeal.number)
                .outerjoin(AuditSeal, AuditSeal.entry_id == AuditEntry.id)
                .where(
                    AuditEntry.at < before,
                    tuple_(AuditEntry.at, AuditEntry.id) > tuple_(at, id_),
                )
                .order_by(AuditEntry.at, AuditEntry.id)
                .limit(PAGE)
            ).all()
        for row in page:
            if row.number is None:
                yield (
                    f"audit: entry {row.id} of {row.at.isoformat()} has no seal, though later ones "
                    "have: it was added by hand, or while the clock had been set back"
                )
        if len(page) < PAGE:
            return
        at, id_ = page[-1].at, page[-1].id


def _last(session: Session) -> _Link:
    row = session.execute(
        select(AuditSeal.number, AuditSeal.digest, AuditSeal.latest_at).where(
            AuditSeal.number == select(func.max(AuditSeal.number)).scalar_subquery()
        )
    ).one_or_none()
    return _Link(*row) if row else _Link()


def _unsealed(session: Session, last: _Link, limit: int) -> Sequence[AuditEntry]:
    has_seal = select(AuditSeal.number).where(AuditSeal.entry_id == AuditEntry.id).exists()
    query = select(AuditEntry).where(~has_seal).order_by(AuditEntry.at, AuditEntry.id).limit(limit)
    if last.latest_at is not None:
        query = query.where(AuditEntry.at >= last.latest_at - LATE)
    return session.scalars(query).all()


def _digest(
    number: int, before: str, latest_at: datetime, sealed_at: datetime, entry: AuditEntry
) -> str:
    said: list[Any] = [
        number,
        before,
        latest_at.isoformat(),
        sealed_at.isoformat(),
        str(entry.id),
        entry.at.isoformat(),
        entry.actor,
        entry.action,
        entry.case_id and str(entry.case_id),
        entry.patient_id and str(entry.patient_id),
        entry.details,
    ]
    return sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
