"""A session: one pipeline run per text, several at once."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from ledger.demo.activities import Tools
from ledger.demo.pipeline import make_article
from ledger.demo.service import KeywordService
from ledger.demo.texts import Texts
from ledger.errors import DaichoError
from ledger.prompts import MOCK_PACK, PromptPack
from ledger.tenant import Tenant

FILES_AT_ONCE_MAX = 8
STEM_CHARS_MAX = 24

Done = Callable[[str], None]
"""Called with a file's name once its run has ended."""


@dataclass(frozen=True)
class Session:
    """`run_ids` are in the order of the texts; `resets` counts connections the service reset."""

    texts: Texts
    run_ids: tuple[str, ...]
    pack: PromptPack
    resets: int
    seconds: float


async def run_session(tenant: Tenant, texts: Texts, now: datetime, done: Done) -> Session:
    """Runs the pipeline over every text, at most 8 at once. A run that fails is recorded as failed
    and the others go on; trouble with the ledger itself ends the session."""
    pack = await tenant.prompts.load(MOCK_PACK)
    run_ids = name_runs(texts.names, now, secrets.token_hex(2))
    started = time.monotonic()
    places = asyncio.Semaphore(FILES_AT_ONCE_MAX)
    async with KeywordService(texts) as service:

        async def work(name: str, run_id: str) -> None:
            async with places:
                await _one(tenant, run_id, Tools(texts.path(name), name, service.address, pack))
                done(name)

        try:
            async with asyncio.TaskGroup() as group:
                for name, run_id in zip(texts.names, run_ids, strict=True):
                    group.create_task(work(name, run_id))
        except* DaichoError as troubles:
            raise _first(troubles) from None
    return Session(texts, run_ids, pack, service.resets, time.monotonic() - started)


def name_runs(names: tuple[str, ...], now: datetime, token: str) -> tuple[str, ...]:
    """`<stem>-<yyyymmdd-hhmmss>-<token>`, the token telling sessions of one second apart; files of
    one name are told apart by -2, -3 … after the stem."""
    taken: set[str] = set()
    found: list[str] = []
    for name in names:
        stem = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(name).stem.lower()).strip("-")[:STEM_CHARS_MAX]
        stem = unique = stem or "text"
        number = 1
        while unique in taken:
            number += 1
            unique = f"{stem}-{number}"
        taken.add(unique)
        found.append(f"{unique}-{now:%Y%m%d-%H%M%S}-{token}")
    return tuple(found)


async def _one(tenant: Tenant, run_id: str, tools: Tools) -> None:
    try:
        await make_article(tenant, run_id, tools)
    except DaichoError:
        raise
    except Exception:  # noqa: S110 - the run has recorded it: run.failed
        pass


def _first(group: BaseExceptionGroup[DaichoError]) -> DaichoError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
