"""The command line: `daicho`."""

from importlib.metadata import version

import click

from ledger.cli import (
    auditing,
    blobs,
    doctoring,
    erasing,
    exporting,
    following,
    listing,
    llm,
    migrating,
    projecting,
    prompting,
    reading,
    searching,
    serving,
    tailing,
    tenants,
    upkeep,
    writing,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(version("daicho"), prog_name="daicho")
def main() -> None:
    """daicho, an event-sourced run ledger for AI pipelines."""


for command in (
    writing.init,
    writing.demo,
    tenants.tenant,
    serving.server,
    migrating.migrate,
    writing.emit,
    prompting.prompts,
    llm.llm,
    tailing.tail,
    following.follow,
    listing.runs,
    auditing.timeline,
    auditing.state,
    auditing.table,
    auditing.explain,
    auditing.diff,
    auditing.lineage,
    auditing.replay,
    searching.search,
    searching.stats,
    auditing.schema,
    exporting.export,
    exporting.import_,
    projecting.rebuild,
    projecting.verify,
    erasing.erase,
    doctoring.doctor,
    reading.status,
    blobs.blob,
):
    main.add_command(command)

blobs.blob.add_command(upkeep.gc)
blobs.blob.add_command(upkeep.fsck)
