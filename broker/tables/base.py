"""The ground of every table: aware UTC times, enums by value, names of constraints."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Enum,
    MetaData,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase

from broker.lifecycle import (
    AlarmCode,
    CaseStatus,
    Channel,
    DeclineReason,
    DirectiveKind,
    DuplicateReason,
    DuplicateResolution,
    MessageStatus,
    NotificationStatus,
    NotificationStep,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
    Role,
)
from broker.queues import Queue


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python on every database; SQLite keeps microseconds as text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; SQLite stores the UTC wall time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive UTC its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _enum(kind: type[enum.StrEnum]) -> Enum:
    """Stored by value, with a CHECK so that no other word gets in."""
    return Enum(
        kind,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=True,
        length=30,
        name=kind.__name__.lower(),
    )


class Base(DeclarativeBase):
    """Naming rules make constraint names equal on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        str: Text,
        Role: _enum(Role),
        CaseStatus: _enum(CaseStatus),
        ReadingStatus: _enum(ReadingStatus),
        ReadingKind: _enum(ReadingKind),
        OfferStatus: _enum(OfferStatus),
        MessageStatus: _enum(MessageStatus),
        Channel: _enum(Channel),
        NotificationStep: _enum(NotificationStep),
        NotificationStatus: _enum(NotificationStatus),
        DeclineReason: _enum(DeclineReason),
        DirectiveKind: _enum(DirectiveKind),
        AlarmCode: _enum(AlarmCode),
        Queue: _enum(Queue),
        DuplicateReason: _enum(DuplicateReason),
        DuplicateResolution: _enum(DuplicateResolution),
    }
