"""Applications of the library, whole: snapshots, processes, a cipher, and what runs beside them."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System

from ledger import Ledger, Tenant
from ledger.store.recorder import OrjsonTranscoder, background


class Account(Aggregate):
    def __init__(self) -> None:
        self.balance = Decimal(0)

    @event("Deposited")
    def deposit(self, amount: Decimal) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    is_snapshotting_enabled = True

    def open_one(self) -> UUID:
        account = Account()
        self.save(account)
        return account.id

    def deposit(self, account_id: UUID, amount: Decimal) -> None:
        account: Account = self.repository.get(account_id)
        account.deposit(amount)
        self.save(account)


class Count(Aggregate):
    INITIAL_VERSION = 0

    def __init__(self) -> None:
        self.seen = 0

    @event("Seen")
    def see(self) -> None:
        self.seen += 1


class Counts(ProcessApplication[UUID]):
    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        if isinstance(domain_event, Account.Deposited):
            count = Count()
            count.see()
            processing_event.collect_events(count)


def use_accounts(env: dict[str, str]) -> tuple[Decimal, Decimal, int]:
    with Accounts(env=env) as accounts:
        assert isinstance(accounts.mapper.transcoder, OrjsonTranscoder)
        account_id = accounts.open_one()
        for _ in range(3):
            accounts.deposit(account_id, Decimal("1.10"))
        accounts.take_snapshot(account_id)
        accounts.deposit(account_id, Decimal("0.01"))
        assert accounts.snapshots is not None
        snapshots = len(list(accounts.snapshots.get(account_id)))
        latest: Account = accounts.repository.get(account_id)
        earlier: Account = accounts.repository.get(account_id, version=2)
        return latest.balance, earlier.balance, snapshots


async def test_an_application_with_snapshots(tenant: Tenant) -> None:
    assert await asyncio.to_thread(use_accounts, tenant.application_env()) == (
        Decimal("3.31"),
        Decimal("1.10"),
        1,
    )
    assert await tenant.store.head() == 5


async def test_a_cipher_and_a_compressor_keep_states_opaque(tenant: Tenant) -> None:
    from eventsourcing.cipher import AESCipher

    env = {
        **tenant.application_env(),
        "COMPRESSOR_TOPIC": "zlib",
        "CIPHER_KEY": AESCipher.create_key(16),
    }
    assert (await asyncio.to_thread(use_accounts, env))[0] == Decimal("3.31")
    assert all(b"amount" not in (event.data or b"") for event in await tenant.store.read())


def run_system(env: dict[str, str]) -> tuple[int, int | None]:
    with SingleThreadedRunner(System(pipes=[[Accounts, Counts]]), env=env) as runner:
        accounts, counts = runner.get(Accounts), runner.get(Counts)
        account_id = accounts.open_one()
        for _ in range(3):
            accounts.deposit(account_id, Decimal(1))
        made = [n for n in counts.recorder.select_notifications(None, 100) if n.originator_version == 0]
        return len(made), counts.recorder.max_tracking_id("Accounts")


async def test_a_process_application_follows_another_on_the_same_log(tenant: Tenant) -> None:
    made, tracked = await asyncio.to_thread(run_system, tenant.application_env())
    assert made == 3
    last = [event.position for event in await tenant.store.read() if event.run_id.startswith("Accounts/")][-1]
    assert tracked == last


async def test_an_application_outside_any_event_loop(ledger: Ledger, tenant: Tenant) -> None:
    """Called straight from a coroutine it blocks the loop, and still comes back."""
    assert use_accounts(tenant.application_env())[2] == 1
    assert background._users == 0, "leaving the application's context closes its connections"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**64, {1: "a"}, {"a": {1, 2}}])
def test_the_transcoder_refuses_what_it_would_not_give_back(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        OrjsonTranscoder().encode({"value": value})


def test_the_transcoder_reads_what_the_librarys_own_wrote() -> None:
    from eventsourcing.persistence import DatetimeAsISO, DecimalAsStr, JSONTranscoder, UUIDAsHex

    ours, theirs = OrjsonTranscoder(), JSONTranscoder()
    for transcoder in (ours, theirs):
        for transcoding in (DatetimeAsISO(), DecimalAsStr(), UUIDAsHex()):
            transcoder.register(transcoding)
    value = {
        "id": UUID(int=1),
        "of": [Decimal("1.50"), None, True, 1.5, -7, 'ä"\\\n'],
        "in": {"x": {"y": UUID(int=2)}},
    }
    assert ours.encode(value) == theirs.encode(value)
    assert ours.decode(theirs.encode(value)) == value
    assert ours.decode(rb'{"\u005ftype_":"uuid_hex","_data_":"00000000000000000000000000000001"}') == UUID(
        int=1
    )
