"""Audit replay queries: what happened, as of when, and why, derived from events alone."""

from projections.audit.answers import Answer
from projections.audit.diff import RunDiff
from projections.audit.erasures import Erasure
from projections.audit.explain import StepExplanation
from projections.audit.lineage import Lineage
from projections.audit.points import Point
from projections.audit.queries import AuditQueries
from projections.audit.replay import Replay
from projections.audit.schema import ANSWERS, schema_of
from projections.audit.search import SearchPage
from projections.audit.state import StateAsOf
from projections.audit.statistics import Statistics
from projections.audit.tables import RunsAsOf, TableAsOf
from projections.audit.timeline import Anomaly, Timeline, TimelineEntry
from projections.fold.timeline import AttemptSpan

__all__ = [
    "ANSWERS",
    "Anomaly",
    "Answer",
    "AttemptSpan",
    "AuditQueries",
    "Erasure",
    "Lineage",
    "Point",
    "Replay",
    "RunDiff",
    "RunsAsOf",
    "SearchPage",
    "StateAsOf",
    "Statistics",
    "StepExplanation",
    "TableAsOf",
    "Timeline",
    "TimelineEntry",
    "schema_of",
]
