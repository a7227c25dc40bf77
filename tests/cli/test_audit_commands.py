"""The audit's commands: `--json` prints what Python answers; what is wrong is told, with exit code 2."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from ledger import Event, Settings, Tenant
from ledger.cli import main
from ledger.cli.forms import FORMS
from projections.audit import Answer, AuditQueries, Point, schema_of

Asked = Callable[[AuditQueries], Awaitable[Answer]]


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    return CliRunner()


@pytest.fixture
async def audited(tenant: Tenant) -> Tenant:
    """Two runs: one with a retry and a repair, one that went another way."""
    for run_id, body in (("first", b'{"a": 1}'), ("second", b'{"a": 2}')):
        async with tenant.run(run_id, pipeline="article", prompt_pack="mock_pack") as run:
            async with run.step("outline") as step:
                outline = await step.put(body, "output.json")
            if run_id == "first":
                with pytest.raises(ConnectionError):
                    async with run.step("draft"):
                        raise ConnectionError("reset by [peer]\x1b[31m")
            async with run.step("draft") as step:
                await step.get(outline)
                fixed = await step.put(body.replace(b"1", b"3"), "output.json")
                await step.repaired(kind="json_fix", before=outline, after=fixed)
    await tenant.emitter.emit(
        Event(event_type="run.cancelled", run_id="third", tenant_id=tenant.tenant_id, actor="ann")
    )
    await tenant.wait_projected(await tenant.store.head())
    return tenant


async def _run(daicho: CliRunner, *words: str) -> tuple[int, str]:
    done = await asyncio.to_thread(daicho.invoke, main, list(words), catch_exceptions=False)
    return done.exit_code, done.output


QUESTIONS: dict[str, tuple[tuple[str, ...], Asked]] = {
    "timeline": (("timeline", "first"), lambda audit: audit.timeline("first")),
    "timeline of a step": (
        ("timeline", "first", "--step", "draft", "--errors"),
        lambda audit: audit.timeline("first", step="draft", errors=True),
    ),
    "state": (("state", "first", "--at", "v4"), lambda audit: audit.state("first", Point(version=4))),
    "runs": (("runs", "--at", "9"), lambda audit: audit.runs_at(9)),
    "table": (("table", "attempts", "--at", "9"), lambda audit: audit.table_at("attempts", 9)),
    "diff": (
        ("diff", "first", "second", "--bodies"),
        lambda audit: audit.diff("first", other="second", bodies=True),
    ),
    "diff of points": (("diff", "first", "--to", "5"), lambda audit: audit.diff("first", None, 5)),
    "explain": (
        ("explain", "first", "draft", "--bodies"),
        lambda audit: audit.explain("first", "draft", bodies=True),
    ),
    "search": (("search", "--category", "retryable"), lambda audit: audit.search(category="retryable")),
    "stats": (("stats", "--since", "3"), lambda audit: audit.statistics(since=3)),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_json_is_what_python_answers_as_its_schema_says(
    daicho: CliRunner, audited: Tenant, name: str
) -> None:
    words, ask = QUESTIONS[name]
    code, output = await _run(daicho, *words, "-t", audited.tenant_id, "--json")
    told = json.loads(output)
    assert (code, told) == (0, json.loads((await ask(AuditQueries(audited))).model_dump_json()))
    Draft202012Validator(schema_of(words[0])).validate(told)
    assert not re.search(r"\d\d:\d\d:\d\d(\.\d+)?[+-]\d\d:\d\d", output), "a time that is not UTC"

    code, output = await _run(daicho, *words, "-t", audited.tenant_id)
    assert (code, bool(output.strip())) == (0, True)
    assert "\x1b" not in output, "what was recorded must not steer the terminal"


async def test_lineage_is_told_as_tree_json_and_graph(daicho: CliRunner, audited: Tenant) -> None:
    state = await AuditQueries(audited).state("first")
    digest = state.step_outputs["draft"].digest
    words = ("lineage", digest[:10], "-t", audited.tenant_id)
    code, output = await _run(daicho, *words, "--json")
    told = json.loads(output)
    assert (code, told) == (0, json.loads((await AuditQueries(audited).lineage(digest)).model_dump_json()))
    Draft202012Validator(schema_of("lineage")).validate(told)
    code, output = await _run(daicho, *words)
    assert (code, "repaired from (json_fix)" in output) == (0, True)
    code, output = await _run(daicho, *words, "--dot", "--up")
    assert (code, output.startswith("digraph lineage {"), output.count(" -> ")) == (
        0,
        True,
        len(told["edges"]),
    )


async def test_a_folder_is_written_and_refused_the_second_time(
    daicho: CliRunner, audited: Tenant, tmp_path: Path
) -> None:
    words = ("replay", "first", "-t", audited.tenant_id, "--to", str(tmp_path / "out"))
    code, output = await _run(daicho, *words, "--json")
    told = json.loads(output)
    assert (code, told["ok"], len(told["bodies"])) == (0, True, 2)
    Draft202012Validator(schema_of("replay")).validate(told)
    code, output = await _run(daicho, *words)
    assert (code, "it is not empty" in output) == (2, True)


async def test_following_a_run_that_has_ended_prints_it_and_ends(daicho: CliRunner, audited: Tenant) -> None:
    code, output = await _run(daicho, "timeline", "second", "-t", audited.tenant_id, "-f")
    assert code == 0
    told = [line.split()[3] for line in output.splitlines()]
    assert (told[0], told[-1]) == ("run.started", "run.succeeded")
    code, output = await _run(daicho, "timeline", "second", "-t", audited.tenant_id, "-f", "--json")
    entries = [json.loads(line) for line in output.splitlines()]
    whole = json.loads((await AuditQueries(audited).timeline("second")).model_dump_json())
    assert entries == whole["entries"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("timeline", "frist"), "Did you mean 'first'"),
        (("timeline", "first", "--step", "drafd"), "Did you mean 'draft'"),
        (("explain", "first", "outlines"), "Did you mean 'outline'"),
        (("state", "first", "--at", "99"), "There is no position 99"),
        (("state", "first", "--at", "v99"), "no version 99"),
        (("state", "first", "--at", "soon"), "is not a point of the log"),
        (("state", "first", "--at", "3", "--version", "2"), "not several of them"),
        (("diff", "first"), "Name another run"),
        (("diff", "first", "secnod"), "Did you mean 'second'"),
        (("table", "attempt"), "Did you mean 'attempts'"),
        (("lineage", "0000000000"), "has the digest 0000000000"),
        (("search", "--text", ""), "cannot be sought"),
        (("search", "--run", "frist"), "Did you mean 'first'"),
        (("search", "--step", "outlin"), "Did you mean 'outline'"),
        (("search", "--type", "step.faild"), "Did you mean 'step.failed'"),
        (
            ("search", "--type", "step.failed", "--type", "nonsense"),
            "No event has the type 'nonsense'. Types are",
        ),
        (("search", "--actor", "anm"), "Did you mean 'ann'"),
        (("search", "--actor", "zoe"), "Some are 'ann'"),
        (("search", "--category", "retry"), "is not one of 'retryable'"),
        (("search", "--since", "5", "--until", "4"), "begins at 5 and ends at 4, which is before that"),
        (("search", "--since", "1h", "--until", "2h"), "which is before that"),
        (("search", "--since", "5", "--until", "2001-01-01"), "which is before that"),
        (("stats", "--since", "5", "--until", "4"), "which is before that"),
        (("export", "--since", "5", "--until", "4"), "which is before that"),
        (("export", "--format", "xml"), "is not one of 'jsonl'"),
        (("search", "--before", "nonsense"), "'nonsense' is not"),
        (("search", "--before", "999"), "There is no position before 999"),
        (("search", "--until", "999"), "There is no position 999"),
        (("stats", "--until", "999"), "There is no position 999"),
        (("replay", "frist", "--to", "out"), "Did you mean 'first'"),
        (("replay", "first", "--to", "x" * 300), "its place cannot be looked at (File name too long)"),
        (("state", "first", "--time", "3"), "--time takes a time"),
        (("timeline", "first", "--at", "2001-01-01"), "had no event at that point"),
        (("export", "--run", "frist"), "Did you mean 'first'"),
        (("export", "--until", "999"), "There is no position 999"),
        (("export", "--format", "parquet"), "name a file with --output"),
        (("export", "-o", "no/such/folder/file"), "cannot be written: No such file"),
        (("import", "no-such-file", "--as", "another"), "cannot be read: No such file"),
        (("runs", "--at", "3", "--step", "draft"), "--at goes with"),
        (("schema", "nonsense"), "is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_what_is_wrong_is_told_with_what_is_like_it(
    daicho: CliRunner, audited: Tenant, words: tuple[str, ...], told: str
) -> None:
    tenant: tuple[str, ...] = () if words[0] in {"schema", "import"} else ("-t", audited.tenant_id)
    code, output = await _run(daicho, *words, *tenant)
    assert (code, told in " ".join(output.split())) == (2, True), output


async def test_schemas_are_printed_one_or_all(daicho: CliRunner) -> None:
    code, output = await _run(daicho, "schema")
    everything: dict[str, Any] = json.loads(output)
    assert (code, everything.keys()) == (0, FORMS.keys())
    for name, schema in everything.items():
        Draft202012Validator.check_schema(schema)
        assert json.loads((await _run(daicho, "schema", name))[1]) == schema


async def test_what_people_read_holds_no_python_and_no_none(daicho: CliRunner, audited: Tenant) -> None:
    code, output = await _run(daicho, "state", "first", "-t", audited.tenant_id)
    assert (code, output.splitlines()[0].split()) == (0, ["run", "first", "succeeded"])
    assert "config       none" in output
    code, output = await _run(daicho, "timeline", "$tenant", "-t", audited.tenant_id)
    assert (code, "None" in output) == (2, False)  # nothing administrative is recorded yet
    await audited.emitter.emit(
        Event(
            event_type="projection.rebuilt",
            run_id="$tenant",
            tenant_id=audited.tenant_id,
            payload={"position": 1},
        )
    )
    code, output = await _run(daicho, "timeline", "$tenant", "-t", audited.tenant_id)
    assert (code, "None" in output) == (0, False)
