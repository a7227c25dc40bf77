"""Statements over whole rows, put together from the row classes so that no column is named twice."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from projections.rows import Json, Row, columns, kinds_of

SCHEMA = "projection"


def qualified(row_type: type[Row], table: str | None = None) -> str:
    """The table of a row class, or another one of its columns."""
    return f'{SCHEMA}."{table or row_type.TABLE}"'


def listed(names: Iterable[str]) -> str:
    """Quoted: a column of somebody's projection may be called `user`, which means something else in SQL."""
    return ", ".join(f'"{name}"' for name in names)


def select_by_run(row_type: type[Row], table: str | None = None) -> str:
    """All rows of the streams named in $1, in order of key."""
    names, key = listed(columns(row_type)), listed(row_type.KEY)
    return f"SELECT {names} FROM {qualified(row_type, table)} WHERE run_id = ANY($1) ORDER BY {key}"


def upsert(
    row_type: type[Row], table: str | None = None, *, first_parameter: int = 1, condition: str = "true"
) -> str:
    """Writes rows given as one array per column, where `condition` holds."""
    names = columns(row_type)
    numbered = enumerate(names.values(), first_parameter)
    arrays = ", ".join(f"${number}::{_array_type(kind)}" for number, kind in numbered)
    changed = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in row_type.KEY)
    return (
        f"INSERT INTO {qualified(row_type, table)} ({listed(names)}) "
        f"SELECT * FROM unnest({arrays}) WHERE {condition} "
        f"ON CONFLICT ({listed(row_type.KEY)}) DO {f'UPDATE SET {changed}' if changed else 'NOTHING'}"
    )


def delete_by_run(row_type: type[Row]) -> str:
    """Deletes all rows of the streams named in $1."""
    return f"DELETE FROM {qualified(row_type)} WHERE run_id = ANY($1)"


def _array_type(annotation: Any) -> str:
    kinds = kinds_of(annotation)
    types = {str: "text", Json: "json", datetime: "timestamptz", bool: "boolean", float: "double precision"}
    return next((sql for kind, sql in types.items() if kind in kinds), "bigint") + "[]"
