# SPDX-License-Identifier: Apache-2.0
"""`upgrade`: replace running programs by those of the installed version."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import TABLE_SIZES, examples

SENTENCES = {
    "same": "runs the same programs already",
    "tested": "would get the programs below; they load and pass the test",
    "replaced": "runs the programs below now",
    "gone": "is not there; when it is back, cipu-xdp restore gives it the new programs",
}
PROGRAMS = (Column("program", "name"), Column("was", "was"), Column("is", "is"))


@click.command(
    epilog=examples(
        "cipu-xdp upgrade --dry-run",
        "cipu-xdp upgrade",
        "cipu-xdp upgrade --table-size sessions=1000000",
    )
)
@click.option("--dry-run", is_flag=True, help="Load, verify and test the new programs only.")
@click.option("--force", is_flag=True, help="Replace also programs that are the same.")
@TABLE_SIZES
def upgrade(dry_run: bool, force: bool, table_sizes: tuple[tuple[str, int], ...]) -> None:
    """Replace the running programs by those of the version that is installed.

    In place, while packets go on: sessions, limits and counters stay, also where
    the new version keeps them in another way, or a table grows. The new programs
    are loaded and tested on packets first; if one fails, those that run go on.
    Going back is the same: the other version's upgrade.
    """
    with overlay() as net:
        answer = net.upgrade(
            dry_run=dry_run,
            force=force,
            table_sizes=dict(table_sizes),
        )
    if output.wants_json():
        output.print_json(answer)
        return
    for uplink in answer["uplinks"]:
        _show(uplink)
    if answer["tables"]:
        verb = "would be" if dry_run else "are"
        click.echo(f"tables that {verb} new, with what they held: {', '.join(answer['tables'])}")


def _show(uplink: Row) -> None:
    click.echo(f"{uplink['iface']} {SENTENCES[uplink['state']]}")
    if uplink["programs"] and uplink["state"] != "same":
        output.print_table(uplink["programs"], PROGRAMS)
