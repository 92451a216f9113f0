"""What was seen of an ambulance on its way to the ER that took its patient. This step only adds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cases", sa.Column("approach", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("cases", "approach")
