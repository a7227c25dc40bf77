"""Five hundred hostile ids and paths, at every public entry point: nothing crosses from one tenant to
another, nothing is written, and every refusal is a typed error.

Entry points that take a tenant's id: create_tenant_db, ledger.tenant, get_connection, suspend, resume,
rename, migrate, export, move, delete, Event, ExecutionContext (tenant.step), the command line's -t. That
take a run's or a step's: Event and emit, tenant.run, run.step, tenant.step, subscribe, every audit query.
That take a path, a digest or a prefix: artifacts put, get and exists, the blob store's own methods, a blob
store's making.
"""

import itertools
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blobstore.errors import BlobNotFound, BlobStoreMisconfigured, InvalidDigest
from ledger import ArtifactRef, DaichoError, Event, ExecutionContext, Ledger, Tenant
from ledger.contract.names import name_problem, tenant_id_problem
from ledger.errors import (
    InvalidArtifactPath,
    InvalidName,
    InvalidSearch,
    PositionNotReached,
    RunNotFound,
    RunNotStarted,
    StepNotFound,
    TenantMismatch,
    TenantNotFound,
)
from ledger.lifecycle import delete_tenant, export_tenant, move_tenant
from projections.audit import AuditQueries
from tests.support.command_line import CommandLine

VICTIM = "victim"

_QUOTES = [
    "'", '"', "`", "''", "';--", "'; DROP DATABASE postgres; --", "' OR '1'='1", '"; SET ROLE postgres; --',
    "$$", "$a$", "\\'", "E'\\x00'",
]  # fmt: skip
_PATHS = [
    "..", "../", "/..", "/../", "../../", "..\\", "/", "//", "\\", "/./", "./", "....//", "/etc/passwd",
    "C:\\", "\\\\host\\share", "file:///", "~", "~root/",
]  # fmt: skip
_INVISIBLE = [
    "\x00", "\x01", "\x07", "\x08", "\t", "\n", "\r\n", "\x1b[2J", "\x7f", "\x85", "\xa0", "\u00ad",
    "\u200b", "\u200d", "\u200e", "\u200f", "\u202a", "\u202e", "\u2028", "\u2029", "\u2066", "\u2069",
    "\ufeff", "\ufff9", "\U000e0001", "\ud800", "\udfff",
]  # fmt: skip
_ESCAPES = [
    "%00", "%2e%2e%2f", "%2E", "%252e", "%2f", "%5c", "%27", "%20", "%c0%ae", "\\u002e", "&#46;", "\\x2e",
    "${x}", "{0}", "%s", "%(x)s", "{tenant}",
]  # fmt: skip
_DSN = [
    "host=evil", " host=evil", "?host=evil", "?sslmode=disable", "&user=postgres", "@evil.example", ":5432",
    "postgresql://evil/", "#", ";", "=", " dbname=postgres", "?options=-crole%3Dpostgres", "service=x",
]  # fmt: skip
_TWINS = [
    "Victim", "VICTIM", "v\u0131ctim", "v\u0456ctim", "vi\u0441tim", "vict\u0456m",
    "\uff56\uff49\uff43\uff54\uff49\uff4d", "victim\u0301", "vi\u0307ctim", "\U0001d42fictim",
    "vict\u0131m", "victim.", "victim-", "victim_", "victim0", "victi\u043c", "victim\u200c", "v1ctim",
    "victirn",
]  # fmt: skip
_LENGTHS = [
    *("a" * n for n in (62, 63, 64, 65, 70, 255, 256, 1025)), *("é" * n for n in (31, 32, 33, 127, 128)),
    f"{VICTIM}{'x' * 57}", f"{VICTIM}{'x' * 58}", f"{VICTIM}{'x' * 59}", "t_" + "0" * 32, "t_" + "0" * 61,
    "daicho_control", "postgres", "template1", "$tenant", "$prompt_packs/x",
]  # fmt: skip


