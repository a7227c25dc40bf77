"""Outline and draft come from the text; validators refuse; repairs cure, or say that they cannot."""

from datetime import UTC, datetime

import pytest

from ledger.demo.article import Article, Section, make_draft, make_outline, plain_text
from ledger.demo.cutting import cut_text, split_body
from ledger.demo.render import render_html
from ledger.demo.repair import repair
from ledger.demo.validate import CODES, ISSUES_MAX, RULES, SCHEMA, validate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BODY = "Forty characters at the least are asked of every section."
TWICE = "Said once as the title and once again as what it is about."
KEYWORDS = [f"keyword{number}" for number in range(12)]


def article(**changes: object) -> Article:
    good = {
        "title": "A title of good length",
        "description": "A description that has at least fifty characters and says something.",
        "keywords": KEYWORDS[:5],
        "sections": [Section(heading="One", body=BODY), Section(heading="Two", body=BODY)],
    }
    return Article(**{**good, **changes})  # type: ignore[typeddict-item]


def codes(of: Article) -> set[str]:
    return {issue.code for report in validate(of, NOW) for issue in report.issues}


BROKEN = {
    "title_too_short": article(title="Short"),
    "title_too_long": article(title="A title " * 20),
    "description_too_short": article(description="Too short."),
    "description_too_long": article(description="A sentence of a long description. " * 20),
    "description_repeats_title": article(title=TWICE, description=TWICE),
    "too_few_keywords": article(keywords=["one"]),
    "too_many_keywords": article(keywords=KEYWORDS),
    "too_few_sections": article(sections=[Section(heading="One", body=f"{BODY}\n\n{BODY}")]),
    "heading_empty": article(sections=[Section(heading="", body=BODY), Section(heading="Two", body=BODY)]),
    "heading_too_long": article(
        sections=[Section(heading="word " * 40, body=BODY), Section(heading="Two", body=BODY)]
    ),
    "heading_repeated": article(sections=[Section(heading="Fixed", body=BODY)] * 3),
    "section_too_short": article(
        sections=[
            Section(heading="Empty", body=""),
            Section(heading="One", body=BODY),
            Section(heading="Two", body=BODY),
        ]
    ),
}


def test_a_good_article_passes_both_validators() -> None:
    reports = validate(article(), NOW)
    assert [report.validator for report in reports] == [SCHEMA, RULES]
    assert all(report.passed for report in reports)


def test_every_code_has_a_broken_article_here() -> None:
    assert BROKEN.keys() == {*CODES.values(), "heading_repeated", "description_repeats_title"}


@pytest.mark.parametrize("code", BROKEN)
def test_each_issue_is_found_and_its_repair_cures_it(code: str) -> None:
    broken = BROKEN[code]
    assert codes(broken) == {code}
    outcome = repair(broken, KEYWORDS, NOW)
    assert outcome.passed
    [done] = outcome.repairs
    assert done.article != broken
    assert {issue.code for issue in done.issues} == {code}
    assert codes(done.article) == set()


def test_reports_never_carry_the_text_they_judge() -> None:
    secret = "not to be repeated " * 30
    reports = validate(article(title=secret, description=secret), NOW)
    assert "not to be repeated" not in str(reports)


def test_reports_are_bounded() -> None:
    many = article(sections=[Section(heading="Same", body="")] * 500)
    assert max(len(report.issues) for report in validate(many, NOW)) == ISSUES_MAX


def test_what_no_repair_cures_stays_refused() -> None:
    outcome = repair(article(sections=[], keywords=[]), [], NOW)
    assert not outcome.passed
    assert outcome.repairs == ()


def test_an_outline_follows_the_headings_and_code_holds_none() -> None:
    text = "# Title\n\nIntro.\n\n## One\n\n```\n# no heading\n```\n\n#### deep\n\n## Two\n"
    outline = make_outline(text, "name")
    assert outline["title"] == "Title"
    assert [section["heading"] for section in outline["sections"]] == ["Title", "One", "Two"]
    draft = make_draft(text, outline, [])
    assert [section["body"] for section in draft["sections"]] == [
        "Intro.",
        "```\n# no heading\n```\n\n#### deep",
        "",
    ]
    assert draft["description"] == "Intro."


def test_a_text_without_headings_is_one_section_under_its_first_line() -> None:
    outline = make_outline("First line\nsecond line\n", "name")
    assert outline["title"] == "First line"
    assert len(outline["sections"]) == 1


def test_cutting_keeps_within_its_bounds_and_at_its_joints() -> None:
    assert cut_text("One sentence. Another one.", 15, at_least=5) == "One sentence."
    assert cut_text("some words to cut", 11) == "some words…"
    assert cut_text("x" * 50, 10) == "x" * 9 + "…"
    assert split_body("a" * 30, 10) is None
    assert split_body("```\ncode\n\ncode\n```", 5) is None
    assert split_body("One here.\n\nTwo here.", 5) == ("One here.", "Two here.")


def test_a_page_shows_html_and_does_not_obey_it() -> None:
    evil = "<script>alert(1)</script> [link](javascript:alert(1)) and more text to fill it"
    page = render_html(article(title="<b>Title & more</b>", sections=[Section(heading="<i>", body=evil)]))
    assert "<script>" not in page
    assert 'href="javascript' not in page
    assert "<h1>&lt;b&gt;Title &amp; more&lt;/b&gt;</h1>" in page
    assert plain_text("*Some* `code` [text](url)") == "Some code text"
