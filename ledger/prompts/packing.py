"""Prompt packing: publishing, revising and retiring a tenant's prompt packs, from a coroutine.

Each call decides with an application of its own that is closed again: decisions are rare, and none holds
a connection afterwards. Who decides first wins; the other is told so.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from ledger.contract.names import name_problem, shown
from ledger.errors import InvalidPromptPack
from ledger.prompts.files import PromptTexts, stray_dollar
from ledger.prompts.loading import MOCK_PACK, PromptPack, PromptPackLoader, check_pack_id
from ledger.store.reader import Reader

if TYPE_CHECKING:
    from ledger.prompts.decisions import PromptPackDecisions

DECISIONS_AT_ONCE_MAX = 4
BY_CHARACTERS_MAX = 255
REASON_CHARACTERS_MAX = 2_000
DESCRIPTION_CHARACTERS_MAX = 1_000

Decide = Callable[["PromptPackDecisions"], int]


class PromptPacks(PromptPackLoader):
    """A tenant's prompt packs: `load` and `list` read, the others decide and return once that is durable.
    A run started right after knows of it, whoever projects.

    All of them raise InvalidName, InvalidPromptPack, PromptPackConflict, StoreUnavailable; nothing is
    recorded then, but after StoreUnavailable it may be: load the pack before repeating.
    """

    def __init__(self, reader: Reader, application_env: Callable[[], dict[str, str]]) -> None:
        super().__init__(reader)
        self._application_env = application_env
        self._deciding = asyncio.Semaphore(DECISIONS_AT_ONCE_MAX)

    async def publish(
        self,
        pack_id: str,
        prompts: Mapping[str, str],
        *,
        descriptions: Mapping[str, str] = MappingProxyType({}),
        by: str | None = None,
        reason: str | None = None,
    ) -> PromptPack:
        """Version 1 of a new pack: templates by name, and what they are for, for people. An id is published
        once, also if it is retired by now."""
        _check_own(pack_id)
        texts = _checked_texts(prompts, descriptions)
        _check_text("by", by, BY_CHARACTERS_MAX, is_optional=True)
        _check_text("reason", reason, REASON_CHARACTERS_MAX, is_optional=True)
        version = await self._decide(lambda decisions: decisions.publish(pack_id, texts, by, reason))
        return PromptPack(pack_id, version, texts.prompts, texts.descriptions)

    async def revise(
        self,
        pack_id: str,
        prompts: Mapping[str, str],
        *,
        descriptions: Mapping[str, str] = MappingProxyType({}),
        by: str | None = None,
        reason: str | None = None,
        expected_version: int | None = None,
    ) -> PromptPack:
        """The next version, whole: prompts that are not given are not in it. With `expected_version`, only
        where that is the newest one. What the newest version says already raises PromptPackUnchanged; raises
        PromptPackNotFound, PromptPackRetired too."""
        _check_own(pack_id)
        texts = _checked_texts(prompts, descriptions)
        _check_text("by", by, BY_CHARACTERS_MAX, is_optional=True)
        _check_text("reason", reason, REASON_CHARACTERS_MAX, is_optional=True)
        version = await self._decide(
            lambda decisions: decisions.revise(pack_id, texts, by, expected_version, reason)
        )
        return PromptPack(pack_id, version, texts.prompts, texts.descriptions)

    async def retire(self, pack_id: str, *, reason: str, by: str | None = None) -> None:
        """From now on no run starts with the pack; those that run go on. For good. Raises
        PromptPackNotFound, PromptPackRetired too."""
        _check_own(pack_id)
        _check_text("by", by, BY_CHARACTERS_MAX, is_optional=True)
        _check_text("reason", reason, REASON_CHARACTERS_MAX)
        await self._decide(lambda decisions: decisions.retire(pack_id, reason, by))

    async def _decide(self, decide: Decide) -> int:
        async with self._deciding:
            # Here, on the event loop: the handle wakes this loop's subscribers and projector.
            return await asyncio.to_thread(_decided, self._application_env(), decide)


def _decided(env: dict[str, str], decide: Decide) -> int:
    # Imported here: importing the library takes longer than everything else of the write side.
    from ledger.prompts.decisions import PromptPackDecisions

    with PromptPackDecisions(env=env) as decisions:
        return decide(decisions)


def _check_own(pack_id: str) -> None:
    check_pack_id(pack_id)
    if pack_id == MOCK_PACK:
        raise InvalidPromptPack(
            f"{MOCK_PACK!r} is built in and reserved", fix="Publish under an id of your own"
        )


def _checked_texts(prompts: Mapping[str, str], descriptions: Mapping[str, str]) -> PromptTexts:
    """In order of name. Their size is checked as the event's, when it is encoded."""
    if not prompts:
        raise InvalidPromptPack("A prompt pack without prompts", expected="at least one", fix="Add one")
    for name, template in prompts.items():
        _check_prompt(name, template)
    for name, description in descriptions.items():
        if name not in prompts:
            raise InvalidPromptPack(f"{shown(name)} is described and no prompt of the pack", fix="Correct it")
        _check_text(f"the description of {name!r}", description, DESCRIPTION_CHARACTERS_MAX)
    return PromptTexts(dict(sorted(prompts.items())), dict(sorted(descriptions.items())))


def _check_prompt(name: str, template: str) -> None:
    if problem := name_problem(name):
        raise InvalidPromptPack(
            f"{shown(name)} is not a prompt's name", expected=problem, fix="Correct the name"
        )
    if not isinstance(template, str) or not template.strip():
        raise InvalidPromptPack(f"Prompt {name!r} is empty or no text", fix="Write it, or leave it out")
    _check_text(f"prompt {name!r}", template, None)
    if line := stray_dollar(template):
        raise InvalidPromptPack(
            f"Prompt {name!r} has a $ in line {line} that begins no variable",
            expected="$name or ${name} for a variable, $$ for a dollar sign",
            fix="Correct it",
        )


def _check_text(
    what: str, text: str | None, characters_max: int | None, *, is_optional: bool = False
) -> None:
    if text is None and is_optional:
        return
    problem = None
    if not isinstance(text, str) or not text.strip():
        problem = "text that is not empty"
    elif characters_max is not None and len(text) > characters_max:
        problem = f"at most {characters_max} characters"
    elif "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        problem = "text without U+0000 and lone surrogates (PostgreSQL takes neither)"
    if problem is not None:
        raise InvalidPromptPack(f"{what}: cannot be recorded", expected=problem, fix="Correct it")
