"""What an auditor waits for: timeline, state, search and lineage, beside the bare fetch of the same events
and beside the same questions asked of the eventsourcing library's PostgreSQL recorder (the peer).

    python -m tests.bench.audit [--events 200000] [--rounds 7]

Everything runs on one embedded server. A figure is the median of the rounds; in a round all are measured one
after the other. The peer holds the same events of the runs that are asked for, as its own stored events, and
nothing else; it gives stored events, and the fold of them is ours in both cases.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from ledger import EventType, Ledger, Settings, Tenant
from ledger.control.embedded import EmbeddedPostgres
from ledger.store.statements import load_statements
from projections import rebuild
from projections.audit import AuditQueries
from projections.fold import RunState, fold, graph_state
from tests.bench.filling import LONG_RUN, RUN_EVENTS, fill, run_name

READ_STREAM = load_statements("ledger.store", "queries.sql")["read_stream"]
LONG_RUN_EVENTS = 100_000
Question = Callable[[], Awaitable[Any]]


class Clock:
    """Medians by label, in milliseconds."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    async def time(self, label: str, question: Question) -> Any:
        begin = time.perf_counter()
        answer = await question()
        self.taken.setdefault(label, []).append((time.perf_counter() - begin) * 1e3)
        return answer

    def print(self) -> None:
        print(f"{'what':<52} {'median ms':>10}   rounds")
        for label, taken in self.taken.items():
            rounds = " ".join(f"{ms:,.1f}" for ms in taken)
            print(f"{label:<52} {statistics.median(taken):10,.2f}   {rounds}")

    def ratio(self, one: str, other: str, wanted: str) -> None:
        ratios = [a / b for a, b in zip(self.taken[one], self.taken[other], strict=True)]
        print(f"{one} / {other}: {statistics.median(ratios):.2f} (wanted {wanted})")

    def under(self, label: str, ms: float) -> None:
        print(f"{label}: {statistics.median(self.taken[label]):,.1f} ms (wanted < {ms:g} ms)")


class Peer:
    """The library's recorder over the same events; one aggregate per run."""

    def __init__(self, socket_folder: Path) -> None:
        import psycopg
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore

        database = f"peer_{uuid4().hex[:8]}"
        with psycopg.connect(
            host=str(socket_folder), user="postgres", dbname="postgres", autocommit=True
        ) as admin:
            admin.execute(f'CREATE DATABASE "{database}"')
        self._datastore = PostgresDatastore(
            dbname=database, host=str(socket_folder), port="5432", user="postgres", password=""
        )
        self._recorder = PostgresApplicationRecorder(self._datastore, events_table_name="stored_events")
        self._recorder.create_table()

    def load(self, events: list[Any]) -> None:
        from eventsourcing.persistence import StoredEvent

        stored = [
            StoredEvent(_originator(event.run_id), event.version, str(event.event_type), event.data or b"{}")
            for event in events
        ]
        for begin in range(0, len(stored), 1_000):
            self._recorder.insert_events(stored[begin : begin + 1_000])

    async def select(self, run_id: str) -> list[Any]:
        """In a thread, as an application that is not to stand still has to."""
        return await asyncio.to_thread(self._recorder.select_events, _originator(run_id))

    def close(self) -> None:
        self._datastore.close()


def _originator(run_id: str) -> Any:
    return uuid5(NAMESPACE_URL, run_id)


