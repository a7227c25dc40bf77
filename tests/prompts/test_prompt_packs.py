"""Prompt packs as decisions: published, revised, retired, each recorded once and in order."""

import asyncio
import hashlib
from typing import Any
from uuid import uuid4

import orjson
import pytest

from ledger import Event, EventType, Ledger, Settings, Tenant
from ledger.errors import (
    InvalidEvent,
    InvalidName,
    InvalidPromptPack,
    PromptPackConflict,
    PromptPackErased,
    PromptPackNotFound,
    PromptPackRetired,
    VersionConflict,
)
from ledger.prompts import PromptPack
from ledger.prompts.decisions import PromptPackDecisions
from ledger.prompts.files import PromptTexts
from ledger.store.recorder import InvalidStoredEvent
from projections import Projector, rebuild, verify

OLD = {"outline": "Outline $topic", "draft": "Draft $topic"}
NEW = {"outline": "Outline $topic, shortly"}
STREAM = "$prompt_packs/house"


def digest(prompts: dict[str, str]) -> str:
    return hashlib.sha256(orjson.dumps(prompts, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def rows(tenant: Tenant, table: str) -> list[dict[str, Any]]:
    await tenant.wait_projected(await tenant.store.head())
    return [dict(row) for row in await tenant.reader.fetch(f"SELECT * FROM projection.{table}")]


async def test_versions_count_up_and_each_stays_readable_with_its_digest(tenant: Tenant) -> None:
    first = await tenant.prompts.publish("house", OLD, by="ann")
    assert (first.version, dict(first.prompts), first.digest) == (1, OLD, digest(OLD))
    second = await tenant.prompts.revise("house", NEW, by="ben", expected_version=1)
    assert (second.version, second.digest) == (2, digest(NEW))
    assert await tenant.prompts.load("house") == second
    assert await tenant.prompts.load("house", 1) == first
    assert (await tenant.prompts.load("mock_pack", 1)).pack_id == "mock_pack"
    for pack_id, version in (("house", 3), ("house", 0), ("house", 2**80), ("mock_pack", 2), ("other", 1)):
        with pytest.raises(PromptPackNotFound, match=f"version {version} of"):
            await tenant.prompts.load(pack_id, version)


async def test_decisions_stand_in_the_log_as_the_ledgers_own_events(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD, by="ann")
    await tenant.prompts.revise("house", NEW)
    await tenant.prompts.retire("house", reason="unused", by="ben")
    events = await tenant.store.read()
    assert [(event.event_type, event.run_id, event.version) for event in events] == [
        (EventType.PROMPT_PACK_PUBLISHED, STREAM, 1),
        (EventType.PROMPT_PACK_REVISED, STREAM, 2),
        (EventType.PROMPT_PACK_RETIRED, STREAM, 3),
    ]
    assert all(isinstance(event.event_type, EventType) for event in events)
    assert [event.payload for event in events] == [
        {"pack_id": "house", "version": 1, "digest": digest(OLD), "prompts": OLD, "by": "ann"},
        {"pack_id": "house", "version": 2, "digest": digest(NEW), "prompts": NEW},
        {"pack_id": "house", "version": 2, "digest": digest(NEW), "reason": "unused", "by": "ben"},
    ]
    tailed = [event async for event in tenant.store.subscribe(upto=3, types=["prompt_pack.revised"])]
    assert tailed == [events[1]]


async def test_the_table_and_the_audit_log_are_folded_from_them(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD, by="ann")
    await tenant.prompts.revise("house", NEW)
    found = {(row["version"], row["name"]): row for row in await rows(tenant, "prompts")}
    assert found.keys() == {(1, "draft"), (1, "outline"), (2, "outline")}
    row = found[1, "draft"]
    assert (row["pack_id"], row["template"], row["digest"]) == ("house", OLD["draft"], digest(OLD))
    assert (row["created_by"], row["retired_at"], row["first_position"]) == ("ann", None, 1)
    await tenant.prompts.retire("house", reason="unused", by="ben")
    retired_at = (await tenant.store.read())[-1].recorded_at
    assert {row["retired_at"] for row in await rows(tenant, "prompts")} == {retired_at}

    audit = sorted(await rows(tenant, "audit_logs"), key=lambda row: int(row["position"]))
    assert [(row["action"], row["actor"], row["subject"], row["reason"]) for row in audit] == [
        ("prompt_pack.published", "ann", "house", None),
        ("prompt_pack.revised", None, "house", None),
        ("prompt_pack.retired", "ben", "house", "unused"),
    ]
    assert "Outline" not in "".join(str(row["details"]) for row in audit)
    assert await rows(tenant, "runs") == []
    assert await rows(tenant, "anomalies") == []


async def test_why_a_version_came_to_be_may_be_said_and_is_recorded(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD, by="ann", reason="the first one")
    pack = await tenant.prompts.revise("house", NEW, by="ben", reason="shorter")
    assert (await tenant.prompts.load("house")).identity() == pack.identity()
    audit = sorted(await rows(tenant, "audit_logs"), key=lambda row: int(row["position"]))
    assert [(row["action"], row["actor"], row["reason"]) for row in audit] == [
        ("prompt_pack.published", "ann", "the first one"),
        ("prompt_pack.revised", "ben", "shorter"),
    ]
    assert await rows(tenant, "anomalies") == []
    with pytest.raises(InvalidPromptPack, match="reason"):
        await tenant.prompts.revise("house", OLD, reason=" ")


async def test_rebuild_and_verify_take_them_in(ledger: Ledger, tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD)
    await tenant.prompts.publish(str(uuid4()), OLD)
    await tenant.prompts.revise("house", NEW)
    await tenant.prompts.retire("house", reason="unused")
    before = await rows(tenant, "prompts")
    verified = await verify(tenant)
    assert verified.ok
    assert verified.tables["prompts"].rows == len(before) == 5
    connection = await ledger.server.connect(tenant.database.name)
    await connection.execute("UPDATE projection.prompts SET template = 'forged' WHERE version = 2")
    await connection.close()
    [difference] = (await verify(tenant)).differences
    assert str(difference) == f"prompts {STREAM}/2/outline: differs in template"
    report = await rebuild(tenant)
    assert report.rows["prompts"] == 5
    assert report.digests["prompts"] == verified.tables["prompts"].folded_digest
    assert (await verify(tenant)).ok


async def test_what_is_decided_later_meets_rows_that_were_loaded_from_the_tables(settings: Settings) -> None:
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "External")
        tenant = await ledger.tenant(tenant_id)
        for decide in (
            lambda: tenant.prompts.publish("house", OLD),
            lambda: tenant.prompts.revise("house", NEW),
            lambda: tenant.prompts.retire("house", reason="unused"),
        ):
            await decide()
            projector = Projector(tenant.store)
            await projector.catch_up()
            await projector.close()
            assert (await verify(tenant)).ok


async def test_load_waits_for_no_projector(settings: Settings) -> None:
    external = settings.model_copy(update={"projection": "external"})
    async with await Ledger.open(external) as ledger:
        tenant_id = f"t-{uuid4().hex[:12]}"
        await ledger.tenants.create_tenant_db(tenant_id, "External")
        tenant = await ledger.tenant(tenant_id)
        await tenant.prompts.publish("house", OLD)
        async with tenant.run("r", prompt_pack="house"):
            pass
        await tenant.prompts.retire("house", reason="unused")
        with pytest.raises(PromptPackRetired):
            async with tenant.run("s", prompt_pack="house"):
                pytest.fail("it started")
        assert await tenant.projected_position() == 0


async def test_a_retired_pack_starts_no_run_while_a_running_one_goes_on(tenant: Tenant) -> None:
    pack = await tenant.prompts.publish("house", OLD)
    async with tenant.run("r", prompt_pack="house") as run:
        await tenant.prompts.retire("house", reason="unused", by="ann")
        head = await tenant.store.head()
        with pytest.raises(PromptPackRetired, match=r"'house' was retired on .* by ann: unused"):
            async with tenant.run("s", prompt_pack="house"):
                pytest.fail("it started")
        assert await tenant.store.head() == head
        async with run.step("draft"):
            assert await tenant.prompts.load("house", run.prompt_pack.version) == pack
    events = await tenant.store.read_run("r")
    assert events[-1].event_type is EventType.RUN_SUCCEEDED
    assert (events[0].payload or {})["prompt_pack"] == pack.identity()


async def test_a_retired_pack_stays_retired(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD)
    await tenant.prompts.retire("house", reason="unused")
    with pytest.raises(PromptPackRetired, match="cannot be revised"):
        await tenant.prompts.revise("house", NEW)
    with pytest.raises(PromptPackRetired, match="once more"):
        await tenant.prompts.retire("house", reason="again")
    with pytest.raises(PromptPackConflict, match="There is a prompt pack 'house' already"):
        await tenant.prompts.publish("house", NEW)
    with pytest.raises(PromptPackNotFound):
        await tenant.prompts.load("house", 2)
    assert await tenant.store.head() == 2


async def test_of_two_who_decide_at_once_one_wins_and_the_other_is_told(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD)

    def both(env: dict[str, str]) -> None:
        with PromptPackDecisions(env=env) as one, PromptPackDecisions(env=env) as other:
            first, second = one.pack("house"), other.pack("house")
            first.revise(PromptTexts(NEW, {}), "ann", None)
            second.revise(PromptTexts({"outline": "another"}, {}), "ben", None)
            assert one._decided(first) == 2
            with pytest.raises(PromptPackConflict, match="at the same time"):
                other._decided(second)

    await asyncio.to_thread(both, tenant.application_env())
    assert dict((await tenant.prompts.load("house")).prompts) == NEW
    assert await tenant.store.head() == 2


async def test_many_at_once_leave_no_gap_and_lose_nothing_without_a_word(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD)
    outcomes = await asyncio.gather(
        *(tenant.prompts.revise("house", {"outline": str(number)}) for number in range(12)),
        return_exceptions=True,
    )
    packs = [outcome for outcome in outcomes if isinstance(outcome, PromptPack)]
    assert all(isinstance(outcome, PromptPack | PromptPackConflict) for outcome in outcomes)
    assert sorted(pack.version for pack in packs) == list(range(2, 2 + len(packs)))
    for pack in packs:
        assert await tenant.prompts.load("house", pack.version) == pack
    published = await asyncio.gather(
        *(tenant.prompts.publish("new", {"p": str(number)}) for number in range(4)), return_exceptions=True
    )
    assert sum(isinstance(outcome, PromptPack) for outcome in published) == 1
    assert sum(isinstance(outcome, PromptPackConflict) for outcome in published) == 3


async def test_a_revision_of_what_is_no_longer_the_newest_is_refused(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", OLD)
    await tenant.prompts.revise("house", NEW)
    with pytest.raises(VersionConflict, match="Expected version 1"):
        await tenant.prompts.revise("house", {"a": "b"}, expected_version=1)
    assert await tenant.store.head() == 2


REFUSED = {
    "nothing": ({}, "without prompts"),
    "a path": ({"../a": "x"}, "not a prompt's name"),
    "an empty name": ({"": "x"}, "not a prompt's name"),
    "an empty prompt": ({"a": "x", "b": " \n"}, "'b' is empty"),
    "no text": ({"a": 5}, "'a' is empty or no text"),
    "a zero": ({"a": "x\x00"}, r"U\+0000"),
    "half a character": ({"a": "\ud800"}, "lone surrogates"),
    "a stray dollar": ({"a": "x\ncosts $5"}, r"'a' has a \$ in line 2.*\$\$ for a dollar"),
    "too much": ({"a": "x" * 40_000, "b": "y" * 40_000}, r"too large.*at most 65536 bytes"),
}


@pytest.mark.parametrize(("prompts", "said"), REFUSED.values(), ids=REFUSED)
async def test_prompts_that_cannot_be_a_version_are_refused(tenant: Tenant, prompts: Any, said: str) -> None:
    with pytest.raises(InvalidPromptPack, match=said):
        await tenant.prompts.publish("house", prompts)
    assert await tenant.store.head() == 0


async def test_what_else_is_refused_writes_nothing(tenant: Tenant) -> None:
    prompts = tenant.prompts
    await prompts.publish("house", OLD)
    with pytest.raises(InvalidPromptPack, match="changes nothing"):
        await prompts.revise("house", dict(reversed(OLD.items())))
    with pytest.raises(PromptPackConflict, match="already"):
        await prompts.publish("house", OLD)
    with pytest.raises(InvalidPromptPack, match="built in and reserved"):
        await prompts.publish("mock_pack", OLD)
    with pytest.raises(InvalidPromptPack, match="reason"):
        await prompts.retire("house", reason=" ")
    with pytest.raises(InvalidPromptPack, match="by"):
        await prompts.publish("other", OLD, by="a\x00")
    with pytest.raises(PromptPackNotFound):
        await prompts.revise("other", OLD)
    with pytest.raises(PromptPackNotFound):
        await prompts.retire("other", reason="unused")
    for pack_id in ("$tenant", "a/b", ""):
        with pytest.raises(InvalidName):
            await prompts.publish(pack_id, OLD)
    assert await tenant.store.head() == 1


@pytest.mark.parametrize("kind", [kind for kind in EventType if kind.is_decided])
async def test_a_decision_cannot_be_emitted(tenant: Tenant, kind: EventType) -> None:
    event = Event(event_type=kind, run_id="$tenant", tenant_id=tenant.tenant_id, payload={"pack_id": "house"})
    with pytest.raises(InvalidEvent, match=r"tenant.prompts.publish"):
        await tenant.emitter.emit(event)
    assert await tenant.store.head() == 0


async def test_any_name_of_a_pack_comes_back_as_it_was(tenant: Tenant) -> None:
    names = ["house", str(uuid4()), "text:a", "Über uns", "a:b.c"]
    for name in names:
        await tenant.prompts.publish(name, {"p": name})
        assert (await tenant.prompts.load(name)).prompts == {"p": name}
    await tenant.prompts.retire("house", reason="unused", by="ann")
    listed = {pack.pack_id: pack for pack in await tenant.prompts.list()}
    assert sorted(listed) == sorted(names)
    house = listed["house"]
    assert (house.version, house.is_retired, house.changed_by) == (1, True, "ann")
    assert {row["pack_id"] for row in await rows(tenant, "prompts")} == set(names)


async def test_prompts_that_were_erased_are_gone_and_the_pack_goes_on(tenant: Tenant) -> None:
    await tenant.prompts.publish("house", {"outline": "a secret"})
    await tenant.wait_projected((await tenant.erase_payload(1, by="ann", reason="a secret")).position)
    assert await rows(tenant, "prompts") == []
    with pytest.raises(PromptPackErased):
        await tenant.prompts.load("house")
    revised = await tenant.prompts.revise("house", NEW)
    assert revised.version == 2
    assert await tenant.prompts.load("house") == revised
    await tenant.prompts.retire("house", reason="unused")
    await tenant.wait_projected(await tenant.store.head())
    assert (await verify(tenant)).ok


async def test_nobody_else_records_in_the_packs_streams(tenant: Tenant) -> None:
    from eventsourcing.persistence import StoredEvent

    def forge(env: dict[str, str]) -> None:
        with PromptPackDecisions(env=env) as decisions:
            for topic in ("run.started", "prompt_pack.forged", "app:Made"):
                with pytest.raises(InvalidStoredEvent):
                    decisions.recorder.insert_events([StoredEvent("house", 1, topic, b"{}")])

    await asyncio.to_thread(forge, tenant.application_env())
    assert await tenant.store.head() == 0
