"""Every format says what is recorded: each is read back by somebody else's reader."""

import csv
import io
import sys
from base64 import b64decode
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import orjson
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pyarrow import parquet

from ledger import Event, EventType, RecordedEvent, Tenant
from ledger.errors import ExtraMissing, InvalidPoint, PositionNotReached, RunNotFound
from ledger.exports import FORMATS, Exported, Format, export_events, exporting, rows, tabular
from ledger.exports.jsonl import line_of_text
from ledger.exports.openlineage import facet_schemas
from projections.audit import Point
from tests.exports.openlineage_schema import facets, problems
from tests.lifecycle.conftest import SECRET


async def exported(tenant: Tenant, format: Format, **wanted: Any) -> bytes:
    file = io.BytesIO()
    await export_events(tenant, file, format, **wanted)
    return file.getvalue()


async def recorded(tenant: Tenant) -> list[RecordedEvent]:
    return await tenant.store.read(limit=1_000)


def values_of(tenant: Tenant, event: RecordedEvent) -> dict[str, Any]:
    return {
        "position": event.position,
        "version": event.version,
        "event_id": str(event.event_id),
        "event_type": str(event.event_type),
        "tenant_id": tenant.tenant_id,
        "run_id": event.run_id,
        "step_id": event.step_id,
        "attempt": event.attempt,
        "timestamp": event.timestamp,
        "recorded_at": event.recorded_at,
        "actor": event.actor,
        "traceparent": event.traceparent,
        "schema_version": event.schema_version,
        "erased": event.is_erased,
    }


async def test_a_line_of_jsonl_says_all_of_an_event(filled: Tenant) -> None:
    events = await recorded(filled)
    lines = (await exported(filled, "jsonl")).splitlines(keepends=True)
    told = [orjson.loads(line) for line in lines]
    assert [line_of_text(1, line).event.payload for line in lines] == [event.data for event in events]
    assert {line["upto"] for line in told} == {len(events)}
    for line, event in zip(told, events, strict=True):
        for name, value in values_of(filled, event).items():
            found = datetime.fromisoformat(line[name]) if isinstance(value, datetime) else line[name]
            assert found == value, name
        if event.payload is not None:
            assert line["payload"] == event.payload
            tagged = b"daicho:payload:v1\x00" + bytes.fromhex(line["salt"]) + (event.data or b"")
            assert sha256(tagged).hexdigest() == line["payload_commitment"]
    [erased] = [line for line in told if line["erased"]]
    assert (erased["payload"], erased["salt"]) == (None, None)
    assert SECRET.encode() not in await exported(filled, "jsonl")


async def test_csv_is_read_by_the_standard_library(filled: Tenant) -> None:
    text = (await exported(filled, "csv")).decode()
    told = list(csv.DictReader(io.StringIO(text, newline="")))
    events = await recorded(filled)
    assert tuple(told[0]) == tabular.COLUMNS
    assert len(told) == len(events)
    for line, event in zip(told, events, strict=True):
        for name, value in values_of(filled, event).items():
            if isinstance(value, datetime):
                assert datetime.fromisoformat(line[name]) == value
            elif isinstance(value, bool):
                assert line[name] == str(value).lower()
            else:
                assert line[name] == ("" if value is None else str(value)), name
        if event.payload is not None:
            assert orjson.loads(line["payload"]) == event.payload
        elif event.data is not None:
            assert b64decode(line["payload_base64"]) == event.data


