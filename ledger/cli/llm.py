"""`daicho llm`: which models there are, what they cost, and which one a step uses."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import click
import orjson
from rich.text import Text

from ledger.cli import render
from ledger.cli.running import json_option, open_ledger, out, print_json, runs_async
from ledger.control.audit import this_actor
from ledger.control.llm import LlmModel, LlmProvider, Price, StepLlmDefault
from ledger.control.llm.catalogue import Change

Command = Callable[..., Any]


def recorded(command: Command) -> Command:
    """The options of every change: why, and by whom."""
    by = click.option(
        "--by", metavar="WHO", default=this_actor, help="Who; recorded.", show_default="this account@machine"
    )
    reason = click.option("--reason", required=True, metavar="WHY", help="Why; recorded.")
    return reason(by(command))


@click.group()
def llm() -> None:
    """The LLM catalogue: providers, models with their prices, and the one model of each step."""


@llm.command("resolve")
@click.argument("step_id", metavar="STEP")
@json_option
@runs_async
async def resolve(step_id: str, as_json: bool) -> None:
    """Show the model that STEP uses, or say that none is set: no second choice is ever made."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.resolve(step_id)
    if as_json:
        print_json(found)
        return
    _facts(
        {
            "step": found.step_id,
            "model": found.model_id,
            "provider": found.provider.provider_id,
            "provider's name for it": found.model.name,
            "parameters": found.parameters,
            "price": _price(found.model.price),
        }
    )


@llm.command("history")
@click.argument("kind", type=click.Choice(["provider", "model", "default"]))
@click.argument("name", metavar="NAME")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@runs_async
async def history(kind: str, name: str, limit: int, as_json: bool) -> None:
    """Show who changed a provider, a model or a step's default, when, what and why; the newest first."""
    subject = f"{'step' if kind == 'default' else kind}:{name}"
    async with open_ledger(projection="external") as ledger:
        acts = await ledger.llm.history(subject, limit=limit)
    if as_json:
        print_json([asdict(act) for act in acts])
        return
    if not acts:
        out.print(f"Nothing is on record about the {kind} {name}.", markup=False)
    for act in acts:
        when = render.local_time(act.recorded_at)
        out.print(f"{when}  {act.actor}: {act.reason}", markup=False, soft_wrap=True)
        _changes(act.details["before"] or {}, act.details["after"] or {})


@llm.group()
def provider() -> None:
    """Providers: who serves models, and which environment variable holds the key."""


@provider.command("list")
@json_option
@runs_async
async def provider_list(as_json: bool) -> None:
    """List all providers."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.providers()
    header = ("provider", "name", "address", "key in")
    _list(found, as_json, header, lambda it: (it.provider_id, it.name, it.base_url, it.key_variable))


@provider.command("show")
@click.argument("provider_id", metavar="ID")
@json_option
@runs_async
async def provider_show(provider_id: str, as_json: bool) -> None:
    """Show provider ID."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.provider(provider_id)
    _show(found, as_json)


@provider.command("set")
@click.argument("provider_id", metavar="ID")
@click.option("--name", help="What people call it. [default: ID]")
@click.option("--base-url", metavar="URL", help="Where it is served.")
@click.option("--key-variable", metavar="VARIABLE", help="The environment variable that holds its key.")
@recorded
@json_option
@runs_async
async def provider_set(
    provider_id: str, name: str | None, reason: str, by: str, as_json: bool, **fields: Any
) -> None:
    """Add provider ID, or put this in its place: what is not told is not kept. Keys are never stored."""
    record = LlmProvider(provider_id=provider_id, name=name or provider_id, **fields)
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.set_provider(record, reason=reason, by=by)
    _tell(f"provider {provider_id}", change, as_json)


@provider.command("remove")
@click.argument("provider_id", metavar="ID")
@recorded
@json_option
@runs_async
async def provider_remove(provider_id: str, reason: str, by: str, as_json: bool) -> None:
    """Remove provider ID, which no model may name any more."""
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.remove_provider(provider_id, reason=reason, by=by)
    _tell(f"provider {provider_id}", change, as_json)


@llm.group()
def model() -> None:
    """Models: their context window, price and capabilities."""


@model.command("list")
@json_option
@runs_async
async def model_list(as_json: bool) -> None:
    """List all models."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.models()

    def row(it: LlmModel) -> tuple[object, ...]:
        window, can = it.context_window_tokens, " ".join(it.capabilities)
        return (it.model_id, it.provider_id, window, _price(it.price), can)

    _list(found, as_json, ("model", "provider", "#context", "price per million, in + out", "can"), row)


@model.command("show")
@click.argument("model_id", metavar="ID")
@json_option
@runs_async
async def model_show(model_id: str, as_json: bool) -> None:
    """Show model ID."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.model(model_id)
    _show(found, as_json)


