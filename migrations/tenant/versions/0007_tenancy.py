"""Logins per tenant and purpose, and what a tenant's life cycle needs."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0007_tenancy.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0007_downgrade.sql").values():
        op.execute(statement)
