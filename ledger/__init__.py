"""daicho, an event-sourced run ledger. The public names; each is imported when it is first used,
because `Ledger` composes the read side, which itself builds on this package."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blobstore.errors import DaichoError
    from ledger.artifacts import ArtifactStore
    from ledger.composition import Ledger
    from ledger.contract import (
        ArtifactRef,
        ErrorCategory,
        Event,
        EventType,
        ExecutionContext,
        GraphState,
        RecordedEvent,
        StepError,
        StepFailure,
        ValidationIssue,
        ValidationReport,
    )
    from ledger.control.llm import LlmCatalogue, LlmModel, LlmProvider, ResolvedLlm, StepLlmDefault
    from ledger.control.tenants import TenantDBManager
    from ledger.emitter import EventEmitter
    from ledger.prompts import PromptPackLoader
    from ledger.settings import Settings
    from ledger.tenant import Tenant

__all__ = [
    "ArtifactRef",
    "ArtifactStore",
    "DaichoError",
    "ErrorCategory",
    "Event",
    "EventEmitter",
    "EventType",
    "ExecutionContext",
    "GraphState",
    "Ledger",
    "LlmCatalogue",
    "LlmModel",
    "LlmProvider",
    "PromptPackLoader",
    "RecordedEvent",
    "ResolvedLlm",
    "Settings",
    "StepError",
    "StepFailure",
    "StepLlmDefault",
    "Tenant",
    "TenantDBManager",
    "ValidationIssue",
    "ValidationReport",
]

_HOMES = {
    "ArtifactStore": "ledger.artifacts",
    "DaichoError": "blobstore.errors",
    "EventEmitter": "ledger.emitter",
    "Ledger": "ledger.composition",
    "LlmCatalogue": "ledger.control.llm",
    "LlmModel": "ledger.control.llm",
    "LlmProvider": "ledger.control.llm",
    "PromptPackLoader": "ledger.prompts",
    "ResolvedLlm": "ledger.control.llm",
    "Settings": "ledger.settings",
    "StepLlmDefault": "ledger.control.llm",
    "Tenant": "ledger.tenant",
    "TenantDBManager": "ledger.control.tenants",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "ledger.contract")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
