"""SQLAlchemy models of the control database, for sessions that read it. The migrations under
`migrations/control` make the tables; a test holds the two against each other."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Identity, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import MetaData

UTC_TIME = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    metadata = MetaData(schema="control")
    type_annotation_map = {str: Text, datetime: UTC_TIME, Decimal: Numeric(18, 6)}  # noqa: RUF012


class DatabaseServerRow(Base):
    __tablename__ = "database_servers"

    server_name: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    address: Mapped[str | None] = mapped_column(Text(collation="C"), unique=True)
    tenants_max: Mapped[int | None]
    accepts_new_tenants: Mapped[bool]
    created_at: Mapped[datetime]


class TenantRow(Base):
    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    database_name: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    blob_prefix: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    created_at: Mapped[datetime]
    server_name: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("control.database_servers.server_name")
    )
    schema_revision: Mapped[str | None] = mapped_column(Text(collation="C"))
    former_ids: Mapped[list[str]] = mapped_column(ARRAY(Text(collation="C")))


class TenantOperation(Base):
    """What is under way with a tenant, and how far it has come: one operation at a time."""

    __tablename__ = "tenant_operations"

    tenant_id: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("control.tenants.tenant_id"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(Text(collation="C"))
    step: Mapped[str] = mapped_column(Text(collation="C"))
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    started_by: Mapped[str]
    started_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ControlAudit(Base):
    """Who changed what: see ledger/control/audit.py."""

    __tablename__ = "control_audit"

    entry_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    recorded_at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(Text(collation="C"))
    subject: Mapped[str] = mapped_column(Text(collation="C"))
    reason: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    database_user: Mapped[str]


class LlmProviderRow(Base):
    __tablename__ = "llm_providers"

    provider_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    name: Mapped[str]
    base_url: Mapped[str | None]
    created_at: Mapped[datetime]
    key_variable: Mapped[str | None] = mapped_column(Text(collation="C"))
    updated_at: Mapped[datetime]


class LlmModelRow(Base):
    __tablename__ = "llm_models"

    model_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(
        Text(collation="C"), ForeignKey("control.llm_providers.provider_id")
    )
    name: Mapped[str]
    context_window_tokens: Mapped[int | None]
    price_input_per_million: Mapped[Decimal | None]
    price_output_per_million: Mapped[Decimal | None]
    currency: Mapped[str | None]
    capabilities: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class StepLlmDefaultRow(Base):
    __tablename__ = "step_llm_defaults"

    step_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    model_id: Mapped[str] = mapped_column(Text(collation="C"), ForeignKey("control.llm_models.model_id"))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]
