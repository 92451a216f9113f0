"""A crew's own newest cases, an emergency room's own open offers. This step only adds."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_cases_ambulance_received", "cases", ["ambulance_id", "received_at"])
    op.create_index("ix_offers_room_status", "offers", ["emergency_room_id", "status"])


def downgrade() -> None:
    op.drop_index("ix_offers_room_status", table_name="offers")
    op.drop_index("ix_cases_ambulance_received", table_name="cases")
