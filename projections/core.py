"""The built-in projection: runs, steps, attempts, artifacts, prompts, audit log, anomalies."""

from collections.abc import Sequence

from ledger.contract.events import RecordedEvent
from ledger.contract.names import CORE_PROJECTION, is_reserved
from projections.definition import Projection
from projections.fold import RunState, fold
from projections.rows import ROW_TYPES, STATE_ROW_TYPES, PromptRow, Row

_OF_RUNS = tuple(row_type for row_type in STATE_ROW_TYPES if row_type is not PromptRow)


class Core(Projection[RunState]):
    """Its tables were made by a migration and carry no prefix; all else is as in anybody's."""

    name = CORE_PROJECTION
    version = 2
    tables = ROW_TYPES

    def new_state(self, run_id: str) -> RunState:
        return RunState(run_id)

    def fold(self, state: RunState, event: RecordedEvent) -> None:
        fold(state, event)

    def state_tables(self, run_id: str) -> Sequence[type[Row]]:
        """No run has rows among the prompts: the most frequent question is not asked there."""
        return STATE_ROW_TYPES if is_reserved(run_id) else _OF_RUNS


CORE = Core()
