"""What model calls consumed and cost: computed once, recorded with the attempt's end, never changed after."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from ledger import ExecutionContext, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.control.embedded.layout import PORT
from ledger.control.llm import LlmModel, LlmProvider
from ledger.errors import InvalidUsage, NoModelForStep, PriceUnavailable, PromptNotFound
from projections import rebuild, verify

MOCK = "mock_pack"


async def payload(tenant: Tenant, event_type: str) -> dict[str, Any]:
    found = [event for event in await tenant.store.read() if event.event_type == event_type][-1].payload
    assert found is not None
    return found


async def usage(tenant: Tenant, event_type: str = "step.succeeded") -> dict[str, Any]:
    told: dict[str, Any] = (await payload(tenant, event_type))["usage"]
    return told


async def test_a_step_records_its_model_its_prompt_and_what_it_cost(
    ledger: Ledger, tenant: Tenant, model: LlmModel, own: str
) -> None:
    chosen = await ledger.llm.resolve(f"{own}-draft")
    async with (
        tenant.run("run", prompt_pack=MOCK) as run,
        run.step(f"{own}-draft", model=chosen, prompt="draft") as step,
    ):
        step.used(input_tokens=1_000, output_tokens=500)
    started = await payload(tenant, "step.started")
    assert started == {
        "model": model.model_id,
        "prompt": run.prompt_pack.prompt_identity("draft"),
    }
    assert started["prompt"].keys() == {"name", "version", "digest"}
    assert await usage(tenant) == {
        "model": model.model_id,
        "input_tokens": 1_000,
        "output_tokens": 500,
        "cost": "0.0075",
        "currency": "USD",
    }


async def test_a_model_may_be_named_where_it_was_used(tenant: Tenant, model: LlmModel) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
        step.used(model=model.model_id, input_tokens=1, output_tokens=0)
    assert (await usage(tenant))["cost"] == "0.0000025"
    assert "model" not in await payload(tenant, "step.started")


async def test_what_a_failed_attempt_used_is_recorded_with_its_cost(tenant: Tenant, model: LlmModel) -> None:
    with pytest.raises(ValueError, match="no"):  # noqa: PT012
        async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft", model=model) as step:
            step.used(input_tokens=1_000, output_tokens=1_000)
            raise ValueError("no")
    assert (await usage(tenant, "step.failed"))["cost"] == "0.0125"


async def test_an_activity_records_the_same(tenant: Tenant, model: LlmModel) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        identity = run.prompt_pack.prompt_identity("draft")
        context = ExecutionContext("run", "draft", 1, tenant.tenant_id, datetime.now(UTC))
        async with tenant.step(context, model=model, prompt=identity) as step:
            step.used(input_tokens=1_000, output_tokens=500)
    assert (await payload(tenant, "step.started"))["model"] == model.model_id
    assert (await usage(tenant))["cost"] == "0.0075"


async def test_the_calls_of_one_attempt_are_added_up(tenant: Tenant, model: LlmModel) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        async with run.step("draft", model=model) as step:
            for _ in range(3):
                step.used(input_tokens=1_000, output_tokens=500)
        assert await usage(tenant) == {
            "model": model.model_id,
            "input_tokens": 3_000,
            "output_tokens": 1_500,
            "cost": "0.0225",
            "currency": "USD",
        }
        async with run.step("told") as step:
            step.used(cost="0.100000000000000001", currency="EUR")
            step.used(cost="999999999999999999.2", currency="EUR")
        assert (await usage(tenant))["cost"] == "999999999999999999.300000000000000001"


SECOND_CALLS: dict[str, dict[str, Any]] = {
    "another model": {"model": "other", "input_tokens": 1},
    "other fields": {"model": "m", "output_tokens": 1},
    "a cost": {"model": "m", "input_tokens": 1, "cost": "1", "currency": "USD"},
}


@pytest.mark.parametrize("second", SECOND_CALLS.values(), ids=SECOND_CALLS)
async def test_calls_that_do_not_add_up_are_refused(tenant: Tenant, second: dict[str, Any]) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
        step.used(model="m", input_tokens=1)
        with pytest.raises(InvalidUsage, match="a step of their own"):
            step.used(**second)
    assert await usage(tenant) == {"model": "m", "input_tokens": 1}


@pytest.mark.parametrize("tokens", [-1, 1.5, "7", True, 2**63])
async def test_what_is_no_count_is_refused_where_it_is_noted(tenant: Tenant, tokens: Any) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft") as step:
        with pytest.raises(InvalidUsage, match="no number of tokens"):
            step.used(model="m", output_tokens=tokens)
        step.used(model="m", cost=Decimal("1E-9"), currency="USD")
    assert await usage(tenant) == {"model": "m", "cost": "0.000000001", "currency": "USD"}


async def test_a_cost_that_is_told_stands_as_it_was_told(tenant: Tenant, model: LlmModel) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run, run.step("draft", model=model) as step:
        step.used(input_tokens=1_000, output_tokens=500, cost="0.00700", currency="EUR")
    assert {key: (await usage(tenant))[key] for key in ("cost", "currency")} == {
        "cost": "0.00700",
        "currency": "EUR",
    }


async def test_without_a_price_no_cost_is_told(
    ledger: Ledger, tenant: Tenant, model: LlmModel, own: str
) -> None:
    unpriced = LlmModel(model_id=f"{own}-u", provider_id=model.provider_id, name="U")
    await ledger.llm.set_model(unpriced, reason="a test")
    async with tenant.run("run", prompt_pack=MOCK) as run:
        for named in (unpriced, f"{own}-never-set"):
            async with run.step("draft", model=named) as step:
                step.used(input_tokens=1_000, output_tokens=500)
            assert (await usage(tenant)).keys() == {"model", "input_tokens", "output_tokens"}
        async with run.step("draft", model=model) as step:
            step.used(input_tokens=1_000)
        assert await usage(tenant) == {"model": model.model_id, "input_tokens": 1_000}


async def test_a_new_price_changes_no_cost_that_is_recorded(
    ledger: Ledger, tenant: Tenant, model: LlmModel
) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        async with run.step("draft", model=model) as step:
            step.used(input_tokens=1_000, output_tokens=500)
        dearer = LlmModel(**{**model.model_dump(), "price_output_per_million": "1000"})
        await ledger.llm.set_model(dearer, reason="a new price list")
        # The record taken before the change names the model; what it costs, the catalogue says.
        async with run.step("draft", model=model) as step:
            step.used(input_tokens=1_000, output_tokens=500)

    await tenant.wait_projected(await tenant.store.head())
    rows = "SELECT cost, currency FROM projection.attempts ORDER BY ordinal"
    costs = [("0.0075", "USD"), ("0.5025", "USD")]
    assert [tuple(row) for row in await tenant.reader.fetch(rows)] == costs
    await rebuild(tenant)
    assert [tuple(row) for row in await tenant.reader.fetch(rows)] == costs
    assert (await verify(tenant)).ok
    assert str(await tenant.reader.fetchval("SELECT costs FROM projection.runs")) == '{"USD":"0.5100"}'


async def test_a_prompt_that_the_pack_does_not_have_starts_no_step(tenant: Tenant) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        with pytest.raises(PromptNotFound, match=r"no prompt 'drft'.*one of draft, outline, repair"):
            async with run.step("draft", prompt="drft"):
                pytest.fail("it began")
        async with run.step("draft", prompt="draft") as step:
            assert step.context.attempt == 1
    assert len(await tenant.store.read()) == 4


async def test_a_step_without_a_model_runs_on_none(ledger: Ledger, tenant: Tenant, own: str) -> None:
    async with tenant.run("run", prompt_pack=MOCK) as run:
        with pytest.raises(NoModelForStep):
            async with run.step(own, model=await tenant.llm.resolve(own)):
                pytest.fail("it began")
    assert [str(event.event_type) for event in await tenant.store.read()] == ["run.started", "run.succeeded"]


@pytest.fixture
async def apart(postgres: EmbeddedPostgres, ledger: Ledger, home: Path) -> AsyncIterator[Ledger]:
    """A ledger with a control database of its own on the server that all share: it may be locked up."""
    name = f"control_{uuid4().hex[:12]}"
    connection = await ledger.server.connect()
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    await connection.close()
    url = f"postgresql://postgres@localhost:{PORT}/{name}?host={postgres.socket_folder}"
    settings = Settings(
        home=home,
        database_url=url,  # type: ignore[arg-type]
        blobs="filesystem",
        projection="external",
        emit_deadline_seconds=0.5,
    )
    async with await Ledger.open(settings) as opened:
        yield opened


@pytest.fixture
async def elsewhere(apart: Ledger) -> Tenant:
    provider = LlmProvider(provider_id="p", name="P")
    model = LlmModel(
        model_id="m",
        provider_id="p",
        name="M",
        price_input_per_million="1",  # type: ignore[arg-type]
        price_output_per_million="2",  # type: ignore[arg-type]
        currency="USD",
    )
    await apart.llm.set_provider(provider, reason="a test")
    await apart.llm.set_model(model, reason="a test")
    tenant_id = f"t-{uuid4().hex[:12]}"
    await apart.tenants.create_tenant_db(tenant_id, "Elsewhere")
    return await apart.tenant(tenant_id)


async def test_a_price_is_asked_again_where_the_connections_were_cut(
    apart: Ledger, elsewhere: Tenant
) -> None:
    connection = await apart.server.connect()
    async with elsewhere.run("run", prompt_pack=MOCK) as run, run.step("draft", model="m") as step:
        step.used(input_tokens=1, output_tokens=1)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await connection.close()
    assert (await usage(elsewhere))["cost"] == "0.000003"


async def test_where_the_catalogue_does_not_answer_the_attempt_fails_and_may_be_retried(
    apart: Ledger, elsewhere: Tenant
) -> None:
    connection = await apart.server.connect()
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("LOCK TABLE control.llm_models IN ACCESS EXCLUSIVE MODE")
    async with elsewhere.run("run", prompt_pack=MOCK) as run:
        with pytest.raises(PriceUnavailable, match=r"price of the model 'm'.*for 0\.5 s"):
            async with run.step("draft", model="m") as step:
                step.used(input_tokens=1, output_tokens=1)
        assert step.error is not None
        assert step.error.is_retryable()
        failed = await payload(elsewhere, "step.failed")
        assert failed["error"]["category"] == "retryable"
        assert failed["usage"] == {"model": "m", "input_tokens": 1, "output_tokens": 1}

        with pytest.raises(KeyError):  # noqa: PT012
            async with run.step("draft", model="m") as step:
                step.used(input_tokens=1, output_tokens=1)
                raise KeyError("the body's own")
        failed = await payload(elsewhere, "step.failed")
        assert failed["error"]["message"] == '"the body\'s own"'
        assert "price" in failed["error"]["details"]["notes_not_kept"]
        assert failed["usage"]["input_tokens"] == 1
        await transaction.rollback()
        async with run.step("draft", model="m") as step:
            step.used(input_tokens=1, output_tokens=1)
    await connection.close()
    assert (await usage(elsewhere))["cost"] == "0.000003"
