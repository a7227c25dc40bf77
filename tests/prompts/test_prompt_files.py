"""Prompt files: front matter says the name, what for and which variables, or it is a clear error."""

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidPromptPack
from ledger.prompts.files import (
    PromptFile,
    parse_prompt_file,
    prompt_file_text,
    prompts_of,
    read_prompt_folder,
    variables_of,
)

HEAD = "name: outline\ndescription: An outline.\nvariables: [title, keywords]\n"
BODY = 'Write about "$title".\n\n---\n\nUse $keywords for $$5.\n'


def file(head: str, body: str = BODY) -> str:
    return f"---\n{head}---\n{body}"


def test_a_prompt_is_what_follows_its_front_matter() -> None:
    expected = PromptFile("outline", "An outline.", ("title", "keywords"), BODY)
    assert parse_prompt_file(file(HEAD), "p.md") == expected
    assert parse_prompt_file(file(HEAD).replace("\n", "\r\n"), "p.md") == expected


@pytest.mark.parametrize(
    "head",
    [
        "# a comment\n\nname: outline\ndescription: An outline.\nvariables:\n  - title\n  - keywords\n",
        "variables: [ 'title' , \"keywords\" ]\nname: 'outline'\ndescription: \"An outline.\"\n",
    ],
)
def test_a_list_may_stand_in_lines_and_text_in_quotes(head: str) -> None:
    assert parse_prompt_file(file(head), "p.md") == parse_prompt_file(file(HEAD), "p.md")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("plain: no space after a colon:here", "plain: no space after a colon:here"),
        ("'it''s'", "it's"),
        ('"a \\"b\\" \\u00fc: #"', 'a "b" ü: #'),
        ("c# is not a comment", "c# is not a comment"),
        ("Über uns, kurz", "Über uns, kurz"),
    ],
)
def test_what_a_description_may_say(said: str, read: str) -> None:
    if ": " in said and said[0] not in "'\"":
        with pytest.raises(InvalidPromptPack, match="quote"):
            parse_prompt_file(file(HEAD.replace("An outline.", said)), "p.md")
        return
    assert parse_prompt_file(file(HEAD.replace("An outline.", said)), "p.md").description == read


REFUSED = {
    "nothing in front": ("Write", r"p\.md has no front matter.*a first line '---'.*'Write'"),
    "no end": ("---\nname: a\n", "does not end"),
    "no name": (file("description: d\nvariables: []\n", "x"), "does not say name"),
    "no variables": (file("name: a\ndescription: d\n", "x"), "does not say variables"),
    "two missing": (file("variables: []\n", "x"), "does not say name and description"),
    "another key": (file(HEAD + "model: m\n"), r"'model: m' \(line 5\)"),
    "no colon": (file("name outline\n"), r"'name outline' \(line 2\)"),
    "a nested key": (file("name:\n  first: a\n"), "line 2"),
    "a key twice": (file(HEAD + "name: b\n"), "says name twice"),
    "an empty name": (file(HEAD.replace("outline\n", "\n", 1)), "line 2"),
    "an empty quoted name": (file(HEAD.replace("outline\n", "''\n", 1)), "line 2"),
    "an open quote": (file(HEAD.replace("outline\n", "'outline\n", 1)), "line 2"),
    "an open double quote": (file(HEAD.replace("outline\n", '"outline\n', 1)), "line 2"),
    "what YAML reads as a truth": (file(HEAD.replace("outline\n", "yes\n", 1)), "quote"),
    "what YAML reads as a number": (file(HEAD.replace("outline\n", "1.0\n", 1)), "quote"),
    "an anchor": (file(HEAD.replace("An outline.", "&a b")), "quote"),
    "a block": (file(HEAD.replace("An outline.", "|\n  text")), "line 3"),
    "a comment behind": (file(HEAD.replace("An outline.", "An outline. # old")), "quote"),
    "a list that is none": (file(HEAD.replace("[title, keywords]", "title")), r"a list: \[title"),
    "a list in a list": (file(HEAD.replace("[title, keywords]", "[[title]]")), r"a list: \[title"),
    "an item of nothing": (file("name: a\n- title\n"), "line 3"),
    "an empty item": (file(HEAD.replace("title,", "title,,")), "line 4"),
    "a variable that is no name": (file(HEAD.replace("[title", "[the-title")), "'the-title'"),
    "a variable with its dollar": (file(HEAD.replace("[title", "[$title")), r"'\$title'"),
    "a variable twice": (file(HEAD.replace("[title", "[title, title")), "'title' twice"),
    "a variable not declared": (file(HEAD, BODY + "$tone"), "uses undeclared tone"),
    "a variable not used": (file(HEAD.replace("[title", "[tone, title")), "declares unused tone"),
    "both": (file(HEAD, "$titel $keywords"), "uses undeclared titel and declares unused title"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_front_matter_that_is_not_right_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidPromptPack, match=said):
        parse_prompt_file(text, "p.md")


def test_two_files_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidPromptPack, match=r"b\.md and a\.md are both named 'outline'"):
        prompts_of([("a.md", file(HEAD)), ("b.md", file(HEAD))])


def test_a_folder_is_read_by_the_names_its_prompts_give_themselves(tmp_path: Path) -> None:
    (tmp_path / "01.md").write_bytes(b"\xef\xbb\xbf" + file(HEAD).encode())
    (tmp_path / "notes.txt").write_text("no prompt")
    found = read_prompt_folder(tmp_path)
    assert (found.prompts, found.descriptions) == ({"outline": BODY}, {"outline": "An outline."})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "not UTF-8"), (b"x" * 70_000, "too large"), (None, "cannot be read")],
    ids=["not UTF-8", "too large", "a folder"],
)
def test_a_file_that_cannot_be_a_prompt_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "bad.md"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(InvalidPromptPack, match=rf"bad\.md .*{said}"):
        read_prompt_folder(tmp_path)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
templates = (
    st.text(string.printable.replace("$", "").replace("\r", ""))
    .flatmap(lambda text: st.sampled_from([text, f"{text} $a ${{b}}", f"$$ $A{text}", f"---\n{text}"]))
    .filter(lambda text: not any(mark in text for mark in ("\x0b", "\x0c")))
)


@settings(deadline=None)
@given(texts, texts, templates)
def test_a_prompt_written_as_a_file_reads_back_as_the_same(
    name: str, description: str, template: str
) -> None:
    written = prompt_file_text(name, description, template)
    read = parse_prompt_file(written, "p.md")
    assert read == PromptFile(name, description, variables_of(template), template)
