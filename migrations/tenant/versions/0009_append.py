"""Appends that are sent before the one before them is answered."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0009_append.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0009_downgrade.sql").values():
        op.execute(statement)
