"""Loading: a tenant's prompt packs and the built-in one, as they are now or were in a version."""

import string
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from blobstore import digest_of
from ledger.contract.events import EventType, RecordedEvent
from ledger.contract.names import PROMPT_PACKS, is_reserved, name_problem
from ledger.contract.times import rfc3339
from ledger.errors import (
    InvalidName,
    PromptNotFound,
    PromptPackErased,
    PromptPackNotFound,
    PromptPackRetired,
    PromptVariablesDiffer,
)
from ledger.prompts.files import prompts_of, stray_dollar, variables_of
from ledger.store.originators import name_of_text, originator_id
from ledger.store.reader import Reader
from ledger.store.recorded import recorded_event
from ledger.store.statements import load_statements

MOCK_PACK = "mock_pack"
_SQL = load_statements("ledger.prompts", "prompts.sql")


@dataclass(frozen=True)
class PromptPack:
    """`digest` is the sha256 of the prompts' canonical JSON, so equal prompts have equal digests.
    `descriptions` of prompts are for people and no part of it."""

    pack_id: str
    version: int
    prompts: Mapping[str, str] = field(repr=False)
    descriptions: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def digest(self) -> str:
        return digest_of_prompts(self.prompts)

    def identity(self) -> dict[str, Any]:
        """What `run.started` carries: pack_id, version, digest."""
        return {"pack_id": self.pack_id, "version": self.version, "digest": self.digest}

    def prompt_identity(self, name: str) -> dict[str, Any]:
        """What `step.started` carries of the prompt it renders: name, the pack's version, and the sha256 of
        the template. Raises PromptNotFound."""
        digest = digest_of(self._template(name).encode())
        return {"name": name, "version": self.version, "digest": digest}

    def variables(self, name: str) -> tuple[str, ...]:
        """The variables that rendering `name` needs. Raises PromptNotFound."""
        return variables_of(self._template(name))

    def render(self, name: str, /, **variables: object) -> str:
        """The prompt with its `$variables` filled in. Raises PromptNotFound (a KeyError), and
        PromptVariablesDiffer (a ValueError) with what is missing or surplus: a prompt is never sent half
        filled. A variable that is None is missing."""
        template = self._template(name)
        given = {key for key, value in variables.items() if value is not None}
        declared = set(variables_of(template))
        missing, surplus = sorted(declared - given), sorted(variables.keys() - declared)
        if missing or surplus:
            raise PromptVariablesDiffer(
                f"Prompt {name!r} of {self.pack_id!r} cannot be rendered: missing "
                f"{', '.join(missing) or 'nothing'}, surplus {', '.join(surplus) or 'nothing'}",
                missing=missing,
                surplus=surplus,
            )
        if line := stray_dollar(template):
            raise PromptVariablesDiffer(
                f"Prompt {name!r} of {self.pack_id!r} has a $ in line {line} that begins no variable",
                fix="Write it $$ in the next version",
            )
        return string.Template(template).substitute(variables)

    def _template(self, name: str) -> str:
        try:
            return self.prompts[name]
        except KeyError:
            raise PromptNotFound(
                f"Prompt pack {self.pack_id!r} version {self.version} has no prompt {name!r}",
                expected=f"one of {', '.join(self.prompts)}",
                fix="Correct the name; no other prompt is used instead",
            ) from None


@dataclass(frozen=True)
class PromptPackSummary:
    """Where a pack stands. `digest` is that of its newest version, None where that was erased; `changed_at`
    and `changed_by` are of the last decision about it."""

    pack_id: str
    version: int
    digest: str | None
    is_retired: bool
    changed_at: datetime | None
    changed_by: str | None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "changed_at": self.changed_at and rfc3339(self.changed_at)}


