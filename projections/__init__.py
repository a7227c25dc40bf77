"""The read side: tables folded from events, rebuilt at will, verified against the events."""

from projections.definition import Projection, StreamRows
from projections.projector import Projector
from projections.rebuilding import RebuildReport, rebuild
from projections.run_listing import RunFilter, RunPage, list_runs
from projections.verifying import VerifyReport, verify

__all__ = [
    "Projection",
    "Projector",
    "RebuildReport",
    "RunFilter",
    "RunPage",
    "StreamRows",
    "VerifyReport",
    "list_runs",
    "rebuild",
    "verify",
]
