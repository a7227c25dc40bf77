"""The projection tables for SQLAlchemy sessions, derived from the row classes.

`session.scalars(select(Run).where(Run.status == "failed"))` reads them; only projectors write.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSON, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase

from projections import rows

metadata = MetaData(schema="projection")

# A name that orders or identifies is compared byte by byte, whatever the database's locale.
_NAME = Text(collation="C")
_NAMES = frozenset({"run_id", "step_id", "producer_step_id", "path", "digest", "code", "pack_id"})


def _column(name: str, annotation: Any, key: tuple[str, ...]) -> Column[Any]:
    kinds = rows.kinds_of(annotation)
    return Column(name, _type(name, kinds, name in key), nullable=type(None) in kinds)


def _type(name: str, kinds: frozenset[Any], is_key: bool) -> Any:
    if str in kinds:
        return _NAME if is_key or name in _NAMES else Text()
    if rows.Json in kinds:
        return JSON()
    if datetime in kinds:
        return TIMESTAMP(timezone=True)
    if bool in kinds:
        return Boolean()
    if float in kinds:
        return Double()
    return BigInteger()


_TABLES: dict[type[rows.Row], Table] = {}


def table_of(row_type: type[rows.Row]) -> Table:
    """The table of a row class, one of daicho's or of a projection of your own; the same one each time."""
    if row_type not in _TABLES:
        is_own = row_type in rows.ROW_TYPES
        _TABLES[row_type] = _table(row_type, metadata if is_own else MetaData(schema=metadata.schema))
    return _TABLES[row_type]


def table_named(row_type: type[rows.Row], name: str) -> Table:
    """The columns of a row class under another table's name, without the key."""
    return Table(name, MetaData(schema=metadata.schema), *_columns(row_type))


def _table(row_type: type[rows.Row], into: MetaData) -> Table:
    return Table(row_type.TABLE, into, *_columns(row_type), PrimaryKeyConstraint(*row_type.KEY))


def _columns(row_type: type[rows.Row]) -> list[Column[Any]]:
    return [_column(name, annotation, row_type.KEY) for name, annotation in rows.columns(row_type).items()]


class Base(DeclarativeBase):
    metadata = metadata


class Run(Base):
    __table__ = table_of(rows.RunRow)


class Step(Base):
    __table__ = table_of(rows.StepRow)


class Attempt(Base):
    __table__ = table_of(rows.AttemptRow)


class Artifact(Base):
    __table__ = table_of(rows.ArtifactRow)


class AuditLog(Base):
    __table__ = table_of(rows.AuditRow)


class Anomaly(Base):
    __table__ = table_of(rows.AnomalyRow)


class Checkpoint(Base):
    """How far a projection has come: every event up to `position` is in its tables, which the definition's
    `version` filled (NULL: none yet). Where it stopped at an event, `stopped_…` say at which and why."""

    __table__ = Table(
        "checkpoints",
        metadata,
        Column("name", _NAME, primary_key=True),
        Column("position", BigInteger(), nullable=False),
        Column("updated_at", TIMESTAMP(timezone=True), nullable=False),
        Column("version", BigInteger()),
        Column("rebuilds", BigInteger(), nullable=False, server_default="0"),
        Column("stopped_position", BigInteger()),
        Column("stopped_reason", Text()),
        Column("stopped_at", TIMESTAMP(timezone=True)),
    )


class Prompt(Base):
    """One prompt of one version of a prompt pack."""

    __table__ = table_of(rows.PromptRow)
