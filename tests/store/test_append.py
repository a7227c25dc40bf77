"""Appending: positions without gaps, versions per run, each id once, groups whole or not at all."""

import asyncio
import hashlib
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import Event, Ledger, RecordedEvent, Tenant
from ledger.errors import EventConflict, VersionConflict
from ledger.store.append import Group, append_arguments, encode_group
from ledger.store.tenant_database import Role


def fact(tenant: Tenant, run_id: str = "run", *, event_id: UUID | None = None, **payload: Any) -> Event:
    return Event(
        event_type="run.succeeded",
        tenant_id=tenant.tenant_id,
        run_id=run_id,
        payload=payload,
        event_id=event_id or uuid4(),
    )


async def rows(ledger: Ledger, tenant: Tenant, sql: str, *arguments: Any) -> list[asyncpg.Record]:
    """As a superuser, past every role."""
    connection = await ledger.server.connect(tenant.database.name)
    try:
        return await connection.fetch(sql, *arguments)
    finally:
        await connection.close()


async def test_positions_count_from_1_without_gaps_and_versions_within_each_run(tenant: Tenant) -> None:
    recorded = [await tenant.store.append([fact(tenant, run)]) for run in "aabacb"]
    assert [event.position for [event] in recorded] == [1, 2, 3, 4, 5, 6]
    assert [event.version for [event] in recorded] == [1, 2, 1, 3, 1, 2]
    assert await tenant.store.head() == 6


async def test_one_append_of_many_counts_as_many_appends_of_one(tenant: Tenant) -> None:
    recorded = await tenant.store.append([fact(tenant, run) for run in "aabacb"])
    assert [(event.position, event.version) for event in recorded] == [
        (1, 1), (2, 2), (3, 1), (4, 3), (5, 1), (6, 2)
    ]  # fmt: skip


async def test_what_append_returns_is_what_read_returns(tenant: Tenant) -> None:
    one = await tenant.store.append([fact(tenant, n=1)])
    many = await tenant.store.append([fact(tenant, n=2), fact(tenant, "other", n=3)])
    assert one + many == await tenant.store.read()


async def test_the_same_id_with_the_same_content_returns_the_first_recording(tenant: Tenant) -> None:
    event = fact(tenant, n=1)
    [first] = await tenant.store.append([event])
    await tenant.store.append([fact(tenant, n=2)])
    changed = {"timestamp": event.timestamp.replace(year=2001), "actor": "someone else"}
    later = event.model_copy(update=changed)

    [again] = await tenant.store.append([later])

    assert again == first  # its own time and actor too: those of the log, not of the repetition
    assert await tenant.store.head() == 2


async def test_a_whole_group_repeated_returns_its_first_recordings(tenant: Tenant) -> None:
    group = [fact(tenant, run, n=1) for run in "aba"]
    first = await tenant.store.append(group)
    assert await tenant.store.append(group) == first
    assert await tenant.store.append(group[::-1]) == first[::-1]
    assert await tenant.store.head() == 3


async def test_the_same_event_twice_in_one_group_is_recorded_once(tenant: Tenant) -> None:
    event = fact(tenant)
    first, again = await tenant.store.append([event, event])
    assert first == again
    assert await tenant.store.head() == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"payload": {"n": 2}},
        {"event_type": "run.cancelled"},
        {"run_id": "another"},
        {"step_id": "draft"},
        {"attempt": 1},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_the_same_id_with_other_content_is_a_conflict_and_writes_nothing(
    tenant: Tenant, changed: dict[str, Any]
) -> None:
    event = fact(tenant, n=1)
    [first] = await tenant.store.append([event])
    other = Event(**{**event.model_dump(), **changed})

    with pytest.raises(EventConflict, match=str(event.event_id)) as conflict:
        await tenant.store.append([fact(tenant), other])

    assert "position 1" in str(conflict.value)
    assert "Retrying will not help" in str(conflict.value)
    assert await tenant.store.read() == [first]


async def test_after_an_erasure_the_id_alone_decides(ledger: Ledger, tenant: Tenant) -> None:
    event = fact(tenant, n=1)
    await tenant.store.append([event])
    connection = await ledger.server.connect(tenant.database.name)
    # What the erasing function of a later migration will do; here by a superuser, past the trigger.
    await connection.execute("ALTER TABLE ledger.events DISABLE TRIGGER immutable")
    await connection.execute("UPDATE ledger.events SET payload = NULL, salt = NULL")
    await connection.execute("ALTER TABLE ledger.events ENABLE ALWAYS TRIGGER immutable")
    await connection.close()

    [again] = await tenant.store.append([Event(**{**event.model_dump(), "payload": {"n": 2}, "attempt": 7})])

    assert again.position == 1
    assert again.is_erased
    assert again.payload is None


