"""How ERs answered by hour of the week, ways by a router, and whence an ETA comes"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "answer_counts",
        sa.Column("hour_of_week", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("emergency_room_id", sa.Uuid(), nullable=False),
        sa.Column("offers", sa.Double(), nullable=False),
        sa.Column("answered", sa.Double(), nullable=False),
        sa.Column("accepted", sa.Double(), nullable=False),
        sa.Column("log_answer_s", sa.Double(), nullable=False),
        sa.Column("as_of_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "hour_of_week BETWEEN 0 AND 168", name=op.f("ck_answer_counts_hour_of_week")
        ),
        sa.CheckConstraint(
            "offers >= 0 AND answered >= 0 AND accepted >= 0", name=op.f("ck_answer_counts_counts")
        ),
        sa.ForeignKeyConstraint(
            ["emergency_room_id"],
            ["emergency_rooms.id"],
            name=op.f("fk_answer_counts_emergency_room_id"),
        ),
        sa.PrimaryKeyConstraint("hour_of_week", "emergency_room_id", name=op.f("pk_answer_counts")),
    )
    op.create_table(
        "answer_count_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("counted_until_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_answer_count_progress_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answer_count_progress")),
    )
    op.create_table(
        "travel_tables",
        sa.Column("square", sa.String(length=40), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ways", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("square", name=op.f("pk_travel_tables")),
    )
    op.add_column("offers", sa.Column("eta_source", sa.String(length=20), nullable=True))
    op.add_column("offers", sa.Column("eta_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("cases", sa.Column("near_since_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("cases", "near_since_at")
    op.drop_column("offers", "eta_at")
    op.drop_column("offers", "eta_source")
    op.drop_table("travel_tables")
    op.drop_table("answer_count_progress")
    op.drop_table("answer_counts")
