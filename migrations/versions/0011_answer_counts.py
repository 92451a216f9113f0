"""How emergency rooms answered, by hour of the week. This step only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
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


def downgrade() -> None:
    op.drop_table("answer_count_progress")
    op.drop_table("answer_counts")
