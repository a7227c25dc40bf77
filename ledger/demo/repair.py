"""Repairs: one computed function per issue code. None asks a model; each takes an article and gives
the repaired one, or the same one where it cannot help."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ledger.contract import ValidationIssue, ValidationReport
from ledger.demo.article import Article, Section, plain_text
from ledger.demo.cutting import cut_text, sentences, split_body
from ledger.demo.validate import validate

TITLE_MAX = 60
TITLE_MIN = 10
DESCRIPTION_MAX = 160
DESCRIPTION_MIN = 50
KEYWORDS_MAX = 8
KEYWORDS_MIN = 3
HEADING_MAX = 80
BODY_MIN = 40


@dataclass(frozen=True)
class Repair:
    """One repair: what it answered, and the article after it."""

    kind: str
    validator: str
    issues: tuple[ValidationIssue, ...]
    note: str
    article: Article


@dataclass(frozen=True)
class Outcome:
    """The repairs in order, and what the validators say in the end."""

    repairs: tuple[Repair, ...]
    reports: tuple[ValidationReport, ...]

    @property
    def passed(self) -> bool:
        return all(report.passed for report in self.reports)


Mend = Callable[[Article, Sequence[str]], tuple[Article, str]]


def repair(article: Article, candidates: Sequence[str], checked_at: datetime) -> Outcome:
    """Repairs code by code, validating after each, until nothing is wrong or nothing helps.
    `candidates` are the text's keywords, best first."""
    done: list[Repair] = []
    reports = validate(article, checked_at)
    tried: set[str] = set()
    while (code := _next_code(reports, tried)) is not None:
        tried.add(code)
        kind, mend = REPAIRS[code]
        repaired, note = mend(article, candidates)
        if repaired != article:
            validator, issues = _issues_of(reports, code)
            done.append(Repair(kind, validator, issues, note, repaired))
            article, reports = repaired, validate(repaired, checked_at)
    return Outcome(tuple(done), tuple(reports))


def shorten_title(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    title = cut_text(article["title"], TITLE_MAX)
    return {**article, "title": title}, f"{len(article['title'])} -> {len(title)} characters"


def lengthen_title(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    new = [term for term in candidates if term not in article["title"].casefold()][:2]
    if not new:
        return article, ""
    title = cut_text(f"{article['title']}: {' and '.join(new)}", TITLE_MAX)
    return {**article, "title": title}, f"added {len(new)} of its keywords"


def shorten_description(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    description = cut_text(article["description"], DESCRIPTION_MAX, at_least=DESCRIPTION_MIN)
    return (
        {**article, "description": description},
        f"{len(article['description'])} -> {len(description)} characters",
    )


def lengthen_description(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    """With the text's next sentences, as many as it takes."""
    description = article["description"]
    for sentence in sentences(" ".join(plain_text(section["body"]) for section in article["sections"])):
        if len(description) >= DESCRIPTION_MIN and description.casefold() != article["title"].casefold():
            break
        if sentence not in description:
            description = f"{description} {sentence}".strip()
    description = cut_text(description, DESCRIPTION_MAX, at_least=DESCRIPTION_MIN)
    return (
        {**article, "description": description},
        f"{len(article['description'])} -> {len(description)} characters, from the text",
    )


def keep_best_keywords(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    kept = article["keywords"][:KEYWORDS_MAX]
    return {**article, "keywords": kept}, f"the best {len(kept)} of {len(article['keywords'])}"


def add_keywords(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    new = [term for term in candidates if term not in article["keywords"]]
    added = new[: KEYWORDS_MIN - len(article["keywords"])]
    return {**article, "keywords": [*article["keywords"], *added]}, f"added the next {len(added)}"


def shorten_headings(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    sections = [
        Section(heading=cut_text(section["heading"], HEADING_MAX), body=section["body"])
        for section in article["sections"]
    ]
    return _with_sections(article, sections, "cut at a word")


def name_headings(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    sections = [
        Section(heading=section["heading"] or cut_text(plain_text(section["body"]), 50), body=section["body"])
        for section in article["sections"]
    ]
    return _with_sections(article, sections, "from the section's first words")


def number_headings(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    taken: set[str] = set()
    sections: list[Section] = []
    for section in article["sections"]:
        heading, number = section["heading"], 1
        while heading.casefold() in taken:
            number += 1
            heading = f"{cut_text(section['heading'], HEADING_MAX - 10)} ({number})"
        taken.add(heading.casefold())
        sections.append(Section(heading=heading, body=section["body"]))
    return _with_sections(article, sections, "repeated headings numbered")


def merge_short_sections(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    """A section without a body of its own joins the one before it, the first joins the next."""
    merged: list[Section] = []
    for section in article["sections"]:
        if merged and min(len(merged[-1]["body"]), len(section["body"])) < BODY_MIN:
            body = f"{merged[-1]['body']}\n\n**{section['heading']}**\n\n{section['body']}".strip()
            merged[-1] = Section(heading=merged[-1]["heading"], body=body)
        else:
            merged.append(section)
    return _with_sections(article, merged, f"{len(article['sections'])} -> {len(merged)} sections")


def split_section(article: Article, candidates: Sequence[str]) -> tuple[Article, str]:
    """The only section becomes two, near its middle, between paragraphs or else sentences."""
    if len(article["sections"]) != 1:
        return article, ""
    [section] = article["sections"]
    halves = split_body(section["body"], BODY_MIN)
    if halves is None:
        return article, ""
    second = Section(heading=cut_text(plain_text(halves[1]), 50), body=halves[1])
    return _with_sections(article, [{**section, "body": halves[0]}, second], "1 -> 2 sections")


# In this order: sections first, for descriptions are made from them.
REPAIRS: dict[str, tuple[str, Mend]] = {
    "section_too_short": ("merge_short_sections", merge_short_sections),
    "too_few_sections": ("split_section", split_section),
    "heading_empty": ("name_headings", name_headings),
    "heading_too_long": ("shorten_headings", shorten_headings),
    "heading_repeated": ("number_headings", number_headings),
    "title_too_long": ("shorten_title", shorten_title),
    "title_too_short": ("lengthen_title", lengthen_title),
    "description_too_short": ("lengthen_description", lengthen_description),
    "description_repeats_title": ("lengthen_description", lengthen_description),
    "description_too_long": ("shorten_description", shorten_description),
    "too_many_keywords": ("keep_best_keywords", keep_best_keywords),
    "too_few_keywords": ("add_keywords", add_keywords),
}


def _with_sections(article: Article, sections: list[Section], note: str) -> tuple[Article, str]:
    return {**article, "sections": sections}, note


def _next_code(reports: Sequence[ValidationReport], tried: set[str]) -> str | None:
    found = {issue.code for report in reports for issue in report.issues}
    return next((code for code in REPAIRS if code in found and code not in tried), None)


def _issues_of(reports: Sequence[ValidationReport], code: str) -> tuple[str, tuple[ValidationIssue, ...]]:
    """The validator that raised `code`, and those of its issues."""
    for report in reports:
        if issues := tuple(issue for issue in report.issues if issue.code == code):
            return report.validator, issues
    raise AssertionError(f"no report has {code}")
