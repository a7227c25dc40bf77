"""The audit's named statements."""

from ledger.store.statements import load_statements

SQL = load_statements("projections.audit", "queries.sql")
