"""The catalogue: tenants, and which models their steps may use."""

from alembic import op

from ledger.store.statements import load_statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in load_statements("ledger.migrations.control", "sql/0001_catalogue.sql").values():
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("The first revision has no downgrade: it would drop the catalogue of tenants.")
