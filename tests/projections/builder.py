"""History: given events, built by hand, so that a test of the fold reads as a sentence.

`History().run_started().step_started("draft").step_failed("draft")` is a list of RecordedEvents with
gapless positions and versions, one second apart. `.folded()` gives the rows they come to.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Self
from uuid import UUID

import orjson

from ledger.contract.artifact_ref import ArtifactRef
from ledger.contract.events import EventType, RecordedEvent
from ledger.contract.names import TENANT_STREAM
from projections.fold import RunState, fold
from projections.rows import (
    ROW_TYPES,
    STATE_ROW_TYPES,
    AnomalyRow,
    ArtifactRow,
    AttemptRow,
    AuditRow,
    Row,
    RunRow,
    StepRow,
    from_record,
    key_of,
    to_record,
)

TENANT = "acme"
RUN = "run-1"
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
PACK = {"pack_id": "mock_pack", "version": 3, "digest": "ab" * 32}

Records = dict[str, dict[tuple[Any, ...], tuple[Any, ...]]]
"""Table -> key -> the row as the database takes it."""


def seconds(count: float) -> datetime:
    """The time `count` seconds after the start of every history."""
    return START + timedelta(seconds=count)


def ref(name: str, body: str | None = None, *, step: str = "draft", run: str = RUN) -> dict[str, Any]:
    """A reference as it stands in a payload: other bodies under one name are other digests."""
    content = (name if body is None else body).encode()
    made = ArtifactRef(
        path=f"storage/{TENANT}/{run}/{step}/{name}",
        digest=sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at=START,
    )
    return made.model_dump(mode="json")


def error(step: str = "draft", message: str = "no answer", **fields: Any) -> dict[str, Any]:
    return {
        "step_id": step,
        "category": "retryable",
        "message": message,
        "occurred_at": START.isoformat(),
        "attempt": 1,
        **fields,
    }


def report(validator: str, passed: bool = True) -> dict[str, Any]:
    return {"validator": validator, "passed": passed, "issues": [], "checked_at": START.isoformat()}


class Tables:
    """What the database would hold: rows inserted or replaced by key."""

    def __init__(self) -> None:
        self.rows: dict[type[Row], dict[tuple[Any, ...], Row]] = {kind: {} for kind in ROW_TYPES}

    def write(self, rows: Iterable[Row]) -> None:
        written: set[tuple[Any, ...]] = set()
        for row in rows:
            # One statement writes them all, and PostgreSQL refuses to touch a row twice in it.
            identity = (type(row), *key_of(row))
            assert identity not in written, f"written twice: {identity}"
            written.add(identity)
            self.rows[type(row)][key_of(row)] = from_record(type(row), to_record(row))

    def load(self, run_id: str) -> RunState:
        """The state of a stream as a projector that was stopped finds it: from its rows alone."""
        state = RunState(run_id)
        for kind in STATE_ROW_TYPES:
            for key in sorted(self.rows[kind]):
                if key[0] == run_id:
                    state.add(from_record(kind, to_record(self.rows[kind][key])))
        return state

    def records(self) -> Records:
        return {
            kind.TABLE: {key: to_record(row) for key, row in rows.items()} for kind, rows in self.rows.items()
        }


@dataclass
class Folded:
    """The rows some events came to, and the state that is left in memory."""

    tables: Tables
    states: dict[str, RunState] = field(default_factory=dict)

    def run(self, run_id: str = RUN) -> RunRow:
        return self.tables.rows[RunRow][(run_id,)]  # type: ignore[return-value]

    def step(self, step_id: str, run_id: str = RUN) -> StepRow:
        return self.tables.rows[StepRow][run_id, step_id]  # type: ignore[return-value]

    def attempts(self, step_id: str, run_id: str = RUN) -> list[AttemptRow]:
        return [row for row in self.all_attempts if (row.run_id, row.step_id) == (run_id, step_id)]

    @property
    def all_attempts(self) -> list[AttemptRow]:
        return self._all(AttemptRow)

    @property
    def runs(self) -> list[RunRow]:
        return self._all(RunRow)

    @property
    def artifacts(self) -> list[ArtifactRow]:
        return sorted(self._all(ArtifactRow), key=lambda row: (row.first_position, row.path, row.version))

    @property
    def audit(self) -> list[AuditRow]:
        return self._all(AuditRow)

    @property
    def anomalies(self) -> list[str]:
        """The codes, in order of position and, where one event has several, of code."""
        return [row.code for row in self.anomaly_rows]

    @property
    def anomaly_rows(self) -> list[AnomalyRow]:
        return self._all(AnomalyRow)

    def _all(self, kind: type[Row]) -> list[Any]:
        rows = self.tables.rows[kind]
        return [rows[key] for key in sorted(rows)]


class History:
    """Events of one run (or of `run=` another), as the store would return them."""

    def __init__(self, run_id: str = RUN) -> None:
        self.run_id = run_id
        self.events: list[RecordedEvent] = []
        self._versions: dict[str, int] = {}

    def __repr__(self) -> str:
        listed = (
            f"{event.position} {event.run_id} {event.event_type} {event.step_id} {event.attempt} "
            f"{event.data!r}"
            for event in self.events
        )
        return "\n".join(["History:", *listed])

    def add(
        self,
        event_type: EventType | str,
        *,
        step_id: str | None = None,
        attempt: int | None = None,
        at: float | None = None,
        run: str | None = None,
        actor: str | None = None,
        erased: bool = False,
        payload: dict[str, Any] | None = None,
        data: bytes | None = None,
    ) -> Self:
        position = len(self.events) + 1
        run_id = run or self.run_id
        version = self._versions[run_id] = self._versions.get(run_id, 0) + 1
        body = data if data is not None else orjson.dumps(payload or {}, option=orjson.OPT_SORT_KEYS)
        self.events.append(
            RecordedEvent(
                position=position,
                version=version,
                recorded_at=seconds(position),
                event_id=UUID(int=position),
                event_type=event_type,
                tenant_id=TENANT,
                run_id=run_id,
                step_id=step_id,
                attempt=attempt,
                timestamp=seconds(position if at is None else at),
                actor=actor,
                traceparent=None,
                schema_version=1,
                data=None if erased else body,
            )
        )
        return self

    def erase(self, position: int) -> Self:
        """The history as it reads once the payload at `position` has been erased."""
        self.events[position - 1] = self.events[position - 1]._replace(data=None)
        return self

    def run_started(self, **given: Any) -> Self:
        return self._run(EventType.RUN_STARTED, {"prompt_pack": PACK, **given})

    def run_succeeded(self, **given: Any) -> Self:
        return self._run(EventType.RUN_SUCCEEDED, given)

    def run_failed(self, **given: Any) -> Self:
        return self._run(EventType.RUN_FAILED, {"error": error(), **given})

    def run_cancelled(self, **given: Any) -> Self:
        return self._run(EventType.RUN_CANCELLED, given)

    def step_started(self, step: str = "draft", attempt: int | None = 1, **given: Any) -> Self:
        return self._step(EventType.STEP_STARTED, step, attempt, given)

    def step_succeeded(self, step: str = "draft", attempt: int | None = 1, **given: Any) -> Self:
        return self._step(EventType.STEP_SUCCEEDED, step, attempt, given)

    def step_failed(self, step: str = "draft", attempt: int | None = 1, **given: Any) -> Self:
        return self._step(EventType.STEP_FAILED, step, attempt, {"error": error(step), **given})

    def step_retrying(self, step: str = "draft", attempt: int | None = 2, **given: Any) -> Self:
        return self._step(EventType.STEP_RETRYING, step, attempt, given)

    def step_lost(self, step: str = "draft", attempt: int | None = 1, **given: Any) -> Self:
        return self._step(EventType.STEP_LOST, step, attempt, given)

    def repaired(
        self, before: dict[str, Any], after: dict[str, Any], *, step: str | None = "draft", **given: Any
    ) -> Self:
        payload = {"kind": "json_fix", "before": before, "after": after, **given}
        return self._step(EventType.REPAIR_APPLIED, step, 1, payload)

    def stored(self, stored: dict[str, Any], *, step: str | None = "draft", **given: Any) -> Self:
        payload = {"name": stored["path"].rsplit("/", 1)[-1], "ref": stored, **given}
        return self._step(EventType.ARTIFACT_STORED, step, 1, payload)

    def administrative(self, event_type: EventType, **given: Any) -> Self:
        return self.add(event_type, run=TENANT_STREAM, **_envelope(given), payload=given)

    def folded(self) -> Folded:
        return fold_all(self.events)

    def _run(self, event_type: EventType, given: dict[str, Any]) -> Self:
        return self.add(event_type, **_envelope(given), payload=given)

    def _step(
        self, event_type: EventType, step: str | None, attempt: int | None, given: dict[str, Any]
    ) -> Self:
        return self.add(event_type, step_id=step, attempt=attempt, **_envelope(given), payload=given)


def _envelope(given: dict[str, Any]) -> dict[str, Any]:
    """Takes what belongs to the envelope out of `given`; what is left is the payload."""
    return {key: given.pop(key) for key in ("at", "run", "actor", "erased") if key in given}


def fold_all(events: Sequence[RecordedEvent]) -> Folded:
    """One event after the other, each one's rows written before the next."""
    folded = Folded(Tables())
    for event in events:
        state = folded.states.setdefault(event.run_id, RunState(event.run_id))
        fold(state, event)
        folded.tables.write(state.take_touched())
    return folded
