"""The read side: tables folded from events, rebuilt at will, verified against the events. The public names;
each is imported when it is first used, because worker processes, which use none, would wait for all."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from projections.definition import Projection, StreamRows
    from projections.projector import Projector
    from projections.rebuilding.rebuild import rebuild
    from projections.rebuilding.report import RebuildReport
    from projections.run_listing import RunFilter, RunPage, list_runs
    from projections.verifying.report import VerifyReport
    from projections.verifying.verify import verify

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

_HOMES = {
    "Projection": "definition",
    "Projector": "projector",
    "RebuildReport": "rebuilding.report",
    "RunFilter": "run_listing",
    "RunPage": "run_listing",
    "StreamRows": "definition",
    "VerifyReport": "verifying.report",
    "list_runs": "run_listing",
    "rebuild": "rebuilding.rebuild",
    "verify": "verifying.verify",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
