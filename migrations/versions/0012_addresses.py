"""The street address of an emergency room. This step only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("emergency_rooms", sa.Column("address", sa.String(length=200), nullable=True))


def downgrade() -> None:
    op.drop_column("emergency_rooms", "address")
