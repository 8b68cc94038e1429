# SPDX-License-Identifier: Apache-2.0
"""`drops`: packets that are dropped, and why."""

from __future__ import annotations

import click

from cipu_xdp.cli.params import ENI, VPC, examples
from cipu_xdp.cli.watch import common_options, follow


@click.command(
    epilog=examples(
        "cipu-xdp drops",
        "cipu-xdp drops --eni web1 --verdict ingress_denied --json",
        "cipu-xdp drops --vpc blue --count 20 --write drops.pcapng",
    )
)
@click.option("--eni", type=ENI, metavar="ENI", help="Only what ENI sends or is to receive.")
@click.option("--vpc", type=VPC, metavar="VPC", help="Only of VPC.")
@click.option(
    "--per-second", type=int, default=100, show_default=True, metavar="N",
    help="No more than N a second on each CPU; 0: all.",
)  # fmt: skip
@common_options
def drops(
    eni: str | None,
    vpc: str | None,
    per_second: int,
    verdict: tuple[str, ...],
    count: int | None,
    seconds: float | None,
    write: str | None,
) -> None:
    """Show samples of the packets that are dropped, as it happens.

    They are taken in the kernel, so many a second at most, with 128 bytes of
    each: a flood costs little more for it. Ends with Ctrl-C.
    """
    follow(
        count, seconds, write, drops=True, eni=eni, vpc=vpc, per_second=per_second,
        verdicts=verdict,
    )  # fmt: skip
