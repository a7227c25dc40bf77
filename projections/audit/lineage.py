"""Lineage: what an artifact was made from, and what was made from it, through repairs and across runs.

An artifact is a path and a digest. An attempt read artifacts and made others; a repair made one of another.
The graph grows run by run, each folded from its events, as far as somebody has asked. Pure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from projections.audit.answers import Answer
from projections.audit.history import RunHistory, first_position, inputs_of
from projections.fold.timeline import prompt_text
from projections.rows import ArtifactRow, AttemptRow

Direction = Literal["up", "down", "both"]
Kind = Literal["read", "given", "made", "repaired"]


class ArtifactNode(Answer):
    """`run_id`, `step_id` and `version` say where it was made; None where it came from outside."""

    id: str
    path: str
    digest: str
    name: str
    content_type: str | None
    size_bytes: int | None
    run_id: str | None
    step_id: str | None
    version: int | None


class AttemptNode(Answer):
    """`prompt` is name and version; the prompt pack is its run's."""

    id: str
    run_id: str
    step_id: str
    ordinal: int
    attempt: int
    status: str
    model: str | None
    prompt: str | None
    prompt_pack: str | None
    position: int


class RunNode(Answer):
    """A run that was given artifacts when it started."""

    id: str
    run_id: str
    status: str
    pipeline: str | None


@dataclass(frozen=True, slots=True)
class Edge:
    """From what was there first to what came of it: an artifact was `read` by an attempt or `given` to a
    run, an attempt `made` an artifact, an artifact was `repaired` into another."""

    source: str
    target: str
    kind: Kind
    repair: str | None = None
    validator: str | None = None
    note: str | None = None


class Lineage(Answer):
    """`start` are the ids of the artifacts asked for. `used_by` names every run in which one of them was
    read, given or repaired. `erased_in` names the runs on the way of which something was erased since: what
    it said of artifacts is in no edge. `truncated` says which bound ended the search, where one did."""

    tenant_id: str
    start: list[str]
    direction: Direction
    artifacts: list[ArtifactNode]
    attempts: list[AttemptNode]
    runs: list[RunNode]
    edges: list[Edge]
    used_by: list[str]
    erased_in: list[str]
    truncated: str | None


