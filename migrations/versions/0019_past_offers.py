"""An emergency room's own newest offers, open or over. This step only adds."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_offers_room_offered", "offers", ["emergency_room_id", "offered_at"])


def downgrade() -> None:
    op.drop_index("ix_offers_room_offered", table_name="offers")
