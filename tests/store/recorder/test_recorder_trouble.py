"""A recorder that loses answers and connections, or time; and its notifications' index."""

import asyncio
from typing import Any

import pytest
from eventsourcing.persistence import (
    IntegrityError,
    OperationalError,
)
from recorders import recording, stored

from ledger import Ledger, Tenant
from ledger.store.recorder import (
    RecordConflict,
)


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("select_notifications", ("Orders", 990, 2000, None, 10)),
        ("max_notification_id", ("Orders",)),
    ],
)
async def test_an_applications_notifications_are_found_by_their_index(
    ledger: Ledger, tenant: Tenant, statement: str, arguments: tuple[Any, ...]
) -> None:
    from ledger.store.recorder.datastore import _SQL

    async with recording(tenant) as recorder, recording(tenant, "Bills") as others:
        recorder.insert_events([stored("a", n) for n in range(1_000)])
        others.insert_events([stored("a", n) for n in range(3_000)])
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("ANALYZE ledger.events")
    plan = await connection.fetch(f"EXPLAIN {_SQL[statement]}", *arguments)
    await connection.close()
    assert "events_application_idx" in str(plan)


# Trouble


class AnswerLost:
    """A connection that executes and loses the answer, once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetchval(self, *arguments: Any) -> Any:
        await self._connection.fetchval(*arguments)
        raise ConnectionResetError("the answer was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_a_lost_answer_is_found_out_and_the_events_are_there_once(tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        recorder.datastore._writer = AnswerLost(recorder.datastore._writer)  # type: ignore[assignment]
        assert recorder.insert_events([stored("a", 2), stored("b", 1)]) == [2, 3]
        assert recorder.insert_events([stored("a", 3)]) == [4]
    assert await tenant.store.head() == 4


async def test_a_conflict_met_by_the_second_try_is_still_a_conflict(tenant: Tenant) -> None:
    class Cut(AnswerLost):
        async def fetchval(self, *arguments: Any) -> Any:
            raise ConnectionResetError("nothing was sent")

    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        recorder.datastore._writer = Cut(recorder.datastore._writer)  # type: ignore[assignment]
        with pytest.raises(RecordConflict):
            recorder.insert_events([stored("a", 1)])


async def test_after_its_connections_were_cut_it_connects_again(ledger: Ledger, tenant: Tenant) -> None:
    async with recording(tenant) as recorder:
        recorder.insert_events([stored("a", 1)])
        connection = await ledger.server.connect(tenant.database.name)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await connection.close()
        assert recorder.insert_events([stored("a", 2)]) == [2]
        with pytest.raises(IntegrityError):
            recorder.insert_events([stored("a", 2)])


async def test_a_call_ends_within_its_deadline_and_its_events_are_there_once_or_not(
    ledger: Ledger, tenant: Tenant
) -> None:
    async with recording(tenant) as recorder:
        recorder.datastore._deadline_seconds = 0.2
        connection = await ledger.server.connect(tenant.database.name)
        async with connection.transaction():
            await connection.execute("SELECT FROM ledger.head FOR UPDATE")
            with pytest.raises(OperationalError, match="Retrying may help"):
                await asyncio.to_thread(recorder.insert_events, [stored("a")])
        await connection.close()
        recorder.datastore._deadline_seconds = 5
        positions = recorder.insert_events([stored("b")])
        found = recorder.select_notifications(None, 10)
        assert [notification.id for notification in found][-1:] == positions
        assert [notification.originator_id for notification in found] in (["b"], ["a", "b"])
