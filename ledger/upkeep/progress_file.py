"""How far a check has come, in a file, so that one that was stopped goes on where it was."""

import contextlib
import os
import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from blobstore import Digest, parse_digest
from ledger.errors import CheckNotResumable
from ledger.upkeep.reports import CheckReport

SAVE_SECONDS = 5.0


class _Saved(BaseModel):
    """Every digest up to `cursor`, in order, is in `report`."""

    cursor: str
    report: CheckReport


class ProgressFile:
    """Written now and then, whole or not at all; removed at the end. `path` None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._saved_at = time.monotonic()

    def load(self, fresh: CheckReport) -> tuple[CheckReport, Digest | None]:
        """The report to go on with, and after which digest: `fresh` and None where there is no file. Raises
        CheckNotResumable for a file of another check."""
        if self._path is None:
            return fresh, None
        if not os.access(self._path.parent, os.W_OK):
            raise self._refusal(f"The folder {str(self._path.parent)!r} cannot be written to")
        if not self._path.exists():
            return fresh, None
        try:
            saved = _Saved.model_validate_json(self._path.read_bytes())
            cursor = parse_digest(saved.cursor)
        except (OSError, ValidationError, ValueError) as error:
            raise self._refusal("It cannot be read as the progress of a check") from error
        for name in ("tenant_id", "store", "quick"):
            if getattr(saved.report, name) != getattr(fresh, name):
                raise self._refusal(
                    f"It is of another check: {name} {getattr(saved.report, name)!r}, not "
                    f"{getattr(fresh, name)!r}"
                )
        if saved.report.position > fresh.position:
            raise self._refusal(f"It has seen position {saved.report.position}, beyond this log's end")
        return saved.report, cursor

    def save(self, report: CheckReport, cursor: Digest | None, *, now: bool = False) -> None:
        """Every SAVE_SECONDS, or `now`. Raises OSError."""
        if self._path is None or cursor is None:
            return
        if not now and time.monotonic() - self._saved_at < SAVE_SECONDS:
            return
        whole = self._path.with_name(f".{self._path.name}.tmp")
        whole.write_text(_Saved(cursor=cursor, report=report).model_dump_json())
        os.replace(whole, self._path)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    def _refusal(self, problem: str) -> CheckNotResumable:
        return CheckNotResumable(
            f"The check cannot go on from {self._path}. {problem}",
            fix="Name the file of this check, or one that is not there yet; nothing was checked",
        )
