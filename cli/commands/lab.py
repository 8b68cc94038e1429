# SPDX-License-Identifier: Apache-2.0
"""`cipu-xdp lab`: build a topology on this machine, look at it, enter it, show it.

What a lab is and what it can show is decided in the library (lab, lab_demo).
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cipu_xdp.cli import output
from cipu_xdp.cli.context import RootGroup
from cipu_xdp.cli.output import Column
from cipu_xdp.cli.params import IFACE, Word, examples

if TYPE_CHECKING:
    from cipu_xdp.loader.lab import Step
    from cipu_xdp.loader.lab_demo import Check

HOSTS = (
    Column("HOST", "name"),
    Column("NAMESPACE", "netns"),
    Column("INSTANCE", "instance"),
    Column("UPLINK", "uplink"),
    Column("VTEP", "vtep"),
    Column("MTU", "mtu", numeric=True),
    Column("HOOK", "hook"),
)
TENANTS = (
    Column("ENI", "name"),
    Column("VPC", "vpc"),
    Column("HOST", "host"),
    Column("NAMESPACE", "netns"),
    Column("DEVICE", "dev"),
    Column("MAC", "mac"),
    Column("ADDRESSES", "addresses"),
    Column("MTU", "mtu", numeric=True),
)
CHECKS = (
    Column("CHECK", "what"),
    Column("FROM", "source"),
    Column("TO", "target"),
    Column("RESULT", "result"),
    Column("", lambda row: "ok" if row["ok"] else "FAILED"),
)
UPLINKS = (
    Column("HOST", "host"),
    Column("UPLINK", "iface"),
    Column("HOOK", "hook"),
    Column("WHY", "why"),
)
VERDICTS = (
    Column("HOST", "host"),
    Column("VERDICT", "verdict"),
    Column("PACKETS", "packets", numeric=True),
    Column("BYTES", "bytes", numeric=True),
    Column("MEANING", "meaning"),
)


def _topologies(_ctx: click.Context) -> list[str]:
    from cipu_xdp.loader.topology_shipped import shipped

    return shipped()


def _labs(_ctx: click.Context) -> list[str]:
    from cipu_xdp.loader.lab_record import labs

    return labs()


def _parts(ctx: click.Context) -> list[str]:
    from cipu_xdp.loader import lab

    status = lab.find(ctx.params.get("lab")).status()
    return [part["name"] for part in (*status["hosts"], *status["tenants"])]


TOPOLOGY = Word("topology", known=_topologies)
LAB = Word("lab", known=_labs)
PART = Word("host or ENI", known=_parts)


@click.group(
    cls=RootGroup, epilog=examples("cipu-xdp lab up two-hosts", "cipu-xdp lab shell alpha")
)
def lab() -> None:
    """Hosts, an underlay and tenants in network namespaces, from a topology file."""


@lab.command(
    epilog=examples(
        "cipu-xdp lab up",
        "cipu-xdp lab up two-hosts-ipv6",
        "cipu-xdp lab up my-lab.yaml",
        "cipu-xdp lab up two-hosts --host alpha --uplink eth1",
    )
)
@click.argument("topology", type=TOPOLOGY, default="demo")
@click.option("--host", metavar="NAME", help="Build only this host's part, on this machine.")
@click.option("--uplink", type=IFACE, help="With --host: the interface to the underlay.")
def up(topology: str, host: str | None, uplink: str | None) -> None:
    """Build the lab of TOPOLOGY, a file or the name of one that is shipped."""
    from cipu_xdp.loader.lab import Lab
    from cipu_xdp.loader.topology_shipped import find

    topo = find(topology)
    _end_in_order()
    status = Lab(topo.name).up(topo, host=host, uplink=uplink, on_step=_tell)
    _show(status, "is up" if status["changed"] else "was up already")


@lab.command(epilog=examples("cipu-xdp lab down", "cipu-xdp lab down two-hosts"))
@click.argument("name", metavar="[LAB]", type=LAB, required=False)
def down(name: str | None) -> None:
    """Remove all that is the lab's, also after a crash; LAB is its name or topology."""
    from cipu_xdp.loader.lab import find

    chosen = find(name)
    changed = chosen.down(_tell)
    came = "is down" if changed else "was not up"
    output.show_done({"lab": chosen.name, "changed": changed}, f"The lab {chosen.name} {came}.")


