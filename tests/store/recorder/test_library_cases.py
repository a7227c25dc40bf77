"""The `eventsourcing` library's own test cases, unchanged: its wheel ships them, here they get a
recorder and a fresh tenant each. (They are named through their module, so that pytest does not
collect the abstract ones.)"""

import pytest
from eventsourcing.persistence import InfrastructureFactory, Transcoder, Transcoding
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment

from ledger.store.recorder import (
    DaichoAggregateRecorder,
    DaichoApplicationRecorder,
    DaichoFactory,
    DaichoProcessRecorder,
    DaichoSnapshotRecorder,
    DaichoTrackingRecorder,
    OrjsonTranscoder,
)


class OnATenant:
    factory: DaichoFactory

    @pytest.fixture(autouse=True)
    def _on_a_tenant(self, application_env: dict[str, str]) -> None:
        self.env = Environment("", application_env)

    def setUp(self) -> None:
        self.factory = InfrastructureFactory.construct(self.env)

    def tearDown(self) -> None:
        self.factory.close()


class TestAggregateRecorder(OnATenant, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> DaichoAggregateRecorder:
        return self.factory.aggregate_recorder()


class TestAggregateRecorderFromVersion0(TestAggregateRecorder):
    INITIAL_VERSION = 0


class TestSnapshotRecorder(OnATenant, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> DaichoSnapshotRecorder:
        return self.factory.aggregate_recorder(purpose="snapshots")


class TestApplicationRecorder(OnATenant, cases.ApplicationRecorderTestCase[DaichoApplicationRecorder]):
    def create_recorder(self) -> DaichoApplicationRecorder:
        return self.factory.application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderFromVersion0(TestApplicationRecorder):
    INITIAL_VERSION = 0


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    def new_originator_id(self) -> str:
        return f"order/{super().new_originator_id()}"


class TestApplicationRecorderWithTextIdsLikeUuids(TestApplicationRecorder):
    def new_originator_id(self) -> str:
        return str(super().new_originator_id())


class TestProcessRecorderAsApplicationRecorder(TestApplicationRecorder):
    def create_recorder(self) -> DaichoProcessRecorder:
        return self.factory.process_recorder()


class TestTrackingRecorder(OnATenant, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> DaichoTrackingRecorder:
        return self.factory.tracking_recorder()


class TestProcessRecorderAsTrackingRecorder(TestTrackingRecorder):
    def create_recorder(self) -> DaichoProcessRecorder:
        return self.factory.process_recorder()


class TestProcessRecorder(OnATenant, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> DaichoProcessRecorder:
        return self.factory.process_recorder()


class TestNonInterleavingNotificationIDs(OnATenant, cases.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> DaichoApplicationRecorder:
        return self.factory.application_recorder()


class ATrackingRecorder(DaichoTrackingRecorder):
    pass


class TestInfrastructureFactory(OnATenant, cases.InfrastructureFactoryTestCase[DaichoFactory]):
    def setUp(self) -> None:
        cases.InfrastructureFactoryTestCase.setUp(self)

    def expected_factory_class(self) -> type[DaichoFactory]:
        return DaichoFactory

    def expected_aggregate_recorder_class(self) -> type[DaichoAggregateRecorder]:
        return DaichoAggregateRecorder

    def expected_application_recorder_class(self) -> type[DaichoApplicationRecorder]:
        return DaichoApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[DaichoTrackingRecorder]:
        return DaichoTrackingRecorder

    def tracking_recorder_subclass(self) -> type[DaichoTrackingRecorder]:
        return ATrackingRecorder

    def expected_process_recorder_class(self) -> type[DaichoProcessRecorder]:
        return DaichoProcessRecorder


class Mapped(Transcoding):
    """A transcoding of a subclass of a plain type, as the library's test wants registered."""

    def __init__(self, kind: type, plain: type, name: str) -> None:
        self.type, self.plain, self.name = kind, plain, name

    def encode(self, obj: object) -> object:
        return self.plain(obj)

    def decode(self, data: object) -> object:
        return self.type(data)


class TestOrjsonTranscoder(cases.TranscoderTestCase):
    def construct_transcoder(self) -> Transcoder:
        transcoder = OrjsonTranscoder()
        transcoder.register(cases.UUIDAsHex())
        transcoder.register(cases.CustomType1AsDict())
        transcoder.register(cases.CustomType2AsDict())
        transcoder.register(Mapped(tuple, list, "tuple_as_list"))
        transcoder.register(Mapped(cases.Mydict, dict, "mydict"))
        transcoder.register(Mapped(cases.MyList, list, "mylist"))
        transcoder.register(Mapped(cases.MyStr, str.__str__, "mystr"))
        transcoder.register(Mapped(cases.MyInt, int, "myint"))
        return transcoder
