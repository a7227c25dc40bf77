"""The command line: `daicho`."""

from importlib.metadata import version

import click

from ledger.cli import blobs, doctoring, erasing, listing, llm, prompting, reading, tailing, writing

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(version("daicho"), prog_name="daicho")
def main() -> None:
    """daicho, an event-sourced run ledger for AI pipelines."""


for command in (
    writing.init,
    writing.demo,
    writing.tenant,
    writing.migrate,
    writing.emit,
    prompting.prompts,
    llm.llm,
    tailing.tail,
    listing.runs,
    reading.timeline,
    reading.state,
    writing.rebuild,
    writing.verify,
    erasing.erase,
    doctoring.doctor,
    reading.status,
    blobs.blob,
):
    main.add_command(command)
