"""What decisions about prompt packs mean: the prompts of every version, and that a pack is retired.

Only a pack's own stream makes rows. The log of an older daicho may hold such facts in `$tenant`, put
there by hand: those are accountable acts and no decisions, so they stand in the audit log alone.
"""

from typing import Any

from ledger.contract.events import RecordedEvent
from ledger.contract.names import PROMPT_PACKS
from projections.fold import tenant
from projections.fold.state import RunState
from projections.rows import PromptRow


def published(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    """A version came to be, the first or a later one. Where it was erased, nothing is known of it."""
    if _is_of_pack(state):
        for name, template in (payload.get("prompts") or {}).items():
            row = PromptRow(
                run_id=state.run_id,
                version=event.version,
                name=name,
                pack_id=payload["pack_id"],
                template=template,
                digest=payload.get("digest"),
                created_at=event.recorded_at,
                created_by=payload.get("by"),
                retired_at=None,
                first_position=event.position,
            )
            state.prompts.append(row)
            state.touch(row)
    _audited(state, event, payload)


def retired(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    if _is_of_pack(state):
        for row in state.prompts:
            row.retired_at = event.recorded_at
            state.touch(row)
    _audited(state, event, payload)


def _is_of_pack(state: RunState) -> bool:
    return state.run_id.startswith(f"{PROMPT_PACKS}/")


def _audited(state: RunState, event: RecordedEvent, payload: dict[str, Any]) -> None:
    """The act, without the prompts, which have a table of their own."""
    tenant.recorded(state, event, {key: value for key, value in payload.items() if key != "prompts"})
