"""Alembic environment of the control database."""

from alembic import context

from ledger.control.alembic_environment import run_environment
from ledger.control.tables import Base

run_environment(context, "control", Base.metadata)
