"""The command that keeps tables up to date."""

import asyncio
import signal

import click
from click.core import ParameterSource

from ledger.cli.running import json_option, open_ledger, out, print_json_line, runs_async
from projections.installed import chosen_projections
from projections.lost import GRACE_SECONDS


@click.command()
@click.option(
    "-t", "--tenant", "tenant_ids", metavar="ID", multiple=True, envvar="DAICHO_TENANT",
    help="Follow this tenant; may be given again. [env: DAICHO_TENANT]",
)  # fmt: skip
@click.option("--all", "follow_all", is_flag=True, help="Follow every active tenant, new ones too.")
@click.option("--projection", "names", metavar="NAME", multiple=True, help="Only this; may be given again.")
@click.option(
    "--grace", "grace_seconds", type=click.FloatRange(0, 86_400), default=GRACE_SECONDS, show_default=True,
    help="Seconds past its timeout after which an attempt without an end is recorded as lost.",
)  # fmt: skip
@json_option
@click.pass_context
@runs_async
async def follow(
    context: click.Context,
    tenant_ids: tuple[str, ...],
    follow_all: bool,
    names: tuple[str, ...],
    grace_seconds: float,
    as_json: bool,
) -> None:
    """Keep the tables of tenants up to date, until it is stopped (Ctrl-C or SIGTERM).

    Any number of processes may do so: each tenant is led by one of them, and by another within seconds
    when that one dies.
    """
    is_named = context.get_parameter_source("tenant_ids") is ParameterSource.COMMANDLINE
    if follow_all == is_named and (follow_all or not tenant_ids):
        raise click.UsageError("Name tenants with --tenant, or say --all")
    projections = chosen_projections(names)

    def tell(tenant_id: str, what: str) -> None:
        if as_json:
            print_json_line({"tenant_id": tenant_id, "event": what})
        else:
            out.print(f"{what} {tenant_id}", markup=False)

    async with open_ledger(projection="external") as ledger:
        follower = ledger.follower(
            None if follow_all else tenant_ids, projections=projections, grace_seconds=grace_seconds
        )
        follower.changed = tell
        following = asyncio.ensure_future(follower.run_until_cancelled())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
        try:
            await following
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # Ctrl-C; SIGTERM ends in good order
