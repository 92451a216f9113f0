"""Pregnancy, a confirmed SpO2 scale 2, and "mass casualty" among the reasons of an ER."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BEFORE = (
    "no_er_bed",
    "no_intensive_care_bed",
    "no_specialist",
    "no_equipment",
    "no_operating_room",
    "staff_occupied",
    "isolation_full",
    "other",
)
AFTER = (
    "no_er_bed",
    "no_intensive_care_bed",
    "no_specialist",
    "no_equipment",
    "staff_occupied",
    "isolation_full",
    "mass_casualty",
    "other",
)


def upgrade() -> None:
    op.add_column("cases", sa.Column("pregnant", sa.Boolean()))
    op.add_column("vital_signs", sa.Column("spo2_scale_confirmed", sa.Boolean()))
    _reasons(BEFORE, AFTER, "no_operating_room", "no_equipment")


def downgrade() -> None:
    _reasons(AFTER, BEFORE, "mass_casualty", "other")
    op.drop_column("vital_signs", "spo2_scale_confirmed")
    op.drop_column("cases", "pregnant")


def _reasons(before: tuple[str, ...], after: tuple[str, ...], gone: str, becomes: str) -> None:
    """Exchange the words that the CHECK on offers.reason_code lets in."""
    offers = sa.table("offers", sa.column("reason_code"))
    convert = sa.update(offers).where(offers.c.reason_code == gone).values(reason_code=becomes)
    op.execute(convert)
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_offers_declinereason"), "offers", type_="check")
        op.create_check_constraint(
            op.f("ck_offers_declinereason"), "offers", f"reason_code IN ({_list(after)})"
        )
        return
    # SQLite cannot change a CHECK, and copying the table would ask every foreign key to it. Its
    # own way for changes that leave the rows alone: sqlite.org/lang_altertable.html, section 7.
    version = op.get_bind().exec_driver_sql("PRAGMA schema_version").scalar_one()
    op.execute("PRAGMA writable_schema=ON")
    changed = op.get_bind().execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :after) "
            "WHERE type = 'table' AND name = 'offers' AND instr(sql, :before)"
        ),
        {"before": f"({_list(before)})", "after": f"({_list(after)})"},
    )
    assert changed.rowcount == 1, "the CHECK on offers.reason_code is not where 0001 put it"
    op.execute(f"PRAGMA schema_version={version + 1}")
    op.execute("PRAGMA writable_schema=OFF")
    assert op.get_bind().exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
