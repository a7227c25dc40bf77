"""Runs as they are listed from the tables: filtered, and page by page.

Runs are listed by the position of their first event, the last recorded first. That position never changes and
is no other run's, so it is also the cursor: a page goes on where the one before ended, whatever was
recorded meanwhile. Every filter has an index in that order (migrations/tenant/sql/0005_read_model.sql).
"""

import re
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from ledger.contract.errors import ErrorCategory
from ledger.errors import InvalidFilter
from ledger.store.statements import load_statements
from ledger.tenant import Tenant
from projections.rows import RunRow, columns, from_record
from projections.table_sql import qualified

LIMIT_MAX = 1_000
RUN_STATUSES = ("running", "succeeded", "failed", "cancelled", "not_started")
WORDS_MAX = 16
_TURNED = str.maketrans("<>", "><")

_SQL = load_statements("projections", "run_listing.sql")
_WORD = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")  # parted as in the index runs_text_idx
_FAILURES = {
    ErrorCategory.RETRYABLE: "r.retryable_failures > 0 OR r.error_category = 'retryable'",
    ErrorCategory.NON_RETRYABLE: "r.non_retryable_failures > 0 OR r.error_category = 'non_retryable'",
    ErrorCategory.VALIDATION_FAIL: "r.validation_failures > 0 OR r.error_category = 'validation_fail'",
}
"""As the partial indexes say it, word by word: only then are they used."""


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs; each field that is given must hold.

    since, until    first recorded at or after, and before, these times (aware)
    step            has a step of this name
    error_category  an attempt, or the run itself, failed so; with `step`, that step's last error is so
    prompt_pack     started with this pack; with `prompt_pack_version`, with this version of it
    text            each of these words begins a word of the run's id, pipeline, labels or error; outside
                    ASCII, capitals are told apart where the database's locale is C
    """

    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    step: str | None = None
    error_category: str | None = None
    prompt_pack: str | None = None
    prompt_pack_version: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if self.status is not None and self.status not in RUN_STATUSES:
            raise _invalid("status", f"one of {', '.join(RUN_STATUSES)}", self.status)
        if self.error_category is not None and self.error_category not in set(ErrorCategory):
            raise _invalid("error_category", f"one of {', '.join(ErrorCategory)}", self.error_category)
        if self.prompt_pack_version is not None and self.prompt_pack is None:
            raise _invalid("prompt_pack_version", "a prompt_pack with it", self.prompt_pack_version)
        for name in ("since", "until"):
            time = getattr(self, name)
            if time is not None and time.tzinfo is None:
                raise _invalid(name, "a time with its zone", time.isoformat())
        if self.text is not None and not 1 <= len(self.words) <= WORDS_MAX:
            raise _invalid("text", f"1 to {WORDS_MAX} words of letters and digits", self.text[:100])
        for name in (item.name for item in fields(self)):
            if isinstance(value := getattr(self, name), str) and "\x00" in value:
                raise _invalid(name, "text without NUL", repr(value[:100]))

    @property
    def words(self) -> list[str]:
        return _WORD.findall(self.text or "")


@dataclass(frozen=True)
class RunPage:
    """`next` goes into `list_runs(after=…)` for the page after this one; None where this is the last."""

    runs: list[RunRow]
    next: int | None


EVERY_RUN = RunFilter()


async def list_runs(
    tenant: Tenant, wanted: RunFilter = EVERY_RUN, *, limit: int = 20, after: int | None = None
) -> RunPage:
    """Up to `limit` runs (at most 1,000), the last recorded first. Raises StoreUnavailable."""
    limit = max(1, min(limit, LIMIT_MAX))
    statement, arguments = listing_statement(wanted, limit=limit + 1, after=after)
    records = await tenant.reader.fetch(statement, *arguments, doing="listing runs")
    runs: list[RunRow] = [from_record(RunRow, record) for record in records[:limit]]
    return RunPage(runs, runs[-1].first_position if len(records) > limit else None)


def listing_statement(wanted: RunFilter, *, limit: int, after: int | None) -> tuple[str, list[Any]]:
    """The statement and its arguments. Only what is asked for stands in it: so its plan is made for that."""
    query = _Query()
    if wanted.status is not None:
        query.add("r.status = {}", wanted.status)
    if wanted.prompt_pack is not None:
        query.add("r.prompt_pack_id = {}", wanted.prompt_pack)
    if wanted.prompt_pack_version is not None:
        query.add("r.prompt_pack_version = {}", wanted.prompt_pack_version)
    if wanted.text is not None:
        prefixes = " & ".join(f"({word}:* | {word.lower()}:*)" for word in wanted.words)
        query.add(f"{_SQL['run_text']} @@ to_tsquery('simple', {{}})", prefixes)
    if wanted.step is not None:
        query.add("s.step_id = {}", wanted.step)
        if wanted.error_category is not None:
            query.add("s.error_category = {}", str(wanted.error_category))
    elif wanted.error_category is not None:
        query.conditions.append(f"({_FAILURES[ErrorCategory(wanted.error_category)]})")
    # Negated where something is filtered: the migration says why. A step's row knows its run's place in
    # the order, so that steps can lead the way.
    position = "r.first_position" if wanted.step is None else "s.run_first_position"
    if query.conditions:
        position = f"-{position}"
    if wanted.since is not None:
        query.beside(position, ">=", f"({_SQL['first_since']})", wanted.since)
    if wanted.until is not None:
        query.beside(position, "<=", f"({_SQL['last_before']})", wanted.until)
    if after is not None:
        query.beside(position, "<", "{}::bigint", after)
    return query.text(position, limit), query.arguments


@dataclass
class _Query:
    conditions: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)

    def add(self, condition: str, argument: Any) -> None:
        self.arguments.append(argument)
        self.conditions.append(condition.format(f"${len(self.arguments)}"))

    def beside(self, position: str, comparison: str, value: str, argument: Any) -> None:
        if position.startswith("-"):
            comparison, value = comparison.translate(_TURNED), f"-{value}"
        self.add(f"{position} {comparison} {value}", argument)

    def text(self, position: str, limit: int) -> str:
        named = ", ".join(f"r.{name}" for name in columns(RunRow))
        steps = _SQL["joined_steps"] if "s." in position else ""
        direction = "ASC" if position.startswith("-") else "DESC"
        where = f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""
        self.arguments.append(limit)
        return (
            f"SELECT {named} FROM {qualified(RunRow)} AS r {steps} {where} "
            f"ORDER BY {position} {direction} LIMIT ${len(self.arguments)}"
        )


def _invalid(name: str, expected: str, found: str) -> InvalidFilter:
    problem = f"Runs cannot be listed by this {name}"
    return InvalidFilter(problem, expected=expected, found=found, fix="Correct it; nothing was read")
