"""The read side as runs, steps and artifacts are asked for, and a way to append what is new."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _run("sql/0005_append.sql")
    _run("sql/0005_read_model.sql")


def downgrade() -> None:
    _run("sql/0005_append_downgrade.sql")
    _run("sql/0005_downgrade.sql")


def _run(filename: str) -> None:
    for statement in load_statements("ledger.migrations.tenant", filename).values():
        op.execute(statement)
