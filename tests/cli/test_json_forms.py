"""What every reading command prints with `--json` is what `daicho schema` says, and stays so.

The recorded forms stand in json_forms.json. Fields may be added: then record them anew,

    python -m tests.cli.test_json_forms

and nothing may be renamed or go away.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import BaseModel

from ledger import Event, Ledger, Settings, Tenant
from ledger.cli import main
from ledger.cli.forms import FORMS, schema_of_form
from ledger.control.llm import LlmModel, LlmProvider, StepLlmDefault
from tests.exports.conftest import count_once

RECORDED = Path(__file__).parent / "json_forms.json"
OTHERWISE = {"runs-at": "runs", "timeline-follow": "timeline"}
"""Forms of a command's other answer."""
WRITING = {
    "blob-gc", "blob-put", "erase", "follow", "import", "llm-default-remove", "llm-default-set",
    "llm-model-remove", "llm-model-set", "llm-provider-remove", "llm-provider-set", "migrate",
    "prompts-publish", "rebuild", "tenant-delete", "tenant-export", "tenant-import", "tenant-move",
}  # fmt: skip
LINES = {"tail", "timeline-follow"}
COMMANDS = {
    "timeline": "timeline first",
    "timeline-follow": "timeline first -f",
    "state": "state first",
    "runs": "runs",
    "runs-at": "runs --at 9",
    "table": "table attempts",
    "diff": "diff first second --bodies",
    "explain": "explain first draft --bodies",
    "lineage": "lineage storage/{tenant}/first/outline/output.json",
    "replay": "replay first --to {folder}/replayed",
    "search": "search",
    "stats": "stats",
    "tail": "tail -n 1000",
    "verify": "verify",
    "status": "status --stuck-over 1s",
    "doctor": "doctor",
    "blob-fsck": "blob fsck",
    "tenant-list": "tenant list",
    "server-list": "server list",
    "prompts-list": "prompts list",
    "prompts-show": "prompts show pack",
    "prompts-diff": "prompts diff pack 1 2",
    "llm-resolve": "llm resolve {own}",
    "llm-history": "llm history default {own}",
    "llm-provider-list": "llm provider list",
    "llm-provider-show": "llm provider show {own}",
    "llm-model-list": "llm model list",
    "llm-model-show": "llm model show {own}",
    "llm-default-list": "llm default list",
    "llm-default-show": "llm default show {own}",
}
OF_ALL_TENANTS = {"status", "tenant-list", "server-list"}


@pytest.fixture
async def told(tenant: Tenant) -> Tenant:
    """Whatever an answer may have to tell of: failures, a loss, repairs, costs, an erasure, a parent, an
    application's events, what does not fit, a pack in two versions."""
    async with tenant.run("parent", prompt_pack="mock_pack"):
        pass
    for run_id, body in (("first", b'{"a": 1}'), ("second", b'{"a": 2}')):
        pack = {"prompt_pack": "mock_pack", "parent_run_id": "parent", "labels": {"topic": "ü"}}
        async with tenant.run(run_id, pipeline="article", **pack) as run:  # type: ignore[arg-type]
            async with run.step("outline") as step:
                outline = await step.put(body, "output.json")
            with pytest.raises(ConnectionError):
                async with run.step("draft", timeout_seconds=30):
                    raise ConnectionError("reset by peer")
            async with run.step("draft") as step:
                await step.get(outline)
                fixed = await step.put(body.replace(b"1", b"3"), "output.json")
                await step.repaired(kind="json_fix", before=outline, after=fixed)
                step.used(model="m", input_tokens=3, output_tokens=4, cost="0.01", currency="USD")

    def fact(event_type: str, run_id: str, **envelope: Any) -> Event:
        return Event(event_type=event_type, run_id=run_id, tenant_id=tenant.tenant_id, **envelope)  # type: ignore[arg-type]

    await tenant.emitter.emit_many(
        [
            fact("step.started", "odd", step_id="s", attempt=1, actor="ann"),
            fact("step.lost", "odd", step_id="s", attempt=1, payload={"detected_by": "sweep"}),
            fact("step.succeeded", "odd", step_id="t", attempt=7, payload={"usage": {"model": "m"}}),
            fact("run.cancelled", "bare"),
        ]
    )
    secret = await tenant.emitter.emit(fact("run.cancelled", "gone", payload={"reason": "secret"}))
    await tenant.erase_payload(secret.position, by="ann", reason="asked to")
    await asyncio.to_thread(count_once, tenant.application_env())
    await tenant.prompts.publish("pack", {"draft": "Write."}, by="ann")
    await tenant.prompts.revise("pack", {"draft": "Write of {topic}."}, by="ann")
    await tenant.wait_projected(await tenant.store.head())
    return tenant