def hostile() -> list[str]:
    bad = [*_QUOTES, *_PATHS, *_INVISIBLE, *_ESCAPES, *_DSN]
    shapes = (f"{VICTIM}{{}}", f"{{}}{VICTIM}", "vic{}tim", "{}", f"x{{}}{VICTIM}", f"{VICTIM}{{}}x")
    made = [shape.replace("{}", part) for part, shape in itertools.product(bad, shapes)]
    return list(dict.fromkeys([*made, *_TWINS, *_LENGTHS]))


HOSTILE = hostile()
NO_TENANT_IDS = [text for text in HOSTILE if tenant_id_problem(text)]
UNKNOWN_TENANT_IDS = [text for text in HOSTILE if not tenant_id_problem(text)]


def test_there_are_five_hundred_of_all_kinds() -> None:
    assert len(HOSTILE) >= 500
    assert len(NO_TENANT_IDS) >= 450
    assert len(UNKNOWN_TENANT_IDS) >= 10
    assert VICTIM not in HOSTILE


@pytest.fixture
async def victim(ledger: Ledger, tenant: Tenant) -> Tenant:
    """Whoever gets here from another tenant finds something. All tests of this file may share it."""
    await ledger.tenants.create_tenant_db(VICTIM, "Victim")
    found = await ledger.tenant(VICTIM)
    async with ledger.tenants.catalogue.locked(VICTIM):  # of all workers, one fills it
        if await found.store.head() == 0:
            async with found.run("secret-run", prompt_pack="mock_pack") as run, run.step("draft") as step:
                await step.put(b"secret", "output.json")
    return found


def typed(refusal: BaseException | None, kinds: tuple[type[Exception], ...], given: str) -> None:
    assert isinstance(refusal, kinds), (ascii(given), refusal)
    said = str(refusal)
    if isinstance(refusal, DaichoError):
        assert len(said) < 1_000, ascii(given)
        assert not any(char in said for char in "\x00\x1b\u202e\u200f\u2066\r"), ascii(said)


async def refusal_of(answer: Awaitable[Any]) -> BaseException | None:
    try:
        await answer
    except Exception as error:
        return error
    return None


async def test_as_a_tenants_id_it_opens_makes_and_changes_nothing(
    ledger: Ledger, victim: Tenant, tmp_path: Path
) -> None:
    nowhere = tmp_path / "archive.tar"
    before = {record.tenant_id: record for record in await ledger.tenants.list()}
    head = await victim.store.head()
    ways: list[Callable[[str], Awaitable[Any]]] = [
        ledger.tenant,
        ledger.tenants.get_connection,
        ledger.tenants.suspend,
        ledger.tenants.resume,
        ledger.tenants.migrate,
        lambda tenant_id: ledger.tenants.rename(tenant_id, "Name"),
        lambda tenant_id: export_tenant(ledger, tenant_id, nowhere),
        lambda tenant_id: move_tenant(ledger, tenant_id, "control"),
        lambda tenant_id: delete_tenant(ledger, tenant_id, without_export=True),
    ]
    for text in NO_TENANT_IDS:
        for way in (*ways, lambda tenant_id: ledger.tenants.create_tenant_db(tenant_id, "Name")):
            typed(await refusal_of(way(text)), (InvalidName,), text)
    for text in UNKNOWN_TENANT_IDS:
        for way in ways:
            typed(await refusal_of(way(text)), (TenantNotFound,), text)
    assert not nowhere.exists()
    after = {record.tenant_id: record for record in await ledger.tenants.list()}
    assert after[VICTIM] == before[VICTIM]
    assert not after.keys() & set(HOSTILE)
    assert await victim.store.head() == head


