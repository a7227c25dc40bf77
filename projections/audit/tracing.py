"""Tracing: walks the lineage graph as far as it is known, loads the runs that what it came to leads to, and
walks again, until nothing new is found: so it asks the tables once per run on its way, not per artifact."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.contract.artifact_ref import ROOT, ArtifactPath
from ledger.contract.names import shown
from ledger.errors import ArtifactNotFound, RunNotFound
from projections.audit.lineage import Direction, Edge, Lineage, LineageGraph, artifact_id
from projections.audit.near import did_you_mean, runs_near
from projections.audit.runs import RunReader
from projections.audit.sql import SQL

RUNS_MAX = 200
EDGES_MAX = 10_000
STARTS_MAX = 100
DIGEST_CHARS = 64
PREFIX_CHARS_MIN = 6
_HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Start:
    """An artifact the search begins at, and the run that names it."""

    path: str
    digest: str
    run_id: str


async def lineage(reader: RunReader, digest_or_path: str, direction: Direction, depth: int | None) -> Lineage:
    starts = await _starts(reader, digest_or_path)
    tracer = _Tracer(reader)
    if len(starts) == STARTS_MAX:
        tracer.truncated = f"more than {STARTS_MAX - 1} places of it"
    for start in starts:
        await tracer.load(start.run_id)
    ids = list(dict.fromkeys(artifact_id(start.path, start.digest) for start in starts))
    edges: dict[Edge, None] = {}
    if direction != "down":
        edges |= await tracer.walk(ids, depth, is_up=True)
    if direction != "up":
        edges |= await tracer.walk(ids, depth, is_up=False)
    return tracer.graph.answer(reader.tenant.tenant_id, ids, direction, edges, tracer.truncated)


class _Tracer:
    def __init__(self, reader: RunReader) -> None:
        self.graph = LineageGraph()
        self.truncated: str | None = None
        self._reader = reader
        self._looked_up: set[str] = set()

    async def walk(self, start: Sequence[str], depth: int | None, *, is_up: bool) -> dict[Edge, None]:
        """The edges on the way up or down; one level leads from artifacts over attempts to artifacts."""
        while True:
            known = len(self.graph.run_ids)
            edges, came_to = self._walk_known(start, depth, is_up=is_up)
            if len(edges) > EDGES_MAX:
                self.truncated = f"more than {EDGES_MAX} edges"
                edges.popitem()
                return edges
            await self._load_runs_of(came_to, is_up=is_up)
            if len(self.graph.run_ids) == known:
                return edges

    def _walk_known(
        self, start: Sequence[str], depth: int | None, *, is_up: bool
    ) -> tuple[dict[Edge, None], list[str]]:
        """The edges, at most one more than EDGES_MAX, and the artifacts whose own edges belong to them."""
        graph = self.graph
        beside = graph.before if is_up else graph.after
        edges: dict[Edge, None] = {}
        came_to: list[str] = []
        seen, level = set(start), list(start)
        while level and (depth is None or depth > 0):
            came_to += level
            following: list[str] = []
            waiting = level[::-1]
            while waiting:
                node = waiting.pop()
                for edge in beside.get(node, {}).values():
                    edges[edge] = None
                    if len(edges) > EDGES_MAX:
                        return edges, came_to
                    other = edge.source if is_up else edge.target
                    if other not in seen:
                        seen.add(other)
                        (following if other in graph.artifacts else waiting).append(other)
            level = following
            depth = None if depth is None else depth - 1
        return edges, came_to

    async def load(self, run_id: str) -> None:
        if run_id in self.graph.run_ids:
            return
        if len(self.graph.run_ids) >= RUNS_MAX:
            self.truncated = f"more than {RUNS_MAX} runs"
            return
        try:
            self.graph.add(await self._reader.history(run_id))
        except RunNotFound:
            # A path may name a run that nobody recorded: what is known of it is said elsewhere.
            self.graph.run_ids.add(run_id)

    async def _load_runs_of(self, artifacts: Sequence[str], *, is_up: bool) -> None:
        """The runs in which these were made (up), or every run that names them (down)."""
        rows = [self.graph.artifacts[node] for node in artifacts if node in self.graph.artifacts]
        if is_up:
            for row in rows:
                if row.producer_step_id is None and (maker := _run_of(row.path)):
                    await self.load(maker)
            rows = [self.graph.artifacts[artifact_id(row.path, row.digest)] for row in rows]
            rows = [row for row in rows if row.producer_step_id is None]
        digests = {row.digest for row in rows} - self._looked_up
        if not digests:
            return
        self._looked_up |= digests
        named = await self._reader.tenant.reader.fetch(
            SQL["runs_with_digests"],
            list(digests),
            list(self.graph.run_ids),
            EDGES_MAX,
            doing="looking for runs",
        )
        if len(named) >= EDGES_MAX:
            self.truncated = f"more than {EDGES_MAX} uses"
        for run_id in dict.fromkeys(row["run_id"] for row in named):
            await self.load(run_id)


def _run_of(path: str) -> str | None:
    try:
        return ArtifactPath.parse(path).run_id
    except ValueError:
        return None


async def _starts(reader: RunReader, digest_or_path: str) -> list[Start]:
    if digest_or_path.startswith(f"{ROOT}/"):
        run_id = _run_of(digest_or_path) or ""
        rows = await reader.tenant.reader.fetch(SQL["artifacts_at_path"], run_id, digest_or_path, STARTS_MAX)
        if not rows:
            raise await _no_path(reader, digest_or_path)
    else:
        digest = await _whole_digest(reader, digest_or_path)
        rows = await reader.tenant.reader.fetch(SQL["artifacts_with_digest"], digest, STARTS_MAX)
    return [Start(row["path"], row["digest"], row["run_id"]) for row in rows]


async def _whole_digest(reader: RunReader, given: str) -> str:
    """A digest may be given by its first six digits or more, where they are one artifact's alone."""
    digest = given.strip().lower()
    if not _HEX.fullmatch(digest) or not PREFIX_CHARS_MIN <= len(digest) <= DIGEST_CHARS:
        raise ArtifactNotFound(
            f"{given[:100]!r} is neither a digest nor an artifact's path",
            expected=f"{DIGEST_CHARS} hex digits, or at least the first {PREFIX_CHARS_MIN}; or {ROOT}/…",
            fix="`daicho timeline` shows a run's artifacts",
        )
    rows = await reader.tenant.reader.fetch(SQL["digests_with_prefix"], digest, digest + "g")
    found: list[str] = [row["digest"] for row in rows]
    if len(found) == 1:
        return found[0]
    if not found:
        beside = await reader.tenant.reader.fetch(SQL["digests_beside"], digest)
        raise ArtifactNotFound(
            f"No artifact of tenant {reader.tenant.tenant_id!r} has the digest {digest}",
            fix=did_you_mean(digest, _cut(beside, len(digest)), "`daicho timeline` shows a run's artifacts"),
        )
    raise ArtifactNotFound(
        f"{len(found)} artifacts or more have digests that begin with {digest}",
        found=", ".join(other[:16] for other in found),
        fix="Give more digits",
    )


