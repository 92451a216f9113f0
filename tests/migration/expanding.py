"""The scripts of a version to come: ours, and one more that expands tables as an update may."""

from __future__ import annotations

import shutil
from pathlib import Path

from alembic.script import ScriptDirectory

from broker import migrate

REVISION = '''
"""What the version after this one adds, as far as the version before bears it."""
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name == "postgresql":
        assert bind.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
    op.add_column("cases", sa.Column("to_come", sa.String(40)))
    op.create_index("ix_cases_to_come", "cases", ["to_come", "received_at"])
    op.create_table("things_to_come", sa.Column("case_id", sa.Uuid(), sa.ForeignKey("cases.id")))


def downgrade() -> None:
    raise NotImplementedError
'''


def next_version(folder: Path) -> Path:
    """A folder for migrate.upgrade(scripts=…) whose head is one revision beyond ours."""
    scripts = folder / "migrations"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    head = ScriptDirectory(str(migrate.SCRIPTS)).get_current_head()
    (scripts / "versions" / "next.py").write_text(REVISION.format(head=head))
    return scripts
