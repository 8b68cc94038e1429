# SPDX-License-Identifier: Apache-2.0
"""`restore`: bring back what the store says there should be."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column, Row
from cipu_xdp.cli.params import examples


def _why(uplink: Row) -> str:
    error = uplink["error"]
    return f"{error['why']}. {error['hint']}" if error else ""


COLUMNS = (Column("uplink", "iface"), Column("state", "state"), Column("why", _why))


@click.command(epilog=examples("cipu-xdp restore", "cipu-xdp restore --json"))
@click.pass_context
def restore(ctx: click.Context) -> None:
    """Bring back every uplink, table and limit from the store.

    After a reboot, or when the bpffs or /run was lost. What is in place stays as
    it is. If an uplink cannot be brought back the others are, and the exit code
    is that of its error. What was detached is not brought back.
    """
    with overlay() as net:
        found = net.restore()
    if output.wants_json():
        output.print_json(found)
    else:
        output.show_rows(found["uplinks"], COLUMNS, none="nothing to restore: none is attached")
    failed = [uplink["error"] for uplink in found["uplinks"] if uplink["error"]]
    ctx.exit(failed[0]["exit_code"] if failed else 0)
