"""The LLM catalogue: one model per step or an error, exact prices, no keys, and every change on record."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import asyncpg
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import Ledger
from ledger.control.audit import Act, acts_of
from ledger.control.llm import LlmModel, LlmProvider, Price, StepLlmDefault
from ledger.errors import InvalidName, LlmInUse, LlmKeyMissing, LlmNotFound, NoModelForStep

WHY = "a test"


@pytest.fixture
async def control(ledger: Ledger) -> AsyncIterator[Any]:
    connection = await ledger.server.connect()
    yield connection
    await connection.close()


async def acts(control: Any, subject: str) -> list[Act]:
    return await acts_of(control, subject)


async def test_a_step_resolves_to_its_one_model(ledger: Ledger, model: LlmModel, own: str) -> None:
    found = await ledger.llm.resolve(f"{own}-draft")
    assert (found.model, found.model_id) == (model, model.model_id)
    assert found.provider == await ledger.llm.provider(f"{own}-p")
    assert found.parameters == {"temperature": 0.2}


async def test_a_step_without_one_is_an_error_whatever_else_there_is(
    ledger: Ledger, model: LlmModel, own: str
) -> None:
    for step_id in (f"{own}-outline", f"{own}-DRAFT", f"{own}-draf", "%", ""):
        with pytest.raises(NoModelForStep, match="no other is used instead"):
            await ledger.llm.resolve(step_id)
    await ledger.llm.remove_default(f"{own}-draft", reason=WHY)
    with pytest.raises(NoModelForStep):
        await ledger.llm.resolve(f"{own}-draft")


async def test_what_was_set_is_what_is_read_exactly(ledger: Ledger, model: LlmModel, own: str) -> None:
    assert await ledger.llm.model(model.model_id) == model
    assert model.capabilities == ("json", "tools")
    assert model in await ledger.llm.models()
    exact = model.model_copy(update={"price_input_per_million": Decimal("999999999999.123456")})
    await ledger.llm.set_model(LlmModel(**exact.model_dump()), reason=WHY)
    assert (await ledger.llm.model(model.model_id)).price_input_per_million == Decimal("999999999999.123456")
    awkward = {"stop": ["inf", "NaN", 'a "\\u0000"'], "deep": {"a": [1, 2.5, None, True]}, "ü": "\U0001f600"}
    default = StepLlmDefault(step_id=f"{own}-draft", model_id=model.model_id, parameters=awkward)
    await ledger.llm.set_default(default, reason=WHY)
    assert (await ledger.llm.resolve(f"{own}-draft")).parameters == awkward
    assert default in await ledger.llm.defaults()


async def test_a_change_leaves_who_what_before_after_and_why(
    ledger: Ledger, model: LlmModel, own: str, control: Any
) -> None:
    dearer = LlmModel(**{**model.model_dump(), "price_output_per_million": "12"})
    change = await ledger.llm.set_model(dearer, reason="new price list", by="ann")
    assert (change.before, change.after) == (model, dearer)
    newest, first = await acts(control, f"model:{model.model_id}")
    assert (newest.actor, newest.action, newest.reason) == ("ann", "llm.model_set", "new price list")
    assert newest.details["before"]["price_output_per_million"] == "10"
    assert newest.details["after"]["price_output_per_million"] == "12"
    assert (first.details["before"], first.details["after"]["model_id"]) == (None, model.model_id)
    assert "@" in first.actor

    await ledger.llm.set_default(
        StepLlmDefault(step_id=f"{own}-draft", model_id=model.model_id), reason=WHY, by="ben"
    )
    [parameters, _] = await acts(control, f"step:{own}-draft")
    assert parameters.details["before"]["parameters"] == {"temperature": 0.2}
    assert parameters.details["after"]["parameters"] == {}

    await ledger.llm.remove_default(f"{own}-draft", reason="not used", by="cleo")
    await ledger.llm.remove_model(model.model_id, reason="gone", by="cleo")
    await ledger.llm.remove_provider(f"{own}-p", reason="gone", by="cleo")
    for subject, action in (
        (f"step:{own}-draft", "llm.default_removed"),
        (f"model:{model.model_id}", "llm.model_removed"),
        (f"provider:{own}-p", "llm.provider_removed"),
    ):
        last = (await acts(control, subject))[0]
        assert (last.actor, last.action, last.details["after"]) == ("cleo", action, None)
        assert last.details["before"]


async def test_what_changes_nothing_leaves_no_act(ledger: Ledger, model: LlmModel, control: Any) -> None:
    same = LlmModel(**{**model.model_dump(), "price_input_per_million": "2.500000"})
    change = await ledger.llm.set_model(same, reason=WHY)
    assert change.before == change.after == model
    assert len(await acts(control, f"model:{model.model_id}")) == 1


async def test_what_is_refused_changes_nothing(
    ledger: Ledger, model: LlmModel, own: str, control: Any
) -> None:
    llm = ledger.llm
    with pytest.raises(LlmInUse, match=f"still named by {own}-draft"):
        await llm.remove_model(model.model_id, reason=WHY)
    with pytest.raises(LlmInUse, match=f"still named by {own}-m"):
        await llm.remove_provider(f"{own}-p", reason=WHY)
    elsewhere = LlmModel(**{**model.model_dump(), "provider_id": f"{own}-nobody"})
    with pytest.raises(LlmNotFound, match=f"no LLM provider '{own}-nobody'"):
        await llm.set_model(elsewhere, reason=WHY)
    with pytest.raises(LlmNotFound, match="no LLM model 'nothing'"):
        await llm.set_default(StepLlmDefault(step_id=f"{own}-draft", model_id="nothing"), reason=WHY)
    for remove in (llm.remove_provider, llm.remove_model, llm.remove_default):
        with pytest.raises(LlmNotFound, match="Correct the name"):
            await remove(f"{own}-missing", reason=WHY)
    for get in (llm.provider, llm.model, llm.default):
        with pytest.raises(LlmNotFound):
            await get(f"{own}-missing")
    dearer = LlmModel(**{**model.model_dump(), "price_output_per_million": "12"})
    for reason, by in (("", "ann"), ("a\x00", "ann"), (WHY, " ")):
        with pytest.raises(InvalidName, match="nothing was changed"):
            await llm.set_model(dearer, reason=reason, by=by)
    assert await llm.model(model.model_id) == model
    assert len(await acts(control, f"model:{model.model_id}")) == 1


async def test_of_many_changes_at_once_each_records_what_it_found(
    ledger: Ledger, model: LlmModel, control: Any
) -> None:
    prices = [str(number) for number in range(20, 26)]
    await asyncio.gather(
        *(
            ledger.llm.set_model(
                LlmModel(**{**model.model_dump(), "price_output_per_million": price}), reason=WHY
            )
            for price in prices
        )
    )
    trail = [act.details for act in reversed(await acts(control, f"model:{model.model_id}"))]
    for earlier, later in pairwise(trail):
        assert later["before"] == earlier["after"]
    assert {said["after"]["price_output_per_million"] for said in trail[1:]} == set(prices)


BAD_PROVIDERS: dict[str, dict[str, Any]] = {
    "a key for its variable": {"key_variable": "sk-live-4711"},
    "a password in the address": {"base_url": "https://user:secret@llm.example/v1"},
    "a key in the address": {"base_url": "https://llm.example/v1?key=secret"},
    "no address": {"base_url": "llm.example"},
    "no name": {"name": " "},
    "no id": {"provider_id": "a/b"},
    "another field": {"api_key": "secret"},
}


@pytest.mark.parametrize("fields", BAD_PROVIDERS.values(), ids=BAD_PROVIDERS)
def test_a_provider_that_cannot_be_is_refused_without_showing_a_key(fields: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        LlmProvider(**{"provider_id": "p", "name": "P", **fields})
    assert "secret" not in str(refused.value)
    assert "4711" not in str(refused.value)


BAD_MODELS: dict[str, dict[str, Any]] = {
    "a float for a price": {"price_input_per_million": 2.5},
    "a negative price": {"price_input_per_million": "-1"},
    "a price that is no number": {"price_input_per_million": "NaN"},
    "a price finer than is kept": {"price_input_per_million": "0.1234567"},
    "a price greater than is kept": {"price_input_per_million": "1e12"},
    "half a price": {"price_output_per_million": None},
    "a price without a currency": {"currency": None},
    "no currency": {"currency": "usd"},
    "no window": {"context_window_tokens": 0},
    "a window too large": {"context_window_tokens": 2**31},
    "a capability that is no word": {"capabilities": ["Tools!"]},
    "no name": {"name": ""},
}


@pytest.mark.parametrize("fields", BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_model_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    good = {
        "model_id": "m",
        "provider_id": "p",
        "name": "M",
        "price_input_per_million": "1",
        "price_output_per_million": "2",
        "currency": "USD",
    }
    assert LlmModel(**good).price is not None
    with pytest.raises(pydantic.ValidationError):
        LlmModel(**{**good, **fields})


@pytest.mark.parametrize(
    "parameters",
    [{"t": float("nan")}, {"t": "\x00"}, {"t": "\ud800"}, {"t": b"x"}, {"t": "x" * 8_000}, [1]],
    ids=["NaN", "a zero", "half a character", "bytes", "too much", "a list"],
)
def test_parameters_that_are_no_json_are_refused(parameters: Any) -> None:
    with pytest.raises(pydantic.ValidationError):
        StepLlmDefault(step_id="s", model_id="m", parameters=parameters)


async def test_the_database_too_takes_no_half_price_and_no_key(model: LlmModel, control: Any) -> None:
    for change in (
        "UPDATE control.llm_models SET currency = NULL WHERE model_id = $1",
        "UPDATE control.llm_models SET price_input_per_million = 'NaN' WHERE model_id = $1",
        "UPDATE control.llm_providers SET key_variable = 'sk-l' WHERE provider_id = replace($1, '-m', '-p')",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await control.execute(change, model.model_id)


def test_the_key_is_read_from_the_environment_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LlmProvider(provider_id="p", name="P", key_variable="DAICHO_TEST_LLM_KEY")
    with pytest.raises(LlmKeyMissing, match="environment variable DAICHO_TEST_LLM_KEY"):
        provider.key()
    monkeypatch.setenv("DAICHO_TEST_LLM_KEY", "sk-live-4711")
    key = provider.key()
    assert key is not None
    assert key.get_secret_value() == "sk-live-4711"
    assert "4711" not in repr((provider, key, provider.said()))
    assert LlmProvider(provider_id="p", name="P").key() is None


def test_a_cost_is_exact_or_unknown() -> None:
    price = Price(input_per_million=Decimal("2.5"), output_per_million=Decimal("10"), currency="USD")
    assert price.cost(1_000, 500) == Decimal("0.0075")
    assert str(price.cost(400_000, 0)) == "1"
    assert price.cost(0, 0) == 0
    assert (price.cost(None, 500), price.cost(1_000, None)) == (None, None)
    embedding = price.model_copy(update={"output_per_million": Decimal(0)})
    assert embedding.cost(1_000, None) == Decimal("0.0025")


TOKENS = st.integers(0, 2**63 - 1)
PRICES = st.decimals(0, Decimal("999999999999.999999"), places=6)


@settings(deadline=None)
@given(TOKENS, TOKENS, PRICES, PRICES)
def test_no_digit_of_a_cost_is_lost(read: int, written: int, dear: Decimal, dearer: Decimal) -> None:
    cost = Price(input_per_million=dear, output_per_million=dearer, currency="USD").cost(read, written)
    assert cost is not None
    micro = int(dear.scaleb(6)) * read + int(dearer.scaleb(6)) * written
    whole, fraction = divmod(micro, 10**12)
    assert Decimal(f"{whole}.{fraction:012}") == cost
    assert "E" not in format(cost, "f")
