"""Emptying a record that refuses to have its audit changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from broker import seals
from broker.tables import Base


def empty_tables(session: Session) -> None:
    """Delete every row; the audit's guards, which refuse that, stand aside meanwhile."""
    with unguarded(session):
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))


@contextmanager
def unguarded(session: Session) -> Iterator[None]:
    """The audit as somebody finds it who owns the database: its guards are off, then on again."""
    sqlite = session.get_bind().dialect.name == "sqlite"
    if sqlite:
        found = session.execute(
            text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        ).all()
        for name, _ in found:
            session.execute(text(f"DROP TRIGGER {name}"))
        again = [sql for _, sql in found]
    else:
        for table in seals.GUARDED:
            session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        again = [f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in seals.GUARDED]
    yield
    for statement in again:
        session.execute(text(statement))
