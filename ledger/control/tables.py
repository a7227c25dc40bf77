"""SQLAlchemy models of the control database, for sessions that read it. The migrations under
`migrations/control` make the tables; a test holds the two against each other."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ForeignKey, Numeric, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import MetaData

UTC_TIME = TIMESTAMP(timezone=True)


class Base(DeclarativeBase):
    metadata = MetaData(schema="control")
    type_annotation_map = {str: Text, datetime: UTC_TIME, Decimal: Numeric(18, 6)}  # noqa: RUF012


class TenantRow(Base):
    __tablename__ = "tenants"

    tenant_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    name: Mapped[str]
    status: Mapped[str]
    database_name: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    blob_prefix: Mapped[str] = mapped_column(Text(collation="C"), unique=True)
    created_at: Mapped[datetime]


class LlmProvider(Base):
    __tablename__ = "llm_providers"

    provider_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    name: Mapped[str]
    base_url: Mapped[str | None]
    created_at: Mapped[datetime]


class LlmModel(Base):
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


class StepLlmDefault(Base):
    __tablename__ = "step_llm_defaults"

    step_id: Mapped[str] = mapped_column(Text(collation="C"), primary_key=True)
    model_id: Mapped[str] = mapped_column(Text(collation="C"), ForeignKey("control.llm_models.model_id"))
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]
