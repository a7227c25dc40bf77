"""What every command shares: the open ledger, the chosen tenant, errors told as one paragraph, and
the exit code (0 good, 1 the check failed, 2 wrong usage, 3 a service is out of reach)."""

import asyncio
import errno
import functools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import click
import orjson
from pydantic import ValidationError
from rich.text import Text

from blobstore.errors import (
    BlobAccessDenied,
    BlobCorrupt,
    BlobStoreMissing,
    BlobStoreUnavailable,
    DaichoError,
)
from ledger.cli.console import PlainConsole
from ledger.cli.piping import let_go_of_output
from ledger.composition import Ledger
from ledger.errors import EmbeddedServerError, SettingsError, StoreUnavailable
from ledger.logs import configure_logs
from ledger.settings import Settings
from ledger.tenant import Tenant

CHECK_FAILED = 1
WRONG_USAGE = 2
OUT_OF_REACH = 3
INTERRUPTED = 130
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What writing to a file meets when there is no room for it."""
_OUT_OF_REACH = (
    BlobAccessDenied,
    BlobStoreMissing,
    BlobStoreUnavailable,
    EmbeddedServerError,
    StoreUnavailable,
)


# Where there is no terminal, lines are as long as they are: other programs read them.
_WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200
out = PlainConsole(highlight=False, width=_WIDTH)
err = PlainConsole(stderr=True, highlight=False, soft_wrap=True)


def runs_async(command: Callable[..., Awaitable[int | None]]) -> Callable[..., None]:
    """Turns an async command into one click can call. What it returns is the exit code (None: 0)."""

    @functools.wraps(command)
    def call(*arguments: Any, **options: Any) -> None:
        sys.exit(_exit_code(lambda: asyncio.run(_coroutine(command(*arguments, **options)))))

    return call


def _exit_code(work: Callable[[], int | None]) -> int:
    try:
        code = work() or 0
        sys.stdout.flush()
    except DaichoError as error:
        return tell(error)
    except ValidationError as error:
        return tell_usage(said_of(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        let_go_of_output()
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _FULL:
            raise
        let_go_of_output()
        return tell_usage(
            f"What there is to say cannot be written: {error.strerror}. Make room and try again."
        )
    return code


def without_async(command: Callable[..., int | None]) -> Callable[..., None]:
    """The same for a command that waits for nothing."""

    @functools.wraps(command)
    def call(*arguments: Any, **options: Any) -> None:
        sys.exit(_exit_code(lambda: command(*arguments, **options)))

    return call


async def _coroutine(answer: Awaitable[int | None]) -> int | None:
    return await answer


def tell(error: DaichoError) -> int:
    """Prints the error for people; returns the exit code."""
    _complain(str(error))
    if isinstance(error, BlobCorrupt):
        return CHECK_FAILED
    return OUT_OF_REACH if isinstance(error, _OUT_OF_REACH) else WRONG_USAGE


def tell_usage(problem: str) -> int:
    _complain(problem)
    return WRONG_USAGE


def load_settings(**changes: Any) -> Settings:
    settings = Settings(**changes)
    configure_logs(settings.log_format, settings.log_level)
    return settings


@asynccontextmanager
async def open_ledger(**changes: Any) -> AsyncIterator[Ledger]:
    async with await Ledger.open(load_settings(**changes)) as ledger:
        yield ledger


@asynccontextmanager
async def open_tenant(tenant_id: str | None, **changes: Any) -> AsyncIterator[Tenant]:
    async with open_ledger(**changes) as ledger:
        if tenant_id is None:
            known = ", ".join(tenant.tenant_id for tenant in await ledger.tenants.list()) or "none yet"
            raise SettingsError(
                "Which tenant?",
                expected="--tenant ID, or DAICHO_TENANT in the environment",
                found=f"neither; tenants: {known}",
                fix="Name one; none is chosen for you",
            )
        # Whether it may record is for its database to say: a suspended tenant is read as any other.
        yield await ledger.tenant(tenant_id, for_reading=True)


async def catch_up(tenant: Tenant, settings: Settings | None = None) -> None:
    """Where this process projects, what was recorded before the question is in the answer."""
    if (settings or Settings()).projection == "background":
        await tenant.wait_projected(await tenant.store.head())


# Not as orjson would write a dataclass: what it says of itself in `to_dict` belongs to it.
_JSON = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_UTC_Z


def print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=_JSON | orjson.OPT_INDENT_2, default=_jsonable))


def print_json_line(value: Any) -> None:
    click.echo(orjson.dumps(value, option=_JSON, default=_jsonable))


def _jsonable(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(type(value).__name__)


def said_of(error: ValidationError) -> str:
    return "; ".join(_place(item["loc"]) + _said(item["msg"]) for item in error.errors())


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")  # pydantic's word for what a validator of ours says


def _complain(problem: str) -> None:
    err.print(Text.assemble(("daicho:", "bold red"), f" {problem}"))


tenant_option = click.option(
    "-t", "--tenant", "tenant_id", metavar="ID", envvar="DAICHO_TENANT", help="[env: DAICHO_TENANT]"
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
