# SPDX-License-Identifier: Apache-2.0
"""`doctor`: what is wrong with this host and what is attached, and what mends it."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.output import Column
from cipu_xdp.cli.params import IFACE, examples
from cipu_xdp.loader.errors import KernelRefused

WRONG = "wrong"
COLUMNS = (
    Column(
        "state", lambda line: line["state"].upper() if line["state"] == WRONG else line["state"]
    ),
    Column("check", "check"),
    Column("subject", "subject"),
    Column("found", "found"),
    Column("mended by", "mend"),
)


@click.command(
    epilog=examples("cipu-xdp doctor", "cipu-xdp doctor eth0", "cipu-xdp doctor --thorough --json")
)
@click.argument("iface", type=IFACE, required=False)
@click.option(
    "--thorough",
    is_flag=True,
    help="Read also a store of more than 16 MB whole, and compare tables of more than 65536 "
    "entries: seconds for a million ENIs.",
)
def doctor(iface: str | None, thorough: bool) -> int:
    """Look for what is wrong, and say what mends it; nothing is changed.

    Without IFACE: this host, and all that is attached in this network
    namespace. With it: this host, and IFACE as an uplink, or to be one.

    Each line is ok, a warning (it works, but not as well or not always, or
    nobody can tell) or wrong. Words in capitals in a command are to be filled
    in. The exit code is 0 if no line is wrong, and 6 if one is.
    """
    with overlay() as net:
        lines = net.doctor(iface, thorough=thorough)
    output.show_rows(lines, COLUMNS, none="nothing was looked at")
    return KernelRefused.exit_code if any(line["state"] == WRONG for line in lines) else 0
