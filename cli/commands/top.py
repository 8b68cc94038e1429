# SPDX-License-Identifier: Apache-2.0
"""`top`: what goes on now, again and again: a screen on a terminal, text or JSON in a pipe."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import chosen_overlay
from cipu_xdp.cli.output import Row
from cipu_xdp.cli.params import Seconds, examples
from cipu_xdp.cli.top_sections import SESSIONS_BY, SORTS, sections, totals
from cipu_xdp.cli.waiting import can_erase

if TYPE_CHECKING:
    from cipu_xdp.loader.top import Top

LEAST_S = 0.1
# Of each table, in a pipe, which has no height.
MOST_ROWS = 10
SORT_KEYS = {sort[0]: sort for sort in SORTS}


@click.command(
    epilog=examples(
        "cipu-xdp top",
        "cipu-xdp top --interval 5 --sort drops",
        "cipu-xdp top --count 3 > top.txt",
        "cipu-xdp top --json",
    )
)
@click.option(
    "--interval", type=Seconds(), metavar="S", default=1.0, show_default=True,
    help="Seconds between two screens.",
)  # fmt: skip
@click.option("--count", type=int, metavar="N", help="End after N.")
@click.option(
    "--sort", type=click.Choice(SORTS), default=SORTS[0], show_default=True,
    help="What the first ENIs have most of.",
)  # fmt: skip
def top(interval: float, count: int | None, sort: str) -> None:
    """Show the busiest ENIs and sessions, drops, limits at work and how full tables are.

    All of it in rates: what there was in a second. On a terminal it is a live screen:
    q or Ctrl-C ends it; b, p and d sort ENIs by bits, packets and drops. In a
    pipe it is text, with --json an object a line. Sessions of which there are very
    many are read less often, and the screen says so.
    """
    if interval < LEAST_S:
        raise click.UsageError(f"--interval is at least {LEAST_S}.")
    if count is not None and count < 1:
        raise click.UsageError("--count is more than 0.")
    # Who is told to end leaves the terminal as it was, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), chosen_overlay() as net:
        reader = net.top(by=SESSIONS_BY[sort])
        if sys.stdout.isatty() and can_erase() and not output.wants_json():
            _fill_screen(reader, net.name, interval, count, sort)
        else:
            _print(reader, interval, count, sort)


def _fill_screen(reader: Top, name: str, interval: float, count: int | None, sort: str) -> None:
    from cipu_xdp.cli.keyboard import Keyboard
    from cipu_xdp.cli.screen import Screen
    from cipu_xdp.cli.top_layout import Line, layout

    answer: Row | None = None
    number, due = 0, time.monotonic() + interval
    with Screen() as screen, Keyboard() as keyboard:
        while True:
            if answer is None:
                screen.show([Line(f"cipu-xdp {name}  measures for {interval:g} s", "head")])
            else:
                screen.show(layout(answer, *screen.size(), sort))
            if number == count:
                return
            key = keyboard.wait(max(0.0, due - time.monotonic()))
            if key == "q":
                return
            sort = SORT_KEYS.get(key, sort)
            if time.monotonic() >= due:
                # Not from when it is read: that takes its time, too.
                answer, due = reader.read(), max(due, time.monotonic() - interval) + interval
                number += 1


def _print(reader: Top, interval: float, count: int | None, sort: str) -> None:
    number = 0
    while number != count:
        time.sleep(interval)
        _print_one(reader.read(), sort)
        number += 1


def _print_one(answer: Row, sort: str) -> None:
    if output.wants_json():
        output.show_line(answer, "")
        return
    at = time.strftime("%H:%M:%S", time.localtime(answer["time"]))
    output.say(f"{at}, rates of {answer['over_s']:g} s: {totals(answer)}")
    for section in sections(answer, sort):
        output.print_table(section.rows[:MOST_ROWS], section.columns, section.title)
        if section.note:
            output.say(section.note)
    output.say("")
    sys.stdout.flush()
