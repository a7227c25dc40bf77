"""Near matches for a name that nothing has: of a bounded number of candidates, those that look like it."""

import difflib
from collections.abc import Iterable

from ledger.store.reader import Reader
from projections.audit.sql import SQL

SHOWN_MAX = 3
LIKENESS_MIN = 0.6


def near(name: str, candidates: Iterable[str]) -> list[str]:
    """At most three candidates, the likest first; those that begin or end like it count as like."""
    known = sorted(set(candidates))
    folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), folded, SHOWN_MAX, LIKENESS_MIN)
    close = [folded[match] for match in found]
    akin = (other for other in known if name and (other.startswith(name) or name in other))
    return list(dict.fromkeys([*close, *akin]))[:SHOWN_MAX]


def did_you_mean(name: str, candidates: Iterable[str], otherwise: str) -> str:
    """What an error's `fix` says."""
    found = near(name, candidates)
    return f"Did you mean {', '.join(map(repr, found))}?" if found else otherwise


async def runs_near(reader: Reader, run_id: str) -> list[str]:
    """Ids of runs that might be meant, from the tables."""
    rows = await reader.fetch(SQL["runs_beside"], run_id, doing="looking for runs")
    return [row["run_id"] for row in rows]
