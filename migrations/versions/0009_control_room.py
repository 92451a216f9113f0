"""Control room: pins and vetoes, its time to choose, assignments."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "directives",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("emergency_room_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "pin",
                "veto",
                name="directivekind",
                native_enum=False,
                create_constraint=True,
                length=30,
            ),
            nullable=False,
        ),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("given_by", sa.String(length=120), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_directives_case_id")),
        sa.ForeignKeyConstraint(
            ["emergency_room_id"],
            ["emergency_rooms.id"],
            name=op.f("fk_directives_emergency_room_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directives")),
        sa.UniqueConstraint(
            "case_id", "emergency_room_id", name=op.f("uq_directives_case_id_emergency_room_id")
        ),
    )
    op.add_column("cases", sa.Column("control_room_until_at", sa.DateTime(timezone=True)))
    op.add_column("offers", sa.Column("assigned_by", sa.String(length=120)))
    op.add_column("offers", sa.Column("assigned_reason", sa.String(length=500)))


def downgrade() -> None:
    op.drop_column("offers", "assigned_reason")
    op.drop_column("offers", "assigned_by")
    op.drop_column("cases", "control_room_until_at")
    op.drop_table("directives")
