"""Connections: how every process reaches the database.

Makes engines (never at import), sets what SQLite and PostgreSQL need to be trusted, and gives the
database's clock. Knows no tables; units of work are record.py's.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from sqlalchemy import (
    ColumnElement,
    Delete,
    Engine,
    Update,
    create_engine,
    event,
    func,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement

from broker.errors import BadSetting, DatabaseBusy
from broker.settings import PREFIX, Settings

T = TypeVar("T")
WAL_SAFE = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""First releases of their branches without the WAL-reset corruption (RELIABILITY M16)."""

BUSY_S = 5.0
"""Longest wait for a lock of SQLite."""
TURN_POLL_S = 0.003
TURN_SUFFIX = "-turn"
"""The writers' lock file stands beside the database's."""
_TURN = "goldentime.turn"
CLOCK_KEPT_S = 1.0
"""Longest time that a unit counts on by itself; nearly every unit is shorter."""
_CLOCK = "goldentime.clock"

PARTITION: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 6000,
    "keepalives": 1,
    "keepalives_idle": 3,
    "keepalives_interval": 1,
    "keepalives_count": 3,
}
"""libpq: a PostgreSQL from which nothing comes back, not even a FIN, is given up after 6 s (Linux);
TCP alone would wait for a quarter of an hour, or for ever."""


def wal_is_safe(version: tuple[int, int, int] = sqlite3.sqlite_version_info[:3]) -> bool:
    """True when this SQLite does not carry the WAL-reset bug (3.7.0 to 3.51.2, and 3.52.0)."""
    if version == (3, 52, 0):
        return False
    if version >= WAL_SAFE[2]:
        return True
    return any(version[:2] == fixed[:2] and version >= fixed for fixed in WAL_SAFE[:2])


def connect(settings: Settings) -> Engine:
    """An engine for this process; call it after fork, never at import.

    Raises BadSetting for an address that is none and a folder that cannot be made.
    """
    url = address(settings)
    if url.get_backend_name() == "sqlite":
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadSetting(
                f"{PREFIX}DATA_DIR={settings.data_dir} cannot be made or used: {error.strerror}; "
                "name a folder that this user may write in"
            ) from error
        engine = create_engine(
            url,
            poolclass=NullPool,
            connect_args={"timeout": 5, "check_same_thread": False},
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "checkin", _give_turn)
    else:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=5,
            max_overflow=15,
            pool_timeout=5,
            pool_pre_ping=True,
            hide_parameters=True,  # names and vital signs stay out of tracebacks
            connect_args={
                **PARTITION,
                "options": "-c statement_timeout=5000 -c lock_timeout=2000 "
                "-c idle_in_transaction_session_timeout=10000 -c timezone=UTC "
                # the server, too, must drop a client that vanished, and its locks
                "-c tcp_user_timeout=6000 -c tcp_keepalives_idle=3 "
                "-c tcp_keepalives_interval=1 -c tcp_keepalives_count=3",
            },
        )
    return engine


