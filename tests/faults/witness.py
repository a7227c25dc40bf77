"""A witness of a power cut: a row that was committed and not flushed, which the cut must take away. Where it
is still there, the cut shows nothing of what survived it."""

from ledger.store.server import DatabaseServer


async def call_a_witness(server: DatabaseServer) -> None:
    superuser = await server.connect()
    await superuser.execute("CREATE TABLE witness (n integer)")
    await superuser.close()


async def write_as_a_witness(server: DatabaseServer) -> None:
    """A plain insert, committed as PostgreSQL is told to: with it off, the crash takes it away."""
    witness = await server.connect(synchronous_commit="off")
    await witness.execute("INSERT INTO witness VALUES (1)")
    await witness.close()


async def assert_the_cut_took_something(server: DatabaseServer) -> None:
    superuser = await server.connect()
    assert await superuser.fetchval("SELECT count(*) FROM witness") == 0, "this crash takes nothing away"
    await superuser.close()
