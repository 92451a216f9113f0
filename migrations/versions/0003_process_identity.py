"""A heartbeat says which process made it, beyond a pid that the kernel gives out again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # May be NULL: processes of the version before beat on without it.
    op.add_column("heartbeats", sa.Column("born_ticks", sa.BigInteger()))


def downgrade() -> None:
    op.drop_column("heartbeats", "born_ticks")