def address(settings: Settings) -> URL:
    """Where the database is; BadSetting when that is neither SQLite's nor PostgreSQL's address."""
    try:
        url = make_url(settings.database)
    except ArgumentError:
        url = None  # its own words could hold the password
    if url is None or url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise BadSetting(
            f"{PREFIX}DATABASE_URL is no address such as postgresql://user:password@host/database "
            "or sqlite:////folder/file; a password writes @ as %40 and / as %2F"
        )
    return url


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA journal_mode={'WAL' if wal_is_safe() else 'TRUNCATE'}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA mmap_size=0")
    cursor.execute("PRAGMA busy_timeout=5000")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    # A read-only unit must not queue behind writers: it asks for a plain BEGIN.
    if connection.get_execution_options().get("reading", False):
        connection.exec_driver_sql("BEGIN")
        return
    connection.info[_TURN] = _take_turn(f"{connection.engine.url.database}{TURN_SUFFIX}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _take_turn(path: str) -> int:
    """Wait for this machine's one writer lock; DatabaseBusy after BUSY_S.

    SQLite's own waiting sleeps longer the longer it waits, up to 100 ms, so that under steady
    writing the unlucky starve. Here all wait equally; the lock goes with its process.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:  # somebody else's installation, or a command as another user
        raise DatabaseBusy("no right to write", error) from error
    until = time.monotonic() + BUSY_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                os.close(handle)
                raise DatabaseBusy("writers queue") from None
            time.sleep(TURN_POLL_S)
        else:
            return handle


def _give_turn(_connection: Any, record: Any) -> None:
    handle = record.info.pop(_TURN, None)
    if handle is not None:
        os.close(handle)


@contextmanager
def answering() -> Iterator[None]:
    """Turn lost connections, locks and time-outs of the database into DatabaseBusy."""
    try:
        yield
    except OperationalError as error:
        # SQLite's own name says more than the class: busy, locked, full disk, out of handles
        name = getattr(error.orig, "sqlite_errorname", None) or type(error.orig).__name__
        raise DatabaseBusy(name, error.orig) from error
    except PoolTimeout as error:
        raise DatabaseBusy("no connection left in the pool") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseBusy(type(error.orig).__name__, error.orig) from error
        raise


def insert(session: Session, table: type[DeclarativeBase]) -> sqlite.Insert:
    """An INSERT that may say ON CONFLICT, in the words of this session's database.

    Typed as SQLite's, which offers the smaller part of what both understand.
    """
    if session.get_bind().dialect.name == "postgresql":
        return cast(sqlite.Insert, postgresql.insert(table))
    return sqlite.insert(table)


class _NotSought(FunctionElement[T]):
    name = "not_sought"
    inherit_cache = True


@compiles(_NotSought)
def _as_it_is(element: _NotSought[Any], compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.clauses, **more))


@compiles(_NotSought, "sqlite")
def _without_index(element: _NotSought[Any], compiler: Any, **more: Any) -> str:
    return f"+{compiler.process(element.clauses, **more)}"


def not_sought(column: InstrumentedAttribute[T]) -> ColumnElement[T]:
    """A column's value as a condition only, by which SQLite enters no index.

    For rows that something else finds in the same statement. SQLite keeps no figures of how common
    a value is: given an index over all that one unit ever did, or over a state that most rows are
    in, it reads a year to find one row. PostgreSQL knows, and sees the bare column.
    """
    found: _NotSought[T] = _NotSought(column)
    found.type = column.type
    return found


def changed(session: Session, statement: Update | Delete) -> int:
    """Run one UPDATE or DELETE; how many rows it changed. Rows in memory are not looked at."""
    result = session.execute(statement.execution_options(synchronize_session=False))
    return int(result.rowcount)  # type: ignore[attr-defined]  # CursorResult


def one_at_a_time(session: Session, *names: str | None) -> None:
    """Let units that say the same name queue up until each has ended; SQLite has one writer anyway.

    For what no single row stands for. All names at once: sorted, so that nobody waits in a circle.
    """
    if session.get_bind().dialect.name == "postgresql":
        for name in sorted(filter(None, names)):
            session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def now(session: Session) -> datetime:
    """The database's clock, which judges every deadline (aware UTC).

    A unit asks it once and counts on from there by what passed here since: behind it by no more
    than the answer took to come, and never ahead (SQLite tells whole milliseconds).
    """
    asked_at, told = session.info.get(_CLOCK, (-CLOCK_KEPT_S, None))
    passed_s = time.monotonic() - asked_at
    if told is None or passed_s > CLOCK_KEPT_S:
        told, passed_s = _ask_clock(session), 0.0
        session.info[_CLOCK] = time.monotonic(), told
    return cast(datetime, told) + timedelta(seconds=passed_s)


def _ask_clock(session: Session) -> datetime:
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.scalar(select(func.strftime("%Y-%m-%dT%H:%M:%f", "now")))
        return datetime.fromisoformat(cast(str, stamp)).replace(tzinfo=UTC)
    return cast(datetime, session.scalar(text("SELECT clock_timestamp()"))).astimezone(UTC)
