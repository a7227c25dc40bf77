"""Validation of an article: against the JSON schema, and by rules a schema cannot say.

Messages give lengths and places, never the text itself: reports travel in events.
"""

from collections.abc import Iterator, Sized
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, cast

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from ledger.contract import ValidationIssue, ValidationReport
from ledger.demo.article import Article

SCHEMA = "article.schema.json"
RULES = "article.rules"
ISSUES_MAX = 40

CODES = {
    ("title", "minLength"): "title_too_short",
    ("title", "maxLength"): "title_too_long",
    ("description", "minLength"): "description_too_short",
    ("description", "maxLength"): "description_too_long",
    ("keywords", "minItems"): "too_few_keywords",
    ("keywords", "maxItems"): "too_many_keywords",
    ("sections", "minItems"): "too_few_sections",
    ("heading", "minLength"): "heading_empty",
    ("heading", "maxLength"): "heading_too_long",
    ("body", "minLength"): "section_too_short",
}
_LIMITS = {"minLength": "at least", "maxLength": "at most", "minItems": "at least", "maxItems": "at most"}


def validate(article: Article, checked_at: datetime) -> list[ValidationReport]:
    """One report of the schema, one of the rules; each lists its first 40 issues."""
    found = {SCHEMA: list(schema_issues(article)), RULES: list(rule_issues(article))}
    return [
        ValidationReport(
            validator=validator, passed=not issues, issues=issues[:ISSUES_MAX], checked_at=checked_at
        )
        for validator, issues in found.items()
    ]


def schema_issues(article: Article) -> Iterator[ValidationIssue]:
    errors = sorted(_schema().iter_errors(article), key=lambda error: [str(part) for part in error.path])
    return map(_issue, errors)


def rule_issues(article: Article) -> Iterator[ValidationIssue]:
    """Headings become anchors, so each is there once; a description that only repeats the title
    says nothing."""
    seen: set[str] = set()
    for index, section in enumerate(article["sections"]):
        heading = section["heading"].casefold()
        if heading in seen:
            place = f"/sections/{index}/heading"
            yield ValidationIssue(code="heading_repeated", message="it is there already", location=place)
        seen.add(heading)
    if article["description"].casefold() == article["title"].casefold():
        yield ValidationIssue(
            code="description_repeats_title", message="it is the title again", location="/description"
        )


def _issue(error: ValidationError) -> ValidationIssue:
    path = list(error.absolute_path)
    fields = [part for part in path if isinstance(part, str)]
    rule = str(error.validator)
    code = CODES.get((fields[-1] if fields else "", rule), f"schema_{rule}")
    return ValidationIssue(code=code, message=_message(error), location="".join(f"/{part}" for part in path))


def _message(error: ValidationError) -> str:
    rule = str(error.validator)
    if rule not in _LIMITS:
        return f"breaks {rule}"
    unit = "characters" if rule.endswith("Length") else "items"
    size = len(cast(Sized, error.instance))
    return f"{size} {unit}, {_LIMITS[rule]} {error.validator_value}"


@cache
def _schema() -> Draft202012Validator:
    schema: dict[str, Any] = orjson.loads(files("ledger.demo").joinpath(SCHEMA).read_bytes())
    return Draft202012Validator(schema)