@dataclass(slots=True)
class LineageGraph:
    """What is joined to what, by the ids of nodes, in the runs that were added."""

    run_ids: set[str] = field(default_factory=set)
    erased_in: set[str] = field(default_factory=set)
    artifacts: dict[str, ArtifactRow] = field(default_factory=dict)
    attempts: dict[str, tuple[RunHistory, AttemptRow]] = field(default_factory=dict)
    runs: dict[str, RunHistory] = field(default_factory=dict)
    before: dict[str, dict[tuple[str, Kind], Edge]] = field(default_factory=dict)
    after: dict[str, dict[tuple[str, Kind], Edge]] = field(default_factory=dict)
    used_in: dict[str, set[str]] = field(default_factory=dict)

    def add(self, history: RunHistory) -> None:
        if history.run_id in self.run_ids:
            return
        self.run_ids.add(history.run_id)
        if history.erased:
            self.erased_in.add(history.run_id)
        for row in history.state.artifacts.values():
            self._add_artifact(row)
            if maker := history.maker_of(row):
                self._join(_attempt_id(maker), artifact_id(row.path, row.digest), "made")
        for attempt in history.attempts:
            self._add_attempt(history, attempt)
        self._add_given(history)
        self._add_repairs(history)

    def answer(
        self,
        tenant_id: str,
        start: Sequence[str],
        direction: Direction,
        edges: Iterable[Edge],
        truncated: str | None,
    ) -> Lineage:
        edges = list(edges)
        ids = dict.fromkeys([*start, *(node for edge in edges for node in (edge.source, edge.target))])
        return Lineage(
            tenant_id=tenant_id,
            start=list(start),
            direction=direction,
            artifacts=[_artifact_node(self.artifacts[node]) for node in ids if node in self.artifacts],
            attempts=[_attempt_node(node, *self.attempts[node]) for node in ids if node in self.attempts],
            runs=[_run_node(node, self.runs[node]) for node in ids if node in self.runs],
            edges=edges,
            used_by=sorted({run_id for node in start for run_id in self.used_in.get(node, ())}),
            erased_in=sorted(self.erased_in),
            truncated=truncated,
        )

    def _add_artifact(self, row: ArtifactRow) -> None:
        node = artifact_id(row.path, row.digest)
        known = self.artifacts.get(node)
        # A run that was only given it knows less of it than the one that made it.
        if known is None or (known.producer_step_id is None and row.producer_step_id is not None):
            self.artifacts[node] = row

    def _add_attempt(self, history: RunHistory, attempt: AttemptRow) -> None:
        node = _attempt_id(attempt)
        self.attempts[node] = history, attempt
        for ref in inputs_of(attempt):
            self._use(history, ref, node, "read")
        outputs: dict[str, dict[str, Any]] = attempt.outputs or {}  # type: ignore[assignment]
        for ref in outputs.values():
            row = history.state.artifacts[ref["path"], ref["digest"]]
            # What an attempt was given and hands on, it did not make.
            if row.producer_step_id == attempt.step_id:
                self._join(node, artifact_id(row.path, row.digest), "made")

    def _add_given(self, history: RunHistory) -> None:
        inputs: list[dict[str, Any]] = history.run.inputs or []  # type: ignore[assignment]
        node = f"run:{history.run_id}"
        if inputs:
            self.runs[node] = history
        for ref in inputs:
            self._use(history, ref, node, "given")

    def _add_repairs(self, history: RunHistory) -> None:
        for event in history.repairs:
            repair = event.payload or {}
            after = artifact_id(repair["after"]["path"], repair["after"]["digest"])
            said = (repair["kind"], repair.get("validator"), repair.get("note"))
            self._use(history, repair["before"], after, "repaired", *said)

    def _use(
        self, history: RunHistory, ref: dict[str, Any], target: str, kind: Kind, *said: str | None
    ) -> None:
        source = artifact_id(ref["path"], ref["digest"])
        self.used_in.setdefault(source, set()).add(history.run_id)
        self._join(source, target, kind, *said)

    def _join(self, source: str, target: str, kind: Kind, *said: str | None) -> None:
        if source != target and (target, kind) not in self.after.setdefault(source, {}):
            edge = Edge(source, target, kind, *said)
            self.after[source][target, kind] = edge
            self.before.setdefault(target, {})[source, kind] = edge


def artifact_id(path: str, digest: str) -> str:
    return f"{path}@{digest}"


def _attempt_id(row: AttemptRow) -> str:
    return f"attempt:{row.run_id}/{row.step_id}/{row.ordinal}"


def _artifact_node(row: ArtifactRow) -> ArtifactNode:
    is_made = row.producer_step_id is not None
    return ArtifactNode(
        id=artifact_id(row.path, row.digest),
        path=row.path,
        digest=row.digest,
        name=row.name,
        content_type=row.content_type,
        size_bytes=row.size_bytes,
        run_id=row.run_id if is_made else None,
        step_id=row.producer_step_id,
        version=row.version if is_made else None,
    )


def _attempt_node(node: str, history: RunHistory, row: AttemptRow) -> AttemptNode:
    run = history.run
    return AttemptNode(
        id=node,
        run_id=row.run_id,
        step_id=row.step_id,
        ordinal=row.ordinal,
        attempt=row.attempt,
        status=row.status,
        model=row.model,
        prompt=prompt_text(row.prompt),
        prompt_pack=f"{run.prompt_pack_id} v{run.prompt_pack_version}" if run.prompt_pack_id else None,
        position=first_position(row),
    )


def _run_node(node: str, history: RunHistory) -> RunNode:
    run = history.run
    return RunNode(id=node, run_id=run.run_id, status=run.status, pipeline=run.pipeline)
