"""notifications: the second channel to a silent ER"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=30)


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("offer_id", sa.Uuid(), nullable=False),
        sa.Column("step", _words("notificationstep", "offered", "reminded"), nullable=False),
        sa.Column("channel", _words("channel", "webhook", "email"), nullable=False),
        sa.Column(
            "status",
            _words("notificationstatus", "pending", "sent", "failed", "dropped"),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "(status = 'pending') = (finished_at IS NULL)",
            name=op.f("ck_notifications_finished"),
        ),
        sa.CheckConstraint("attempt >= 0", name=op.f("ck_notifications_attempt")),
        sa.ForeignKeyConstraint(
            ["offer_id"], ["offers.id"], name=op.f("fk_notifications_offer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint(
            "offer_id", "step", "channel", name=op.f("uq_notifications_offer_id_step_channel")
        ),
    )
    op.create_index("ix_notifications_status_due", "notifications", ["status", "due_at"])
    # Plain ADD COLUMN, which SQLite knows: copying the table would ask every foreign key to it.
    op.add_column("emergency_rooms", sa.Column("notify_email", sa.String(length=254)))
    op.add_column("emergency_rooms", sa.Column("notify_webhook", sa.String(length=500)))


def downgrade() -> None:
    op.drop_column("emergency_rooms", "notify_webhook")
    op.drop_column("emergency_rooms", "notify_email")
    op.drop_index("ix_notifications_status_due", table_name="notifications")
    op.drop_table("notifications")
