# SPDX-License-Identifier: Apache-2.0
"""The command `cipu-xdp`: which nouns there are, and how errors leave the process.

A noun's module is imported when the noun is used, so that start-up stays
short. Exit codes are those of the errors (``loader.errors``); 1 is left for
what nobody expected and 130 for an interrupt.
"""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import share_options
from cipu_xdp.cli.params import examples
from cipu_xdp.loader import __version__
from cipu_xdp.loader.errors import BadInput, CipuError, KernelRefused

PROGRAM = "cipu-xdp"
INTERRUPTED = 130
OUT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
NOUNS = (
    "attach", "detach", "restore", "upgrade", "status", "stats", "top", "metrics", "doctor",
    "vpc", "subnet", "eni", "route", "sg", "session", "limit",
    "trace", "drops", "capture", "flows", "apply", "export", "lab", "completion",
)  # fmt: skip


class Program(click.Group):
    """The top group: loads nouns late and turns every error into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The nouns, in the order a person needs them."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The noun's command; its module is imported the first time."""
        if cmd_name in NOUNS and cmd_name not in self.commands:
            module = importlib.import_module(f"cipu_xdp.cli.commands.{cmd_name}")
            self.commands[cmd_name] = share_options(getattr(module, cmd_name))
        return self.commands.get(cmd_name)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run the command line and exit with the code of what came of it."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(words, prog_name or PROGRAM, complete_var, False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(BadInput.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - the last place that can name it
            sys.exit(_report(error, words))
        sys.exit(code if isinstance(code, int) else 0)


def _report(error: Exception, words: list[str]) -> int:
    # The words are asked, not the settings: parsing may have failed before
    # it came to the option.
    debug = "--debug" in words
    if debug:
        traceback.print_exception(error)
    known = _as_cipu_error(error)
    if known:
        output.print_error(known.as_dict(), str(known), as_json="--json" in words)
        return known.exit_code
    what = f"{type(error).__name__}: {error}"
    hint = "Please report it." if debug else "Run it again with --debug to see where."
    fields = CipuError("finish", what, hint).as_dict() | {"error": "Unexpected"}
    output.print_error(fields, f"unexpected {what}. {hint}", as_json="--json" in words)
    return CipuError.exit_code


def _as_cipu_error(error: Exception) -> CipuError | None:
    if isinstance(error, CipuError):
        return error
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else PROGRAM
        why = error.format_message().rstrip(".")
        return BadInput(f"run {path}", why, f"See {path} --help.")
    if isinstance(error, click.ClickException):
        return BadInput("run the command", error.format_message().rstrip("."))
    if isinstance(error, PermissionError):
        return KernelRefused("run the command", str(error), "Run it as root, with sudo.")
    if isinstance(error, OSError) and error.errno in OUT_OF_ROOM:
        return KernelRefused("write all of it", str(error), "Make room there, or write elsewhere.")
    return None


@click.group(
    PROGRAM,
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("cipu-xdp attach eth0", "cipu-xdp lab demo", "cipu-xdp --json status"),
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Tenants' networks for a plain Linux host, in XDP and TC."""


share_options(cli)


def main() -> NoReturn:
    """The console script's entry."""
    cli.main()
