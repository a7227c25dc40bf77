"""`daicho schema`: a module of its own, for it needs every answer's class."""

import click

from ledger.cli.forms import FORMS, schema_of_form
from ledger.cli.running import print_json, without_async


@click.command()
@click.argument("name", metavar="[COMMAND]", required=False, type=click.Choice(list(FORMS)))
@without_async
def schema(name: str | None) -> None:
    """Print the JSON Schema of what a reading command prints with --json; without COMMAND, of all of them.

    Of `daicho prompts list` it is prompts-list; runs-at is that of `daicho runs --at`.
    """
    print_json(schema_of_form(name) if name else {each: schema_of_form(each) for each in FORMS})
