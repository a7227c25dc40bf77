"""Structured logs (structlog): one event name and small fields; who is working is bound from the
context. Never payload bodies, never secrets."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog

from ledger.contract.context import ExecutionContext

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger under the standard library's `name`, so that an application's own handlers and
    levels apply as long as it does not call `configure_logs`. Its processors are its own too:
    importing daicho leaves an application's structlog as it was."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return logger


def configure_logs(style: Literal["console", "json"], level: str) -> None:
    """Sends the ledger's logs to standard error, as JSON lines or for people to read. The command
    line calls it; a library's user decides for himself."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger("ledger")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    projections = logging.getLogger("projections")
    projections.handlers[:] = [handler]
    projections.setLevel(level.upper())
    projections.propagate = False


@contextmanager
def bound_context(context: ExecutionContext) -> Iterator[None]:
    """Log lines written inside carry run_id, step_id, attempt and tenant_id."""
    with structlog.contextvars.bound_contextvars(
        run_id=context.run_id,
        step_id=context.step_id,
        attempt=context.attempt,
        tenant_id=context.tenant_id,
    ):
        yield
