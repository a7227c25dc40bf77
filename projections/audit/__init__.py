"""Audit replay queries: what happened, as of when, derived from events alone."""

from projections.audit.erasures import Erasure
from projections.audit.queries import AuditQueries
from projections.audit.timeline import Anomaly, Timeline, TimelineEntry

__all__ = ["Anomaly", "AuditQueries", "Erasure", "Timeline", "TimelineEntry"]
