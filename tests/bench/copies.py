"""One case's rows, copied into the past many times: a record after a year.

Every table that a case leaves rows in is copied as it is, with ids, times, numbers and blind
indexes of the copy's own; events stay without a gap. Films are rows only. Nothing is measured here.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Table, Uuid, create_engine, text
from sqlalchemy.engine import Connection

from broker.record import Record
from broker.tables import Base, UtcDateTime

SECONDS_APART = 150
"""200,000 of them make a year."""
COPIED = (
    *("patients", "patient_identities", "temporary_names", "cases", "images", "readings"),
    *("findings", "vital_signs", "offers", "messages", "notifications", "events"),
    "audit_entries",
)
UNITS = {"ambulance_id", "emergency_room_id"}
"""What all copies share."""
NUMBERED = {("patients", "number"), ("temporary_names", "number"), ("events", "seq")}
BLIND = {"name_index", "identifier_index", "idempotency_key"}
"""Unlike in each copy. Birth dates stay alike, as many people's are."""
AT_ONCE = 5000


def copy(record: Record, times: int) -> dict[str, int]:
    """Copy everything that there is `times` times; rows by table afterwards."""
    tables = [Base.metadata.tables[name] for name in COPIED]
    sqlite = record.engine.dialect.name == "sqlite"
    # An engine of its own: what the record's does around each unit is not what is measured.
    engine = create_engine(record.engine.url)
    with engine.connect() as connection:
        strides = _strides(connection)
        indexes = _set_aside(connection) if sqlite else []
        for name in COPIED:
            connection.execute(text(f"CREATE TEMP TABLE first_{name} AS SELECT * FROM {name}"))
        for first in range(1, times + 1, AT_ONCE):
            last = min(times, first + AT_ONCE - 1)
            if sqlite:
                _teach(connection)
            else:
                connection.execute(text("SET LOCAL statement_timeout = 0"))
            for table in tables:
                connection.execute(
                    text(_statement(table, strides, sqlite=sqlite)),
                    {"first": first, "last": last},
                )
            connection.commit()
        for create in indexes:
            connection.execute(text(create))
        _go_on(connection, sqlite=sqlite)
        connection.commit()
        found = {
            name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in COPIED
        }
    if not sqlite:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("ANALYZE"))
    engine.dispose()
    return found


def _set_aside(connection: Connection) -> list[str]:
    """Drop SQLite's indexes until all is written, and let it write in haste; how to make them anew.

    Rows with ids by chance, each into its place of every index, would take hours.
    """
    for haste in ("synchronous=OFF", "journal_mode=MEMORY", "cache_size=-1000000"):
        connection.execute(text(f"PRAGMA {haste}"))
    found = connection.execute(
        text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql > ''")
    ).all()
    mine = [row for row in found if row.tbl_name in COPIED]
    for row in mine:
        connection.execute(text(f"DROP INDEX {row.name}"))
    return [row.sql for row in mine]


def _strides(connection: Connection) -> dict[str, int]:
    """By how much a copy's numbers lie above the one before: each log keeps to its own length."""
    strides = {
        f"events:{audience}": longest
        for audience, longest in connection.execute(
            text("SELECT audience, max(seq) FROM events GROUP BY audience")
        )
    }
    for name, column in NUMBERED - {("events", "seq")}:
        strides[name] = connection.scalar(text(f"SELECT max({column}) FROM {name}")) or 1
    return strides


def _statement(table: Table, strides: dict[str, int], *, sqlite: bool) -> str:
    """SQL that copies all rows of the first case, once for every n from :first to :last."""
    names, values = [], []
    for column in table.columns:
        said = f"src.{column.name}"
        if (table.name, column.name) == ("events", "seq"):
            cases = " ".join(
                f"WHEN '{name.partition(':')[2]}' THEN {stride}"
                for name, stride in strides.items()
                if name.startswith("events:")
            )
            said = f"{said} + n * CASE src.audience {cases} END"
        elif (table.name, column.name) in NUMBERED:
            said = f"{said} + n * {strides[table.name]}"
        elif isinstance(column.type, Uuid) and column.name not in UNITS:
            said = f"gt_id({said}, n)" if sqlite else f"md5({said}::text || n)::uuid"
        elif isinstance(column.type, DateTime | UtcDateTime):
            said = (
                f"gt_at({said}, n)"
                if sqlite
                else f"{said} - n * interval '{SECONDS_APART} seconds'"
            )
        elif column.name in BLIND:
            said = f"gt_text({said}, n)" if sqlite else f"md5({said} || n)"
        names.append(column.name)
        values.append(said)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) "
        "WITH RECURSIVE numbers(n) AS (SELECT CAST(:first AS INTEGER) UNION ALL "
        "SELECT n + 1 FROM numbers WHERE n < :last) "
        f"SELECT {', '.join(values)} FROM first_{table.name} src, numbers"
    )


def _teach(connection: Connection) -> None:
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.create_function("gt_id", 2, _id, deterministic=True)
    raw.create_function("gt_at", 2, _at, deterministic=True)
    raw.create_function("gt_text", 2, _text, deterministic=True)


def _id(said: str | None, n: int) -> str | None:
    return said and UUID(_text(said, n)).hex


def _text(said: str | None, n: int) -> str | None:
    return said and hashlib.md5(f"{said}{n}".encode(), usedforsecurity=False).hexdigest()


def _at(said: str | None, n: int) -> str | None:
    if said is None:
        return None
    then = datetime.fromisoformat(said) - timedelta(seconds=SECONDS_APART * n)
    return then.isoformat(sep=" ", timespec="microseconds")


def _go_on(connection: Connection, *, sqlite: bool) -> None:
    """The next event and the next name follow the last copy's."""
    connection.execute(
        text(
            "UPDATE audience_sequences SET seq = (SELECT max(seq) FROM events "
            "WHERE events.audience = audience_sequences.audience) "
            "WHERE audience IN (SELECT audience FROM events)"
        )
    )
    if not sqlite:
        connection.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('temporary_names', 'number'), "
                "(SELECT max(number) FROM temporary_names))"
            )
        )
