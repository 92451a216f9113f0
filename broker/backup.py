"""`goldentime backup` and `goldentime restore`: a copy that comes back, checked on both ways.

A backup is a snapshot of the database, then the images that its rows speak of (a film is in the
store before its row is), then a manifest with every hash. Images lie once in the folder however
many backups it holds. What the rows mean is not known here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import inspect, select, text
from sqlalchemy.engine import URL
from sqlalchemy.orm import Session

from broker import check, database, health, keyring, seals, settings as settings_
from broker.check import Stored
from broker.errors import GoldentimeError, NotFound
from broker.imagestore import ImageStore, sha256_of
from broker.record import Record
from broker.seals import Head
from broker.settings import Settings
from broker.tables import AuditSeal, Image, PatientIdentity

MANIFEST = "manifest.json"
FORMAT = 1
CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Contents:
    """What the copied database says of itself."""

    films: list[Stored]
    head: Head | None
    """The newest seal of the audit; kept in the manifest, since the database could be cut short."""
    lost_seal: bool
    """The seal that the backup before this one kept is gone."""


class BackupFailed(GoldentimeError):
    """The backup could not be made or read."""

    code = "backup_failed"


def make(settings: Settings, folder: Path) -> Path:
    """Add a backup to a folder while the installation runs; returns its manifest.

    Raises BackupFailed when the database cannot be copied, and leaves nothing of that try. A film
    that is missing or damaged is named in the manifest. That is written last: an unfinished backup
    is never mistaken for one.
    """
    made_at = datetime.now(UTC)
    target = folder / made_at.strftime("%Y%m%dT%H%M%S.%fZ")
    try:
        target.mkdir(parents=True)
        with database.answering():
            return _make(settings, folder, target, made_at)
    except (OSError, sqlite3.Error) as error:
        said = error.strerror if isinstance(error, OSError) else error
        where = getattr(error, "filename", None) or folder
        raise BackupFailed(f"{where}: {said}") from error
    finally:
        if not (target / MANIFEST).is_file():  # it would fill the disk, try by try
            shutil.rmtree(target, ignore_errors=True)


def _make(settings: Settings, folder: Path, target: Path, made_at: datetime) -> Path:
    url = database.address(settings)
    sqlite = url.get_backend_name() == "sqlite"
    dump = target / ("goldentime.sqlite3" if sqlite else "goldentime.dump")
    before = _last_head(folder)
    contents = (
        _copy_sqlite(url, dump, before) if sqlite else _dump_postgres(settings, url, dump, before)
    )
    store, pool = ImageStore(settings), folder / "images"
    kept: list[Stored] = []
    damaged: list[str] = []
    if contents.lost_seal:
        damaged.append(f"the audit lacks seal {before}, which the backup before this one kept")
    for item in contents.films:
        try:
            _keep(store.path(item.case_id, item.sha256), pool / item.sha256[:2] / item.sha256)
        except (BackupFailed, NotFound) as error:
            damaged.append(error.message)  # one lost film must not cost the backup of the others
        else:
            kept.append(item)
    manifest = target / MANIFEST
    facts = {
        "format": FORMAT,
        "made_at": made_at.isoformat(),
        "database": {"file": dump.name, "sha256": sha256_of(dump), "kind": url.get_backend_name()},
        "images": [{"case_id": str(item.case_id), "sha256": item.sha256} for item in kept],
        "damaged": damaged,
        "identity_keys": _identity_keys(settings),
        "audit_seal": contents.head and str(contents.head),
    }
    unfinished = manifest.with_suffix(".part")
    unfinished.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    _sync(unfinished)
    unfinished.rename(manifest)
    _sync(target)
    _sync(folder)
    return manifest


def latest(folder: Path) -> Path:
    """The manifest of a backup, or of the newest one in a folder of backups."""
    found = sorted([*folder.glob(MANIFEST), *folder.glob(f"*/{MANIFEST}")])
    if not found:
        raise BackupFailed(f"{folder} holds no finished backup (no {MANIFEST})")
    return found[-1]


def bring_back(settings: Settings, manifest: Path) -> check.Report:
    """Restore into an empty installation and check it; BackupFailed before anything half-done.

    Refuses a target that holds a database or images. Every file is compared with its hash before
    the database is put in place, which happens last.
    """
    facts = _read(manifest)
    url = database.address(settings)
    if facts["database"]["kind"] != url.get_backend_name():
        raise BackupFailed(
            f"{manifest} is of {facts['database']['kind']}, but GOLDENTIME_DATABASE_URL names "
            f"{url.get_backend_name()}"
        )
    dump = manifest.parent / facts["database"]["file"]
    if not dump.is_file() or sha256_of(dump) != facts["database"]["sha256"]:
        raise BackupFailed(f"{dump} is missing or is not what the manifest says")
    _refuse_unless_empty(settings, url)
    pool, store = manifest.parent.parent / "images", ImageStore(settings)
    try:
        for item in facts["images"]:
            case_id, name = UUID(item["case_id"]), str(item["sha256"])
            with store.incoming() as (upload, _):
                _copy(pool / name[:2] / name, upload, name)
                store.keep(upload, case_id, name)
        if url.get_backend_name() == "sqlite":
            _put_sqlite(url, dump, facts["database"]["sha256"])
        else:
            _load_postgres(settings, url, dump)
    except BaseException:
        shutil.rmtree(store.root, ignore_errors=True)  # it was empty: leave it so
        raise
    record = Record(settings)
    try:
        return check.run(record, hashes=True, stopped=True, kept=_kept(facts))
    finally:
        record.close()


def _read(manifest: Path) -> dict[str, Any]:
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise BackupFailed(f"{manifest}: format {facts['format']!r}, not {FORMAT}")
        if not {"database", "images"} <= facts.keys():
            raise BackupFailed(f"{manifest} says nothing of the database or of the images")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BackupFailed(f"{manifest} is damaged: {error}; take an older backup") from error
    return dict(facts)


def backup(argv: list[str]) -> int:
    """`goldentime backup`: copy database and images to a folder while everything runs."""
    parser = argparse.ArgumentParser(
        prog="goldentime backup",
        description="Add a backup to a folder. Films are copied once, whatever the number of "
        "backups; each backup is a folder named after its time (UTC).",
        epilog="example, every five minutes from cron: goldentime backup /mnt/backup/goldentime",
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    options = parser.parse_args(argv)
    settings = settings_.from_env()
    with health.opened(settings, ready=False) as record, record.read() as session:
        if not inspect(session.connection()).has_table(Image.__tablename__):
            raise BackupFailed("the database has no tables yet; run goldentime migrate")
    manifest = make(settings, options.folder)
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    for line in facts["damaged"]:
        print(line)
    print(f"{manifest.parent}: database and {len(facts['images'])} images")
    _tell_keys(settings, facts["identity_keys"])
    return 1 if facts["damaged"] else 0


def restore(argv: list[str]) -> int:
    """`goldentime restore`: bring a backup back into an empty installation, then check it."""
    parser = argparse.ArgumentParser(
        prog="goldentime restore",
        description="Restore the newest backup of a folder (or the one named) into the database "
        "and image folder that the settings name; both must be empty.",
        epilog="example: GOLDENTIME_DATA_DIR=/srv/new goldentime restore /mnt/backup/goldentime",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of backups, or one of it")
    options = parser.parse_args(argv)
    manifest = latest(options.folder)
    report = bring_back(settings_.from_env(), manifest)
    for line in report.violations:
        print(line)
    print(f"restored from {manifest.parent}; {len(report.violations)} violations")
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    _tell_keys(settings_.from_env(), facts.get("identity_keys", []))
    return 1 if report.violations else 0


def _last_head(folder: Path) -> Head | None:
    """The seal that the newest backup in a folder kept; None where there is none to compare."""
    try:
        return _kept(_read(latest(folder)))
    except BackupFailed:
        return None


def _kept(facts: Mapping[str, Any]) -> Head | None:
    said = facts.get("audit_seal")  # not in backups of before the audit was sealed
    return Head.parse(said) if said else None


def _contents(session: Session, before: Head | None) -> Contents:
    sealed = inspect(session.connection()).has_table(AuditSeal.__tablename__)
    return Contents(
        films=list(check.images(session)),
        head=seals.head(session) if sealed else None,
        lost_seal=before is not None and not (sealed and seals.holds(session, before)),
    )


def _copy_sqlite(url: URL, target: Path, before: Head | None) -> Contents:
    if not url.database or not Path(url.database).is_file():
        raise BackupFailed(f"{url.database} is no database file")
    with closing(sqlite3.connect(url.database, timeout=30)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    _sync(target)
    # The copy, not the original, says which images belong to it.
    copy = Settings(data_dir=target.parent, database_url=f"sqlite:///{target.resolve()}")
    with closing(Record(copy)) as record, record.read() as session:
        return _contents(session, before)


def _dump_postgres(settings: Settings, url: URL, target: Path, before: Head | None) -> Contents:
    tool = _tool("pg_dump")
    engine = database.connect(settings)
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))  # years of films
            snapshot = connection.scalar(text("SELECT pg_export_snapshot()"))
            command = [tool, "--format=custom", "--no-owner", f"--snapshot={snapshot}"]
            _call(settings, url, [*command, f"--file={target}"])
            with Session(connection) as session:  # the same snapshot
                contents = _contents(session, before)
    finally:
        engine.dispose()
    _sync(target)
    return contents


def _identity_keys(settings: Settings) -> list[str]:
    """The ids of the keys that identities are encrypted with; a backup holds none of the keys."""
    record = Record(settings)
    try:
        with record.read() as session:
            if not inspect(session.connection()).has_table(PatientIdentity.__tablename__):
                return []
            return sorted(session.scalars(select(PatientIdentity.key_id).distinct()))
    finally:
        record.close()


def _tell_keys(settings: Settings, ids: list[str]) -> None:
    if not ids:
        return
    print(
        f"names in it are encrypted with key {', '.join(ids)}: keep GOLDENTIME_IDENTITY_KEYS in "
        "another place; no backup holds it, and without it the names are lost"
    )
    here = keyring.of(settings).ids if settings.identity_keys else ()
    if missing := [id_ for id_ in ids if id_ not in here]:
        print(f"GOLDENTIME_IDENTITY_KEYS lacks key {', '.join(missing)}")


def _refuse_unless_empty(settings: Settings, url: URL) -> None:
    if settings.images.is_dir() and any(settings.images.iterdir()):
        raise BackupFailed(f"{settings.images} holds images; restore into an empty folder")
    if url.get_backend_name() == "sqlite":
        # A journal of another database would be played into this one, and destroy it.
        for ending in ("", "-journal", "-wal"):
            if url.database and Path(f"{url.database}{ending}").exists():
                raise BackupFailed(
                    f"{url.database}{ending} is there already; restore where there is none"
                )
        return
    engine = database.connect(settings)
    try:
        with database.answering():
            tables = inspect(engine).get_table_names()
    finally:
        engine.dispose()
    if tables:
        raise BackupFailed(f"the database {url.database} has tables; restore into an empty one")


def _put_sqlite(url: URL, dump: Path, sha256: str) -> None:
    assert url.database is not None
    target = Path(url.database)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.part")
    _copy(dump, unfinished, sha256)
    unfinished.rename(target)
    _sync(target.parent)


def _load_postgres(settings: Settings, url: URL, dump: Path) -> None:
    command = [_tool("pg_restore"), "--no-owner", "--exit-on-error", "--single-transaction"]
    _call(settings, url, [*command, f"--dbname={url.database}", str(dump)])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise BackupFailed(
            f"{name} is not on PATH; install PostgreSQL's client tools "
            "(Debian and Ubuntu: apt install postgresql-client)"
        )
    return found


def _call(settings: Settings, url: URL, command: list[str]) -> None:
    """Run a tool of PostgreSQL; the password travels in its environment, never on its line."""
    said: dict[str, Any] = {
        "PGHOST": url.host or url.query.get("host"),
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    more = {name: str(value) for name, value in said.items() if value is not None}
    done = subprocess.run(
        command, env=settings_.to_env(settings, more), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BackupFailed(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")


def _keep(source: Path, target: Path) -> None:
    """Copy a film into the pool unless it lies there already, as long as the film is."""
    if target.is_file() and target.stat().st_size == source.stat().st_size:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as unfinished:
        path = Path(unfinished.name)
    try:
        _copy(source, path, target.name)
        path.rename(target)
    finally:
        path.unlink(missing_ok=True)
    _sync(target.parent)


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy bytes durably; BackupFailed when they are gone or have another hash."""
    digest = hashlib.sha256()
    try:
        with source.open("rb") as reading, target.open("wb") as writing:
            for chunk in _chunks(reading):
                digest.update(chunk)
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
    except OSError as error:
        raise BackupFailed(f"{source}: {error.strerror or error}") from error
    if digest.hexdigest() != sha256:
        target.unlink()
        raise BackupFailed(f"{source} is damaged: its SHA-256 is not {sha256}")


def _chunks(file: Any) -> Iterable[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
