"""`goldentime check`: is everything that must always be true of the record true just now?

Puts together what invariants.py says of rows, seals.py of the audit and this file of images. Never
writes. An operator may run it at any time.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from broker import health, invariants, seals, settings as settings_
from broker.errors import NotFound
from broker.imagestore import ImageStore, sha256_of
from broker.record import Record
from broker.tables import (
    Image,
)

MANY = 20
"""Lines about the audit after which the rest is not worth reading."""


@dataclass(frozen=True)
class Stored:
    """What a row says about one file of the image store."""

    case_id: UUID
    sha256: str
    byte_count: int | None
    """None where the row keeps no length (renditions)."""


@dataclass
class Report:
    """What was found; `notes` are information and no fault."""

    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(
    record: Record,
    *,
    hashes: bool = False,
    stopped: bool = False,
    audit: bool = True,
    kept: seals.Head | None = None,
) -> Report:
    """Check rows, the audit's chain, then files; one line per violation, none when all is well.

    hashes: read every image and compare its SHA-256; otherwise existence and length only.
    stopped: the installation does not run, so that late deadlines are nobody's fault.
    audit: follow the chain of seals from its beginning; on years of rows that takes minutes.
    kept: a seal that was written down elsewhere and must still be there.
    """
    report = Report()
    sqlite = record.engine.dialect.name == "sqlite"
    with record.read() as session:
        if not sqlite:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            session.execute(text("SET LOCAL statement_timeout = 0"))
        if wrong := health.schema(session):
            return Report([f"tables: {wrong}"])
        if later := health.of_a_later_version(session):
            report.notes.append(f"the tables are at {later}, a later version's: only what we know")
        if not sqlite:
            report.violations += invariants.rows(
                session, record.settings, thorough=hashes, stopped=stopped
            )
        stored = list(images(session))
    if sqlite:
        # One unit per rule: a reader of SQLite holds every writer back until it has read all.
        for rule in invariants.rules(record.settings, thorough=hashes, stopped=stopped):
            with record.read() as session:
                report.violations += rule(session)
    if audit:
        report.violations += islice(seals.verify(record), MANY)
    if kept is not None:
        with record.read() as session:
            if not seals.holds(session, kept):
                report.violations.append(
                    f"audit: seal {kept.number} is not the one that was kept: entries were taken "
                    "off the end, or all of them were sealed anew"
                )
    # Files after the transaction: they outlive rows, and reading them all may take a while.
    store = ImageStore(record.settings)
    report.violations += _files(store, stored, hashes=hashes)
    report.notes += _orphans(store.root, stored)
    return report


def images(session: Session) -> Iterator[Stored]:
    """Every file that a row speaks of: originals and renditions."""
    for case_id, original, byte_count, rendition in session.execute(
        select(Image.case_id, Image.sha256, Image.byte_count, Image.rendition_sha256)
    ):
        yield Stored(case_id, original, byte_count)
        if rendition != original:
            yield Stored(case_id, rendition, None)


def main(argv: list[str]) -> int:
    """`goldentime check`: look for anything in the record that must never be."""
    parser = argparse.ArgumentParser(
        prog="goldentime check",
        description="Check database and image store. Writes nothing; exit status 1 and one line "
        "per violation when something is wrong.",
        epilog="example: goldentime check --hashes",
    )
    parser.add_argument("--hashes", action="store_true", help="read every image and its hash")
    parser.add_argument(
        "--stopped", action="store_true", help="nothing runs: do not judge deadlines"
    )
    parser.add_argument(
        "--sealed",
        metavar="NUMBER:DIGEST",
        type=_seal,
        help="a seal of the audit that you kept elsewhere (upkeep logs one each hour, a backup "
        "keeps one): it must still be there",
    )
    options = parser.parse_args(argv)
    with health.opened(settings_.from_env(), ready=False) as record:  # run() judges the tables
        report = run(record, hashes=options.hashes, stopped=options.stopped, kept=options.sealed)
    for line in report.violations:
        print(line)
    for line in report.notes:
        print(f"note: {line}")
    if report.violations:
        return 1
    print("all invariants hold")
    return 0


def _seal(said: str) -> seals.Head:
    try:
        return seals.Head.parse(said)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{said!r} is no seal: the number, a colon and the 64 digits that upkeep logged"
        ) from None


def _files(store: ImageStore, stored: Iterable[Stored], *, hashes: bool) -> Iterator[str]:
    for item in stored:
        name = f"image {item.sha256[:12]} of case {item.case_id}"
        try:
            path = store.path(item.case_id, item.sha256)
        except NotFound:
            yield f"{name}: not in the store"
            continue
        length = path.stat().st_size
        if length == 0 or (item.byte_count is not None and length != item.byte_count):
            yield f"{name}: {length} bytes in the store, {item.byte_count or 'some'} in the record"
        elif hashes and sha256_of(path) != item.sha256:
            yield f"{name}: its bytes have another SHA-256"


def _orphans(root: Path, stored: Iterable[Stored]) -> Iterator[str]:
    """Files that no row speaks of: a submission that was never answered, or one under way."""
    known = {(item.case_id.hex, item.sha256) for item in stored}
    found = [
        path
        for path in root.glob("[0-9a-f][0-9a-f]/*/*")
        # What was derived from a kept file lies beside it, under its name.
        if (path.parent.name, path.name.partition(".")[0]) not in known
    ]
    if found:
        names = ", ".join(str(path.relative_to(root)) for path in found[:3])
        yield f"{len(found)} files in the store belong to no row ({names}{' …' * (len(found) > 3)})"
    waiting = sum(1 for _ in root.glob("incoming/*"))
    if waiting:
        yield f"{waiting} uploads under way, or left over until upkeep sweeps them"
