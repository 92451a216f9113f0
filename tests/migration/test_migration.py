"""Alembic against the tables: one head, no difference, down and up again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, Text, bindparam, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import migrations
from broker import database, migrate
from broker.settings import Settings
from broker.tables import Base
from tests.conftest import BACKENDS
from tests.migration.expanding import next_version
from tests.servers import PostgresServer

WORDS = {"status", "reason_code"}
"""Columns whose words may be of an earlier version."""


@pytest.fixture(params=BACKENDS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database without any table, once on each backend."""
    if request.param == "sqlite":
        yield Settings(data_dir=tmp_path)
        return
    server = request.getfixturevalue("postgres_server")
    assert isinstance(server, PostgresServer)
    with server.database("gt_empty") as url:
        yield Settings(data_dir=tmp_path, database_url=url)


def test_there_is_one_head_and_every_revision_is_numbered():
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert len(scripts.get_heads()) == 1
    numbers = sorted(int(script.revision) for script in scripts.walk_revisions())
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_upgraded_empty_database_is_what_the_tables_say(empty: Settings):
    migrate.upgrade(empty)
    engine = database.connect(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_checks_and_partial_indexes_are_there_too(empty: Settings):
    """Alembic compares neither: count them against the metadata."""
    migrate.upgrade(empty)
    engine = database.connect(empty)
    found = inspect(engine)
    for table in Base.metadata.sorted_tables:
        checks = {str(c["name"]) for c in found.get_check_constraints(table.name)}
        wanted = {str(c.name) for c in table.constraints if c.__visit_name__ == "check_constraint"}
        wanted |= {
            f"ck_{table.name}_{c.type.name}" for c in table.columns if hasattr(c.type, "enums")
        }
        assert wanted <= {
            name if name.startswith("ck_") else f"ck_{table.name}_{name}" for name in checks
        }, table.name
    with engine.connect() as connection:
        where = (
            "SELECT sql FROM sqlite_master WHERE name = 'uq_offers_one_accepted'"
            if engine.dialect.name == "sqlite"
            else "SELECT indexdef FROM pg_indexes WHERE indexname = 'uq_offers_one_accepted'"
        )
        definition = connection.scalar(text(where))
    assert "UNIQUE" in definition
    assert "WHERE" in definition
    assert "accepted" in definition
    engine.dispose()


def test_upgrading_twice_changes_nothing(empty: Settings):
    migrate.upgrade(empty)
    migrate.upgrade(empty)


def test_two_that_upgrade_at_once_are_one(empty: Settings):
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(migrate.upgrade, [empty] * 3)) == [None] * 3


def test_an_upgrade_waits_for_whoever_is_at_the_table(empty: Settings, tmp_path: Path):
    """Longer than any statement may wait: it lets the others pass and tries again."""
    migrate.upgrade(empty)
    engine = database.connect(empty)
    readers = engine.execution_options(reading=True)
    with ThreadPoolExecutor(1) as pool, readers.connect() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM cases").all()
        scripts = next_version(tmp_path)
        upgrade = pool.submit(migrate.upgrade, empty, scripts=scripts)
        with suppress(TimeoutError):
            upgrade.result(2.5)
        reader.rollback()
        upgrade.result(30)
    assert "to_come" in {column["name"] for column in inspect(engine).get_columns("cases")}
    engine.dispose()


def test_one_step_down_and_up_again(empty: Settings):
    migrate.upgrade(empty)
    engine = database.connect(empty)
    with engine.begin() as connection:
        command.downgrade(migrate.config(connection), "-1")
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    if len(list(scripts.walk_revisions())) == 1:
        with engine.connect() as connection:
            assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    migrate.upgrade(empty)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_reasons_of_earlier_answers_are_carried_over(empty: Settings):
    """0006 exchanges a word of a CHECK, on SQLite without copying a table that others refer to."""
    migrate.upgrade(empty, "0005")
    engine = database.connect(empty)
    ids = {name: uuid4() for name in ("ambulance", "room", "case", "offer")}
    with Session(engine) as session:
        when = database.now(session)
        values = {
            "ambulances": {"id": ids["ambulance"], "call_sign": "Test 1"},
            "emergency_rooms": {
                "id": ids["room"], "name": "Test", "latitude": 37.5, "longitude": 127.0,
                "level": "local", "capabilities": [], "active": True,
            },
            "cases": {
                "id": ids["case"], "ambulance_id": ids["ambulance"], "idempotency_key": "key",
                "request_sha256": "0" * 64, "status": "offering", "version": 1, "round": 1,
                "reminded_round": 0, "deadline_at": when, "received_at": when, "updated_at": when,
                "partial": False, "needs_review": False,
            },
            "offers": {
                "id": ids["offer"], "case_id": ids["case"], "emergency_room_id": ids["room"],
                "round": 1, "rank": 1, "status": "rejected", "explanation": {}, "offered_at": when,
                "reason_code": "no_operating_room",
            },
        }  # fmt: skip
        for name, row in values.items():
            then = Table(name, MetaData(), autoload_with=session.connection())
            columns = Base.metadata.tables[name].c
            stored = {k: columns[k].type for k in row}
            insert = then.insert().values(
                {
                    k: bindparam(k, v, type_=Text() if k in WORDS else stored[k])
                    for k, v in row.items()
                }
            )
            session.execute(insert)
        session.commit()
    migrate.upgrade(empty)
    with engine.begin() as connection:
        reason = text("SELECT reason_code FROM offers")
        assert connection.scalar(reason) == "no_equipment"
        connection.execute(text("UPDATE offers SET reason_code = 'mass_casualty'"))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE offers SET reason_code = 'no_operating_room'"))
    with engine.begin() as connection:
        command.downgrade(migrate.config(connection), "0005")
        assert connection.scalar(reason) == "other"
    engine.dispose()
