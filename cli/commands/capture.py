# SPDX-License-Identifier: Apache-2.0
"""`capture`: packets as they come and as they leave."""

from __future__ import annotations

from typing import Any

import click

from cipu_xdp.cli.params import ENI, NETWORK, VPC, examples
from cipu_xdp.cli.watch import common_options, follow


@click.command(
    epilog=examples(
        "cipu-xdp capture --eni web1 --write web1.pcapng",
        "cipu-xdp capture --uplink eth0 --stage after --vpc blue",
        "cipu-xdp capture --proto tcp --ip 10.0.0.11 --port 443 --count 10 --json",
        "cipu-xdp capture --eni web1 --write - --bytes 9216",
    )
)
@click.option("--eni", type=ENI, metavar="ENI", help="Only what ENI sends or receives.")
@click.option("--uplink", metavar="IFACE", help="Only what comes to this uplink.")
@click.option("--vpc", type=VPC, metavar="VPC", help="Only of VPC.")
@click.option("--proto", metavar="PROTO", help="Only this protocol: tcp, icmpv6, 47, ...")
@click.option(
    "--ip", type=NETWORK, multiple=True, metavar="ADDR",
    help="Only with an end in ADDR or CIDR; twice: both ends.",
)  # fmt: skip
@click.option(
    "--port", type=int, multiple=True, metavar="N", help="Only with an end at port N; twice: both."
)
@click.option(
    "--stage", default="both", show_default=True, metavar="STAGE",
    help="As they come (before), as they leave (after), or both.",
)  # fmt: skip
@click.option(
    "--bytes", "frame_bytes", type=int, default=256, show_default=True, metavar="N",
    help="Of each frame at most.",
)  # fmt: skip
@common_options
def capture(
    count: int | None,
    seconds: float | None,
    write: str | None,
    verdict: tuple[str, ...],
    **filters: Any,
) -> None:
    """Capture packets of tenants, before and after what is done with them.

    Filters are of the tenant's packet, also inside VXLAN. Each has its verdict
    with it, in a pcapng file as a comment. Nothing is spent on it while nobody
    captures. Ends with Ctrl-C.
    """
    follow(count, seconds, write, verdicts=verdict, **filters)
