"""The read side as runs, steps and artifacts are asked for."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0005_read_model.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0005_downgrade.sql").values():
        op.execute(statement)
