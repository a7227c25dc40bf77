"""OpenTelemetry metrics of emitters, through the API package alone: which exporter there is, if any,
is the application's choice. `DAICHO_METRICS=opentelemetry` switches them on (extra `daicho[otel]`).

daicho.emitter.events           counter    events acknowledged
daicho.emitter.retries          counter    commits tried again
daicho.emitter.commit.events    histogram  events per commit
daicho.emitter.commit.duration  histogram  seconds from sending a commit to its answer
daicho.emitter.queue            gauge      events accepted and not yet sent

Each carries the attribute `daicho.tenant`.
"""

from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from ledger.emitter import EventEmitter


class OpenTelemetryObserver:
    """Observes one emitter; `attach` makes it."""

    def __init__(self, meter: Meter, tenant_id: str) -> None:
        self._attributes = {"daicho.tenant": tenant_id}
        self._events = meter.create_counter("daicho.emitter.events", "{event}", "Events acknowledged")
        self._retries = meter.create_counter("daicho.emitter.retries", "{retry}", "Commits tried again")
        self._sizes = meter.create_histogram("daicho.emitter.commit.events", "{event}", "Events per commit")
        self._durations = meter.create_histogram("daicho.emitter.commit.duration", "s", "Time of a commit")

    def committed(self, events: int, seconds: float) -> None:
        self._events.add(events, self._attributes)
        self._sizes.record(events, self._attributes)
        self._durations.record(seconds, self._attributes)

    def retried(self) -> None:
        self._retries.add(1, self._attributes)


def attach(emitter: EventEmitter, tenant_id: str, meter: Meter | None = None) -> None:
    """Publishes an emitter's figures, through the application's meter provider unless one is given."""
    meter = meter or get_meter("daicho")
    emitter.meter.observers.append(OpenTelemetryObserver(meter, tenant_id))

    def depth(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(emitter.queue_depth, {"daicho.tenant": tenant_id})]

    meter.create_observable_gauge("daicho.emitter.queue", [depth], "{event}", "Events accepted, not yet sent")
