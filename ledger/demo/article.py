"""Article: what the pipeline writes, as JSON. Outline and draft are made from a Markdown text."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TypedDict

import orjson
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ledger.demo.keywords import Keyword

HEADING_LEVEL_MAX = 3
KEYWORD_SCORE_SHARE = 0.35  # of the best keyword's score; how many reach it is the text's own doing

_MARKDOWN = MarkdownIt("commonmark").enable("table")


class Section(TypedDict):
    heading: str
    body: str


class Article(TypedDict):
    """`body` is Markdown; everything else is plain text."""

    title: str
    description: str
    keywords: list[str]
    sections: list[Section]


class OutlineSection(TypedDict):
    """Lines count from 0; the body is `lines[first_line:end_line]`."""

    heading: str
    level: int
    first_line: int
    end_line: int


class Outline(TypedDict):
    title: str
    sections: list[OutlineSection]


def make_outline(text: str, name: str) -> Outline:
    """From the headings of levels 1 to 3. Text before the first one, or without any, is a section
    under the title: the first heading, else the first line, else `name`."""
    headings = _headings(_MARKDOWN.parse(text))
    lines = text.splitlines()
    first_line = next((line.strip() for line in lines if line.strip()), name)
    title = headings[0]["heading"] if headings else first_line
    before = OutlineSection(heading=title, level=1, first_line=0, end_line=len(lines))
    sections = [before, *headings]
    for section, following in zip(sections, headings, strict=False):
        section["end_line"] = following["end_line"]
    sections[-1]["end_line"] = len(lines)
    kept = [section for section in sections if section["level"] > 1 or body_of(section, lines)]
    return Outline(title=title or name, sections=kept)


def make_draft(text: str, outline: Outline, keywords: Sequence[Keyword]) -> Article:
    """The first version, taken from the text as it stands: it may break every rule there is."""
    lines = text.splitlines()
    best = keywords[0]["score"] if keywords else 0.0
    return Article(
        title=outline["title"],
        description=_first_paragraph(text),
        keywords=[word["term"] for word in keywords if word["score"] >= best * KEYWORD_SCORE_SHARE],
        sections=[
            Section(heading=section["heading"], body=body_of(section, lines))
            for section in outline["sections"]
        ],
    )


def body_of(section: OutlineSection, lines: Sequence[str]) -> str:
    return "\n".join(lines[section["first_line"] : section["end_line"]]).strip()


def plain_text(markdown: str) -> str:
    """The words of a Markdown text on one line, without code blocks and markup."""
    inlines = [token for token in _MARKDOWN.parse(markdown) if token.type == "inline"]
    return " ".join(filter(None, map(_plain, inlines)))


def to_json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)


def _headings(tokens: Sequence[Token]) -> list[OutlineSection]:
    # `end_line` holds the line the heading itself begins at until its neighbours are known.
    return [
        OutlineSection(
            heading=_plain(inline),
            level=int(opening.tag[1]),
            first_line=opening.map[1],
            end_line=opening.map[0],
        )
        for opening, inline in pairwise(tokens)
        if opening.type == "heading_open"
        and opening.map
        and opening.level == 0
        and int(opening.tag[1]) <= HEADING_LEVEL_MAX
    ]


def _first_paragraph(text: str) -> str:
    tokens = _MARKDOWN.parse(text)
    for opening, inline in pairwise(tokens):
        if opening.type == "paragraph_open" and (found := _plain(inline)):
            return found
    return ""


def _plain(inline: Token) -> str:
    parts = (" " if child.type.endswith("break") else child.content for child in inline.children or ())
    return " ".join("".join(parts).split())
