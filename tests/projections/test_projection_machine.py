"""Through PostgreSQL, in any order: events are emitted and erased, projectors project and are killed at every
edge of a batch, tables are restored from a backup or damaged, rebuilt whole or in part. The tables are always
those of the model: all events up to the checkpoint, folded afresh in memory."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from builder import Records, fold_all
from database_rows import connected, live_records
from event_strategies import RUNS, Fact, can_be_emitted, interleaved
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ledger import EventType, Ledger, RecordedEvent, Settings, Tenant
from ledger.errors import RunNotFound, StoreError, StoreUnavailable
from projections import Projector, rebuild, verify
from projections import projector as projector_module
from projections.live_tables import advance
from projections.rows import ROW_TYPES, columns
from projections.table_sql import listed, qualified

T = TypeVar("T")
EDGES = ("before the rows", "before the commit", "after the commit")


class Killed(BaseException):
    """A projector's end, where it stands."""


class Machine(RuleBasedStateMachine):
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.run(self._open())
        self.projectors = [Projector(self.tenant.store), Projector(self.tenant.store)]
        self.backup: tuple[Records, int] = ({row_type.TABLE: {} for row_type in ROW_TYPES}, 0)
        self.is_damaged = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    async def _open(self) -> None:
        self.ledger = await Ledger.open(self.settings)
        tenant_id = f"t-{uuid4().hex[:12]}"
        await self.ledger.tenants.create_tenant_db(tenant_id, "A tenant of an example")
        self.tenant: Tenant = await self.ledger.tenant(tenant_id)

    @rule(facts=interleaved(), at_once=st.booleans())
    def emit(self, facts: list[Fact], at_once: bool) -> None:
        events = [
            fact.to_event(self.tenant.tenant_id) for fact in facts[:12] if can_be_emitted(fact.event_type)
        ]
        if at_once:
            self.run(self.tenant.emitter.emit_many(events))
        else:
            for event in events:
                self.run(self.tenant.emitter.emit(event))

    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        events = self.run(self._events())
        erasable = [event for event in events if event.event_type != EventType.PAYLOAD_ERASED]
        if erasable:
            position = data.draw(st.sampled_from(erasable)).position
            self.run(self.tenant.erase_payload(position, by="ada", reason="asked to"))

    @precondition(lambda self: not self.is_damaged)
    @rule(which=st.integers(0, 1), batch=st.integers(1, 9))
    def project(self, which: int, batch: int) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(projector_module, "BATCH_EVENTS_MAX", batch)
            self.run(self.projectors[which].project_batch())

    @precondition(lambda self: not self.is_damaged)
    @rule(which=st.integers(0, 1))
    def follow_to_the_end(self, which: int) -> None:
        assert self.run(self.projectors[which].catch_up()) == self.run(self.tenant.store.head())

    @precondition(lambda self: not self.is_damaged)
    @rule(which=st.integers(0, 1), batch=st.integers(1, 9), edge=st.sampled_from(EDGES))
    def kill_the_projector(self, which: int, batch: int, edge: str) -> None:
        self.run(self._kill(which, batch, edge))

    async def _kill(self, which: int, batch: int, edge: str) -> None:
        projector = self.projectors[which]

        async def write_and_die(connection: Any, *what: Any) -> bool:
            async with connection.transaction():
                if edge != "before the rows":
                    await advance(connection, *what)
                connection.terminate()
                raise Killed

        def die(*_: object) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(projector_module, "BATCH_EVENTS_MAX", batch)
            if edge == "after the commit":
                patched.setattr(projector, "_trim", die)
            else:
                patched.setattr(projector_module, "advance", write_and_die)
            with suppress(Killed, StoreUnavailable):  # the connection was cut under it
                await projector.project_batch()
        await projector.close()
        self.projectors[which] = Projector(self.tenant.store)

    @precondition(lambda self: not self.is_damaged)
    @rule()
    def back_up(self) -> None:
        self.backup = self.run(self._stand())

    @precondition(lambda self: not self.is_damaged)
    @rule()
    def restore(self) -> None:
        """Rows and checkpoint of an earlier moment, as from a dump of the schema."""
        self.run(self._restore(*self.backup))

    async def _restore(self, records: Records, position: int) -> None:
        async with connected(self.tenant) as connection, connection.transaction():
            for row_type in ROW_TYPES:
                await connection.execute(f"DELETE FROM {qualified(row_type)}")
                numbers = ", ".join(f"${number}" for number in range(1, len(columns(row_type)) + 1))
                await connection.executemany(
                    f"INSERT INTO {qualified(row_type)} ({listed(columns(row_type))}) VALUES ({numbers})",
                    list(records[row_type.TABLE].values()),
                )
            await connection.execute("UPDATE projection.checkpoints SET position = $1", position)

    @rule(position=st.integers(0, 60))
    def damage(self, position: int) -> None:
        """The checkpoint alone goes somewhere else, and rows are lost: only a rebuild heals that."""
        self.run(self._damage(position))
        self.is_damaged = True

    async def _damage(self, position: int) -> None:
        async with connected(self.tenant) as connection:
            await connection.execute("UPDATE projection.checkpoints SET position = $1", position)
            await connection.execute("UPDATE projection.runs SET status = 'nonsense', run_id = run_id || 'x'")
            await connection.execute("DELETE FROM projection.steps")

    @rule()
    def rebuild_all(self) -> None:
        report = self.run(rebuild(self.tenant))
        self.is_damaged = False
        assert report.position == self.run(self.tenant.store.head()) - 1

    @precondition(lambda self: not self.is_damaged)
    @rule(table=st.sampled_from([row_type.TABLE for row_type in ROW_TYPES]))
    def rebuild_a_table(self, table: str) -> None:
        self.run(rebuild(self.tenant, table=table))

    @precondition(lambda self: not self.is_damaged)
    @rule(run_id=st.sampled_from(RUNS))
    def rebuild_a_run(self, run_id: str) -> None:
        try:
            self.run(rebuild(self.tenant, run_id=run_id))
        except RunNotFound:
            assert not self.run(self.tenant.store.read_run(run_id))

    @precondition(lambda self: self.is_damaged)
    @rule()
    def rebuild_a_table_of_many(self) -> None:
        """Where the checkpoint is ahead of the log nothing can be said about one table."""
        head = self.run(self.tenant.store.head())
        _, position = self.run(self._stand())
        if position > head:
            with pytest.raises(StoreError):
                self.run(rebuild(self.tenant, table="steps"))

    @invariant()
    def tables_are_the_model(self) -> None:
        if not self.is_damaged:
            self.run(self._compare())

    async def _compare(self) -> None:
        live, position = await self._stand()
        events = await self._events()
        expected = fold_all([event for event in events if event.position <= position]).tables.records()
        later = {
            (event.payload or {}).get("position") for event in events[position:]
            if event.event_type == EventType.PAYLOAD_ERASED
        }  # fmt: skip
        pending = {event.run_id for event in events if event.position in later}
        for table, rows in expected.items():
            assert {key: row for key, row in live[table].items() if key[0] not in pending} == {
                key: row for key, row in rows.items() if key[0] not in pending
            }, table

    async def _stand(self) -> tuple[Records, int]:
        records = await live_records(self.tenant)
        async with connected(self.tenant) as connection:
            position = await connection.fetchval("SELECT position FROM projection.checkpoints")
        return records, int(position)

    async def _events(self) -> list[RecordedEvent]:
        return await self.tenant.store.read(limit=10_000)

    def teardown(self) -> None:
        try:
            self.run(self._end())
        finally:
            self.run(self._close())
            self.loop.close()

    async def _end(self) -> None:
        if self.is_damaged:
            if (await verify(self.tenant)).ok:
                await self._compare()  # there was nothing to damage, or it is folded again anyway
            await rebuild(self.tenant)
        await self.projectors[0].catch_up()
        verified = await verify(self.tenant)
        assert verified.ok, [str(found) for found in verified.differences]
        assert verified.position == await self.tenant.store.head()
        assert verified.awaiting_erasure == []

    async def _close(self) -> None:
        for projector in self.projectors:
            await projector.close()
        await self.ledger.close()


@pytest.mark.parametrize(("examples", "steps"), [(6, 12), pytest.param(60, 30, marks=pytest.mark.torture)])
def test_tables_are_the_model_whatever_happens(settings: Settings, examples: int, steps: int) -> None:
    class Here(Machine):
        pass

    Here.settings = settings.model_copy(update={"projection": "external"})
    run_state_machine_as_test(
        Here,
        settings=hypothesis_settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            # Each example takes a database of its own: a failure is shown as it was found, not made smaller.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
