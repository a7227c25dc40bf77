"""The command line: `daicho`."""

from importlib import import_module
from importlib.metadata import version

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
MODULES = {
    "auditing": ("timeline", "state", "table", "explain", "diff", "lineage", "replay"),
    "blobs": ("blob",),
    "doctoring": ("doctor",),
    "erasing": ("erase",),
    "exporting": ("export", "import"),
    "following": ("follow",),
    "listing": ("runs",),
    "llm": ("llm",),
    "migrating": ("migrate",),
    "projecting": ("rebuild", "verify"),
    "prompting": ("prompts",),
    "reading": ("status",),
    "schemas": ("schema",),
    "searching": ("search", "stats"),
    "serving": ("server",),
    "tailing": ("tail",),
    "tenants": ("tenant",),
    "writing": ("init", "demo", "emit"),
}
"""Of this package, with the commands that each has."""
FUNCTIONS = {"import": "import_"}
"""Of commands whose names Python has taken."""


class Commands(click.Group):
    """Imports a command's module when the command is asked for: none needs what the others import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for names in MODULES.values() for name in names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in MODULES.items():
            if cmd_name in names:
                commands = vars(import_module(f"{__name__}.{module}"))
                command: click.Command = commands[FUNCTIONS.get(cmd_name, cmd_name)]
                return command
        return None


@click.command(cls=Commands, context_settings=CONTEXT)
@click.version_option(version("daicho"), prog_name="daicho")
def main() -> None:
    """daicho, an event-sourced run ledger for AI pipelines."""
