# SPDX-License-Identifier: Apache-2.0
"""What `drops` and `capture` share: their options, and packets shown as they are seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Row
from cipu_xdp.cli.params import Seconds

if TYPE_CHECKING:
    from cipu_xdp.loader.seen import Seen
    from cipu_xdp.loader.watching import Sight

Command = TypeVar("Command", bound=Callable[..., Any])

OPTIONS = (
    click.option(
        "--verdict", multiple=True, metavar="VERDICT", help="Only of this verdict; may be repeated."
    ),
    click.option("--count", type=int, metavar="N", help="End after N packets."),
    click.option("--seconds", type=Seconds(), metavar="S", help="End after S seconds."),
    click.option("--write", metavar="FILE", help="Write a pcapng file; - for standard output."),
)
MISSED = {"left_out": "left out: too many a second", "lost": "lost: not read in time"}


def common_options(command: Command) -> Command:
    """Give a command the options that both have."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def follow(count: int | None, seconds: float | None, write: str | None, **filters: Any) -> None:
    """Show packets until there are enough, the time is over, or somebody interrupts."""
    if count is not None and count <= 0:
        raise click.UsageError("--count is more than 0.")
    with overlay() as net, net.watching(**filters) as seen:
        output.aside("watching; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            _show_all(_some(seen, count, seconds), write)
        _say_counts(seen)


def _some(seen: Seen, count: int | None, seconds: float | None) -> Iterator[tuple[Sight, Row]]:
    until = None if seconds is None else time.monotonic() + seconds
    given = 0
    while until is None or time.monotonic() < until:
        for one in seen.read():
            yield one
            given += 1
            if given == count:
                return


def _show_all(found: Iterator[tuple[Sight, Row]], write: str | None) -> None:
    if write is None:
        for _, row in found:
            output.show_line(row, _line(row))
        return
    from cipu_xdp.loader.sights import Pcapng

    with closing(Pcapng(write)) as file:
        for sight, row in found:
            file.write(sight, row)


def _line(row: Row) -> str:
    at = time.strftime("%H:%M:%S", time.localtime(row["time"]))
    part = f"{row['time'] % 1:.6f}"[1:]
    ends = f"{row['from_eni'] or '-'} > {row['to_eni'] or '-'}"
    rules = "".join(f" by {rule['sg']} {rule['id']}" for rule in row["rules"])
    place = f"{row['dev']} {row['stage']}"
    return f"{at}{part} {row['verdict']}{rules}  {place}  {ends}  {row['length']}  {row['packet']}"


def _say_counts(seen: Seen) -> None:
    counts = seen.counts()
    for key, why in (
        ("left_out", "left out: too many a second"),
        ("lost", "lost: not read in time"),
    ):
        if counts[key]:
            output.note(f"{counts[key]} packets {why}")
