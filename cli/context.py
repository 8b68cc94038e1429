# SPDX-License-Identifier: Apache-2.0
"""What a command knows besides its own arguments: the options every command takes.

``--instance``, ``--json`` and ``--debug`` are understood before the noun and
after the verb alike. It also opens the overlay, late, so that ``--help`` and a
mistyped argument never load the library.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from cipu_xdp.loader.errors import KernelRefused

if TYPE_CHECKING:
    from cipu_xdp.loader.overlay import Overlay


def open_overlay(instance: str | None) -> Overlay:
    """Open the overlay of ``instance`` (None: that of this network namespace).

    Raises:
        KernelRefused: the process is not root.
    """
    if os.geteuid() != 0:
        raise KernelRefused(
            "open the overlay", "only root may read and change it", "Run the command with sudo."
        )
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


def overlay() -> Overlay:
    """The overlay the running command works on, a context manager."""
    chosen = settings()
    return chosen.opener(chosen.instance)


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    # An option that is not given here may have been given before the noun.
    if value and param.name:
        setattr(ctx.find_root().ensure_object(Settings), param.name, value)


def _shared_options() -> list[click.Option]:
    return [
        click.Option(
            ["--instance"],
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
