"""The control plane: database servers, the life of a tenant, and who changed what."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.control", "sql/0002_control_plane.sql").values():
        op.execute(statement)


def downgrade() -> None:
    for statement in load_statements("ledger.migrations.control", "sql/0002_downgrade.sql").values():
        op.execute(statement)
