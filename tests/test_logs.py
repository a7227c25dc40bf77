"""Logs: one JSON object per line, who is working bound into it, no bodies and no secrets."""

import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ledger import ExecutionContext, Ledger, Settings, Tenant
from ledger.errors import StoreUnavailable
from ledger.logs import bound_context, configure_logs, get_logger

log = get_logger("ledger.a_test")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calling it gives the lines logged so far, decoded."""
    standard_error = io.StringIO()
    with monkeypatch.context() as redirected:
        redirected.setattr(sys, "stderr", standard_error)
        configure_logs("json", "info")
    return lambda: [json.loads(line) for line in standard_error.getvalue().splitlines()]


def test_a_line_is_json_with_event_level_logger_and_time(lines: Any) -> None:
    log.info("something_happened", count=3)
    [line] = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "something_happened", "count": 3, "level": "info", "logger": "ledger.a_test"}


def test_below_the_level_nothing_is_written(lines: Any) -> None:
    log.debug("too_small")
    assert lines() == []


def test_inside_a_context_every_line_says_who_is_working(lines: Any) -> None:
    context = ExecutionContext("run-1", "draft", 2, "acme", datetime.now(UTC))
    with bound_context(context):
        log.info("inside")
    log.info("outside")
    inside, outside = lines()
    assert {key: inside[key] for key in ("run_id", "step_id", "attempt", "tenant_id")} == {
        "run_id": "run-1",
        "step_id": "draft",
        "attempt": 2,
        "tenant_id": "acme",
    }
    assert "run_id" not in outside


async def test_inside_a_step_too_and_not_in_its_neighbour(tenant: Tenant, lines: Any) -> None:
    async with tenant.run("run-1", prompt_pack="mock_pack") as run:
        async with run.step("draft", attempt=2):
            log.info("inside")
        log.info("between")
        async with run.step("render"):
            log.info("inside")
    draft, between, render = [line for line in lines() if line["logger"] == "ledger.a_test"]
    assert (draft["run_id"], draft["step_id"], draft["attempt"]) == ("run-1", "draft", 2)
    assert draft["tenant_id"] == tenant.tenant_id
    assert "step_id" not in between
    assert (render["step_id"], render["attempt"]) == ("render", 1)


async def test_opening_says_which_stores_are_in_use(settings: Settings, lines: Any) -> None:
    async with await Ledger.open(settings):
        pass
    [opened] = [line for line in lines() if line["event"] == "ledger_opened"]
    assert str(settings.home) in opened["database"]
    assert str(settings.home / "blobs") in opened["blobs"]


async def test_no_body_and_no_payload_is_logged_even_where_things_fail(tenant: Tenant, lines: Any) -> None:
    secret = "the-body-nobody-may-see"
    with pytest.raises(ValueError, match=secret):  # noqa: PT012
        async with (
            tenant.run("run-1", prompt_pack="mock_pack", config={"text": secret}) as run,
            run.step("draft") as step,
        ):
            await step.put(secret, "output.txt", "text/plain")
            raise ValueError(secret)
    assert secret not in json.dumps(lines())


async def test_no_password_is_logged(lines: Any) -> None:
    url = "postgresql://me:s3cr3t-pw@127.0.0.1:1/db"
    with pytest.raises(StoreUnavailable):
        await Ledger.open(Settings(database_url=url, minio_secret_key="s3cr3t-pw", connect_timeout_seconds=1))
    assert "s3cr3t-pw" not in json.dumps(lines())


def test_an_exception_is_one_line_of_json_too(lines: Any) -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        log.exception("it_broke")
    [line] = lines()
    assert "ValueError: broken\nin two" in line["exception"]


def test_importing_daicho_leaves_an_applications_structlog_alone(tmp_path: Path) -> None:
    code = "import structlog, ledger.composition; print(structlog.is_configured())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "False"


def test_without_configuration_the_applications_own_handlers_get_the_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO", logger="ledger"):
        log.info("something_happened", count=3)
    [record] = caplog.records
    assert record.name == "ledger.a_test"
    assert "something_happened" in record.getMessage()
