"""Activities: the steps of the pipeline. Each takes a GraphState and gives the next one; bodies go
to the artifact store and come from there, the state carries references."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from ledger.contract import ArtifactRef, ErrorCategory, GraphState, StepFailure, ValidationReport
from ledger.demo import article as articles
from ledger.demo import repair as repairs
from ledger.demo.keywords import Keyword
from ledger.demo.render import render_html
from ledger.demo.service import Address, ask_keywords
from ledger.demo.texts import FILE_BYTES_MAX
from ledger.demo.validate import validate
from ledger.prompts import PromptPack
from ledger.runs import Step

MARKDOWN = "text/markdown"
HTML = "text/html"
TITLE_CHARS_IN_PROMPT_MAX = 200


@dataclass(frozen=True)
class Tools:
    """What the activities of one run work with, beside its state."""

    source: Path
    name: str
    keyword_service: Address
    prompts: PromptPack


Activity = Callable[[GraphState, Step, Tools], Awaitable[GraphState]]


async def read(state: GraphState, step: Step, tools: Tools) -> GraphState:
    """The file's text. One that is empty, too large or not UTF-8 stays so: not retryable."""
    content = await asyncio.to_thread(_read_at_most, tools.source)
    if len(content) > FILE_BYTES_MAX:
        raise StepFailure(f"{tools.name} is larger than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StepFailure(
            f"{tools.name} is not UTF-8: byte {error.object[error.start]:#04x} at offset {error.start}",
            details={"offset": error.start},
        ) from error
    if not text.strip():
        raise StepFailure(f"{tools.name} is empty", details={"size_bytes": len(content)})
    return _with_output(state, step, await step.put(content, "output.md", MARKDOWN))


async def keywords(state: GraphState, step: Step, tools: Tools) -> GraphState:
    """Asked from the keyword service, which may reset the connection: retryable."""
    ranked = await ask_keywords(tools.keyword_service, await step.get(state["step_outputs"]["read"]))
    return _with_output(state, step, await step.put(articles.to_json(ranked), "output.json"))


async def outline(state: GraphState, step: Step, tools: Tools) -> GraphState:
    text, ranked = await _text(state, step), await _keywords(state, step)
    made = articles.make_outline(text, tools.source.stem)
    terms = ", ".join(keyword["term"] for keyword in ranked)
    title = made["title"][:TITLE_CHARS_IN_PROMPT_MAX]
    await _put_prompt(step, tools.prompts.render("outline", title=title, keywords=terms))
    return _with_output(state, step, await step.put(articles.to_json(made), "output.json"))


async def draft(state: GraphState, step: Step, tools: Tools) -> GraphState:
    text, ranked = await _text(state, step), await _keywords(state, step)
    made: articles.Outline = orjson.loads(await step.get(state["step_outputs"]["outline"]))
    title = made["title"][:TITLE_CHARS_IN_PROMPT_MAX]
    headings = "\n".join(f"- {section['heading']}" for section in made["sections"])
    await _put_prompt(step, tools.prompts.render("draft", title=title, outline=headings))
    article = articles.make_draft(text, made, ranked)
    return _with_output(state, step, await step.put(articles.to_json(article), "output.json"))


async def check(state: GraphState, step: Step, tools: Tools) -> GraphState:
    """Validates the draft. A refusal is a result, not a failure: the repair comes next."""
    article = await _article(state, step)
    reports = validate(article, datetime.now(UTC))
    body = articles.to_json([report.model_dump(mode="json") for report in reports])
    return _with_reports(_with_output(state, step, await step.put(body, "output.json")), step, reports)


async def mend(state: GraphState, step: Step, tools: Tools) -> GraphState:
    """Repairs what the validators refused, recording each repair with the article before and after
    it, and has the last one validated. What no repair cures is a validation failure."""
    before = article_ref(state)
    article, ranked = await _article(state, step), await _keywords(state, step)
    issues = "\n".join(f"- {line}" for line in open_issues(state))
    await _put_prompt(step, tools.prompts.render("repair", issues=issues))
    outcome = repairs.repair(article, [keyword["term"] for keyword in ranked], datetime.now(UTC))
    for number, done in enumerate(outcome.repairs, 1):
        last = outcome.passed and done is outcome.repairs[-1]
        name = "output.json" if last else f"repaired-{number}.json"
        after = await step.put(articles.to_json(done.article), name, is_output=last)
        await step.repaired(
            kind=done.kind,
            before=before,
            after=after,
            validator=done.validator,
            issues=done.issues,
            note=done.note,
        )
        before = after
    state = _with_reports(state, step, list(outcome.reports))
    if not outcome.passed:
        codes = sorted({issue.code for report in outcome.reports for issue in report.issues})
        raise StepFailure(
            f"no repair cures {', '.join(codes)}",
            category=ErrorCategory.VALIDATION_FAIL,
            details={"codes": codes},
        )
    return _with_output(state, step, before)


async def render(state: GraphState, step: Step, tools: Tools) -> GraphState:
    page = render_html(await _article(state, step))
    return _with_output(state, step, await step.put(page, "output.html", HTML))


def article_ref(state: GraphState) -> ArtifactRef:
    """The article as it stands: repaired where it was repaired."""
    outputs = state["step_outputs"]
    return outputs.get("repair") or outputs["draft"]


def is_refused(state: GraphState) -> bool:
    """Whether any validator's last word was a refusal."""
    return not all(report.passed for report in _last_reports(state).values())


def open_issues(state: GraphState) -> list[str]:
    return [
        f"{issue.code} at {issue.location or '/'}: {issue.message}"
        for report in _last_reports(state).values()
        for issue in report.issues
    ]


def _last_reports(state: GraphState) -> dict[str, ValidationReport]:
    return {report.validator: report for report in state["validation_reports"]}


def _read_at_most(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(FILE_BYTES_MAX + 1)


async def _text(state: GraphState, step: Step) -> str:
    return (await step.get(state["step_outputs"]["read"])).decode()


async def _keywords(state: GraphState, step: Step) -> list[Keyword]:
    ranked: list[Keyword] = orjson.loads(await step.get(state["step_outputs"]["keywords"]))
    return ranked


async def _article(state: GraphState, step: Step) -> articles.Article:
    article: articles.Article = orjson.loads(await step.get(article_ref(state)))
    return article


async def _put_prompt(step: Step, prompt: str) -> None:
    # Kept beside the result, as it would be for a model; the demo sends it to none.
    await step.put(prompt, "prompt.md", MARKDOWN, is_output=False)


def _with_output(state: GraphState, step: Step, ref: ArtifactRef) -> GraphState:
    outputs = {**state["step_outputs"], step.context.step_id: ref}
    return GraphState(**{**state, "step_outputs": outputs})


def _with_reports(state: GraphState, step: Step, reports: list[ValidationReport]) -> GraphState:
    for report in reports:
        step.report(report)
    return GraphState(**{**state, "validation_reports": [*state["validation_reports"], *reports]})
