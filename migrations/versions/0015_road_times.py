"""Ways by road, and an alarm about their service. This step only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BEFORE = (
    "queue_stuck",
    "queue_behind",
    "canary_lost",
    "process_silent",
    "cases_overdue",
    "redis_silent",
    "disk_low",
    "dead_letters",
    "clock_skew",
    "bed_feed_silent",
)
AFTER = (*BEFORE, "road_times_silent")


def upgrade() -> None:
    op.create_table(
        "road_times",
        sa.Column("square_row", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("square_column", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("emergency_room_id", sa.Uuid(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("duration_s >= 0", name=op.f("ck_road_times_duration_s")),
        sa.ForeignKeyConstraint(
            ["emergency_room_id"],
            ["emergency_rooms.id"],
            name=op.f("fk_road_times_emergency_room_id"),
        ),
        sa.PrimaryKeyConstraint(
            "square_row", "square_column", "emergency_room_id", name=op.f("pk_road_times")
        ),
    )
    op.create_index("ix_road_times_measured_at", "road_times", ["measured_at"])
    op.create_table(
        "road_services",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("since_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failing_since_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_road_services")),
    )
    _words(BEFORE, AFTER)


def downgrade() -> None:
    op.execute("DELETE FROM alarms WHERE code = 'road_times_silent'")
    _words(AFTER, BEFORE)
    op.drop_table("road_services")
    op.drop_index("ix_road_times_measured_at", table_name="road_times")
    op.drop_table("road_times")


def _words(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    """Exchange the words that the CHECK on alarms.code lets in, as 0006 does and for its reasons."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_alarms_alarmcode"), "alarms", type_="check")
        op.create_check_constraint(
            op.f("ck_alarms_alarmcode"), "alarms", f"code IN ({_list(after)})"
        )
        return
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema=ON")
    changed = op.get_bind().execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name = 'alarms' AND instr(sql, :before)"
        ),
        {"before": f"({_list(before)})", "after": f"({_list(after)})"},
    )
    assert changed.rowcount == 1, "the CHECK on alarms.code is not where 0004 put it"
    op.execute(f"PRAGMA schema_version={version + 1}")
    op.execute("PRAGMA writable_schema=OFF")
    assert op.get_bind().exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
