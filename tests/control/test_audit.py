"""The audit trail of the control database: written with its change or not at all, and never changed."""

import os
import socket
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from ledger import Ledger
from ledger.control.audit import acts_of, record_act, this_actor
from ledger.control.catalogue import Catalogue
from ledger.errors import InvalidName


@pytest.fixture
async def catalogue(ledger: Ledger) -> AsyncIterator[Catalogue]:
    async with Catalogue.open(ledger.server) as opened:
        yield opened


@pytest.fixture
def subject() -> str:
    return f"tenant:{uuid4().hex[:12]}"


def test_an_account_without_a_name_is_told_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54_321)  # as a container has it, without a passwd entry
    assert this_actor() == f"uid-54321@{socket.gethostname()}"


async def test_an_act_says_who_did_what_to_what_and_why(catalogue: Catalogue, subject: str) -> None:
    async with catalogue.changing() as connection:
        await record_act(connection, "ada", "tenant.suspended", subject, reason="unpaid", details={"n": 1})
        await record_act(connection, None, "tenant.resumed", subject)
        newest, first = await acts_of(connection, subject)
    assert (first.actor, first.action, first.reason, first.details) == (
        "ada",
        "tenant.suspended",
        "unpaid",
        {"n": 1},
    )
    assert (newest.actor, newest.reason) == (this_actor(), None)
    assert newest.recorded_at > first.recorded_at
    assert newest.database_user


async def test_an_act_goes_with_its_change_when_that_is_undone(catalogue: Catalogue, subject: str) -> None:
    async def fail_after_recording() -> None:
        async with catalogue.changing() as connection:
            await record_act(connection, "ada", "tenant.suspended", subject)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_after_recording()
    async with catalogue.changing() as connection:
        assert await acts_of(connection, subject) == []


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE control.control_audit SET actor = 'nobody'",
        "DELETE FROM control.control_audit",
        "TRUNCATE control.control_audit",
    ],
)
@pytest.mark.parametrize("as_replica", [False, True])
async def test_nobody_changes_an_act(
    ledger: Ledger, catalogue: Catalogue, subject: str, tampering: str, as_replica: bool
) -> None:
    async with catalogue.changing() as connection:
        await record_act(connection, "ada", "tenant.suspended", subject)
    superuser = await ledger.server.connect()
    try:
        if as_replica:
            await superuser.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await superuser.execute(tampering)
        [act] = await acts_of(superuser, subject)
    finally:
        await superuser.close()
    assert act.actor == "ada"


@pytest.mark.parametrize("by", ["", " ", "x" * 201, "a\nb", "a\x00b"], ids=ascii)
async def test_who_acts_is_a_printable_name(catalogue: Catalogue, subject: str, by: str) -> None:
    async with catalogue.changing() as connection:
        with pytest.raises(InvalidName, match="printable"):
            await record_act(connection, by, "tenant.suspended", subject)
        assert await acts_of(connection, subject) == []
