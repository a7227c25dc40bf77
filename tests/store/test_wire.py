"""On the wire, a call is sent before the one before it is answered; what each is answered with is its own."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Tenant
from ledger.store import binary
from ledger.store.server import Connection
from ledger.store.tenant_database import Role
from ledger.store.wire import Row, Statement, Wire

ADD = "SELECT $1::bigint + 1"


class Answers:
    """What calls were answered with, in the order in which the answers came."""

    def __init__(self, expected: int) -> None:
        self.heard: list[Row | Exception] = []
        self.all_came = asyncio.Event()
        self._expected = expected

    def hear(self, answer: Row | Exception) -> None:
        self.heard.append(answer)
        if len(self.heard) == self._expected:
            self.all_came.set()

    async def came(self) -> list[Row | Exception]:
        async with asyncio.timeout(30):
            await self.all_came.wait()
        return self.heard


async def statement_on(connection: Connection, text: str, parameters: int) -> Statement:
    return Statement((await connection.prepare(text)).get_name(), parameters)


async def test_calls_are_answered_each_with_its_own_row_and_in_order(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.READER)
    add = await statement_on(connection, ADD, 1)
    wire, answers = Wire(connection), Answers(100)
    for number in range(100):
        wire.call(add, [binary.int8(number)], answers.hear)
    assert await answers.came() == [[(number + 1).to_bytes(8)] for number in range(100)]
    assert await connection.fetchval("SELECT 7") == 7, "and asyncpg has its connection again"
    await connection.close()


async def test_an_error_is_its_own_calls_alone(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.READER)
    divide = await statement_on(connection, "SELECT 12 / $1::bigint", 1)
    wire, answers = Wire(connection), Answers(3)
    for number in (3, 0, 4):
        wire.call(divide, [binary.int8(number)], answers.hear)
    first, refused, last = await answers.came()
    assert (first, last) == ([(4).to_bytes(8)], [(3).to_bytes(8)])
    assert isinstance(refused, asyncpg.DivisionByZeroError)
    assert refused.sqlstate == "22012"
    assert await connection.fetchval("SELECT 7") == 7
    await connection.close()


async def test_whoever_waits_when_the_connection_ends_hears_so(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.READER)
    sleep = await statement_on(connection, "SELECT pg_sleep($1::double precision)", 1)
    wire, answers = Wire(connection), Answers(2)
    for _ in range(2):
        wire.call(sleep, [binary.framed(b"\x40\x59\0\0\0\0\0\0")], answers.hear)  # 100.0
    connection.terminate()
    assert all(isinstance(answer, asyncpg.ConnectionDoesNotExistError) for answer in await answers.came())
    assert connection.is_closed()


async def test_what_the_server_says_unasked_is_heard_and_is_no_answer(tenant: Tenant) -> None:
    connection = await tenant.database.connect(Role.OWNER)
    notices: list[Any] = []
    connection.add_log_listener(lambda _connection, notice: notices.append(notice))
    await connection.execute(
        """CREATE FUNCTION ledger.loud() RETURNS bigint LANGUAGE plpgsql AS $$
           BEGIN
               RAISE NOTICE 'listen';
               PERFORM set_config('application_name', 'other', false);
               RETURN 5;
           END $$"""
    )
    loud = await statement_on(connection, "SELECT ledger.loud()", 0)
    wire, answers = Wire(connection), Answers(2)
    for _ in range(2):
        wire.call(loud, [], answers.hear)
    assert await answers.came() == [[(5).to_bytes(8)]] * 2
    assert connection.get_settings().application_name == "other"
    await asyncio.sleep(0)
    assert [notice.message for notice in notices] == ["listen", "listen"]
    await connection.close()


class Pipe:
    """The two ends that a Wire stands between."""

    def __init__(self) -> None:
        self._transport = self._protocol = self
        self.sent = b""

    def set_protocol(self, protocol: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent += data


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 7, 1_000])
def test_however_the_answers_are_cut_into_pieces_they_are_read_alike(size: int) -> None:
    rows = [b"\0\x02" + binary.int8(number) + binary.NULL for number in range(5)]
    complete = b"2\0\0\0\x04"
    answers = b"".join(
        complete + b"D" + (4 + len(row)).to_bytes(4) + row + b"C\0\0\0\x0dSELECT 1\0" + b"Z\0\0\0\x05I"
        for row in rows
    )
    wire = Wire(Pipe())
    heard: list[Row | Exception] = []
    for _ in rows:
        wire.call(Statement("add", 0), [], heard.append)
    for piece in pieces(answers, size):
        wire.data_received(piece)
    assert heard == [[number.to_bytes(8), b""] for number in range(5)]


times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@given(times)
def test_a_time_goes_and_comes_back_to_the_microsecond(time: datetime) -> None:
    assert binary.read_time(binary.time(time)[4:]) == time
    assert binary.read_time(binary.time(time + timedelta(microseconds=1))[4:]) - time == timedelta(
        microseconds=1
    )


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_an_array_goes_and_comes_back(numbers: list[int]) -> None:
    assert binary.read_int8s(binary.int8s(numbers)[4:]) == numbers


def test_no_more_texts_are_remembered_than_is_said() -> None:
    for number in range(binary.FRAMES_REMEMBERED_MAX * 2):
        assert binary.text(f"run-{number}")[4:].decode() == f"run-{number}"
        assert len(binary._text_frames) <= binary.FRAMES_REMEMBERED_MAX
