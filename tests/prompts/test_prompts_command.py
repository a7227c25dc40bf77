"""daicho prompts: packs from folders of Markdown files."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ledger import Tenant
from tests.support.command_line import CommandLine

Call = Callable[..., Awaitable[tuple[int, str]]]


@pytest.fixture
def call(daicho: CommandLine, tenant: Tenant) -> Call:
    async def _call(*words: str) -> tuple[int, str]:
        return await daicho("prompts", *words, "-t", tenant.tenant_id)

    return _call


def write(folder: Path, name: str, template: str, description: str = "A prompt.") -> None:
    folder.mkdir(exist_ok=True)
    variables = "[topic]" if "$topic" in template else "[]"
    front = f"---\nname: {name}\ndescription: {description}\nvariables: {variables}\n---\n"
    (folder / f"{name}.md").write_text(front + template, encoding="utf-8")


async def test_a_pack_from_its_first_version_to_its_end(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "house"
    folder.mkdir()
    code, said = await call("publish", str(folder))
    assert (code, "no .md file" in said) == (2, True), said
    write(folder, "outline", "Outline $topic [bold]\n")
    (folder / "notes.txt").write_text("no prompt", encoding="utf-8")
    code, said = await call("publish", str(folder), "--by", "ann")
    assert (code, "house version 1: 1 prompt, digest" in said) == (0, True), said
    code, said = await call("publish", str(folder))
    assert (code, "house version 1" in said, "unchanged" in said) == (0, True, True), said
    write(folder, "draft", "Draft\x1b[2J")
    code, said = await call("publish", str(folder), "--expected-version", "1", "--reason", "a draft too")
    assert (code, "house version 2: 2 prompts" in said) == (0, True), said
    code, said = await call("show", "house")
    assert (code, "Outline $topic [bold]" in said, "\x1b" in said) == (0, True, False), said
    assert "A prompt.\nvariables: topic" in said
    code, said = await call("show", "house", "--version", "1", "--json")
    shown = json.loads(said)
    assert (shown["version"], shown["prompts"]) == (1, {"outline": "Outline $topic [bold]\n"})
    assert (shown["descriptions"], shown["variables"]) == ({"outline": "A prompt."}, {"outline": ["topic"]})
    code, said = await call("retire", "house", "--reason", "unused")
    assert (code, said) == (0, "house is retired\n")
    assert (await call("show", "house"))[0] == 2
    code, said = await call("publish", str(folder))
    assert (code, "retired" in said) == (2, True), said
    code, said = await call("list", "--json")
    [listed] = json.loads(said)
    assert (listed["pack_id"], listed["version"], listed["is_retired"]) == ("house", 2, True)
    code, said = await call("list")
    assert (code, "retired" in said) == (0, True), said


async def test_two_versions_are_told_apart_line_by_line(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "house"
    write(folder, "kept", "Stay")
    write(folder, "outline", "Outline\n$topic\n[red]\n")
    write(folder, "old", "Gone")
    await call("publish", str(folder))
    write(folder, "outline", "Outline\n$topic, shortly\n[red]\n", description="Shorter.")
    write(folder, "new", "Here")
    (folder / "old.md").unlink()
    await call("publish", str(folder))
    code, said = await call("diff", "house", "1", "2")
    assert code == 0
    lines = said.splitlines()
    for line in (
        "--- house/outline.md version 1",
        "+++ house/outline.md version 2",
        "-description: A prompt.",
        "+description: Shorter.",
        "-$topic",
        "+$topic, shortly",
        " [red]",
        "--- /dev/null",
        "+Here",
        "-Gone",
    ):
        assert line in lines, said
    assert "kept" not in said
    code, said = await call("diff", "house", "1", "2", "--json")
    told = json.loads(said)
    assert {change["name"]: change["change"] for change in told["changes"]} == {
        "new": "added",
        "old": "removed",
        "outline": "changed",
    }
    assert (told["pack_id"], told["old"], told["new"]) == ("house", 1, 2)
    code, said = await call("diff", "house", "1", "1")
    assert (code, "alike" in said) == (0, True), said
    code, said = await call("diff", "house", "1", "7")
    assert (code, "no version 7 of" in said) == (2, True), said


async def test_the_folder_names_the_pack_unless_an_id_is_given(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "prompts"
    write(folder, "outline", "Outline")
    code, said = await call("publish", str(folder), "--id", "blog", "--json")
    published = json.loads(said)
    assert (code, published["pack_id"], published["changed"]) == (0, "blog", True)
    code, said = await call("publish", str(folder), "--id", "blog", "--expected-version", "0")
    assert (code, "already" in said) == (2, True), said
    code, said = await call("publish", str(folder), "--id", "other", "--expected-version", "3")
    assert (code, "no prompt pack 'other'" in said) == (2, True), said
    code, said = await call("publish", str(folder), "--id", "a/b")
    assert (code, "not a prompt pack id" in said) == (2, True), said
    code, said = await call("publish", str(tmp_path / "missing"))
    assert (code, "cannot be read" in said) == (2, True), said


async def test_bad_front_matter_is_told_with_its_file_and_line(
    call: Call, tenant: Tenant, tmp_path: Path
) -> None:
    folder = tmp_path / "house"
    write(folder, "outline", "Outline")
    (folder / "draft.md").write_text("---\nname: draft\ntopic: x\n---\nDraft", encoding="utf-8")
    code, said = await call("publish", str(folder))
    assert (code, "draft.md has 'topic: x' (line 3)" in said) == (2, True), said
    assert await tenant.store.head() == 0
