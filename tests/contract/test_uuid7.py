"""Ids in order of time, UUID version 7: their bits, their order, and that no two are the same."""

import os
import pickle
import select
import signal
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import Event
from ledger.contract.uuid7 import TimeOrderedIds, tick_of, uuid7, uuid_of

MILLISECOND = 1_000_000
NOW = 1_764_118_800_000 * MILLISECOND
CHILD_SECONDS_MAX = 20.0
CHILD_IDS = 100

times = st.integers(min_value=0, max_value=253_402_300_800_000 * MILLISECOND)  # to the year 10000
entropies = st.binary(min_size=8, max_size=8)


def milliseconds(made: UUID) -> int:
    return int.from_bytes(made.bytes[:6])


def test_the_published_vector() -> None:
    """RFC 9562, appendix A.6."""
    made = uuid_of(0x017F22E279B0 << 12 | 0xCC3, (0x18C4DC0C0C07398F << 2).to_bytes(8))
    assert made == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@given(times, entropies)
def test_version_variant_and_time_stand_where_the_standard_says(nanoseconds: int, entropy: bytes) -> None:
    made = uuid_of(tick_of(nanoseconds), entropy)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert milliseconds(made) == nanoseconds // MILLISECOND
    assert made.int & (2**62 - 1) == int.from_bytes(entropy) >> 2
    assert pickle.loads(pickle.dumps(made)) == made


@given(times, times, entropies, entropies)
def test_a_later_tick_is_a_greater_id_whatever_its_entropy(one: int, other: int, a: bytes, b: bytes) -> None:
    if tick_of(one) < tick_of(other):
        assert uuid_of(tick_of(one), a) < uuid_of(tick_of(other), b)


@given(st.lists(times, min_size=1, max_size=50))
def test_ids_grow_whatever_the_clock_does(readings: list[int]) -> None:
    ids = TimeOrderedIds(clock=iter(readings).__next__)
    made = [ids.next() for _ in readings]
    assert all(before < after for before, after in pairwise(made))
    assert {each.version for each in made} == {7}


def test_many_in_the_same_millisecond_grow_and_do_not_repeat() -> None:
    ids = TimeOrderedIds(clock=lambda: NOW)
    made = [ids.next() for _ in range(10_000)]
    assert made == sorted(set(made))
    # 4096 in a millisecond; what is over goes into the next ones.
    assert milliseconds(made[0]) == NOW // MILLISECOND
    assert milliseconds(made[-1]) - milliseconds(made[0]) == 10_000 // 4096


def test_after_the_clock_went_back_they_go_on_and_then_follow_it_again() -> None:
    readings = iter([NOW, NOW - 3600 * 10**9, NOW - 10**9, NOW + MILLISECOND])
    ids = TimeOrderedIds(clock=lambda: next(readings))
    first, second, third, fourth = (ids.next() for _ in range(4))
    assert first < second < third < fourth
    assert milliseconds(third) == NOW // MILLISECOND
    assert milliseconds(fourth) == NOW // MILLISECOND + 1


def test_they_say_when_they_were_made() -> None:
    before = time.time_ns() // MILLISECOND
    made = [uuid7() for _ in range(100)]
    assert before <= milliseconds(made[0]) <= milliseconds(made[-1]) <= time.time_ns() // MILLISECOND + 1


def test_threads_share_one_order_and_no_id() -> None:
    made: list[list[UUID]] = [[] for _ in range(8)]
    begin = threading.Barrier(len(made))

    def work(mine: list[UUID]) -> None:
        begin.wait()
        mine.extend(uuid7() for _ in range(5_000))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    ticks = [each.int >> 64 for mine in made for each in mine]
    assert len(set(ticks)) == len(ticks)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_makes_other_ids() -> None:
    theirs = _made_in_a_child(uuid7)
    mine = [uuid7() for _ in range(CHILD_IDS)]
    assert theirs == sorted(theirs)
    assert len({*theirs, *mine}) == 2 * CHILD_IDS


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_it_has_not() -> None:
    """One that was counting at the fork."""
    is_counting, may_go_on = threading.Event(), threading.Event()

    def clock() -> int:
        if threading.current_thread() is counting:
            is_counting.set()
            may_go_on.wait(CHILD_SECONDS_MAX)
        return NOW

    ids = TimeOrderedIds(clock)
    counting = threading.Thread(target=ids.next)
    counting.start()
    try:
        assert is_counting.wait(CHILD_SECONDS_MAX)
        assert len(_made_in_a_child(ids.next)) == CHILD_IDS
    finally:
        may_go_on.set()
        counting.join()


def _made_in_a_child(make: Callable[[], UUID]) -> list[UUID]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(make().bytes for _ in range(CHILD_IDS)))
        os._exit(0)
    os.close(writing)
    answered, _, _ = select.select([reading], [], [], CHILD_SECONDS_MAX)
    if not answered:
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return [UUID(bytes=told[at : at + 16]) for at in range(0, len(told), 16)]


def test_an_event_that_is_given_no_id_gets_one_of_these() -> None:
    events = [Event(event_type="run.cancelled", tenant_id="acme", run_id="run-1") for _ in range(100)]
    ids = [event.event_id for event in events]
    assert {each.version for each in ids} == {7}
    assert ids == sorted(ids)
