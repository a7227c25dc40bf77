"""What the log says of blobs, for collecting garbage."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0006_blobs.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.tenant", "sql/0006_downgrade.sql").values():
        op.execute(statement)
