"""daicho prompts: packs from folders of Markdown files."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger import Settings, Tenant
from ledger.cli import main


@pytest.fixture
def daicho(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setenv("DAICHO_HOME", str(settings.home))
    return CliRunner()


async def test_a_pack_from_its_first_version_to_its_end(
    tenant: Tenant, daicho: CliRunner, tmp_path: Path
) -> None:
    async def call(*words: str) -> tuple[int, str]:
        line = ["prompts", *words, "-t", tenant.tenant_id]
        done = await asyncio.to_thread(daicho.invoke, main, line, catch_exceptions=False)
        return done.exit_code, done.output

    folder = str(tmp_path)
    code, said = await call("publish", "house", folder)
    assert (code, "no .md file" in said) == (2, True), said
    (tmp_path / "outline.md").write_text("Outline $topic [bold]\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no prompt", encoding="utf-8")
    code, said = await call("publish", "house", folder, "--by", "ann")
    assert (code, "house version 1: 1 prompt" in said) == (0, True), said
    assert (await call("revise", "house", folder))[0] == 2
    (tmp_path / "draft.md").write_text("Draft\x1b[2J", encoding="utf-8")
    code, said = await call("revise", "house", folder, "--expected-version", "1")
    assert (code, "house version 2: 2 prompts" in said) == (0, True), said
    code, said = await call("show", "house")
    assert (code, "Outline $topic [bold]" in said, "\x1b" in said) == (0, True, False), said
    code, said = await call("show", "house", "--version", "1", "--json")
    shown = json.loads(said)
    assert (shown["version"], shown["prompts"]) == (1, {"outline": "Outline $topic [bold]\n"})
    code, said = await call("retire", "house", "--reason", "unused")
    assert (code, said) == (0, "house is retired\n")
    assert (await call("show", "house"))[0] == 2
    code, said = await call("list", "--json")
    [listed] = json.loads(said)
    assert (listed["pack_id"], listed["version"], listed["is_retired"]) == ("house", 2, True)
    code, said = await call("list")
    assert (code, "retired" in said) == (0, True), said
