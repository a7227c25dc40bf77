"""daicho erase: only where it is meant, and said by whom and why."""

import json

import pytest

from ledger import Event, Tenant
from tests.support.command_line import CommandLine


@pytest.fixture
async def erasing(tenant: Tenant) -> list[str]:
    """The command, all but --yes; what it would erase says `canary`."""
    started = Event(
        event_type="run.started",
        run_id="r",
        tenant_id=tenant.tenant_id,
        payload={"prompt_pack": {"pack_id": "p", "version": 1, "digest": "d"}, "pipeline": "canary"},
    )
    await tenant.emitter.emit(started)
    return ["erase", "1", "-t", tenant.tenant_id, "--by", "ann", "--reason", "request [17]"]


async def test_without_yes_nothing_is_erased(tenant: Tenant, daicho: CommandLine, erasing: list[str]) -> None:
    code, output = await daicho(*erasing)
    assert code == 2
    assert "would erase the payload of position 1 (run.started, run 'r'), for good. Say --yes" in output
    assert "canary" not in output
    assert await tenant.store.head() == 1


async def test_what_is_erased_is_gone_and_told(
    tenant: Tenant, daicho: CommandLine, erasing: list[str]
) -> None:
    code, output = await daicho(*erasing, "--yes")
    assert (code, "Erased: position 1, by ann: request [17]" in output) == (0, True), output
    again, output = await daicho(*erasing, "--yes", "--json")
    record = json.loads(output)
    assert (again, record["event_type"], record["position"]) == (0, "payload.erased", 2)

    code, output = await daicho("timeline", "r", "-t", tenant.tenant_id)
    assert (code, "payload erased by ann: request [17]" in output) == (0, True), output
    code, output = await daicho("timeline", "r", "-t", tenant.tenant_id, "--json")
    [entry] = json.loads(output)["entries"]
    assert (entry["erased"], entry["erased_by"], entry["erased_reason"]) == (True, "ann", "request [17]")
    code, output = await daicho("state", "r", "-t", tenant.tenant_id)
    assert (code, "request [17]" in output) == (0, True), output
    code, output = await daicho("state", "r", "-t", tenant.tenant_id, "--json")
    [erased] = json.loads(output)["erased"]
    assert (erased["position"], erased["erased_by"], erased["record_position"]) == (1, "ann", 2)


@pytest.mark.parametrize("missing", ["--by", "--reason"])
async def test_by_whom_and_why_are_required(daicho: CommandLine, erasing: list[str], missing: str) -> None:
    place = erasing.index(missing)
    code, output = await daicho(*erasing[:place], *erasing[place + 2 :], "--yes")
    assert code == 2
    assert f"Missing option '{missing}'" in output


async def test_a_position_that_is_not_there(daicho: CommandLine, erasing: list[str]) -> None:
    erasing[1] = "2"
    code, output = await daicho(*erasing, "--yes")
    assert (code, "There is no position 2" in output) == (2, True)
    code, output = await daicho(*erasing)
    assert (code, "which is not there" in output) == (2, True)
