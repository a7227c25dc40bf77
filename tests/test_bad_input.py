"""Bad input, each with its own clear error that says what was expected and whether retrying helps, and
nothing written: no event, no blob, no tenant, no database."""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from ledger import DaichoError, Event, Ledger, Tenant
from ledger.errors import InvalidArtifactPath, InvalidEvent, InvalidName, TenantMismatch, TenantNotFound

HOSTILE_TENANT_IDS: list[Any] = [
    "",
    " ",
    ".",
    "..",
    "../acme",
    "acme/../other",
    "a..b",
    "/etc/passwd",
    "acme/",
    "/acme",
    "acme\\other",
    "C:\\acme",
    "acme\n",
    "\nacme",
    "ac\tme",
    "acme\r\nX: y",
    "acme\x00",
    "\x00",
    "acme\x1b[31m",
    "acme\x7f",
    "a b",
    " acme",
    "acme ",
    "-acme",
    "_acme",
    ".acme",
    "$tenant",
    "acme$",
    "acme;DROP DATABASE postgres",
    "acme'--",
    "acme' OR '1'='1",
    'acme"; --',
    "acme`id`",
    "$(id)",
    "${HOME}",
    "%2e%2e",
    "acme%00",
    "acme@evil.example",
    "acme:secret",
    "acme?host=evil.example",
    "acme?sslmode=disable",
    "acme&user=postgres",
    "acme#",
    "postgresql://evil/db",
    "a=b",
    "acme*",
    "{acme}",
    "{0.__class__}",
    "<script>",
    "acmé",
    "\uff41\uff43\uff4d\uff45",  # full width
    "\u0430cme",  # its first letter is Cyrillic
    "acme\u200b",
    "acme\u202e",
    "\ufeffacme",
    "acme\u2028",
    "١٢٣",
    "\ud800",
    "😀",
    "a" * 65,
    "a" * 1_000_000,
    None,
    7,
    b"acme",
    ["acme"],
]


def speaks(error: BaseException) -> str:
    """A DaichoError tells what was expected, or what to do, and whether retrying helps; it is short."""
    assert isinstance(error, DaichoError)
    said = str(error)
    assert "Retrying" in said
    assert error.expected or error.fix
    assert len(said) < 1_000
    return said


async def hostile_tenants(ledger: Ledger) -> set[str]:
    return {record.tenant_id for record in await ledger.tenants.list()} & set(map(str, HOSTILE_TENANT_IDS))


def test_there_are_enough_hostile_ids() -> None:
    assert len(HOSTILE_TENANT_IDS) >= 40


# Bytes that spell a good id are read as text by pydantic, which is harmless.
@pytest.mark.parametrize(
    "hostile", [h for h in HOSTILE_TENANT_IDS if h != b"acme"], ids=lambda value: ascii(value)[:30]
)
def test_a_hostile_tenant_id_makes_no_event(hostile: Any) -> None:
    with pytest.raises(ValidationError, match="tenant_id"):
        Event(event_type="run.cancelled", run_id="r", tenant_id=hostile)


async def test_a_hostile_tenant_id_opens_makes_and_reads_nothing(ledger: Ledger) -> None:
    for hostile in HOSTILE_TENANT_IDS:
        ways: list[Callable[[Any], Awaitable[Any]]] = [
            ledger.tenant,
            lambda tenant_id: ledger.tenants.create_tenant_db(tenant_id, "Name"),
            ledger.tenants.get_connection,
            ledger.tenants.suspend,
            ledger.tenants.migrate,
        ]
        for way in ways:
            with pytest.raises(InvalidName, match="1 to 64 of") as refusal:
                await way(hostile)
            assert "will not help" in speaks(refusal.value)
    assert await hostile_tenants(ledger) == set()


