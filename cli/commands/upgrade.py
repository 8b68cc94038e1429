# SPDX-License-Identifier: Apache-2.0
"""`upgrade`: replace running programs by those of the installed version."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import examples

SENTENCES = {
    "same": "runs the same programs already",
    "tested": "would get the programs below; they load and pass the test",
    "replaced": "runs the programs below now",
}
PROGRAMS = (Column("program", "name"), Column("was", "was"), Column("is", "is"))


@click.command(
    epilog=examples("cipu-xdp upgrade --dry-run", "cipu-xdp upgrade", "cipu-xdp upgrade --json")
)
@click.option("--dry-run", is_flag=True, help="Load, verify and test the new programs only.")
@click.option("--force", is_flag=True, help="Replace also programs that are the same.")
def upgrade(dry_run: bool, force: bool) -> None:
    """Replace the running programs by those of the version that is installed.

    In place, while packets go on: sessions, limits and counters stay. The new
    programs are loaded and tested on packets first; if one fails, those that run
    go on. Going back is the same: the other version's upgrade.
    """
    with overlay() as net:
        answer = net.upgrade(dry_run=dry_run, force=force, progress=output.progress)
    if output.wants_json():
        output.print_json(answer)
        return
    for uplink in answer["uplinks"]:
        _show(uplink)


def _show(uplink: Row) -> None:
    click.echo(f"{uplink['iface']} {SENTENCES[uplink['state']]}")
    if uplink["state"] != "same":
        output.print_table(uplink["programs"], PROGRAMS)
