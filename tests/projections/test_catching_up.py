"""Catching up: from any position on, and however little is done at once, the new tables come to what a fresh
fold of everything gives, and so do their digests."""

import random
from collections.abc import Callable

import pytest
from database_rows import busy_run, catch_up, live_records

from ledger import Settings, Tenant
from projections import rebuild, verify
from projections.rebuilding import catching_up
from projections.rebuilding.rebuild import _Rebuild
from projections.workers import Span, spans_of

FoldsFirst = Callable[[int], None]
BOUNDS = {"EVENTS_AT_ONCE": 3, "ROWS_AT_ONCE": 2, "ROWS_CHANGED_MAX": 7, "RUNS_REMEMBERED_MAX": 2}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"projection": "external"})


@pytest.fixture
async def interleaved(tenant: Tenant) -> Tenant:
    """Runs whose events follow one another in every order; 60 events, one of them erased since."""
    rng = random.Random(3)
    for number in range(7):
        await busy_run(tenant, f"run-{rng.randrange(3)}" if number % 2 else f"run-{number}")
    recorded = await busy_run(tenant, "run-1")
    await tenant.erase_payload(recorded[2].position, by="ann", reason="asked for")
    return tenant


@pytest.fixture
def folds_first(monkeypatch: pytest.MonkeyPatch) -> FoldsFirst:
    """Has a rebuild fold the log up to some position; what comes after it is caught up with."""
    begin = _Rebuild._begin

    def folds_first(position: int) -> None:
        async def up_to_there(work: _Rebuild, connection: object) -> tuple[int, int]:
            await begin(work, connection)  # type: ignore[arg-type]
            return position, position

        def spans(upto: int) -> list[Span]:
            return spans_of(upto) if upto else []

        monkeypatch.setattr(_Rebuild, "_begin", up_to_there)
        monkeypatch.setattr("projections.rebuilding.rebuild.spans_of", spans)

    return folds_first


@pytest.mark.parametrize("bound", [None, *BOUNDS, "all of them"])
async def test_from_any_position_and_within_any_bounds_the_same_comes_out(
    interleaved: Tenant, folds_first: FoldsFirst, monkeypatch: pytest.MonkeyPatch, bound: str | None
) -> None:
    for name, value in BOUNDS.items():
        if bound in {name, "all of them"}:
            monkeypatch.setattr(catching_up, name, value)
    await catch_up(interleaved)
    for position in (0, 1, 9, 30, 44, 64, 65):
        folds_first(position)
        report = await rebuild(interleaved)
        compared = await verify(interleaved)
        assert compared.ok, (position, compared)
        assert report.digests == {name: table.folded_digest for name, table in compared.tables.items()}
        await catch_up(interleaved)  # with the fact that it was rebuilt
    assert await interleaved.store.head() == 65 + 7


async def test_a_row_that_several_pages_change_is_written_once_and_what_is_new_is_copied(
    interleaved: Tenant, folds_first: FoldsFirst, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: dict[str, int] = {}
    changed: list[int] = []
    copy_rows, write_rows = catching_up.copy_rows, catching_up.write_rows

    async def copying(connection: object, table: object, row_type: type, rows: list[bytes]) -> None:
        copied[row_type.TABLE] = copied.get(row_type.TABLE, 0) + len(rows)  # type: ignore[attr-defined]
        await copy_rows(connection, table, row_type, rows)  # type: ignore[arg-type]

    async def writing(connection: object, rows: list[object], names: object) -> None:
        changed.append(len(rows))
        await write_rows(connection, rows, names)  # type: ignore[arg-type]

    monkeypatch.setattr(catching_up, "copy_rows", copying)
    monkeypatch.setattr(catching_up, "write_rows", writing)
    monkeypatch.setattr(catching_up, "EVENTS_AT_ONCE", 3)
    folds_first(0)
    await rebuild(interleaved)
    stored = {table: len(rows) for table, rows in (await live_records(interleaved)).items()}
    assert copied["runs"] == stored["runs"]
    assert copied["steps"] == stored["steps"]
    assert sum(changed) < 10, "what an erasure folds again, and what came after that"
