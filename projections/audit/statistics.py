"""Statistics: failures per step and category, retry rates, durations, slowest attempts, repairs that helped.

Two sources give the same numbers: the tables (quick), and the events folded afresh (an auditor's check).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ledger.contract.events import EventType
from ledger.store.statements import load_statements
from ledger.store.tenant_database import Role
from projections.audit.answers import Answer
from projections.audit.points import Point
from projections.audit.runs import RunReader
from projections.core import CORE
from projections.fold import RunState
from projections.rows import AttemptRow, AuditRow
from projections.streams import folded_streams

SLOWEST_MAX = 10
Source = Literal["tables", "events"]

_SQL = load_statements("projections.audit", "statistics.sql")


class StepStatistics(Answer):
    """Of attempts that ended, lost ones among them. `retries` are those that were not their step's first.
    Percentiles are nearest-rank: durations that occurred. `failure_rate` counts lost ones as failed."""

    step_id: str
    attempts: int
    succeeded: int
    failed: int
    lost: int
    retryable: int
    non_retryable: int
    validation_fail: int
    retries: int
    retry_rate: float
    failure_rate: float
    p50_ms: int | None
    p95_ms: int | None
    max_ms: int | None
    total_ms: int


class SlowAttempt(Answer):
    run_id: str
    step_id: str
    ordinal: int
    status: str
    duration_ms: int
    position: int


class RepairStatistics(Answer):
    """Repairs of one kind for one validator. One `helped` where that validator (any, where the repair named
    none) passed the next time it spoke in the run, did `not_help` where it refused, and is `untested` where
    it said nothing since."""

    kind: str
    validator: str | None
    applied: int
    helped: int
    not_helped: int
    untested: int


class Statistics(Answer):
    """What was recorded after position `after`, up to `upto`, as the run's events up to `as_of` tell it."""

    tenant_id: str
    source: Source
    after: int
    upto: int
    as_of: int
    steps: list[StepStatistics]
    slowest: list[SlowAttempt]
    repairs: list[RepairStatistics]


async def statistics(reader: RunReader, *, since: Point, until: Point, source: Source) -> Statistics:
    as_of = await reader.projected_position()
    after, upto = await reader.bounds(since, until, as_of)
    if source == "tables":
        steps, slowest, repairs = await _from_tables(reader, after, upto)
    else:
        steps, slowest, repairs = await _from_events(reader, after, upto, as_of)
    return Statistics(
        tenant_id=reader.tenant.tenant_id,
        source=source,
        after=after,
        upto=upto,
        as_of=as_of,
        steps=steps,
        slowest=slowest,
        repairs=repairs,
    )


_Found = tuple[list[StepStatistics], list[SlowAttempt], list[RepairStatistics]]


async def _from_tables(reader: RunReader, after: int, upto: int) -> _Found:
    tables = reader.tenant.reader
    steps = [
        _step_statistics(**row) for row in await tables.fetch(_SQL["steps"], after, upto, doing="counting")
    ]
    slowest = [
        SlowAttempt(**{**row, "position": row["ended_position"]})
        for row in await tables.fetch(_SQL["slowest"], after, upto, SLOWEST_MAX, doing="counting")
    ]
    repairs = [
        RepairStatistics(**row) for row in await tables.fetch(_SQL["repairs"], after, upto, doing="counting")
    ]
    return steps, slowest, sorted(repairs, key=_kind_and_validator)


async def _from_events(reader: RunReader, after: int, upto: int, as_of: int) -> _Found:
    attempts, tally = AttemptTally(after, upto), RepairTally()
    connection = await reader.tenant.database.connect(Role.READER)
    try:
        async for state in folded_streams(connection, CORE, reader.tenant.tenant_id, as_of):
            attempts.add(state)
            repairs = [
                (row.run_id, row.position, row.details)
                for row in state.take_touched()
                if isinstance(row, AuditRow)
                and row.action == EventType.REPAIR_APPLIED
                and after < row.position <= upto
            ]
            tally.add(repairs, {state.run_id: _reports_of(state)})
    finally:
        await connection.close()
    return attempts.statistics(), attempts.slowest(), tally.statistics()


Spoken = tuple[int, list[dict[str, Any]]]
"""Position of an attempt's end, and the reports it came with."""


