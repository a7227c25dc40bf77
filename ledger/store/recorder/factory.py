"""Factory: what the library calls to build an application's recorders."""

from typing import TypeVar

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    ProgrammingError,
    Transcoder,
)
from eventsourcing.utils import Environment, EnvType, resolve_topic

from ledger.store.recorder.aggregates import DaichoAggregateRecorder, DaichoSnapshotRecorder
from ledger.store.recorder.applications import DaichoApplicationRecorder
from ledger.store.recorder.datastore import Datastore
from ledger.store.recorder.handles import HANDLE_VARIABLE, find
from ledger.store.recorder.naming import application_name
from ledger.store.recorder.processes import DaichoProcessRecorder, DaichoTrackingRecorder
from ledger.store.recorder.transcoder import OrjsonTranscoder

T = TypeVar("T")


class DaichoFactory(InfrastructureFactory[DaichoTrackingRecorder]):
    """Its recorders share one datastore. The application's name, which the library puts into the
    environment, is part of what is recorded: renaming an application starts it anew."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        self.application = application_name(self.env.name)
        self.datastore = Datastore(find(self.env.get(HANDLE_VARIABLE)))

    def transcoder(self) -> Transcoder:
        """orjson, unless TRANSCODER_TOPIC names another."""
        return super().transcoder() if self.env.get(self.TRANSCODER_TOPIC) else OrjsonTranscoder()

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        if purpose == "events":
            return DaichoAggregateRecorder(self.datastore, self.application)
        if purpose == "snapshots":
            return DaichoSnapshotRecorder(self.datastore, self.application)
        raise ProgrammingError(f"There is no table for {purpose!r}: the purposes are events and snapshots")

    def application_recorder(self) -> ApplicationRecorder:
        kind = self._class(self.APPLICATION_RECORDER_TOPIC, DaichoApplicationRecorder)
        return kind(self.datastore, self.application)

    def tracking_recorder(
        self, tracking_recorder_class: type[DaichoTrackingRecorder] | None = None
    ) -> DaichoTrackingRecorder:
        kind = tracking_recorder_class or self._class(self.TRACKING_RECORDER_TOPIC, DaichoTrackingRecorder)
        return kind(self.datastore, self.application)

    def process_recorder(self) -> ProcessRecorder:
        kind = self._class(self.PROCESS_RECORDER_TOPIC, DaichoProcessRecorder)
        return kind(self.datastore, self.application)

    def close(self) -> None:
        self.datastore.close()

    def _class(self, variable: str, default: type[T]) -> type[T]:
        topic = self.env.get(variable)
        if not topic:
            return default
        found = resolve_topic(topic)
        if not (isinstance(found, type) and issubclass(found, default)):
            raise ProgrammingError(f"{variable}={topic} is not a {default.__name__}")
        return found
