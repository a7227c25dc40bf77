"""Exports: a tenant's events in formats that other programs read, and jsonl back in.

    jsonl        one event per line, complete: `import_events` makes the same log of it
    csv          the same without the salts, payloads as JSON text
    parquet      the same as a table with types (the extra `daicho[parquet]`)
    cloudevents  CloudEvents 1.0, structured mode, one JSON object per line
    openlineage  OpenLineage 2-0-2, one event per line: of runs and attempts, with what they read and made

Everything streams: a page of events is in memory at a time; of OpenLineage, one run, as the fold leaves it.
"""

from ledger.exports.exporting import FORMATS, Exported, Format, export_events
from ledger.exports.importing import EventsImported, import_events

__all__ = ["FORMATS", "EventsImported", "Exported", "Format", "export_events", "import_events"]
