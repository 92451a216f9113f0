"""Who said that two live cases are one patient's, before one of them is called off. Only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("duplicate_suspicions", sa.Column("same_said_at", sa.DateTime(timezone=True)))
    op.add_column("duplicate_suspicions", sa.Column("same_said_by", sa.String(length=120)))


def downgrade() -> None:
    op.drop_column("duplicate_suspicions", "same_said_by")
    op.drop_column("duplicate_suspicions", "same_said_at")
