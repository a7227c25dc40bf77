"""The JSON Schema (2020-12) of every answer, by the name of what is asked."""

from collections.abc import Mapping
from typing import Any

from projections.audit.answers import Answer
from projections.audit.diff import RunDiff
from projections.audit.explain import StepExplanation
from projections.audit.lineage import Lineage
from projections.audit.replay import Replay
from projections.audit.search import SearchPage
from projections.audit.state import StateAsOf
from projections.audit.statistics import Statistics
from projections.audit.tables import RunsAsOf, TableAsOf
from projections.audit.timeline import Timeline

ANSWERS: Mapping[str, type[Answer]] = {
    "timeline": Timeline,
    "state": StateAsOf,
    "runs": RunsAsOf,
    "table": TableAsOf,
    "replay": Replay,
    "diff": RunDiff,
    "lineage": Lineage,
    "explain": StepExplanation,
    "search": SearchPage,
    "stats": Statistics,
}


def schema_of(name: str) -> dict[str, Any]:
    """Of one of `ANSWERS`, as it is printed."""
    return ANSWERS[name].model_json_schema(mode="serialization")
