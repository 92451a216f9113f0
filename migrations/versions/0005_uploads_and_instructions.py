"""uploads that may resume, and what an ER asks of the crew before arrival"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("ambulance_id", sa.Uuid(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("byte_count", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("byte_count > 0", name=op.f("ck_uploads_byte_count")),
        sa.ForeignKeyConstraint(
            ["ambulance_id"], ["ambulances.id"], name=op.f("fk_uploads_ambulance_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("ambulance_id", "sha256", name=op.f("uq_uploads_ambulance_id_sha256")),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])
    op.create_table(
        "instructions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("emergency_room_id", sa.Uuid(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("note", sa.String(length=1000), nullable=True),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("given_by", sa.String(length=120), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_instructions_case_id")),
        sa.ForeignKeyConstraint(
            ["emergency_room_id"],
            ["emergency_rooms.id"],
            name=op.f("fk_instructions_emergency_room_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instructions")),
    )
    op.create_index("ix_instructions_case_id", "instructions", ["case_id"])


def downgrade() -> None:
    op.drop_index("ix_instructions_case_id", table_name="instructions")
    op.drop_table("instructions")
    op.drop_index("ix_uploads_expires_at", table_name="uploads")
    op.drop_table("uploads")
