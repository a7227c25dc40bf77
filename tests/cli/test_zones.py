"""Times in a terminal are the reader's own, whatever zone that is; in JSON they are UTC."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

import pytest

from ledger import Settings, Tenant
from tests.support.command_line import CommandLine

Said = Callable[[str, str], Awaitable[str]]

AHEAD = timedelta(hours=9, minutes=30)
ZONES = ("UTC0", "XXX-09:30")  # POSIX counts the other way round: the second is ahead of UTC
TIME = re.compile(r"(?<!\d)(?:\d{4}-)?\d\d-\d\d \d\d:\d\d(?::\d\d)?")
COMMANDS = (
    "tail",
    "search",
    "runs",
    "timeline run-1",
    "state run-1",
    "explain run-1 draft",
    "table attempts",
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.mark.parametrize("command", COMMANDS)
async def test_times_are_the_readers_own_in_a_terminal_and_utc_in_json(
    tenant: Tenant, said: Said, command: str
) -> None:
    async with tenant.run("run-1", prompt_pack="mock_pack") as run:
        with pytest.raises(ConnectionError):
            async with run.step("draft"):
                raise ConnectionError("reset by peer")
        async with run.step("draft"):
            pass
    at_home, abroad = [TIME.findall(await said(zone, command)) for zone in ZONES]
    assert at_home
    moved = [instant(theirs) - instant(ours) for ours, theirs in zip(at_home, abroad, strict=True)]
    assert set(moved) == {AHEAD}
    in_json = [await said(zone, f"{command} --json") for zone in ZONES]
    assert in_json[0] == in_json[1]
    assert re.search(r"T\d\d:\d\d:\d\d(\.\d+)?Z\"", in_json[0])
    assert not re.search(r"T\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d", in_json[0])


def instant(shown: str) -> datetime:
    """Where the year is left out it is this one, and where the seconds are, they are none."""
    whole = shown if shown[4] == "-" else f"{datetime.now().year}-{shown}"
    return datetime.fromisoformat(whole)


@pytest.fixture
def said(daicho: CommandLine, tenant: Tenant) -> Iterator[Said]:
    with pytest.MonkeyPatch.context() as environment:

        async def said(zone: str, command: str) -> str:
            environment.setenv("TZ", zone)
            time.tzset()
            code, printed = await daicho(*command.split(), "-t", tenant.tenant_id)
            assert code == 0, printed
            return printed

        yield said
    time.tzset()