@lab.command(epilog=examples("cipu-xdp lab status", "cipu-xdp lab status two-hosts --json"))
@click.argument("name", metavar="[LAB]", type=LAB, required=False)
def status(name: str | None) -> None:
    """List the lab's hosts and tenants, and the names to use for them."""
    from cipu_xdp.loader.lab import find

    told = find(name).status()
    _show(told, f"is {told['state']}")


@lab.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": True},
    epilog=examples(
        "cipu-xdp lab shell alpha",
        "cipu-xdp lab shell red-a ping 10.0.0.12",
        "cipu-xdp lab shell --lab two-hosts bravo cipu-xdp status",
    ),
)
@click.option("--lab", type=LAB, help="The lab's name, if several are up.")
@click.argument("name", type=PART)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def shell(lab: str | None, name: str, command: tuple[str, ...]) -> None:
    """Run COMMAND, or a shell, inside the host, tenant or underlay NAME."""
    from cipu_xdp.loader.errors import BadInput
    from cipu_xdp.loader.lab import find
    from cipu_xdp.loader.lab_build import inside

    target = find(lab).target(name)
    environment = dict(os.environ)
    if target.instance:
        environment["CIPU_XDP_INSTANCE"] = target.instance
    # The command itself is found inside too, also before it is installed.
    environment["PATH"] = f"{os.environ.get('PATH', os.defpath)}:{Path(sys.executable).parent}"
    # A "--" after NAME is left to us by click.
    given = command[1:] if command[:1] == ("--",) else command
    words = given or (os.environ.get("SHELL", "/bin/sh"),)
    with inside(target.netns):
        try:
            os.execvpe(words[0], words, environment)  # noqa: S606 - a shell is what was asked for
        except FileNotFoundError:
            raise BadInput(f"run {words[0]} in {name}", "there is no such command") from None


@lab.command(epilog=examples("cipu-xdp lab demo", "cipu-xdp lab demo four-hosts"))
@click.argument("topology", type=TOPOLOGY, default="demo")
@click.pass_context
def demo(ctx: click.Context, topology: str) -> None:
    """Build the lab, try what must and what must not work, and clean up.

    The exit code is 1 if a check failed. A lab that was up stays up.
    """
    from cipu_xdp.loader.lab import Lab
    from cipu_xdp.loader.lab_demo import Check
    from cipu_xdp.loader.lab_demo import demo as events
    from cipu_xdp.loader.topology_shipped import find

    topo = find(topology)
    _end_in_order()
    told: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    with closing(events(Lab(topo.name), topo, _tell)) as shown:
        for event in shown:
            if isinstance(event, Check):
                _mark(event)
                found.append(asdict(event))
            elif "lab" in event:
                told = event
                if not output.wants_json():
                    _show(told, "is up")
            else:
                told = {**told, "uplinks": event["hosts"]}
    ok = bool(found) and all(check["ok"] for check in found)
    _sum_up({**told, "checks": found, "ok": ok})
    ctx.exit(0 if ok else 1)


def _end_in_order() -> None:
    # What ends the command must undo what it began, as ^C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def _tell(step: Step) -> None:
    output.aside(f"{step.what} {step.part}")


def _mark(check: Check) -> None:
    outcome = "ok" if check.ok else "FAILED"
    output.aside(f"{check.what} from {check.source}: {check.result} ({outcome})")


def _show(told: dict[str, Any], came: str) -> None:
    if output.wants_json():
        output.print_json(told)
        return
    click.echo(f"The lab {told['lab']} {came}; enter a part with 'cipu-xdp lab shell NAME'.")
    output.print_table(told["hosts"], HOSTS, "Hosts")
    output.print_table(told["tenants"], TENANTS, "Tenants")


def _sum_up(told: dict[str, Any]) -> None:
    if output.wants_json():
        output.print_json(told)
        return
    output.print_table(told["checks"], CHECKS, "Checks")
    hosts = told["uplinks"]
    output.print_table(
        [{"host": h["host"], **u} for h in hosts for u in h["uplinks"]],
        UPLINKS,
        "How the uplinks were hooked",
    )
    rows = [{"host": h["host"], **v} for h in hosts for v in h["verdicts"]]
    output.print_table(rows, VERDICTS, "What became of the packets")
    failed = sum(not check["ok"] for check in told["checks"])
    done = f"{failed} of {len(told['checks'])} checks failed" if failed else "All checks passed"
    left = "the lab is gone again" if told["changed"] else "the lab was up before and stays up"
    click.echo(f"\n{done}; {left}.")
