# SPDX-License-Identifier: Apache-2.0
"""What a command knows besides its own arguments: the options every command takes.

``--instance``, ``--json`` and ``--debug`` are understood before the noun and
after the verb alike. It also opens the overlay, late, so that ``--help`` and a
mistyped argument never load the library.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from cipu_xdp.cli import waiting
from cipu_xdp.loader.errors import KernelRefused

if TYPE_CHECKING:
    from cipu_xdp.loader.overlay import Overlay


def need_root(tried: str) -> None:
    """Say at once that it takes root, rather than fail at the first file that does.

    Raises:
        KernelRefused: the process is not root.
    """
    if os.geteuid() != 0:
        raise KernelRefused(tried, "only root may", "Run the command with sudo.")


class RootCommand(click.Command):
    """A command that takes root to run, though not to be explained."""

    def invoke(self, ctx: click.Context) -> object:
        """Run it.

        Raises:
            KernelRefused: the process is not root.
        """
        need_root(f"run {ctx.command_path}")
        return super().invoke(ctx)


class RootGroup(click.Group):
    """A group all of whose commands do."""

    command_class = RootCommand


def open_overlay(instance: str | None) -> Overlay:
    """Open the overlay of ``instance`` (None: that of this network namespace).

    Raises:
        KernelRefused: the process is not root.
    """
    need_root("open the overlay")
    from cipu_xdp.loader.overlay import Overlay

    return Overlay(instance)


@dataclass(slots=True)
class Settings:
    """The shared options, and how the overlay is opened (tests give another way)."""

    instance: str | None = None
    json: bool = False
    debug: bool = False
    opener: Callable[[str | None], Overlay] = field(default=open_overlay)


def settings() -> Settings:
    """The settings of the command that is running."""
    return click.get_current_context().find_root().ensure_object(Settings)


def chosen_overlay() -> Overlay:
    """The overlay the running command works on, to be entered as often as it is needed."""
    chosen = settings()
    return chosen.opener(chosen.instance)


@contextmanager
def overlay() -> Iterator[Overlay]:
    """The same, entered; who waits for it is shown how far it is."""
    with waiting.shown(quiet=settings().json), chosen_overlay() as net:
        yield net


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    # An option that is not given here may have been given before the noun.
    if value and param.name:
        setattr(ctx.find_root().ensure_object(Settings), param.name, value)


class _Instance(click.ParamType[str]):
    """The name of an instance; what a name may be is the library's matter."""

    name = "instance"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Names that there are and that begin with ``incomplete``; none if they cannot be read."""
        from cipu_xdp.loader import pins

        try:
            names = pins.known_instances()
        except OSError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _shared_options() -> list[click.Option]:
    return [
        click.Option(
            ["--instance"],
            type=_Instance(),
            metavar="NAME",
            help="Work on this instance instead of that of the network namespace.",
            expose_value=False,
            is_eager=True,
            callback=_remember,
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            help="Print JSON with stable keys.",
            expose_value=False,
            is_eager=True,
            callback=_remember,
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            help="Show the traceback of an error.",
            expose_value=False,
            is_eager=True,
            callback=_remember,
        ),
    ]


def share_options(command: click.Command) -> click.Command:
    """Give ``command`` and all below it the shared options; returns it."""
    command.params.extend(_shared_options())
    if isinstance(command, click.Group):
        for below in command.commands.values():
            share_options(below)
    return command
