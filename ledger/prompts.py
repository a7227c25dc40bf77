"""Prompt packs: the named, versioned prompts a run is started with. There is no default pack: a
run names one, or it does not start."""

import string
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import orjson

from blobstore import digest_of
from ledger.contract.names import name_problem
from ledger.errors import InvalidName, PromptPackNotFound
from ledger.store.reader import Reader
from ledger.store.statements import load_statements

MOCK_PACK = "mock_pack"
_SQL = load_statements("ledger", "prompts.sql")


@dataclass(frozen=True)
class PromptPack:
    """`digest` is the sha256 of the prompts' canonical JSON, so equal prompts have equal digests."""

    pack_id: str
    version: int
    prompts: Mapping[str, str] = field(repr=False)

    @property
    def digest(self) -> str:
        return digest_of(orjson.dumps(dict(self.prompts), option=orjson.OPT_SORT_KEYS))

    def identity(self) -> dict[str, Any]:
        """What `run.started` carries: pack_id, version, digest."""
        return {"pack_id": self.pack_id, "version": self.version, "digest": self.digest}

    def render(self, name: str, **variables: object) -> str:
        """The prompt with its `$variables` filled in. KeyError names an unknown prompt, ValueError
        what is missing or surplus: a prompt is never sent half filled."""
        template = string.Template(self.prompts[name])
        declared = set(template.get_identifiers())
        if declared != variables.keys():
            missing = ", ".join(sorted(declared - variables.keys())) or "nothing"
            surplus = ", ".join(sorted(variables.keys() - declared)) or "nothing"
            raise ValueError(f"prompt {name!r} of {self.pack_id!r}: missing {missing}, surplus {surplus}")
        return template.substitute(variables)


class PromptPackLoader:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load(self, pack_id: str | None) -> Awaitable[PromptPack]:
        """The newest version of a pack: `pack = await prompts.load("mock_pack")`.

        Raises ValueError at once for None: nothing runs without an explicit prompt pack. Awaiting
        raises PromptPackNotFound for an id that is neither built in nor stored for the tenant.
        """
        if pack_id is None:
            raise ValueError(
                "A prompt pack id is required, found None: nothing runs without an explicit prompt pack. "
                f"Name one, {MOCK_PACK!r} for a try."
            )
        if problem := name_problem(pack_id):
            raise InvalidName(
                f"{pack_id[:100]!r} is not a prompt pack id", expected=problem, fix="Correct the id"
            )
        return self._load(pack_id)

    async def _load(self, pack_id: str) -> PromptPack:
        if pack_id == MOCK_PACK:
            return mock_pack()
        rows = await self._reader.fetch(_SQL["newest_version"], pack_id, doing="loading a prompt pack")
        if not rows:
            raise PromptPackNotFound(
                f"There is no prompt pack {pack_id!r}",
                expected=f"{MOCK_PACK!r} or a pack stored for tenant {self._reader.database.tenant_id!r}",
                fix="Correct the id; no other pack is used instead",
            )
        return PromptPack(pack_id, rows[0]["version"], {row["name"]: row["template"] for row in rows})


@cache
def mock_pack() -> PromptPack:
    """The built-in pack of the demo and of tests: real prompts, sent to nobody."""
    folder = files("ledger").joinpath("prompt_packs", MOCK_PACK)
    prompts = {
        entry.name.removesuffix(".md"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".md")
    }
    return PromptPack(MOCK_PACK, 1, dict(sorted(prompts.items())))
