"""A run in which every event says the canary, and where in the database a text stands."""

import hashlib

from ledger import Event, EventType, Ledger, Tenant
from ledger.store.server import Connection

CANARY = "canary-7f3a"


DIGEST = hashlib.sha256(b"x").hexdigest()


def ref(tenant: Tenant, name: str) -> dict[str, object]:
    return {
        "path": f"storage/{tenant.tenant_id}/r/draft/{name}",
        "digest": DIGEST,
        "content_type": "text/plain",
        "size_bytes": 1,
        "created_at": "2026-01-01T00:00:00Z",
    }


def of_run(tenant: Tenant, event_type: EventType, **payload: object) -> Event:
    step = {"step_id": "draft", "attempt": 1} if event_type.is_of_step else {}
    return Event(event_type=event_type, run_id="r", tenant_id=tenant.tenant_id, payload=payload, **step)  # type: ignore[arg-type]


def secretive_run(tenant: Tenant) -> list[Event]:
    """A run in which every event says the canary."""
    error = {
        "step_id": "draft",
        "category": "retryable",
        "message": CANARY,
        "details": {"who": CANARY},
        "occurred_at": "2026-01-01T00:00:00Z",
        "attempt": 1,
    }
    secret = ref(tenant, CANARY)
    return [
        of_run(
            tenant,
            EventType.RUN_STARTED,
            prompt_pack={"pack_id": CANARY, "version": 1, "digest": CANARY},
            pipeline=CANARY,
            config={"customer": CANARY},
            labels={CANARY: 1},
            inputs=[secret],
        ),
        of_run(tenant, EventType.STEP_STARTED, worker=CANARY, model=CANARY, inputs=[secret]),
        of_run(tenant, EventType.STEP_FAILED, error=error),
        of_run(tenant, EventType.ARTIFACT_STORED, name=CANARY, ref=secret),
        of_run(tenant, EventType.REPAIR_APPLIED, kind="fix", before=secret, after=secret, note=CANARY),
        of_run(tenant, EventType.STEP_SUCCEEDED, outputs={CANARY: secret}, usage={"model": CANARY}),
        of_run(tenant, EventType.RUN_FAILED, error=error, summary=CANARY, **{CANARY: CANARY}),
    ]


def cancelled(tenant: Tenant, reason: str = CANARY) -> Event:
    return of_run(tenant, EventType.RUN_CANCELLED, reason=reason)


async def superuser(ledger: Ledger, tenant: Tenant) -> Connection:
    return await ledger.server.connect(tenant.database.name)


async def where_it_stands(ledger: Ledger, tenant: Tenant, text: str) -> list[str]:
    """Every table of the tenant's database in which any column of any row holds `text`."""
    connection = await superuser(ledger, tenant)
    tables = await connection.fetch(
        "SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname IN ('ledger', 'projection') AND c.relkind = 'r'"
    )
    # bytea is shown as hex: look for both.
    found = [
        row["name"]
        for row in tables
        if await connection.fetchval(
            f"SELECT bool_or(strpos(t::text, $1) > 0 OR strpos(t::text, $2) > 0) FROM {row['name']} t",
            text,
            text.encode().hex(),
        )
    ]
    await connection.close()
    return sorted(found)


BY_HAND = {
    "without a record": "UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 1",
    "the payload alone": "UPDATE ledger.events SET payload = NULL WHERE position = 1",
    "another payload": "UPDATE ledger.events SET payload = '\\x7b7d' WHERE position = 1",
    "the commitment too": """UPDATE ledger.events SET payload = NULL, salt = NULL,
                             payload_commitment = sha256('') WHERE position = 1""",
    "the time too": """UPDATE ledger.events SET payload = NULL, salt = NULL,
                       recorded_at = now() WHERE position = 1""",
    "a neighbour": "UPDATE ledger.events SET payload = NULL, salt = NULL WHERE position = 2",
    "back again": "UPDATE ledger.events SET payload = '\\x7b7d', salt = '\\x00112233445566778899aabbccddeeff'"
    " WHERE position = 3",
    "an erased one": "UPDATE ledger.events SET payload_commitment = sha256('') WHERE position = 3",
    "the record": """UPDATE ledger.events SET payload = NULL, salt = NULL
                     WHERE event_type = 'payload.erased'""",
}
