"""The projection schema: tables that are folded from events and can be dropped and rebuilt."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0002_projections.sql").values():
        op.execute(statement)


def downgrade() -> None:
    # Nothing is lost: every row here can be folded from the events again.
    for statement in load_statements("ledger.migrations.tenant", "sql/0002_downgrade.sql").values():
        op.execute(statement)
