"""Patients with a temporary name, an encrypted identity, merges, and suspected duplicates.

This step only adds. The plain columns stay for one version, so that gateways of the version before
go on working while this one comes up; `goldentime encrypt` empties them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NEW_IN_PATIENTS = (
    *("number", "root_id", "version", "sex", "estimated_age_years"),
    *("created_at", "updated_at", "erased_at"),
)


def _words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=30)


def _at(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    # Plain ADD COLUMN, which SQLite knows: copying the table would ask every foreign key to it.
    op.add_column("patients", sa.Column("number", sa.Integer()))
    op.add_column("patients", sa.Column("root_id", sa.Uuid()))
    op.add_column(
        "patients", sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1"))
    )
    op.add_column("patients", sa.Column("sex", sa.String(length=10)))
    op.add_column("patients", sa.Column("estimated_age_years", sa.Double()))
    for name in ("created_at", "updated_at", "erased_at"):
        op.add_column("patients", _at(name))
    op.create_index("uq_patients_number", "patients", ["number"], unique=True)
    op.create_index("ix_patients_root_id", "patients", ["root_id"])
    op.create_index("ix_cases_patient_id", "cases", ["patient_id"])
    op.add_column("audit_entries", sa.Column("patient_id", sa.Uuid()))
    op.create_index("ix_audit_entries_patient_id", "audit_entries", ["patient_id"])
    op.create_table(
        "temporary_names",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        _at("given_at", nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_temporary_names")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "patient_identities",
        sa.Column("patient_id", sa.Uuid(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("name_index", sa.String(length=64)),
        sa.Column("birth_date_index", sa.String(length=64)),
        sa.Column("identifier_index", sa.String(length=64)),
        sa.ForeignKeyConstraint(
            ["patient_id"], ["patients.id"], name=op.f("fk_patient_identities_patient_id")
        ),
        sa.PrimaryKeyConstraint("patient_id", name=op.f("pk_patient_identities")),
    )
    for name in ("key_id", "name_index", "birth_date_index", "identifier_index"):
        op.create_index(f"ix_patient_identities_{name}", "patient_identities", [name])
    op.create_table(
        "patient_merges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("surviving_id", sa.Uuid(), nullable=False),
        sa.Column("absorbed_id", sa.Uuid(), nullable=False),
        _at("merged_at", nullable=False),
        sa.Column("merged_by", sa.String(length=120), nullable=False),
        _at("split_at"),
        sa.Column("split_by", sa.String(length=120)),
        sa.CheckConstraint(
            "surviving_id <> absorbed_id", name=op.f("ck_patient_merges_two_patients")
        ),
        sa.CheckConstraint(
            "(split_at IS NULL) = (split_by IS NULL)", name=op.f("ck_patient_merges_split")
        ),
        sa.ForeignKeyConstraint(
            ["surviving_id"], ["patients.id"], name=op.f("fk_patient_merges_surviving_id")
        ),
        sa.ForeignKeyConstraint(
            ["absorbed_id"], ["patients.id"], name=op.f("fk_patient_merges_absorbed_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patient_merges")),
    )
    op.create_index("ix_patient_merges_surviving_id", "patient_merges", ["surviving_id"])
    op.create_index(
        "uq_patient_merges_in_force",
        "patient_merges",
        ["absorbed_id"],
        unique=True,
        sqlite_where=sa.text("split_at IS NULL"),
        postgresql_where=sa.text("split_at IS NULL"),
    )
    op.create_table(
        "duplicate_suspicions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("other_case_id", sa.Uuid(), nullable=False),
        sa.Column(
            "reason",
            _words("duplicatereason", "same_crew", "name_and_birth_date", "identifier", "merged"),
            nullable=False,
        ),
        _at("raised_at", nullable=False),
        sa.Column("resolution", _words("duplicateresolution", "different", "cancelled")),
        sa.Column("cancelled_case_id", sa.Uuid()),
        _at("resolved_at"),
        sa.Column("resolved_by", sa.String(length=120)),
        sa.CheckConstraint(
            "case_id <> other_case_id", name=op.f("ck_duplicate_suspicions_two_cases")
        ),
        sa.CheckConstraint(
            "(resolution IS NULL) = (resolved_at IS NULL)",
            name=op.f("ck_duplicate_suspicions_resolved"),
        ),
        sa.CheckConstraint(
            "(cancelled_case_id IS NOT NULL) = (resolution IS NOT NULL "
            "AND resolution = 'cancelled')",
            name=op.f("ck_duplicate_suspicions_cancelled"),
        ),
        *(
            sa.ForeignKeyConstraint(
                [name], ["cases.id"], name=op.f(f"fk_duplicate_suspicions_{name}")
            )
            for name in ("case_id", "other_case_id", "cancelled_case_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_duplicate_suspicions")),
        sa.UniqueConstraint(
            "case_id", "other_case_id", name=op.f("uq_duplicate_suspicions_case_id_other_case_id")
        ),
    )
    op.create_index(
        "ix_duplicate_suspicions_other_case_id", "duplicate_suspicions", ["other_case_id"]
    )


def downgrade() -> None:
    if op.get_bind().scalar(sa.text("SELECT count(*) FROM patient_identities")):
        raise RuntimeError(
            "patients' identities are encrypted; the version before cannot read them, "
            "so going back would lose them"
        )
    for table in ("duplicate_suspicions", "patient_merges", "patient_identities"):
        op.drop_table(table)
    op.drop_table("temporary_names")
    op.drop_index("ix_audit_entries_patient_id", table_name="audit_entries")
    op.drop_column("audit_entries", "patient_id")
    op.drop_index("ix_cases_patient_id", table_name="cases")
    op.drop_index("ix_patients_root_id", table_name="patients")
    op.drop_index("uq_patients_number", table_name="patients")
    for name in reversed(NEW_IN_PATIENTS):
        op.drop_column("patients", name)
