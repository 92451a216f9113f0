"""Cases that a hospital outside of the system took by telephone. This step only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "elsewhere_placements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("hospital", sa.String(length=120), nullable=False),
        sa.Column("phone", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("recorded_by", sa.String(length=120), nullable=False),
        sa.Column("recorded_by_role", sa.String(length=20), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_by", sa.String(length=120), nullable=True),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (ended_by IS NULL)", name=op.f("ck_elsewhere_placements_ended")
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["cases.id"], name=op.f("fk_elsewhere_placements_case_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_elsewhere_placements")),
    )
    op.create_index(
        "uq_elsewhere_placements_one_open",
        "elsewhere_placements",
        ["case_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_elsewhere_placements_recorded_at", "elsewhere_placements", ["recorded_at"])


def downgrade() -> None:
    op.drop_index("ix_elsewhere_placements_recorded_at", table_name="elsewhere_placements")
    op.drop_index("uq_elsewhere_placements_one_open", table_name="elsewhere_placements")
    op.drop_table("elsewhere_placements")
