"""Operations: alarms, pauses, canaries, samples, settings at run time; versions of what people administer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "code",
            sa.Enum(
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
                name="alarmcode",
                native_enum=False,
                create_constraint=True,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repeated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.String(length=120), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_by", sa.String(length=120), nullable=True),
        sa.CheckConstraint(
            "(acknowledged_at IS NULL) = (acknowledged_by IS NULL)",
            name=op.f("ck_alarms_acknowledged"),
        ),
        sa.CheckConstraint(
            "(closed_at IS NULL) = (closed_by IS NULL)", name=op.f("ck_alarms_closed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index("ix_alarms_opened_at", "alarms", ["opened_at"], unique=False)
    op.create_index(
        "uq_alarms_one_open",
        "alarms",
        ["code", "subject"],
        unique=True,
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.create_table(
        "canaries",
        sa.Column(
            "queue",
            sa.Enum(
                "classify",
                "detect",
                "dispatch",
                name="queue",
                native_enum=False,
                create_constraint=True,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("owner", sa.String(length=120), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("queue", "sent_at", name=op.f("pk_canaries")),
    )
    op.create_table(
        "distributions",
        sa.Column("metric", sa.String(length=40), nullable=False),
        sa.Column("stage", sa.String(length=30), nullable=False),
        sa.Column("acuity", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("total_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("metric", "stage", "acuity", name=op.f("pk_distributions")),
    )
    op.create_table(
        "queue_pauses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "queue",
            sa.Enum(
                "classify",
                "detect",
                "dispatch",
                name="queue",
                native_enum=False,
                create_constraint=True,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("paused_by", sa.String(length=120), nullable=False),
        sa.Column("resume_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resumed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resumed_by", sa.String(length=120), nullable=True),
        sa.CheckConstraint(
            "(resumed_at IS NULL) = (resumed_by IS NULL)", name=op.f("ck_queue_pauses_resumed")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_pauses")),
    )
    op.create_index(
        "uq_queue_pauses_one_open",
        "queue_pauses",
        ["queue"],
        unique=True,
        sqlite_where=sa.text("resumed_at IS NULL"),
        postgresql_where=sa.text("resumed_at IS NULL"),
    )
    op.create_table(
        "runtime_settings",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.String(length=60), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_by", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_runtime_settings")),
    )
    op.create_table(
        "samples",
        sa.Column("span_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("span_s", "at", name=op.f("pk_samples")),
    )
    op.add_column("accounts", sa.Column("choose_sha256", sa.String(length=64), nullable=True))
    op.add_column(
        "accounts", sa.Column("choose_until_at", sa.DateTime(timezone=True), nullable=True)
    )
    op.add_column(
        "accounts", sa.Column("version", sa.Integer(), server_default="1", nullable=False)
    )
    op.add_column(
        "ambulances", sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
    op.add_column(
        "ambulances", sa.Column("version", sa.Integer(), server_default="1", nullable=False)
    )
    op.create_index("ix_audit_entries_action_at", "audit_entries", ["action", "at"], unique=False)
    op.create_index("ix_audit_entries_actor_at", "audit_entries", ["actor", "at"], unique=False)
    op.create_index("ix_audit_entries_at", "audit_entries", ["at"], unique=False)
    op.add_column(
        "emergency_rooms",
        sa.Column("region", sa.String(length=60), server_default="", nullable=False),
    )
    op.add_column(
        "emergency_rooms", sa.Column("version", sa.Integer(), server_default="1", nullable=False)
    )
    op.add_column("heartbeats", sa.Column("progress_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_messages_sent_at", "messages", ["sent_at"], unique=False)
    op.create_index("ix_offers_offered_at", "offers", ["offered_at"], unique=False)
    op.add_column("readings", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_readings_kind_finished", "readings", ["kind", "finished_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_readings_kind_finished", table_name="readings")
    op.drop_column("readings", "claimed_at")
    op.drop_index("ix_offers_offered_at", table_name="offers")
    op.drop_index("ix_messages_sent_at", table_name="messages")
    op.drop_column("heartbeats", "progress_at")
    op.drop_column("emergency_rooms", "version")
    op.drop_column("emergency_rooms", "region")
    op.drop_index("ix_audit_entries_at", table_name="audit_entries")
    op.drop_index("ix_audit_entries_actor_at", table_name="audit_entries")
    op.drop_index("ix_audit_entries_action_at", table_name="audit_entries")
    op.drop_column("ambulances", "version")
    op.drop_column("ambulances", "active")
    op.drop_column("accounts", "version")
    op.drop_column("accounts", "choose_until_at")
    op.drop_column("accounts", "choose_sha256")
    op.drop_table("samples")
    op.drop_table("runtime_settings")
    op.drop_index(
        "uq_queue_pauses_one_open",
        table_name="queue_pauses",
        sqlite_where=sa.text("resumed_at IS NULL"),
        postgresql_where=sa.text("resumed_at IS NULL"),
    )
    op.drop_table("queue_pauses")
    op.drop_table("distributions")
    op.drop_table("canaries")
    op.drop_index(
        "uq_alarms_one_open",
        table_name="alarms",
        sqlite_where=sa.text("closed_at IS NULL"),
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    op.drop_index("ix_alarms_opened_at", table_name="alarms")
    op.drop_table("alarms")