async def measure(tenant: Tenant, peer: Peer, events: int, rounds: int) -> None:
    audit, clock = AuditQueries(tenant), Clock()
    runs = max(1, (events - LONG_RUN_EVENTS) // RUN_EVENTS)
    asked = run_name(runs // 2)
    whole = await tenant.store.read_run(asked)
    long = await tenant.store.read_run(LONG_RUN)
    peer.load(whole)
    peer.load(long)
    made = [event for event in whole if event.event_type is EventType.ARTIFACT_STORED]
    digest = (made[100].payload or {})["ref"]["digest"]

    async def fetch(run_id: str) -> Any:
        return await tenant.reader.fetch(READ_STREAM, run_id, -1, 2**62, None)

    async def as_json(run_id: str) -> str:
        """Everything that every entry says is read for it."""
        return (await audit.timeline(run_id)).model_dump_json()

    async def of_peer(run_id: str, ours: list[Any]) -> Any:
        """The peer's events, folded by our fold: the same state from the same payloads."""
        found = await peer.select(run_id)
        state = RunState(run_id)
        for event, stored_event in zip(ours, found, strict=True):
            fold(state, event._replace(data=stored_event.state))
        return graph_state(state, tenant.tenant_id)

    for _ in range(rounds):
        await clock.time("bare fetch, 1,000 events", lambda: fetch(asked))
        await clock.time("state_at, 1,000 events", lambda: audit.state_at(asked))
        await clock.time("timeline, 1,000 events", lambda: audit.timeline(asked))
        await clock.time("timeline, 1,000 events, as JSON", lambda: as_json(asked))
        await clock.time("peer: select_events, 1,000 events", lambda: peer.select(asked))
        await clock.time("peer: state, 1,000 events", lambda: of_peer(asked, whole))
        await clock.time("search by type", lambda: audit.search(types=["step.failed"]))
        await clock.time(
            "search by step and category", lambda: audit.search(step_id="step-7", category="retryable")
        )
        await clock.time("search by actor", lambda: audit.search(actor="worker-3"))
        await clock.time("search for a rare text, one page", lambda: audit.search(text="nowhere to be found"))
        await clock.time(
            "search in a range of time", lambda: audit.search(since=whole[0].recorded_at, limit=50)
        )
        await clock.time("lineage, 10 artifacts far", lambda: audit.lineage(digest, depth=10))
        await clock.time("lineage, whole run", lambda: audit.lineage(digest))
    for _ in range(max(1, rounds // 3)):
        await clock.time("bare fetch, 100,000 events", lambda: fetch(LONG_RUN))
        await clock.time("state_at, 100,000 events", lambda: audit.state_at(LONG_RUN))
        await clock.time("timeline, 100,000 events", lambda: audit.timeline(LONG_RUN))
        await clock.time("peer: select_events, 100,000 events", lambda: peer.select(LONG_RUN))
        await clock.time("open runs in the middle", lambda: audit.runs_at(events // 2, status="running"))
        await clock.time("statistics of everything", lambda: audit.statistics())
    clock.print()
    print()
    for question in ("state_at", "timeline"):
        clock.ratio(f"{question}, 1,000 events", "bare fetch, 1,000 events", "< 2")
        clock.ratio(f"{question}, 1,000 events", "peer: state, 1,000 events", "< 1")
        clock.ratio(f"{question}, 100,000 events", "bare fetch, 100,000 events", "< 3")
        clock.under(f"{question}, 100,000 events", 1_000)
    for label in clock.taken:
        if label.startswith(("search", "lineage")):
            clock.under(label, 50)


async def main(events: int, rounds: int) -> None:
    home = Path(tempfile.mkdtemp(prefix="daicho-bench-"))
    home.chmod(0o711)
    try:
        with EmbeddedPostgres.start(home / "home") as server:
            settings = Settings(home=home / "home", projection="external")
            async with await Ledger.open(settings) as ledger:
                await ledger.tenants.create_tenant_db("bench", "Bench")
                tenant = await ledger.tenant("bench")
                begin = time.perf_counter()
                await fill(tenant, events, min(LONG_RUN_EVENTS, events // 2))
                filled = time.perf_counter()
                report = await rebuild(tenant)
                took = f"filled in {filled - begin:.0f} s, rebuilt in {report.seconds:.0f} s"
                print(f"{report.events:,} events {took}")
                peer = Peer(server.socket_folder)
                try:
                    await measure(tenant, peer, events, rounds)
                finally:
                    peer.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    asyncio.run(main(given.events, given.rounds))