async def test_twins_of_a_tenant_are_tenants_of_their_own(ledger: Ledger, victim: Tenant) -> None:
    prefix = f"twin{victim.database.name[2:10]}"
    names = {
        twin: await ledger.tenants.create_tenant_db(twin, "Twin")
        for twin in (prefix, prefix.upper(), f"{prefix}.", f"{prefix}{'x' * (64 - len(prefix))}")
    }
    assert len(set(names.values())) == len(names)
    for twin in names:
        assert await (await ledger.tenant(twin)).store.head() == 0
    prefixes = [r.blob_prefix for r in await ledger.tenants.list() if r.tenant_id in {*names, VICTIM}]
    assert len(set(prefixes)) == len(names) + 1


def test_as_a_tenants_id_it_makes_no_event_and_no_context() -> None:
    for text in NO_TENANT_IDS:
        with pytest.raises(ValidationError, match="tenant_id"):
            Event(event_type="run.cancelled", run_id="r", tenant_id=text)


async def test_as_anothers_id_it_records_nothing_here(tenant: Tenant, victim: Tenant) -> None:
    now = datetime.now(UTC)
    for text in [*UNKNOWN_TENANT_IDS, VICTIM]:
        event = Event(event_type="run.cancelled", run_id="r", tenant_id=text)
        typed(await refusal_of(tenant.emitter.emit(event)), (TenantMismatch,), text)
    for text in [*HOSTILE, VICTIM]:
        context = ExecutionContext("r", "s", 1, text, now) if not tenant_id_problem(text) else None
        if context is not None:
            typed(await refusal_of(entered(tenant.step(context))), (TenantMismatch,), text)
    assert await tenant.store.head() == 0


async def entered(context: Any) -> None:
    async with context:
        pass


async def test_as_a_runs_id_it_names_its_own_run_or_none(tenant: Tenant, victim: Tenant) -> None:
    """What is a fine name, quotes and all, is recorded as it is; all else is refused, and nothing is sent."""
    head = await victim.store.head()
    events: dict[str, Event] = {}
    for text in HOSTILE:
        try:
            events[text] = Event(event_type="run.cancelled", run_id=text, tenant_id=tenant.tenant_id)
        except ValidationError:
            assert name_problem(text) or text.startswith("$"), ascii(text)
            typed(await refusal_of(entered(tenant.run(text, prompt_pack="mock_pack"))), (InvalidName,), text)
    accepted = [text for text in events if not text.startswith("$")]
    assert len(accepted) > 100
    await tenant.emitter.emit_many([events[text] for text in accepted])
    stored = await tenant.store.read(limit=10_000)
    assert sorted(event.run_id for event in stored) == sorted(accepted)
    for text in accepted[::10]:
        assert [event.run_id for event in await tenant.store.read_run(text)] == [text]
    assert await victim.store.head() == head


async def test_an_audit_query_finds_its_own_run_or_none(tenant: Tenant, victim: Tenant) -> None:
    audit = AuditQueries(tenant)
    ways: list[Callable[[str], Awaitable[Any]]] = [
        audit.timeline,
        audit.state_at,
        audit.state,
        lambda run_id: audit.diff(run_id, 1, 2),
        lambda run_id: audit.explain(run_id, "draft"),
    ]
    for text in [*HOSTILE, "secret-run"]:
        for ask in ways:
            typed(await refusal_of(ask(text)), (RunNotFound, InvalidName, PositionNotReached), text)
        typed(await refusal_of(audit.lineage(text)), (DaichoError,), text)
        for sought in ("run_id", "step_id", "actor", "text"):
            try:
                assert "secret" not in repr(await audit.search(**{sought: text})), ascii(text)
            except DaichoError as refusal:
                typed(refusal, (InvalidSearch, RunNotFound, StepNotFound), text)
    [secret] = [event for event in await victim.store.read() if event.event_type == "artifact.stored"]
    digest = ArtifactRef.model_validate(secret.payload["ref"]).digest
    try:
        found = repr(await audit.lineage(digest))
    except DaichoError as refusal:
        found = str(refusal)
    assert "secret-run" not in found


def reference(path: str, digest: str) -> ArtifactRef:
    return ArtifactRef(path=path, digest=digest, size_bytes=6, created_at=datetime.now(UTC))


