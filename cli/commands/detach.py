# SPDX-License-Identifier: Apache-2.0
"""`detach`: take the datapath off one uplink, or off all."""

from __future__ import annotations

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import overlay
from cipu_xdp.cli.params import UPLINK, examples


@click.command(epilog=examples("cipu-xdp detach eth0", "cipu-xdp detach --all"))
@click.argument("iface", type=UPLINK, required=False)
@click.option("--all", "everything", is_flag=True, help="Every uplink of the instance.")
def detach(iface: str | None, everything: bool) -> None:
    """Detach the datapath from the uplink IFACE.

    VPCs, subnets, ENIs and routes stay in the store: attach again, and they
    are carried again.
    """
    if (iface is not None) == everything:
        raise click.UsageError("Give either IFACE or --all.")
    with overlay() as net:
        if iface is not None:
            output.show_done(net.detach(iface), f"detached {iface}")
        else:
            gone = net.detach_all()
            output.show_done(gone, f"detached {', '.join(gone) or 'nothing: none was attached'}")
