# SPDX-License-Identifier: Apache-2.0
"""Help with examples that hold, for every command there is; and a quick start."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
from fake_overlay import (
    Run,
)

from cipu_xdp.cli.context import Settings
from cipu_xdp.cli.main import cli


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and group below ``group`` with the words that name it."""
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from commands(command, (*path, name))


def example_lines(command: click.Command) -> list[str]:
    found = re.findall(r"(?m)^\s+(?:eval \"\$\()?(cipu-xdp [^>\n)|]*)", command.epilog or "")
    return [line.strip() for line in found]


def parse(words: list[str]) -> None:
    """Parse a command line down to its last command, without running it."""
    ctx = cli.make_context("cipu-xdp", words, obj=Settings())
    while isinstance(ctx.command, click.Group):
        name, command, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command
        ctx = command.make_context(name, rest, parent=ctx)


def test_every_help_has_examples_that_parse() -> None:
    for path, command in [((), cli), *commands()]:
        lines = example_lines(command)
        assert lines, f"no example in {' '.join(path)} --help"
        for line in lines:
            words = shlex.split(line)[1:]
            assert words[: len(path)] == list(path) or not path, line
            parse(words)


def test_every_command_takes_the_shared_options() -> None:
    for path, command in commands():
        names = [option for param in command.params for option in param.opts]
        for option in ("--instance", "--json", "--debug"):
            assert names.count(option) == 1, path


def test_every_help_fits_80_columns(run: Run) -> None:
    for path, _ in commands():
        result = run(f"{' '.join(path)} --help")
        assert result.exit_code == 0
        assert max(map(len, result.stdout.splitlines())) <= 80, path


def test_starting_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cipu_xdp.cli.main import cli\n"
        "try: cli.main(['vpc', 'create', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'bcc', 'pydantic', 'pyroute2', 'rich', 'sqlite3', 'yaml'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
