"""Alembic against the tables: one head, no difference, down and up again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import migrations
from broker import database, migrate
from broker.settings import Settings
from broker.tables import Base
from tests.conftest import BACKENDS
from tests.servers import PostgresServer


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
