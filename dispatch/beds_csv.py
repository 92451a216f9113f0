"""Free beds and capabilities from a CSV file, for regions without a feed.

The whole file is judged before anything is written; errors name line and column, all of them at
once. Whoever calls writes in one transaction, so that a file is imported whole or not at all.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import GoldentimeError
from broker.tables import EmergencyRoom
from dispatch import beds
from dispatch.access import Actor
from dispatch.beds import LEAST_BEDS, MOST_BEDS, SKEW, BedSource
from dispatch.rules import Capability

ROOM = "emergency_room"
BEDS = "beds_available"
AT = "beds_at"
CAPABILITIES = "capabilities"
COLUMNS = (ROOM, BEDS, AT, CAPABILITIES)
MAX_BYTES = 5_000_000

_Wrong = Callable[[str, str], None]


class BadFile(GoldentimeError):
    """The file cannot be imported; nothing of it was."""

    code = "bad_file"
    status = 422

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Row:
    """One line: an ER by name or by its id in the feed, and what is said of it."""

    line: int
    room: str
    beds: int | None
    at: datetime | None
    capabilities: tuple[Capability, ...] | None


def read(body: bytes) -> list[Row]:
    """The rows of a file; BadFile with every fault that can be seen without the record."""
    if len(body) > MAX_BYTES:
        raise BadFile([f"the file is larger than {MAX_BYTES} bytes"])
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile([f"the file is not UTF-8 (byte {error.start}); save it as UTF-8"]) from None
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    faults: list[str] = []
    rows: list[Row] = []
    try:
        header = [name.strip() for name in reader.fieldnames or []]
        faults += _header_faults(header)
        if faults:
            raise BadFile(faults)
        reader.fieldnames = header
        seen: dict[str, int] = {}
        for cells in reader:
            row = _row(reader.line_num, cells, faults)
            if row is None:
                continue
            if row.room in seen:
                faults.append(
                    f"line {row.line}: {ROOM}: {row.room!r} stands in line {seen[row.room]} already"
                )
            seen.setdefault(row.room, row.line)
            rows.append(row)
    except csv.Error as error:
        raise BadFile([*faults, f"line {reader.reader.line_num}: is no CSV: {error}"]) from None
    if not rows and not faults:
        faults.append("the file has no line below its header")
    if faults:
        raise BadFile(faults)
    return rows


def write(session: Session, actor: Actor, rows: Sequence[Row]) -> tuple[int, int]:
    """Write all rows, or raise BadFile and write none; returns (changed, already newer)."""
    now = database.now(session)
    by_name: dict[str, EmergencyRoom] = {}
    for room in session.scalars(select(EmergencyRoom)):
        by_name |= {name: room for name in (room.name, room.name_ko, room.feed_id) if name}
    faults = list(_record_faults(rows, by_name, now))
    if faults:
        raise BadFile(faults)
    changed = older = 0
    touched = []
    for row in rows:
        room = by_name[row.room]
        wrote = True
        if row.beds is not None:
            wrote = beds.set_beds(session, room, row.beds, row.at or now, BedSource.FILE, now)
        if row.capabilities is not None:
            room.capabilities = sorted(c.value for c in row.capabilities)
            room.version += 1
        changed += wrote
        older += not wrote
        touched.append(room.id)
    session.flush()
    events.audit(session, actor.name, "beds.imported", None, rooms=len(rows), older=older)
    beds.tell_changed(session, touched)
    return changed, older


def _header_faults(header: Sequence[str]) -> Iterator[str]:
    for name in header:
        if name not in COLUMNS:
            yield f"line 1: {name!r} is no column; known are {', '.join(COLUMNS)}"
        elif header.count(name) > 1:
            yield f"line 1: {name!r} stands twice"
    if ROOM not in header:
        yield f"line 1: the column {ROOM} is missing"
    if BEDS not in header and CAPABILITIES not in header:
        yield f"line 1: neither {BEDS} nor {CAPABILITIES} is there"


def _row(line: int, cells: dict[str, str | None], faults: list[str]) -> Row | None:
    before = len(faults)

    def wrong(column: str, why: str) -> None:
        faults.append(f"line {line}: {column}: {why}")

    if None in cells:
        wrong("", "more cells than the header has columns")
        return None
    said = {name: (value or "").strip() for name, value in cells.items()}
    if not said[ROOM]:
        wrong(ROOM, "is empty")
    count = _count(said.get(BEDS, ""), wrong)
    at = _time(said.get(AT, ""), wrong)
    if at is not None and count is None:
        wrong(AT, f"needs {BEDS} beside it")
    capabilities = None
    if said.get(CAPABILITIES):
        capabilities = tuple(_capabilities(said[CAPABILITIES], wrong))
    if count is None and capabilities is None and len(faults) == before:
        wrong(BEDS, "the line says nothing")
    return None if len(faults) > before else Row(line, said[ROOM], count, at, capabilities)


def _count(text: str, wrong: _Wrong) -> int | None:
    if not text:
        return None
    try:
        count = int(text)
    except ValueError:
        wrong(BEDS, f"{text[:30]!r} is no whole number")
        return None
    if not LEAST_BEDS <= count <= MOST_BEDS:
        wrong(BEDS, f"{count} is outside {LEAST_BEDS} to {MOST_BEDS} (negative: over capacity)")
        return None
    return count


def _time(text: str, wrong: _Wrong) -> datetime | None:
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        wrong(AT, f"{text[:40]!r} is no time like 2026-11-24T10:30:00+09:00")
        return None
    if at.tzinfo is None:
        wrong(AT, f"{text!r} has no time zone; write +09:00 behind Korean time")
        return None
    return at


def _capabilities(text: str, wrong: _Wrong) -> Iterator[Capability]:
    for word in text.split(";"):
        try:
            yield Capability(word.strip())
        except ValueError:
            wrong(CAPABILITIES, f"{word.strip()!r} is none of {'; '.join(Capability)}")


def _record_faults(
    rows: Sequence[Row], by_name: dict[str, EmergencyRoom], now: datetime
) -> Iterator[str]:
    lines: dict[object, int] = {}
    for row in rows:
        room = by_name.get(row.room)
        if room is None:
            yield f"line {row.line}: {ROOM}: there is no emergency room {row.room!r}"
            continue
        if room.id in lines:
            yield f"line {row.line}: {ROOM}: {row.room!r} is the one of line {lines[room.id]}"
        lines.setdefault(room.id, row.line)
        if row.at is not None and row.at > now + SKEW:
            yield f"line {row.line}: {AT}: {row.at.isoformat()} is in the future"
