"""The commands of `daicho`: each is imported when it is asked for, and none needs what the others import."""

import subprocess
import sys

import click
import pytest

from ledger.cli import MODULES, main

CONTEXT = click.Context(main)
NAMES = main.list_commands(CONTEXT)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_found_under_its_own_name(name: str) -> None:
    command = main.get_command(CONTEXT, name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str()


def test_each_stands_in_one_module() -> None:
    assert len(NAMES) == len(set(NAMES)) == sum(map(len, MODULES.values()))


def test_who_asks_for_one_imports_no_other() -> None:
    asks = (
        "import sys, click\n"
        "from ledger.cli import MODULES, main\n"
        "def imported(): return {name for name in MODULES if f'ledger.cli.{name}' in sys.modules}\n"
        "assert not imported() and 'ledger.composition' not in sys.modules\n"
        "main.get_command(click.Context(main), 'tail')\n"
        "assert imported() == {'tailing'}, imported()\n"
        "assert 'ledger.cli.forms' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", asks], check=True, timeout=60)
