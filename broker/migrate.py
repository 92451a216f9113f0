"""Bring the database to the newest migration, as a command and for the demo and tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

import migrations
from broker import database, settings as settings_
from broker.settings import Settings


def upgrade(settings: Settings, revision: str = "head") -> None:
    """Migrate to a revision; a second call changes nothing."""
    engine = database.connect(settings)
    try:
        with engine.begin() as connection:
            command.upgrade(config(connection), revision)
    finally:
        engine.dispose()


def config(connection: Connection) -> Config:
    """Alembic's configuration on an open connection."""
    alembic = Config()
    alembic.set_main_option("script_location", str(Path(migrations.__file__).parent))
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