class PromptPackLoader:
    """Reads packs from the tenant's log, never from tables, which may be behind."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load(self, pack_id: str | None, version: int | None = None) -> Awaitable[PromptPack]:
        """A pack to start a run with: `pack = await prompts.load("house")`, its newest version. With
        `version`, that one, also of a pack that is retired by now: running runs go on with theirs.

        Raises ValueError at once for None: nothing runs without an explicit prompt pack. Awaiting raises
        PromptPackNotFound for an id that is neither built in nor published by the tenant, or a version that
        never was; PromptPackRetired; PromptPackErased.
        """
        if pack_id is None:
            raise ValueError(
                "A prompt pack id is required, found None: nothing runs without an explicit prompt pack. "
                f"Name one, {MOCK_PACK!r} for a try."
            )
        check_pack_id(pack_id)
        return self._load(pack_id, version)

    async def list(self) -> Sequence[PromptPackSummary]:
        """The tenant's own packs, in order of id, retired ones too; `mock_pack` is built in and not one."""
        return [_summary(event) for event in await self._decisions("all_newest")]

    async def _load(self, pack_id: str, version: int | None) -> PromptPack:
        if pack_id == MOCK_PACK and version in {None, 1}:
            return mock_pack()
        stream = f"{PROMPT_PACKS}/{name_of_text(pack_id)}"
        if version is None:
            found = await self._decisions("newest", stream)
        else:
            within_bigint = min(max(version, 0), 2**63 - 1)
            found = await self._decisions("of_version", stream, within_bigint)
        if not found or (version is not None and found[0].event_type is EventType.PROMPT_PACK_RETIRED):
            raise self._not_found(pack_id, version)
        return _pack(pack_id, found[0])

    async def _decisions(self, statement: str, *arguments: Any) -> Sequence[RecordedEvent]:
        rows = await self._reader.fetch(_SQL[statement], *arguments, doing="loading a prompt pack")
        return [recorded_event(self._reader.database.tenant_id, row) for row in rows]

    def _not_found(self, pack_id: str, version: int | None) -> PromptPackNotFound:
        of_version = "" if version is None else f" version {version} of"
        return PromptPackNotFound(
            f"There is no{of_version} prompt pack {pack_id!r}",
            expected=f"{MOCK_PACK!r} or a pack published by tenant {self._reader.database.tenant_id!r}",
            fix="Correct the id or version, or publish it; no other pack is used instead",
        )


def check_pack_id(pack_id: str) -> None:
    """Raises InvalidName."""
    problem = name_problem(pack_id)
    if problem is None and is_reserved(pack_id):
        problem = "names that begin with '$' are reserved"
    if problem is not None:
        raise InvalidName(
            f"{pack_id[:100]!r} is not a prompt pack id", expected=problem, fix="Correct the id"
        )


def digest_of_prompts(prompts: Mapping[str, str]) -> str:
    """sha256 of the prompts' canonical JSON: sorted keys, no white space."""
    return digest_of(orjson.dumps(dict(prompts), option=orjson.OPT_SORT_KEYS))


def _pack(pack_id: str, event: RecordedEvent) -> PromptPack:
    payload = event.payload or {}
    if event.event_type is EventType.PROMPT_PACK_RETIRED:
        by, reason = payload.get("by") or "nobody named", payload.get("reason") or "erased"
        raise PromptPackRetired(
            f"Prompt pack {pack_id!r} was retired on {event.recorded_at:%Y-%m-%d} by {by}: {reason}",
            fix="Start the run with another pack; `load(pack_id, version)` still reads this one's versions",
        )
    if event.is_erased:
        raise PromptPackErased(
            f"The prompts of version {event.version} of {pack_id!r} were erased",
            fix=f"Revise the pack; `daicho tail --run '{event.run_id}'` shows its decisions",
        )
    return PromptPack(pack_id, event.version, payload["prompts"], payload.get("descriptions") or {})


def _summary(event: RecordedEvent) -> PromptPackSummary:
    payload = event.payload or {}
    is_retired = event.event_type is EventType.PROMPT_PACK_RETIRED
    return PromptPackSummary(
        pack_id=str(originator_id(event.run_id)),
        version=event.version - is_retired,
        digest=payload.get("digest"),
        is_retired=is_retired,
        changed_at=event.recorded_at,
        changed_by=payload.get("by"),
    )


@cache
def mock_pack() -> PromptPack:
    """The built-in pack of the demo and of tests: real prompts, sent to nobody."""
    folder = files("ledger.prompts").joinpath(MOCK_PACK)
    found = prompts_of(
        (entry.name, entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".md")
    )
    return PromptPack(MOCK_PACK, 1, found.prompts, found.descriptions)