@pytest.fixture
async def own(ledger: Ledger) -> str:
    """One name of a provider, a model and a step: the catalogue is one for all tests."""
    name = f"x{uuid4().hex[:12]}"
    await ledger.llm.set_provider(LlmProvider(provider_id=name, name="P"), reason="a test")
    model = {"price_input_per_million": "2.5", "price_output_per_million": "10", "currency": "USD"}
    made = LlmModel(model_id=name, provider_id=name, name="theirs", **model)  # type: ignore[arg-type]
    await ledger.llm.set_model(made, reason="a test")
    default = StepLlmDefault(step_id=name, model_id=name, parameters={"temperature": 0.2})
    await ledger.llm.set_default(default, reason="a test")
    return name


@pytest.mark.parametrize("name", FORMS)
async def test_what_a_command_prints_is_as_its_schema_says(
    told: Tenant, own: str, name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    words = [word.format(tenant=told.tenant_id, own=own, folder=tmp_path) for word in COMMANDS[name].split()]
    if name not in OF_ALL_TENANTS and not name.startswith("llm-"):
        words += ["-t", told.tenant_id]
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--json"], catch_exceptions=False)
    # What other tests do to the server is no fault of this one's, and is told as its schema says.
    assert done.exit_code == 0 or name in {"status", "doctor"}, done.output
    answers = list(map(json.loads, done.stdout.splitlines())) if name in LINES else [json.loads(done.stdout)]
    assert answers
    assert answers != [[]]
    validator = Draft202012Validator(closed(schema_of_form(name)), format_checker=FormatChecker())
    for answer in answers:
        assert [error.message for error in validator.iter_errors(answer)] == []
        assert [time for time in times_of(answer) if not time.endswith("Z")] == []


def closed(schema: Any) -> Any:
    """The schema, with no other fields let through than those it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(value) for name, value in schema.items()}
    return {**found, "additionalProperties": False} if isinstance(schema.get("properties"), dict) else found


def times_of(answer: Any) -> Iterator[str]:
    """Texts that are an instant."""
    if isinstance(answer, str):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?", answer):
            yield answer
    elif isinstance(answer, dict | list):
        for each in answer.values() if isinstance(answer, dict) else answer:
            yield from times_of(each)


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name}-")
        else:
            yield f"{prefix}{name}", command


def test_every_command_that_prints_json_has_a_form_or_writes() -> None:
    printing = {
        name
        for name, command in commands(main)
        if any(parameter.name == "as_json" for parameter in command.params)
    }
    reading = {OTHERWISE.get(name, name) for name in FORMS}
    assert printing - WRITING == reading
    assert printing >= WRITING
    assert COMMANDS.keys() == FORMS.keys()


def form(schema: Any) -> Any:
    """A schema without what is said in it for people."""
    if isinstance(schema, list):
        return [form(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: form(value)
        for name, value in schema.items()
        if not (name in {"title", "description"} and isinstance(value, str))
    }


def forms() -> dict[str, str]:
    return {name: json.dumps(form(schema_of_form(name)), sort_keys=True) for name in FORMS}


def recorded() -> dict[str, str]:
    return {
        name: json.dumps(schema, sort_keys=True) for name, schema in json.loads(RECORDED.read_text()).items()
    }


def test_the_forms_are_those_that_are_recorded() -> None:
    changed = [name for name, schema in forms().items() if recorded().get(name) != schema]
    assert not changed, f"others than are recorded: {changed}"
    assert recorded().keys() == FORMS.keys()


def test_a_field_that_comes_or_goes_is_another_form(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithoutAnId(BaseModel):
        step_id: str

    monkeypatch.setattr("ledger.cli.forms.FORMS", {**FORMS, "llm-default-show": WithoutAnId})
    assert forms()["llm-default-show"] != recorded()["llm-default-show"]
    assert forms()["llm-model-show"] == recorded()["llm-model-show"]


if __name__ == "__main__":
    lines = [f" {json.dumps(name)}: {schema}" for name, schema in forms().items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")
