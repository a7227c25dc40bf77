"""CloudEvents 1.0.2 in structured mode, one JSON object per line.

An event's id is its id, its source is /daicho/TENANT/RUN, its type `daicho.` and ours; subject is the step.
What CloudEvents has no attribute for stands in extension attributes, named with a to z and 0 to 9 alone:
tenantid, runid, stepid, attempt, position and runversion (as text: an Integer has 32 bits there),
recordedtime, actor, traceparent, erased.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

import orjson

from ledger.contract.times import rfc3339
from ledger.exports.rows import StoredEvent, line_of


class CloudEvents:
    def __init__(self, file: BinaryIO, tenant_id: str) -> None:
        self._file = file
        self._tenant_id = tenant_id

    def add(self, events: Sequence[StoredEvent]) -> None:
        self._file.write(b"".join([line_of(cloud_event(self._tenant_id, event)) for event in events]))

    def close(self) -> None:
        """Every line stands by itself."""


def cloud_event(tenant_id: str, event: StoredEvent) -> dict[str, Any]:
    told: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.event_id),
        "source": f"/daicho/{quote(tenant_id, safe='')}/{quote(event.stream_id, safe='')}",
        "type": f"daicho.{event.event_type}" if event.is_own else event.event_type,
        "subject": event.step_id,
        "time": rfc3339(event.occurred_at),
        "tenantid": tenant_id,
        "runid": event.stream_id,
        "stepid": event.step_id,
        "attempt": event.attempt,
        "position": str(event.position),
        "runversion": str(event.version),
        "recordedtime": rfc3339(event.recorded_at),
        "actor": event.actor,
        "traceparent": event.traceparent,
    }
    known = {name: value for name, value in told.items() if value is not None}
    return {**known, **_data(event)}


def _data(event: StoredEvent) -> dict[str, Any]:
    if event.payload is None:
        return {"erased": True}
    if event.is_own:
        return {"datacontenttype": "application/json", "data": orjson.loads(event.payload)}
    encoded = b64encode(event.payload).decode()
    return {"datacontenttype": "application/octet-stream", "data_base64": encoded}
