"""Which projections there are: daicho's own, and those that installed packages register under the entry
point group `daicho.projections`:

    [project.entry-points."daicho.projections"]
    costs = "my_package.costs:Costs"
"""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ledger.errors import ProjectionNotFound, ProjectionNotLoaded
from projections.core import CORE
from projections.definition import Projection, check

GROUP = "daicho.projections"

Projections = tuple[Projection[Any], ...]


def installed_projections() -> Projections:
    """The core projection, then those of installed packages by name. Raises ProjectionNotLoaded,
    which names the package: one that is installed and broken is not passed over."""
    found: list[Projection[Any]] = [CORE]
    for entry_point in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        found.append(_load(entry_point, found))
    return tuple(found)


def chosen_projections(names: Sequence[str]) -> Projections:
    """Those of the installed ones that are named, all where none is. Raises ProjectionNotFound."""
    installed = {projection.name: projection for projection in installed_projections()}
    for name in names:
        if name not in installed:
            raise ProjectionNotFound(
                f"There is no projection {name!r}",
                expected=f"one of {', '.join(installed)}",
                fix=f"Install the package that registers it under {GROUP!r}, or correct the name",
            )
    return tuple(installed[name] for name in dict.fromkeys(names)) or tuple(installed.values())


def _load(entry_point: EntryPoint, others: Sequence[Projection[Any]]) -> Projection[Any]:
    try:
        loaded = entry_point.load()
        if not (isinstance(loaded, type) and issubclass(loaded, Projection)):
            raise _not_loaded(entry_point, f"{entry_point.value} is not a subclass of Projection")
        projection: Projection[Any] = loaded()
        check(projection)
    except ProjectionNotLoaded:
        raise
    except Exception as error:  # whatever somebody else's module does when it is imported
        raise _not_loaded(entry_point, f"{type(error).__name__}: {error}") from error
    if projection.name != entry_point.name:
        raise _not_loaded(entry_point, f"the class calls itself {projection.name!r}")
    for other in others:
        same = {row.TABLE for row in other.tables} & {row.TABLE for row in projection.tables}
        if other.name == projection.name or same:
            what = f"the table {min(same)!r}" if same else f"the name {other.name!r}"
            raise _not_loaded(entry_point, f"{what} is taken by {type(other).__module__}")
    return projection


def _not_loaded(entry_point: EntryPoint, problem: str) -> ProjectionNotLoaded:
    package = entry_point.dist.name if entry_point.dist is not None else "an unknown package"
    return ProjectionNotLoaded(
        f"The projection {entry_point.name!r} of {package} could not be loaded: {problem}",
        expected=f"{entry_point.value} to be a class derived from projections.Projection",
        fix=f"Correct or uninstall {package}; no projection was touched",
    )
