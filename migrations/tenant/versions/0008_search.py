"""Indexes for searching events; nothing that the code needs to run."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0008_search.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0008_downgrade.sql").values():
        op.execute(statement)