async def test_as_a_part_of_a_path_it_reads_and_writes_nothing_of_anothers(
    tenant: Tenant, victim: Tenant
) -> None:
    [secret] = [event for event in await victim.store.read() if event.event_type == "artifact.stored"]
    ref = ArtifactRef.model_validate(secret.payload["ref"])
    own = tenant.tenant_id
    for text in [*HOSTILE, VICTIM]:
        for path in (text, f"storage/{text}/r/s/n", f"storage/{own}/{text}/s/n", f"storage/{own}/r/s/{text}"):
            try:
                named = reference(path, ref.digest)
            except ValidationError:
                continue
            for way in (tenant.artifacts.exists, tenant.artifacts.get):
                refusal = await refusal_of(way(named))
                if refusal is None:
                    assert await tenant.artifacts.exists(named) is False, ascii(path)
                else:
                    typed(refusal, (InvalidArtifactPath, TenantMismatch, BlobNotFound), path)
        for path in (text, f"storage/{text}/r/s/n"):
            refusal = await refusal_of(tenant.artifacts.put(b"mine", path))
            typed(refusal, (InvalidArtifactPath, TenantMismatch), path)
    assert await tenant.store.head() == 0
    assert await victim.artifacts.get(ref) == b"secret"


async def test_a_blob_store_names_its_own_objects_alone(
    ledger: Ledger, tenant: Tenant, victim: Tenant
) -> None:
    [secret] = [event for event in await victim.store.read() if event.event_type == "artifact.stored"]
    digest = ArtifactRef.model_validate(secret.payload["ref"]).digest
    [prefix] = [r.blob_prefix for r in await ledger.tenants.list() if r.tenant_id == VICTIM]
    blobs: Any = tenant.blobs
    assert await victim.blobs.exists(digest)  # type: ignore[arg-type]
    assert await blobs.exists(digest) is False
    there = f"{prefix}/sha256/{digest[:2]}/{digest}"
    crossing = [there, f"../../../{there}", f"/{digest}", digest.upper(), f"{digest}\n", f"{digest}/.."]
    for text in [*crossing, *(text for text in HOSTILE if not re.fullmatch("[0-9a-f]{64}", text))]:
        for way in (blobs.get, blobs.exists, blobs.stat, blobs.verify, blobs.delete):
            typed(await refusal_of(way(text)), (InvalidDigest,), text)
        if not re.fullmatch("[a-z0-9_]{1,64}", text):
            with pytest.raises(BlobStoreMisconfigured):
                ledger.blobs.store(text)
    typed(await refusal_of(blobs.get(digest)), (BlobNotFound,), digest)
    await blobs.delete(digest)
    assert await victim.blobs.get(digest) == b"secret"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "texts",
    [
        [*NO_TENANT_IDS[::60], *UNKNOWN_TENANT_IDS[::6]],
        pytest.param(HOSTILE, marks=pytest.mark.torture),  # each opens a ledger: half a minute
    ],
    ids=["some", "all"],
)
async def test_at_the_command_line_it_is_one_paragraph_and_exit_code_2(
    daicho: CommandLine, victim: Tenant, texts: list[str]
) -> None:
    for text in texts:
        done = await daicho.result("tail", "-t", text)
        assert done.exit_code == 2, (ascii(text), done.output)
        assert "Traceback" not in done.output
        assert "secret-run" not in done.output


async def test_a_step_of_a_run_that_was_not_started_is_refused(tenant: Tenant, victim: Tenant) -> None:
    now = datetime.now(UTC)
    for text in [*HOSTILE, "secret-run"]:
        if name_problem(text) is None and not text.startswith("$"):
            context = ExecutionContext(text, "draft", 1, tenant.tenant_id, now)
            typed(await refusal_of(entered(tenant.step(context))), (RunNotStarted, InvalidName), text)
    assert await tenant.store.head() == 0
