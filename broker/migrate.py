"""Bring the database to the newest migration, as a command and for the demo and tests."""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import migrations
from broker import database, settings as settings_
from broker.errors import DatabaseBusy
from broker.settings import Settings

SCRIPTS = Path(migrations.__file__).parent
TRIES = 20
ONE_AT_A_TIME = 20_240_601
"""Key of PostgreSQL's advisory lock; any number that nobody else of this database uses."""


def upgrade(settings: Settings, revision: str = "head", scripts: Path = SCRIPTS) -> None:
    """Migrate to a revision; a second call, or one at the same time, changes nothing.

    May run while everything works. Raises DatabaseBusy when a table could not be had for TRIES.
    """
    engine = database.connect(settings)
    try:
        for left in reversed(range(TRIES)):
            try:
                with database.answering(), engine.begin() as connection:
                    _be_patient(connection)
                    command.upgrade(config(connection, scripts), revision)
                return
            except DatabaseBusy:
                if not left:
                    raise
                time.sleep(random.uniform(0.5, 1.5))  # so that whoever queued behind us gets on
    finally:
        engine.dispose()


def _be_patient(connection: Connection) -> None:
    """On PostgreSQL: one migration at a time, and as long as an index over years of rows takes.

    The wait for a table stays as short as everybody's: all others queue behind it.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ONE_AT_A_TIME})")
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")


def config(connection: Connection, scripts: Path = SCRIPTS) -> Config:
    """Alembic's configuration on an open connection."""
    alembic = Config()
    alembic.set_main_option("script_location", str(scripts))
    alembic.attributes["connection"] = connection
    return alembic


def main(argv: list[str]) -> int:
    """`goldentime migrate`: create or upgrade the tables."""
    parser = argparse.ArgumentParser(
        prog="goldentime migrate",
        description="Create or upgrade the tables of the database.",
        epilog="example: GOLDENTIME_DATABASE_URL=postgresql://user@db/gt goldentime migrate",
    )
    parser.parse_args(argv)
    settings = settings_.from_env()
    upgrade(settings)
    print(f"the database is up to date: {_shown(settings)}")  # a command speaks
    return 0


def _shown(settings: Settings) -> str:
    engine = database.connect(settings)
    return engine.url.render_as_string(hide_password=True)