@model.command("set")
@click.argument("model_id", metavar="ID")
@click.option("--provider", "provider_id", required=True, metavar="PROVIDER", help="Who serves it.")
@click.option("--name", help="The provider's name for it. [default: ID]")
@click.option("--context-window", "context_window_tokens", type=int, metavar="TOKENS")
@click.option("--input-price", "price_input_per_million", metavar="DECIMAL", help="Per million tokens.")
@click.option("--output-price", "price_output_per_million", metavar="DECIMAL", help="Per million tokens.")
@click.option("--currency", metavar="CODE", help="ISO 4217, as USD.")
@click.option("--capability", "capabilities", multiple=True, metavar="WORD", help="As tools; repeatable.")
@recorded
@json_option
@runs_async
async def model_set(
    model_id: str, name: str | None, reason: str, by: str, as_json: bool, **fields: Any
) -> None:
    """Add model ID, or put this in its place: what is not told is not kept. Costs that are recorded stay."""
    record = LlmModel(model_id=model_id, name=name or model_id, **fields)
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.set_model(record, reason=reason, by=by)
    _tell(f"model {model_id}", change, as_json)


@model.command("remove")
@click.argument("model_id", metavar="ID")
@recorded
@json_option
@runs_async
async def model_remove(model_id: str, reason: str, by: str, as_json: bool) -> None:
    """Remove model ID, which no step may use by default any more."""
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.remove_model(model_id, reason=reason, by=by)
    _tell(f"model {model_id}", change, as_json)


@llm.group()
def default() -> None:
    """Defaults: the one model of a step, and its parameters."""


@default.command("list")
@json_option
@runs_async
async def default_list(as_json: bool) -> None:
    """List the steps that have a model."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.defaults()
    header = ("step", "model", "parameters")
    _list(found, as_json, header, lambda it: (it.step_id, it.model_id, _json(it.parameters)))


@default.command("show")
@click.argument("step_id", metavar="STEP")
@json_option
@runs_async
async def default_show(step_id: str, as_json: bool) -> None:
    """Show what is set for STEP; `daicho llm resolve` shows its model too."""
    async with open_ledger(projection="external") as ledger:
        found = await ledger.llm.default(step_id)
    _show(found, as_json)


@default.command("set")
@click.argument("step_id", metavar="STEP")
@click.argument("model_id", metavar="MODEL")
@click.option("--parameters", metavar="JSON", default="{}", help="""As '{"temperature": 0.2}'.""")
@recorded
@json_option
@runs_async
async def default_set(
    step_id: str, model_id: str, parameters: str, reason: str, by: str, as_json: bool
) -> None:
    """Make MODEL the one model of STEP."""
    record = StepLlmDefault(step_id=step_id, model_id=model_id, parameters=_object(parameters))
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.set_default(record, reason=reason, by=by)
    _tell(f"step {step_id}", change, as_json)


@default.command("remove")
@click.argument("step_id", metavar="STEP")
@recorded
@json_option
@runs_async
async def default_remove(step_id: str, reason: str, by: str, as_json: bool) -> None:
    """Let STEP resolve to no model."""
    async with open_ledger(projection="external") as ledger:
        change = await ledger.llm.remove_default(step_id, reason=reason, by=by)
    _tell(f"step {step_id}", change, as_json)


Record = LlmProvider | LlmModel | StepLlmDefault


def _list(found: Sequence[Any], as_json: bool, header: tuple[str, ...], row: Callable[[Any], Any]) -> None:
    if as_json:
        print_json(list(found))
        return
    made = render.table(*header)
    for record in found:
        made.add_row(*(Text("" if value is None else str(value)) for value in row(record)))
    out.print(made)


def _show(record: Record, as_json: bool) -> None:
    if as_json:
        print_json(record)
    else:
        _facts({name.replace("_", " "): value for name, value in record.said().items()})


def _facts(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        out.print(f"{name}: {_shown(value)}", markup=False, soft_wrap=True)


def _tell(what: str, change: Change[Any], as_json: bool) -> None:
    """What was changed, field by field, so that what was not told and is gone is seen."""
    before = {} if change.before is None else change.before.said()
    after = {} if change.after is None else change.after.said()
    if as_json:
        print_json({"before": before or None, "after": after or None})
        return
    if before == after:
        out.print(f"{what}: unchanged, nothing was recorded", markup=False)
        return
    out.print(f"{what}: {'removed' if not after else 'changed' if before else 'added'}", markup=False)
    if before and after:
        _changes(before, after)


def _changes(before: dict[str, Any], after: dict[str, Any]) -> None:
    for name in after or before:
        old, new = before.get(name), after.get(name)
        if old != new:
            _facts({f"  {name.replace('_', ' ')}": f"{_shown(old)} -> {_shown(new)}"})


def _shown(value: Any) -> str:
    if value is None or value in ([], {}):
        return "none"
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _price(price: Price | None) -> str | None:
    if price is None:
        return None
    amounts: tuple[Decimal, ...] = (price.input_per_million, price.output_per_million)
    return f"{' + '.join(map(str, amounts))} {price.currency}"


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--parameters") from None
    if not isinstance(value, dict):
        raise click.BadParameter("""a JSON object, as '{"temperature": 0.2}'""", param_hint="--parameters")
    return value