async def test_in_one_commit_a_conflict_is_its_callers_alone(tenant: Tenant) -> None:
    taken = fact(tenant, n=1)
    [first] = await tenant.store.append([taken])
    clash = Event(**{**taken.model_dump(), "payload": {"n": 2}})
    new = [fact(tenant, "run", n=number) for number in range(3)]

    outcomes = await tenant.store.append_groups(
        [
            encode_group([new[0]]),
            encode_group([new[1], clash]),
            encode_group([taken]),
            encode_group([new[2], fact(tenant, "other")]),
        ]
    )

    assert isinstance(outcomes[1], EventConflict)
    assert outcomes[2] == [first]
    assert [event.position for outcome in (outcomes[0], outcomes[3]) for event in outcome] == [2, 3, 4]
    assert [event.version for outcome in (outcomes[0], outcomes[3]) for event in outcome] == [2, 3, 1]
    ids = [event.event_id for event in await tenant.store.read()]
    assert ids == [taken.event_id, new[0].event_id, new[2].event_id, outcomes[3][1].event_id]


async def test_two_writers_at_once_record_the_same_event_once(ledger: Ledger, tenant: Tenant) -> None:
    event = fact(tenant, n=1)
    writers = [await tenant.database.connect(Role.WRITER) for _ in range(6)]
    call = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"
    answers = await asyncio.gather(
        *(writer.fetchrow(call, *append_arguments([encode_group([event])])) for writer in writers)
    )
    for writer in writers:
        await writer.close()
    assert {answer["positions"][0] for answer in answers} == {1}
    assert sorted(str((answer["outcomes"] or ["recorded"])[0]) for answer in answers) == [
        *["duplicate"] * 5,
        "recorded",
    ]
    assert len(await tenant.store.read()) == 1


async def test_many_writers_at_once_leave_no_gap_and_lose_nothing(tenant: Tenant) -> None:
    """Separate connections, as separate processes would have, with ids that overlap."""
    shared = [fact(tenant, f"run-{n % 3}", n=n) for n in range(40)]
    writers = [await tenant.database.connect(Role.WRITER) for _ in range(4)]
    call = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"

    async def write(writer: asyncpg.Connection, start: int) -> None:
        for n in range(start, start + 40, 4):
            groups = [encode_group([shared[(n + ahead) % 40]]) for ahead in range(4)]
            await writer.fetchrow(call, *append_arguments(groups))

    await asyncio.gather(*(write(writer, 5 * n) for n, writer in enumerate(writers)))
    for writer in writers:
        await writer.close()

    events = await tenant.store.read()
    assert [event.position for event in events] == list(range(1, 41))
    assert {event.event_id for event in events} == {event.event_id for event in shared}
    for run in ("run-0", "run-1", "run-2"):
        versions = [event.version for event in events if event.run_id == run]
        assert versions == list(range(1, len(versions) + 1))


async def test_an_expected_version_is_met_or_nothing_is_written(tenant: Tenant) -> None:
    await tenant.store.append([fact(tenant)], expected_version=0)
    await tenant.store.append([fact(tenant), fact(tenant)], expected_version=1)
    with pytest.raises(VersionConflict, match=r"version 1.*version 3"):
        await tenant.store.append([fact(tenant), fact(tenant)], expected_version=1)
    assert await tenant.store.head() == 3


async def test_of_many_writers_with_the_same_expectation_one_wins(tenant: Tenant) -> None:
    outcomes = await asyncio.gather(
        *(tenant.emitter.emit_many([fact(tenant, n=n)], expected_version=0) for n in range(20)),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert len(won) == 1
    assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 19
    assert [event.event_id for event in await tenant.store.read()] == [won[0][0].event_id]


async def test_an_expectation_of_one_run_says_nothing_of_another(tenant: Tenant) -> None:
    await tenant.store.append([fact(tenant, "a"), fact(tenant, "a")])
    [recorded] = await tenant.store.append([fact(tenant, "b")], expected_version=0)
    assert (recorded.position, recorded.version) == (3, 1)


async def test_a_repeated_append_is_answered_though_its_expectation_is_over(tenant: Tenant) -> None:
    """The answer to the first try may have been lost: a retry must not read as a conflict."""
    group = [fact(tenant), fact(tenant)]
    first = await tenant.store.append(group, expected_version=0)
    assert await tenant.store.append(group, expected_version=0) == first


GROUPS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 7), st.integers(0, 1)), min_size=1, max_size=4),
        st.none() | st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)


