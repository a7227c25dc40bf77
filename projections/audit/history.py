"""RunHistory: one run as the fold leaves it, and what the state does not keep: anomalies, and the events
of repairs and those that were erased."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ledger.contract.events import EventType, RecordedEvent
from projections.fold import RunState, fold
from projections.rows import AnomalyRow, ArtifactRow, AttemptRow, RunRow


@dataclass(slots=True)
class RunHistory:
    """Grows with `add`. `last` is the last event added."""

    tenant_id: str
    run_id: str
    state: RunState
    anomalies: list[AnomalyRow] = field(default_factory=list)
    repairs: list[RecordedEvent] = field(default_factory=list)
    erased: list[RecordedEvent] = field(default_factory=list)
    last: RecordedEvent | None = None

    @classmethod
    def of(cls, tenant_id: str, run_id: str, events: Iterable[RecordedEvent] = ()) -> "RunHistory":
        history = cls(tenant_id, run_id, RunState(run_id))
        history.add(events)
        return history

    def add(self, events: Iterable[RecordedEvent]) -> None:
        event = self.last
        for event in events:
            fold(self.state, event)
            if event.data is None:
                self.erased.append(event)
            elif event.event_type is EventType.REPAIR_APPLIED:
                self.repairs.append(event)
        self.anomalies += [row for row in self.state.take_touched() if isinstance(row, AnomalyRow)]
        self.last = event

    @property
    def run(self) -> RunRow:
        return self.state.run or RunRow(self.run_id)

    @property
    def attempts(self) -> list[AttemptRow]:
        """Of all steps, in the order in which the first word of each was recorded."""
        rows = [row for of_step in self.state.attempts.values() for row in of_step]
        return sorted(rows, key=first_position)

    def maker_of(self, artifact: ArtifactRow) -> AttemptRow | None:
        """The attempt that made this version of this path; None for what was given from outside, or by a
        step of which nothing else is recorded."""
        of_step = self.state.attempts.get(artifact.producer_step_id or "", [])
        number = artifact.producer_attempt
        numbered = [row for row in of_step if number is None or row.attempt == number]
        # An engine may use a number again, and whoever stores a body may name none: then it was the last
        # attempt that had begun by then.
        begun = [row for row in numbered if first_position(row) <= artifact.first_position]
        return begun[-1] if begun else numbered[-1] if numbered else None


def first_position(attempt: AttemptRow) -> int:
    return attempt.started_position or attempt.ended_position or 0


def inputs_of(attempt: AttemptRow) -> list[dict[str, Any]]:
    """What it was given and what it read, each once."""
    given: list[dict[str, Any]] = [*_list(attempt.inputs), *_list(attempt.inputs_read)]
    return list({(ref["path"], ref["digest"]): ref for ref in given}.values())


def _list(value: Any) -> list[dict[str, Any]]:
    return list(value) if value else []