@pytest.mark.parametrize("name", ["", "  ", "x" * 201, "a\x00b", "a\nb", "\ud800", "a\x1b[2J"], ids=ascii)
async def test_a_hostile_tenant_name_makes_nothing(ledger: Ledger, name: str) -> None:
    with pytest.raises(InvalidName, match="printable") as refusal:
        await ledger.tenants.create_tenant_db("hostile-name", name)
    speaks(refusal.value)
    assert "hostile-name" not in {record.tenant_id for record in await ledger.tenants.list()}


async def test_an_unknown_tenant_is_not_found_and_not_made(ledger: Ledger) -> None:
    for way in (ledger.tenant, ledger.tenants.get_connection, ledger.tenants.suspend, ledger.tenants.migrate):
        with pytest.raises(TenantNotFound, match="daicho tenant create nobody") as refusal:
            await way("nobody")
        assert "will not help" in speaks(refusal.value)
    assert "nobody" not in {record.tenant_id for record in await ledger.tenants.list()}


def event(tenant: Tenant, payload: dict[str, Any], **changed: Any) -> Event:
    fields = {"event_type": "run.succeeded", "tenant_id": tenant.tenant_id, "run_id": "r"}
    return Event(**{**fields, "payload": payload, **changed})


BAD_EMITS: dict[str, tuple[type[Exception], str, Callable[[Tenant], Event]]] = {
    "wrong payload shape": (InvalidEvent, "prompt_pack", lambda t: event(t, {}, event_type="run.started")),
    "NaN": (InvalidEvent, "finite number", lambda t: event(t, {"a": math.nan})),
    "a lone surrogate": (InvalidEvent, "surrogate", lambda t: event(t, {"a": "\ud800"})),
    "U+0000": (InvalidEvent, r"U\+0000", lambda t: event(t, {"a": "\x00"})),
    "65 KiB": (InvalidEvent, "Store the body as an artifact", lambda t: event(t, {"a": "x" * 65 * 1024})),
    "another tenant": (TenantMismatch, "its own tenant", lambda t: event(t, {}, tenant_id="stranger")),
}


@pytest.mark.parametrize("bad", BAD_EMITS)
async def test_a_bad_event_is_refused_and_nothing_is_written(tenant: Tenant, bad: str) -> None:
    kind, said, make = BAD_EMITS[bad]
    for emit in (
        tenant.emitter.emit(make(tenant)),
        tenant.emitter.emit_many([event(tenant, {}), make(tenant)]),
    ):
        with pytest.raises(kind, match=said) as refusal:
            await emit
        assert "Retrying will not help" in speaks(refusal.value)
    assert await tenant.store.head() == 0


def test_a_naive_timestamp_makes_no_event() -> None:
    with pytest.raises(ValidationError, match=r"timestamp[\s\S]*timezone"):
        Event(event_type="run.cancelled", run_id="r", tenant_id="t", timestamp=datetime(2026, 1, 1))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("storage/stranger/r/s/output.json", TenantMismatch),
        ("storage/{t}/../s/output.json", InvalidArtifactPath),
        ("storage/../{t}/s/output.json", InvalidArtifactPath),
        ("storage/{t}/r/s/../../../../etc/passwd", InvalidArtifactPath),
    ],
)
async def test_a_bad_artifact_path_is_refused_and_nothing_is_written(
    tenant: Tenant, path: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="othing was read or written") as refusal:
        await tenant.artifacts.put(b"x", path.format(t=tenant.tenant_id))
    assert "Retrying will not help" in speaks(refusal.value)
    assert await tenant.store.head() == 0


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../etc/passwd", "", "a\x00"], ids=ascii)
async def test_a_bad_artifact_name_within_a_step_is_refused(tenant: Tenant, name: str) -> None:
    with pytest.raises(InvalidArtifactPath):
        async with tenant.run("run", prompt_pack="mock_pack") as run, run.step("draft") as step:
            await step.put(b"x", name)
    recorded = [str(event.event_type) for event in await tenant.store.read()]
    assert recorded == ["run.started", "step.started", "step.failed", "run.failed"]
