"""`daicho runs`: pages, filters and what it says where there is nothing."""

import asyncio
import os
import shlex
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from ledger import Ledger, Settings, Tenant
from ledger.cli import main


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


async def daicho(home: Path, *arguments: str) -> Result:
    environment = {**os.environ, "DAICHO_HOME": str(home), "COLUMNS": "200"}
    return await asyncio.to_thread(CliRunner(env=environment).invoke, main, arguments)


async def test_runs_come_page_by_page_and_each_page_names_the_call_for_the_next(
    home: Path, ledger: Ledger, tenant: Tenant
) -> None:
    named = ("runs", "-t", tenant.tenant_id)
    assert (await daicho(home, *named)).output == "No runs yet.\n"
    for number in range(5):
        async with tenant.run(f"run-{number}", prompt_pack="mock_pack", labels={"who": "[eva]"}):
            pass

    first = await daicho(home, *named, "--limit", "3", "--since", "2h", "--text", "run [eva]")
    listed, hint = first.output.rsplit("More: ", 1)
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["run-4", "run-3", "run-2"]
    second = await daicho(home, *shlex.split(hint)[1:])
    assert [line.split()[0] for line in second.output.splitlines()[1:]] == ["run-1", "run-0"]

    page = orjson.loads((await daicho(home, *named, "--limit", "2", "--json")).output)
    assert [run["run_id"] for run in page["runs"]] == ["run-4", "run-3"]
    rest = orjson.loads((await daicho(home, *named, "--json", "--after", str(page["next"]))).output)
    assert (len(rest["runs"]), rest["next"]) == (3, None)
    assert (await daicho(home, *named, "--pack", "mock_pack@99")).output == "No such runs.\n"


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        (("--status", "gone"), "'gone' is not one of"),
        (("--since", "yesterday"), "'yesterday' is not a time"),
        (("--until", "2h ago"), "or an age, as 2h"),
        (("--since", "999999w"), "before all calendars"),
        (("--pack", "@3"), "Expected a prompt_pack"),
        (("--text", "--"), "1 to 16 words"),
        (("--after", "-1"), "not in the range"),
    ],
    ids=lambda option: " ".join(option),
)
async def test_what_no_run_can_have_is_wrong_usage(
    tmp_path: Path, option: tuple[str, str], complaint: str
) -> None:
    answer = await daicho(tmp_path, "runs", "-t", "acme", *option)
    assert (answer.exit_code, answer.exception.__class__) == (2, SystemExit)
    assert complaint in answer.output.replace("\n", " ")
