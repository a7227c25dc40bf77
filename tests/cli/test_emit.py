"""`daicho emit`: what is recorded is printed, and what cannot be recorded is told with its line, before any
line is sent."""

import json

import pytest
from click.testing import Result

from ledger import Tenant
from tests.support.command_line import CommandLine

GOOD = '{"event_type": "run.succeeded", "run_id": "r-1"}'


async def emit(daicho: CommandLine, tenant: Tenant, *lines: str) -> Result:
    return await daicho.result("emit", "-t", tenant.tenant_id, given="\n".join(lines).encode())


async def test_each_event_is_printed_as_it_was_recorded(daicho: CommandLine, tenant: Tenant) -> None:
    again = '{"event_type": "run.succeeded", "run_id": "r-2", "event_id": "%s"}' % ("6" * 32)
    done = await emit(daicho, tenant, GOOD, "", again, again)
    assert done.exit_code == 0
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["position"] for line in printed] == [1, 2, 2], "the same id is recorded once"
    assert printed[:2] == [event.to_dict() for event in await tenant.store.read()]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("no json", "Line 2 is not JSON"),
        ("[1]", "Line 2 is not a JSON object"),
        ('{"run_id": "r"}', "Line 2 is no event: event_type: Field required"),
        ('{"event_type": "run.exploded", "run_id": "r"}', "Line 2 is no event: event_type"),
        ('{"event_type": "step.started", "run_id": "r"}', "Line 2 is no event: step.started needs a step_id"),
        ('{"event_type": "step.failed", "run_id": "r", "step_id": "s"}', "Line 2 is refused: The payload of"),
        (
            '{"event_type": "run.succeeded", "run_id": "r", "tenant_id": "other"}',
            "Line 2 is refused: The event",
        ),
        (
            '{"event_type": "prompt_pack.published", "run_id": "$tenant"}',
            "Line 2 is refused: prompt_pack.published",
        ),
        ('{"event_type": "payload.erased", "run_id": "$tenant"}', "Line 2 is refused: payload.erased"),
    ],
)
async def test_a_line_that_cannot_be_recorded_is_told_before_any_is_sent(
    daicho: CommandLine, tenant: Tenant, line: str, said: str
) -> None:
    done = await emit(daicho, tenant, GOOD, line)
    assert done.exit_code == 2
    told = " ".join(done.output.split())
    assert said in told
    assert "nothing was sent" in told
    assert "Traceback" not in told
    assert await tenant.store.head() == 0
