# SPDX-License-Identifier: Apache-2.0
"""`attach`: put the datapath on an uplink."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.commands.status import uplink_fields
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.params import ADDRESS, IFACE, TABLE_SIZES, examples


@click.command(
    epilog=examples(
        "cipu-xdp attach eth0",
        "cipu-xdp attach eth0 --vtep 192.0.2.1 --hook tc",
        "cipu-xdp attach eth0 --xdp-mode generic --replace",
        "cipu-xdp attach eth0 --table-size addresses=100000 --table-size enis=2000",
    )
)
@click.argument("iface", type=IFACE)
@click.option("--vtep", type=ADDRESS, metavar="ADDR", help="Address on IFACE to send from.")
@click.option(
    "--vxlan-port", type=int, metavar="N", default=4789, show_default=True, help="UDP port."
)
@click.option(
    "--hook",
    type=click.Choice(["auto", "xdp", "tc"]),
    default="auto",
    show_default=True,
    help="Where packets from the fabric are taken.",
)
@click.option(
    "--xdp-mode",
    type=click.Choice(["auto", "native", "generic"]),
    default="auto",
    show_default=True,
    help="How XDP is run; auto never chooses generic, which is slow.",
)
@click.option("--replace", is_flag=True, help="Take the place of a foreign program.")
@TABLE_SIZES
def attach(
    iface: str,
    vtep: str | None,
    vxlan_port: int,
    hook: str,
    xdp_mode: str,
    replace: bool,
    table_sizes: tuple[tuple[str, int], ...],
) -> None:
    """Attach the datapath to the uplink IFACE.

    Without --vtep the interface's only or first global address is used. The
    host's own traffic on IFACE goes on as before.
    """
    with overlay() as net:
        uplink = net.attach(
            iface,
            vtep=vtep,
            vxlan_port=vxlan_port,
            hook=hook,
            xdp_mode=xdp_mode,
            replace=replace,
            table_sizes=dict(table_sizes) or None,
        )
    output.show_object(uplink, uplink_fields(uplink), done=f"attached {iface}")
