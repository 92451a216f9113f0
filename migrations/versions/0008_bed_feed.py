"""Bed feed: its state, an ER's name in it, and what it reports of capabilities."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bed_feeds",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("since_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.String(length=200), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.Column("alarmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_bed_feeds")),
    )
    op.add_column("emergency_rooms", sa.Column("beds_source", sa.String(length=20)))
    op.add_column("emergency_rooms", sa.Column("feed_id", sa.String(length=40)))
    op.add_column("emergency_rooms", sa.Column("reported_capabilities", sa.JSON()))
    op.add_column("emergency_rooms", sa.Column("reported_at", sa.DateTime(timezone=True)))
    op.create_index("uq_emergency_rooms_feed_id", "emergency_rooms", ["feed_id"], unique=True)


def downgrade() -> None:
    op.drop_index("uq_emergency_rooms_feed_id", table_name="emergency_rooms")
    for name in ("reported_at", "reported_capabilities", "feed_id", "beds_source"):
        op.drop_column("emergency_rooms", name)
    op.drop_table("bed_feeds")