class Model:
    """What the store should do, in a few lines of Python: ids 0 to 7, contents 0 and 1, runs by id."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int]] = []

    def append(self, group: list[tuple[int, int]], expected: int | None) -> str | list[int]:
        log = list(self.log)
        answer = []
        for index, (name, content) in enumerate(group):
            there = [position for position, (known, _) in enumerate(log, 1) if known == name]
            if there:
                if log[there[0] - 1][1] != content:
                    return "conflict"
                answer.append(there[0])
                continue
            version = sum(known % 2 == name % 2 for known, _ in log)
            if index == 0 and expected is not None and expected != version:
                return "stale"
            log.append((name, content))
            answer.append(len(log))
        self.log = log
        return answer


async def test_any_sequence_of_groups_does_what_a_simple_model_says(ledger: Ledger, tenant: Tenant) -> None:
    loop = asyncio.get_running_loop()
    kinds = {"conflict": EventConflict, "stale": VersionConflict}
    drawn: list[list[Any]] = []

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(GROUPS, min_size=1, max_size=3))
    def collect(calls: list[Any]) -> None:
        drawn.append(calls)

    await loop.run_in_executor(None, collect)
    base = 0
    for example, calls in enumerate(drawn):
        ids = [uuid4() for _ in range(8)]

        def event(name: int, content: int, ids: list[UUID] = ids, example: int = example) -> Event:
            return fact(tenant, f"run-{example}-{name % 2}", event_id=ids[name], n=content)

        model = Model()
        for groups in calls:
            encoded: list[Group] = [
                encode_group([event(*item) for item in group], expected) for group, expected in groups
            ]
            outcomes = await tenant.store.append_groups(encoded)
            for (group, expected), outcome in zip(groups, outcomes, strict=True):
                wanted = model.append(group, expected)
                if isinstance(wanted, str):
                    assert isinstance(outcome, kinds[wanted]), (groups, outcome)
                else:
                    assert isinstance(outcome, list), (groups, outcome)
                    assert [recorded.position - base for recorded in outcome] == wanted
        stored = await tenant.store.read(base, 1_000)
        assert [ids.index(recorded.event_id) for recorded in stored] == [name for name, _ in model.log]
        base += len(stored)
    assert await tenant.store.head() == base


async def test_recorded_at_never_decreases_even_when_the_clock_does(ledger: Ledger, tenant: Tenant) -> None:
    await tenant.store.append([fact(tenant)])
    ahead = "UPDATE ledger.head SET recorded_at = recorded_at + interval '1 hour' RETURNING recorded_at"
    [[future]] = await rows(ledger, tenant, ahead)
    one = await tenant.store.append([fact(tenant)])
    many = await tenant.store.append([fact(tenant), fact(tenant)])
    expecting = await tenant.store.append([fact(tenant)], expected_version=4)
    assert [event.recorded_at for event in [*one, *many, *expecting]] == [future] * 4


async def test_the_commitment_is_the_sha256_of_tag_salt_and_the_exact_bytes(
    ledger: Ledger, tenant: Tenant
) -> None:
    await tenant.store.append([fact(tenant, n=1)])  # the function's path for one event
    await tenant.store.append([fact(tenant, text="ü"), fact(tenant, n=3)])  # for many
    await tenant.store.append([fact(tenant, n=4)], expected_version=3)  # event by event
    stored = await rows(
        ledger, tenant, "SELECT payload, salt, payload_commitment FROM ledger.events ORDER BY position"
    )
    assert len(stored) == 4
    assert len({row["salt"] for row in stored}) == 4
    for row in stored:
        wanted = hashlib.sha256(b"daicho:payload:v1\x00" + row["salt"] + row["payload"]).digest()
        assert row["payload_commitment"] == wanted
    assert stored[1]["payload"] == '{"text":"ü"}'.encode()


async def test_a_session_that_turned_durability_off_still_commits_durably(tenant: Tenant) -> None:
    writer = await tenant.database.connect(Role.WRITER, synchronous_commit="off")
    assert await writer.fetchval("SHOW synchronous_commit") == "off"
    async with writer.transaction():
        await writer.fetchrow(
            "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)",
            *append_arguments([encode_group([fact(tenant)])]),
        )
        # What counts is the setting at the commit, which comes after the function has returned.
        assert await writer.fetchval("SHOW synchronous_commit") == "on"
    assert await writer.fetchval("SHOW synchronous_commit") == "off"
    await writer.close()


async def test_a_rolled_back_append_leaves_no_gap(tenant: Tenant) -> None:
    writer = await tenant.database.connect(Role.WRITER)
    call = "SELECT * FROM ledger.append_events_v1($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)"
    transaction = writer.transaction()
    await transaction.start()
    await writer.fetchrow(call, *append_arguments([encode_group([fact(tenant), fact(tenant)])]))
    await transaction.rollback()
    await writer.close()
    [recorded] = await tenant.store.append([fact(tenant)])
    assert isinstance(recorded, RecordedEvent)
    assert (recorded.position, recorded.version) == (1, 1)
