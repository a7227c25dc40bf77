"""Erasing payloads: one function, the guards around it, and nothing for PUBLIC from here on."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0004_erasure.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0004_downgrade.sql").values():
        op.execute(statement)
