"""The catalogue is one for all tenants: each test names providers, models and steps of its own."""

from uuid import uuid4

import pytest

from ledger import Ledger
from ledger.control.llm import LlmModel, LlmProvider, StepLlmDefault

WHY = "a test"


@pytest.fixture
def own() -> str:
    """A prefix for names, so that tests that run at once do not meet."""
    return f"x{uuid4().hex[:12]}"


@pytest.fixture
async def model(ledger: Ledger, own: str) -> LlmModel:
    """A model at 2.5 and 10 USD per million tokens, the default of the step `{own}-draft`."""
    provider = LlmProvider(provider_id=f"{own}-p", name="P", key_variable=f"KEY_{own.upper()}")
    made = LlmModel(
        model_id=f"{own}-m",
        provider_id=provider.provider_id,
        name="their-name",
        context_window_tokens=128_000,
        price_input_per_million="2.5",  # type: ignore[arg-type]
        price_output_per_million="10",  # type: ignore[arg-type]
        currency="USD",
        capabilities=("tools", "json"),
    )
    default = StepLlmDefault(step_id=f"{own}-draft", model_id=made.model_id, parameters={"temperature": 0.2})
    await ledger.llm.set_provider(provider, reason=WHY)
    await ledger.llm.set_model(made, reason=WHY)
    await ledger.llm.set_default(default, reason=WHY)
    return made
