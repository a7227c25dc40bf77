"""`daicho tail`: what it prints, and as a process of its own how it follows and ends."""

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import orjson
import pytest

from ledger import Event, Ledger, Settings, Tenant
from tests.exports.conftest import Counter, count_once
from tests.support.command_line import DAICHO, CommandLine, next_line, running


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


def tailing(
    home: Path, tenant: Tenant, *options: str
) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    return running(home, "tail", "-t", tenant.tenant_id, *options)


async def tail(home: Path, tenant: Tenant, *options: str) -> list[str]:
    done = await CommandLine(home).result("tail", "-t", tenant.tenant_id, *options)
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def positions(lines: list[str]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


async def emit(tenant: Tenant, *run_ids: str, kind: str = "run.cancelled") -> None:
    for run_id in run_ids:
        await tenant.emitter.emit(Event(event_type=kind, tenant_id=tenant.tenant_id, run_id=run_id))


async def test_without_f_the_last_matching_events_are_printed_and_it_ends(home: Path, tenant: Tenant) -> None:
    assert await tail(home, tenant) == []
    for _ in range(8):
        await emit(tenant, "a", "b", "b")
    await emit(tenant, "a", kind="run.succeeded")
    assert positions(await tail(home, tenant)) == list(range(6, 26))
    assert positions(await tail(home, tenant, "-n", "2", "--run", "a")) == [22, 25]
    assert positions(await tail(home, tenant, "--type", "run.succeeded")) == [25]
    assert positions(await tail(home, tenant, "--after", "1")) == list(range(2, 26))
    assert positions(await tail(home, tenant, "--after", "20", "--run", "b")) == [21, 23, 24]
    assert positions(await tail(home, tenant, "--after", "20", "-n", "2")) == [24, 25]
    assert await tail(home, tenant, "--after", "25") == []
    assert await tail(home, tenant, "--run", "nobody") == []


async def test_json_is_one_object_per_line(home: Path, tenant: Tenant) -> None:
    await emit(tenant, "a", "b")
    lines = [orjson.loads(line) for line in await tail(home, tenant, "--json")]
    assert lines == [event.to_dict() for event in await tenant.store.read()]


async def test_with_f_it_goes_on_line_by_line_until_ctrl_c(home: Path, tenant: Tenant) -> None:
    await emit(tenant, "a", "b", "a")
    options = ("-f", "-n", "1", "--run", "a", "--type", "run.cancelled", "--type", "run.failed")
    async with tailing(home, tenant, *options) as process:
        assert positions([await next_line(process)]) == [3]
        await emit(tenant, "b")
        await emit(tenant, "a", kind="run.succeeded")
        for position in (6, 7):
            await emit(tenant, "a")
            assert positions([await next_line(process)]) == [position]
        process.send_signal(signal.SIGINT)
        printed, complaints = await process.communicate()
    assert process.returncode == 130
    assert (printed, complaints) == (b"", b"")


@pytest.mark.parametrize("options", [(), ("--json",), ("-f",)], ids=["plain", "json", "follow"])
async def test_a_reader_that_has_seen_enough_ends_it_without_a_word(
    home: Path, tenant: Tenant, options: tuple[str, ...]
) -> None:
    """More than a pipe holds; with -f the end is noticed although nothing more is written."""
    for _ in range(3):
        await tenant.emitter.emit_many(
            [
                Event(event_type="run.cancelled", tenant_id=tenant.tenant_id, run_id=f"run-{number}")
                for number in range(900)
            ]
        )
    lines = ("-n", "1") if "-f" in options else ("--after", "0")
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *DAICHO, "tail", "-t", tenant.tenant_id, *options, *lines,
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "DAICHO_HOME": str(home)},
    )  # fmt: skip
    os.close(write)
    assert await asyncio.to_thread(os.read, read, 20)
    os.close(read)
    async with asyncio.timeout(30):
        _, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b"")


async def test_erased_payloads_and_events_of_other_applications_are_named(
    home: Path, ledger: Ledger, tenant: Tenant
) -> None:
    await emit(tenant, "a", "a")
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER USER")
    await connection.execute("UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 1")
    topic = "shop.orders:Order.\x1b[31mPlaced"
    await connection.execute("UPDATE ledger.events SET event_type = $1 WHERE position = 2", topic)
    await connection.close()

    erased, foreign = await tail(home, tenant)
    assert erased.endswith("[payload erased]")
    assert "shop.orders:Order.\N{REPLACEMENT CHARACTER}[31mPlaced" in foreign
    assert foreign.endswith("[2 bytes of another application]")
    in_json = [orjson.loads(line) for line in await tail(home, tenant, "--json")]
    assert [(line["erased"], line["payload"]) for line in in_json] == [(True, None), (False, None)]
    assert in_json[1]["event_type"] == topic


@pytest.mark.parametrize("options", [("-n", "-1"), ("--after", "-1"), ("-n", "x"), ("--nonsense",)])
async def test_wrong_usage_is_told_with_exit_code_2(
    home: Path, tenant: Tenant, options: tuple[str, ...]
) -> None:
    async with tailing(home, tenant, *options) as process:
        printed, complaints = await process.communicate()
    assert (process.returncode, printed) == (2, b"")
    assert b"Error" in complaints


@pytest.mark.parametrize("follow", [(), ("-f",)], ids=["once", "follow"])
async def test_a_type_that_no_event_can_have_is_refused_with_what_is_like_it(
    home: Path, tenant: Tenant, follow: tuple[str, ...]
) -> None:
    await emit(tenant, "a")
    async with tailing(home, tenant, "--type", "run.canceled", *follow) as process:
        printed, complaints = await process.communicate()
    assert (process.returncode, printed) == (2, b"")
    assert b"Did you mean 'run.cancelled'" in complaints


async def test_a_type_is_waited_for_that_the_ledger_knows(home: Path, tenant: Tenant) -> None:
    async with tailing(home, tenant, "-f", "--type", "run.succeeded") as process:
        await emit(tenant, "a")
        await emit(tenant, "a", kind="run.succeeded")
        assert positions([await next_line(process)]) == [2]


async def test_topics_of_other_applications_are_types_too(home: Path, tenant: Tenant) -> None:
    await asyncio.to_thread(count_once, tenant.application_env())
    [line] = await tail(home, tenant, "--type", f"{Counter.__module__}:Counter.Counted")
    assert line.endswith("bytes of another application]")