def _reports_of(state: RunState) -> list[Spoken]:
    return sorted(
        (
            (row.ended_position or 0, list(row.validation_reports))  # type: ignore[call-overload]
            for of_step in state.attempts.values()
            for row in of_step
            if row.validation_reports is not None
        ),
        key=lambda spoken: spoken[0],
    )


@dataclass
class AttemptTally:
    """Counts attempts run by run. Pure."""

    after: int
    upto: int
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    durations: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _slowest: list[SlowAttempt] = field(default_factory=list)

    def add(self, state: RunState) -> None:
        for of_step in state.attempts.values():
            for row in of_step:
                if row.ended_position is not None and self.after < row.ended_position <= self.upto:
                    self._count(row)
        self._slowest = self.slowest()

    def statistics(self) -> list[StepStatistics]:
        return [
            _step_statistics(step_id, **_durations(self.durations[step_id]), **{**_COUNTED, **counted})
            for step_id, counted in sorted(self.counts.items())
        ]

    def slowest(self) -> list[SlowAttempt]:
        return sorted(self._slowest, key=lambda slow: (-slow.duration_ms, slow.position))[:SLOWEST_MAX]

    def _count(self, row: AttemptRow) -> None:
        counted = self.counts[row.step_id]
        counted["attempts"] += 1
        counted[row.status] += 1
        counted["retries"] += row.ordinal > 1
        if row.status == "failed" and row.error_category is not None:
            counted[row.error_category] += 1
        if row.duration_ms is not None:
            self.durations[row.step_id].append(row.duration_ms)
            self._slowest.append(
                SlowAttempt(
                    run_id=row.run_id,
                    step_id=row.step_id,
                    ordinal=row.ordinal,
                    status=row.status,
                    duration_ms=row.duration_ms,
                    position=row.ended_position or 0,
                )
            )


_COUNTED = dict.fromkeys(
    ("attempts", "succeeded", "failed", "lost", "retries", "retryable", "non_retryable", "validation_fail"), 0
)


@dataclass
class RepairTally:
    """Counts repairs and what validators said after them. Pure."""

    counts: dict[tuple[str, str | None], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, repairs: Iterable[tuple[str, int, Any]], reports: Mapping[str, Sequence[Spoken]]) -> None:
        """Repairs by run, position and details; reports by run, in order of position."""
        for run_id, position, details in repairs:
            if not details or "kind" not in details:
                continue  # erased
            validator = details.get("validator")
            verdict = _verdict(reports.get(run_id, ()), position, validator)
            self.counts[details["kind"], validator][verdict] += 1

    def statistics(self) -> list[RepairStatistics]:
        found = [
            RepairStatistics(
                kind=kind,
                validator=validator,
                applied=counted.total(),
                helped=counted["helped"],
                not_helped=counted["not_helped"],
                untested=counted["untested"],
            )
            for (kind, validator), counted in self.counts.items()
        ]
        return sorted(found, key=_kind_and_validator)


def _kind_and_validator(found: RepairStatistics) -> tuple[str, bool, str]:
    return found.kind, found.validator is not None, found.validator or ""


def _verdict(spoken: Sequence[Spoken], position: int, validator: str | None) -> str:
    for ended_position, reports in spoken:
        said = [report for report in reports if validator in {None, report["validator"]}]
        if ended_position > position and said:
            # An attempt may report before and after it repairs: its last word counts.
            return "helped" if said[-1]["passed"] else "not_helped"
    return "untested"


def _durations(found: list[int]) -> dict[str, Any]:
    ordered = sorted(found)
    return {
        "p50_ms": _nearest_rank(ordered, 0.5),
        "p95_ms": _nearest_rank(ordered, 0.95),
        "max_ms": ordered[-1] if ordered else None,
        "total_ms": sum(ordered),
    }


def _nearest_rank(ordered: Sequence[int], share: float) -> int | None:
    """As PostgreSQL's percentile_disc: the first value whose rank is at least that share of all."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _step_statistics(
    step_id: str, attempts: int, retries: int, failed: int, lost: int, **found: Any
) -> StepStatistics:
    return StepStatistics(
        step_id=step_id,
        attempts=attempts,
        retries=retries,
        failed=failed,
        lost=lost,
        retry_rate=round(retries / attempts, 4),
        failure_rate=round((failed + lost) / attempts, 4),
        **found,
    )