def _cut(rows: Iterable[dict[str, str]], length: int) -> list[str]:
    return [row["digest"][: max(length, 12)] for row in rows]


async def _no_path(reader: RunReader, path: str) -> ArtifactNotFound:
    _, tenant_id, run_id, *_ = [*path.split("/", 3), "", ""]
    problem = f"No artifact is recorded at {shown(path)}"
    if tenant_id and tenant_id != reader.tenant.tenant_id:
        return ArtifactNotFound(
            problem,
            expected=f"a path of tenant {reader.tenant.tenant_id!r}: {ROOT}/{reader.tenant.tenant_id}/…",
            fix="A lineage does not leave its tenant",
        )
    rows = await reader.tenant.reader.fetch(SQL["paths_beside"], run_id, path)
    if rows:
        known = "`daicho timeline` shows a run's artifacts"
        return ArtifactNotFound(problem, fix=did_you_mean(path, [row["path"] for row in rows], known))
    runs = await runs_near(reader.tenant.reader, run_id)
    if run_id in runs:
        return ArtifactNotFound(problem, fix=f"Run {run_id!r} has no artifacts")
    return ArtifactNotFound(
        f"{problem}: there is no run {shown(run_id)}",
        fix=did_you_mean(run_id, runs, "`daicho runs` lists them"),
    )
