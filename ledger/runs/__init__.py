"""Runs and steps as context managers: entering records the start, leaving records how it ended,
and what the body raised is raised on."""

from ledger.runs.recording import Recording
from ledger.runs.run import Run, record_run
from ledger.runs.step import Step, record_step

__all__ = ["Recording", "Run", "Step", "record_run", "record_step"]