async def test_parquet_is_read_by_pyarrow_and_duckdb(filled: Tenant, tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(await exported(filled, "parquet"))
    table = parquet.read_table(path)
    assert tuple(table.column_names) == tabular.COLUMNS
    told, events = table.to_pylist(), await recorded(filled)
    for row, event in zip(told, events, strict=True):
        assert {name: row[name] for name in values_of(filled, event)} == values_of(filled, event)
        assert event.payload is None or orjson.loads(row["payload"]) == event.payload
        assert row["payload_base64"] is None or b64decode(row["payload_base64"]) == event.data
    with duckdb.connect() as database:
        by_type = database.execute(
            "SELECT event_type, count(*) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL", [str(path)]
        ).fetchall()
        [first] = database.execute(
            "SELECT payload->>'$.prompt_pack.pack_id' FROM read_parquet(?) WHERE position = 1", [str(path)]
        ).fetchall()
    types = [str(event.event_type) for event in events]
    assert by_type == sorted((name, types.count(name)) for name in set(types))
    assert first == ("mock_pack",)


async def test_cloud_events_are_read_by_the_sdk(filled: Tenant) -> None:
    events = await recorded(filled)
    lines = (await exported(filled, "cloudevents")).splitlines()
    for line, event in zip(lines, events, strict=True):
        told = JSONFormat().read(CloudEvent, line)  # raises where an attribute is not as CloudEvents wants it
        assert (told.get_id(), told.get_time()) == (str(event.event_id), event.timestamp)
        is_own = isinstance(event.event_type, EventType)
        assert told.get_type() == (f"daicho.{event.event_type}" if is_own else event.event_type)
        assert unquote(told.get_source()) == f"/daicho/{filled.tenant_id}/{event.run_id}"
        assert told.get_subject() == event.step_id
        assert told.get_extension("position") == str(event.position)
        if event.is_erased:
            assert (told.get_data(), told.get_extension("erased")) == (None, True)
        else:
            assert told.get_data() == (event.payload if is_own else event.data)


async def test_open_lineage_is_as_its_specification_wants_it(filled: Tenant) -> None:
    events = [orjson.loads(line) for line in (await exported(filled, "openlineage")).splitlines()]
    assert [problem for event in events for problem in problems(event)] == []
    assert {facet["_schemaURL"] for event in events for facet in facets(event)} >= set(facet_schemas()[1:])
    outline = f"storage/{filled.tenant_id}/run-1/outline/outline.json"
    [made] = [event for event in events if outline in {dataset["name"] for dataset in event["outputs"]}]
    assert (made["eventType"], made["job"]["name"]) == ("COMPLETE", "run.outline")


@pytest.mark.parametrize("format", FORMATS)
async def test_an_export_of_a_run_a_range_and_nothing(filled: Tenant, format: Format) -> None:
    async def done(**wanted: Any) -> Exported:
        return await export_events(filled, io.BytesIO(), format, **wanted)

    events = await recorded(filled)
    of_run = [event.position for event in events if event.run_id == "run-1"]
    assert (await done()).upto == events[-1].position
    assert (await done(run_id="run-1", until=Point(version=1))).upto == of_run[0]
    tick = timedelta(microseconds=1)
    assert (await done(until=events[0].recorded_at - tick)).events == 0
    with pytest.raises(InvalidPoint, match="which is before that"):
        await done(since=events[-1].recorded_at, until=events[0].recorded_at)
    with pytest.raises(RunNotFound, match="run-1"):
        await done(run_id="run-2")
    with pytest.raises(PositionNotReached):
        await done(until=10_000)
    if format != "openlineage":
        assert (await done(run_id="run-1")).events == len(of_run)
        assert (await done(since=2, until=3)).events == 2


async def test_of_a_tenant_without_events_every_format_is_whole(tenant: Tenant, tmp_path: Path) -> None:
    for format in ("jsonl", "cloudevents", "openlineage"):
        assert await exported(tenant, format) == b""
    assert (await exported(tenant, "csv")).decode() == ",".join(tabular.COLUMNS) + "\r\n"
    path = tmp_path / "none.parquet"
    path.write_bytes(await exported(tenant, "parquet"))
    table = parquet.read_table(path)
    assert (tuple(table.column_names), table.num_rows) == (tabular.COLUMNS, 0)


async def test_what_is_recorded_while_an_export_runs_is_not_in_it(
    filled: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "PAGE_EVENTS", 2)
    head = await filled.store.head()
    real = exporting.pages

    async def pages(*arguments: Any) -> Any:
        async for page in real(*arguments):
            await filled.emitter.emit(
                Event(event_type="run.cancelled", run_id="late", tenant_id=filled.tenant_id)
            )
            yield page

    monkeypatch.setattr(exporting, "pages", pages)
    lines = (await exported(filled, "jsonl")).splitlines()
    assert [orjson.loads(line)["position"] for line in lines] == list(range(1, head + 1))


async def test_without_pyarrow_there_is_no_parquet(filled: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraMissing, match=r"daicho\[parquet\]"):
        await exported(filled, "parquet")
