"""Alembic environment of the tenants' databases: all of them, or `-x tenant=ID`."""

from alembic import context

from ledger.control.alembic_environment import run_environment
from projections.tables import metadata

run_environment(context, "tenant", metadata)
