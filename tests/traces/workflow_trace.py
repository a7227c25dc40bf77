"""Real workflow executions (WfFormat 1.5), read and replayed: the workflow is a run, a task a step, a file an
artifact. The traces lie beside the repository, in `../shared/traces`, and are no part of it.

WfFormat gives how long each task ran, and its parents; a task starts when its last parent has ended.
File names hold slashes, and names in the ledger may not: they are percent-encoded (RFC 3986), which
`file_of` undoes.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

SHARED = Path(__file__).resolve().parents[3] / "shared" / "traces"
BEGINNING = datetime(2020, 12, 26, 1, 35, 40, tzinfo=UTC)
GIVEN = "given"
"""Stands as the step of the files that no task made."""


@dataclass(frozen=True)
class Task:
    task_id: str
    parents: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    runtime: timedelta

    @property
    def runtime_ms(self) -> int:
        return self.runtime // timedelta(milliseconds=1)


@dataclass(frozen=True)
class Workflow:
    name: str
    tasks: dict[str, Task]
    files: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Workflow":
        found = json.loads(path.read_text())["workflow"]
        runtimes = {task["id"]: task["runtimeInSeconds"] for task in found["execution"]["tasks"]}
        tasks = {
            task["id"]: Task(
                task["id"],
                tuple(task["parents"]),
                tuple(task["inputFiles"]),
                tuple(task["outputFiles"]),
                timedelta(seconds=runtimes[task["id"]]),
            )
            for task in found["specification"]["tasks"]
        }
        return cls(path.stem, tasks, tuple(item["id"] for item in found["specification"]["files"]))

    @cached_property
    def maker(self) -> dict[str, str]:
        """The task that made each file; files given from outside are not in it."""
        return {name: task.task_id for task in self.tasks.values() for name in task.outputs}

    @cached_property
    def ends(self) -> dict[str, timedelta]:
        """When each task ends after the beginning."""
        ends: dict[str, timedelta] = {}
        for task_id in self.order:
            task = self.tasks[task_id]
            ends[task_id] = self._start(task, ends) + task.runtime
        return ends

    @cached_property
    def starts(self) -> dict[str, timedelta]:
        return {task_id: self._start(task, self.ends) for task_id, task in self.tasks.items()}

    @cached_property
    def order(self) -> list[str]:
        """Every task after its parents."""
        order: dict[str, None] = {}

        def visit(task_id: str) -> None:
            if task_id not in order:
                for parent in self.tasks[task_id].parents:
                    visit(parent)
                order[task_id] = None

        for task_id in self.tasks:
            visit(task_id)
        return list(order)

    def critical_path(self) -> timedelta:
        """The longest way through the graph, found backwards from the ends and without `ends`."""
        children: dict[str, list[str]] = {task_id: [] for task_id in self.tasks}
        for task in self.tasks.values():
            for parent in task.parents:
                children[parent].append(task.task_id)
        longest: dict[str, timedelta] = {}
        for task_id in reversed(self.order):
            after = max((longest[child] for child in children[task_id]), default=timedelta(0))
            longest[task_id] = self.tasks[task_id].runtime + after
        return max(longest.values())

    def origins(self, name: str) -> set[str]:
        """Every file that went, through any number of tasks, into the file."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            maker = self.maker.get(waiting.pop())
            for source in self.tasks[maker].inputs if maker else ():
                if source not in found:
                    found.add(source)
                    waiting.append(source)
        return found

    @staticmethod
    def _start(task: Task, ends: dict[str, timedelta]) -> timedelta:
        return max((ends[parent] for parent in task.parents), default=timedelta(0))


def legal_name(file: str) -> str:
    return quote(file, safe="")


def file_of(name: str) -> str:
    return unquote(name)


def body_of(file: str) -> bytes:
    """Some bytes that are this file's alone."""
    return f"the body of {file}".encode()
