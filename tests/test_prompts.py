"""Prompt packs: named, versioned, and never a default."""

import asyncio
import hashlib
from dataclasses import replace

import orjson
import pytest

from ledger import Ledger, Tenant
from ledger.errors import InvalidName, PromptPackNotFound
from ledger.prompts import mock_pack


async def test_none_raises_value_error_at_once_not_when_awaited(tenant: Tenant) -> None:
    with pytest.raises(ValueError, match="nothing runs without an explicit prompt pack"):
        tenant.prompts.load(None)


@pytest.mark.parametrize("pack_id", ["", "../mock_pack", "a/b", "a\x00", "\ud800", "x" * 256])
async def test_an_id_that_is_no_name_raises_at_once(tenant: Tenant, pack_id: str) -> None:
    with pytest.raises(InvalidName, match="not a prompt pack id"):
        tenant.prompts.load(pack_id)


async def test_an_unknown_id_has_an_error_of_its_own(tenant: Tenant) -> None:
    said = r"'mock-pack'.*Expected 'mock_pack'.*Retrying will not help"
    with pytest.raises(PromptPackNotFound, match=said):
        await tenant.prompts.load("mock-pack")


async def test_the_mock_pack_is_built_in_and_its_digest_is_that_of_its_prompts(tenant: Tenant) -> None:
    pack = await tenant.prompts.load("mock_pack")
    assert {"outline", "draft", "repair"} <= set(pack.prompts)
    canonical = orjson.dumps(dict(pack.prompts), option=orjson.OPT_SORT_KEYS)
    assert pack.digest == hashlib.sha256(canonical).hexdigest()
    assert pack.identity() == {"pack_id": "mock_pack", "version": 1, "digest": pack.digest}


async def test_a_published_pack_is_read_in_its_newest_version_for_its_tenant_alone(
    ledger: Ledger, tenant: Tenant
) -> None:
    await tenant.prompts.publish("house", {"outline": "version 1"})
    for version in range(2, 11):
        await tenant.prompts.revise("house", {"outline": f"version {version} $topic"})
    pack = await tenant.prompts.load("house")
    assert (pack.version, dict(pack.prompts)) == (10, {"outline": "version 10 $topic"})
    other_id = f"{tenant.tenant_id}-2"
    await ledger.tenants.create_tenant_db(other_id, "Other")
    with pytest.raises(PromptPackNotFound):
        await (await ledger.tenant(other_id)).prompts.load("house")


def test_a_prompt_is_never_sent_half_filled() -> None:
    pack = replace(mock_pack(), prompts={"p": "write $n words on $topic, $$5"})
    assert pack.render("p", n=3, topic="$n") == "write 3 words on $n, $5"
    with pytest.raises(ValueError, match="missing topic, surplus nothing"):
        pack.render("p", n=3)
    with pytest.raises(ValueError, match="missing nothing, surplus extra"):
        pack.render("p", n=3, topic="t", extra=1)
    with pytest.raises(KeyError, match="unknown"):
        pack.render("unknown")


def test_a_prompts_text_does_not_stand_in_the_packs_repr() -> None:
    assert "write" not in repr(replace(mock_pack(), prompts={"p": "write"}))


async def test_an_unawaited_load_of_a_good_id_is_an_awaitable(tenant: Tenant) -> None:
    loading = tenant.prompts.load("mock_pack")
    assert (await asyncio.wait_for(loading, 5)).pack_id == "mock_pack"
