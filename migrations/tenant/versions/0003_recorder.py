"""Events of `eventsourcing` applications: appended with their versions; snapshots and tracking."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0003_recorder.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0003_downgrade.sql").values():
        op.execute(statement)
