"""RunState: everything the tables hold of one stream, and which of its rows were touched.

It can be empty (before a stream's first event) or loaded from the tables: the rows are all the
state there is, so a projector may stop and go on anywhere.
"""

from dataclasses import dataclass, field

from ledger.contract.events import RecordedEvent
from ledger.contract.names import is_reserved
from projections.rows import AnomalyRow, ArtifactRow, AttemptRow, AuditRow, PromptRow, Row, RunRow, StepRow


@dataclass(slots=True)
class RunState:
    run_id: str
    run: RunRow | None = None
    steps: dict[str, StepRow] = field(default_factory=dict)
    attempts: dict[str, list[AttemptRow]] = field(default_factory=dict)  # by step, in order of ordinal
    artifacts: dict[tuple[str, str], ArtifactRow] = field(default_factory=dict)  # by path and digest
    digests: set[str] = field(default_factory=set)
    path_versions: dict[str, int] = field(default_factory=dict)
    prompts: list[PromptRow] = field(default_factory=list)
    touched: dict[int, Row] = field(default_factory=dict)  # by identity; an insertion-ordered set
    is_of_run: bool = field(init=False)
    """Reserved streams hold administrative facts: none is a run or has a row among the runs."""

    def __post_init__(self) -> None:
        self.is_of_run = not is_reserved(self.run_id)

    def touch(self, row: Row) -> None:
        self.touched[id(row)] = row

    def take_touched(self) -> list[Row]:
        """The rows changed since the last call, in the order they were first changed."""
        rows = list(self.touched.values())
        self.touched.clear()
        return rows

    def add(self, row: Row) -> None:
        """Takes in a row loaded from the tables. Attempts come in order of ordinal."""
        if isinstance(row, RunRow):
            self.run = row
        elif isinstance(row, StepRow):
            self.steps[row.step_id] = row
        elif isinstance(row, AttemptRow):
            self.attempts.setdefault(row.step_id, []).append(row)
        elif isinstance(row, ArtifactRow):
            self.artifacts[row.path, row.digest] = row
            self.digests.add(row.digest)
            self.path_versions[row.path] = max(row.version, self.path_versions.get(row.path, 0))

        elif isinstance(row, PromptRow):
            self.prompts.append(row)

    def the_run(self, event: RecordedEvent) -> RunRow:
        if self.run is None:
            self.run = RunRow(self.run_id, first_position=event.position, first_recorded_at=event.recorded_at)
        return self.run

    def step(self, event: RecordedEvent) -> StepRow:
        assert event.step_id is not None
        step = self.steps.get(event.step_id)
        if step is None:
            run = self.the_run(event)
            run.steps += 1
            step = StepRow(
                self.run_id,
                event.step_id,
                run_first_position=run.first_position,
                first_position=event.position,
            )
            self.steps[event.step_id] = step
        step.last_position = event.position
        self.touched[id(step)] = step
        return step

    def new_attempt(self, event: RecordedEvent, step: StepRow) -> AttemptRow:
        """Of `step`, which is the event's."""
        step.attempts += 1
        self.the_run(event).attempts += 1
        row = AttemptRow(self.run_id, step.step_id, step.attempts, event.attempt or 1)
        self.attempts.setdefault(step.step_id, []).append(row)
        self.touched[id(row)] = row
        return row

    def anomaly(self, event: RecordedEvent, code: str, message: str) -> None:
        if self.is_of_run:
            self.the_run(event).anomalies += 1
        self.touch(
            AnomalyRow(
                self.run_id, event.position, code, message, event.step_id, event.attempt, event.recorded_at
            )
        )

    def audit(
        self,
        event: RecordedEvent,
        *,
        subject: str | None = None,
        actor: str | None = None,
        reason: str | None = None,
        details: object = None,
    ) -> None:
        self.touch(
            AuditRow(
                self.run_id,
                event.position,
                str(event.event_type),
                actor or event.actor,
                subject,
                reason,
                event.step_id,
                details,  # type: ignore[arg-type]
                event.timestamp,
                event.recorded_at,
            )
        )
