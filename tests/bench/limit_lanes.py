# SPDX-License-Identifier: Apache-2.0
"""Lanes: two tenants on two hosts, and a rate for what the first one sends; ours, the kernel's.

All are built alike (paths) and differ in who keeps the rate: a limit of ours,
one that paces, or a TBF or HTB queue on the vxlan device, by which packets
leave the tenant's host. What is sent along a lane is decided elsewhere.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab import Built, built, eni, hosts, namespaces, run
from raw_frames import Wire

from bench.paths import FIRST, SECOND, SUBNET, kernel_vxlan
from cipu_xdp.loader import netns, topology

RATES = {"1mbit": 1e6, "10mbit": 1e7, "100mbit": 1e8, "1gbit": 1e9, "5gbit": 5e9}
SINK_PORT = 9
# A queue may make up for so much of what it slept, and hold as much as that.
TBF_BURST_S, LEAST_TBF_BURST, TBF_LATENCY_MS = 0.005, 16_000, 50
READ_S = 0.01
# Of all devices on the way but the client's, so that a load may come in frames bigger than TCP's.
MTU = 3600
# How many classes the HTB queues of a host have, if more than one.
CLASSES: dict[str, int] = {}
# The second host's packets are taken up by the other CPU, or one would have to do everything.
STEER = "echo 1 > /sys/class/net/up0/queues/rx-0/rps_cpus"


@dataclass(frozen=True)
class Lane:
    """From a client's device `dev` on `host` to a server.

    `keep` sets the rate, None for none; `refused` says how many packets were over it;
    `crowd` has so many limits there be in all.
    """

    name: str
    client: str
    server: str
    host: str
    dev: str
    keep: Callable[[str | None], None]
    refused: Callable[[], int]
    crowd: Callable[[int], None]

    def frame(self, size: int) -> bytes:
        """A datagram from one to the other, so many bytes with all headers."""
        wire = Wire(_mac(self.client), _mac(self.server), FIRST, SECOND)
        return wire.datagram(SINK_PORT, SINK_PORT, bytes(size - 42))


def _mac(namespace: str) -> str:
    (link,) = json.loads(run("ip", "-j", "link", "show", "eth0", netns=namespace))
    return str(link["address"])


def can_pace() -> bool:
    """Has this kernel the queue that pacing needs?"""
    with namespaces("bl-fq"):
        said = run("tc", "qdisc", "add", "dev", "lo", "root", "fq", netns="bl-fq", check=False)
    return not said


@contextmanager
def lanes(names: Sequence[str]) -> Iterator[list[Lane]]:
    """Those of LANES, up at the same time; what is sent to the servers' SINK_PORT goes nowhere."""
    with ExitStack() as stack:
        found = [stack.enter_context(LANES[name]()) for name in names]
        for lane in found:
            _widen(lane)
            _learn(lane)
            stack.enter_context(_sink(lane.server))
        yield found


def _widen(lane: Lane) -> None:
    prefix = lane.host.removesuffix("h1")
    for place in json.loads(run("ip", "-j", "netns", "list")):
        namespace = place["name"]
        if not namespace.startswith(prefix) or namespace == lane.client:
            continue
        for link in json.loads(run("ip", "-j", "link", "show", "up", netns=namespace)):
            if link["ifname"] != "lo":
                run("ip", "link", "set", link["ifname"], "mtu", MTU, netns=namespace)


def _learn(lane: Lane) -> None:
    """Let everybody on the way know everybody."""
    run("sh", "-c", STEER, netns=lane.host.replace("h1", "h2"))
    run("ping", "-c", 2, "-i", 0.1, SECOND, netns=lane.client)


@contextmanager
def _sink(namespace: str) -> Iterator[None]:
    """A socket that nobody reads: it is full soon, and then drops what comes."""
    with netns.entered(namespace):
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sink.bind(("", SINK_PORT))
    with sink:
        yield


@contextmanager
def ours(*, paced: bool = False) -> Iterator[Lane]:
    """This project's overlay, by TC hooks."""
    enis = {"c": eni("tc", "h1", FIRST), "s": eni("tc", "h2", SECOND)}
    plain = {
        "name": "blp" if paced else "bl",
        **hosts("tc", 4, "h1", "h2"),
        "vpcs": {"red": {"vni": 100, "subnets": [SUBNET], "enis": enis}},
    }
    with built(plain) as lab:
        if paced:
            run("tc", "qdisc", "replace", "dev", "up0", "root", "fq", netns=lab.netns("h1"))
        name = PACED if paced else "ours"
        ends = [lab.netns(part) for part in ("c", "s", "h1")]
        keep, refused = partial(_limit, lab, paced), partial(_refused, lab)
        with lab.overlay("h1") as overlay:
            alone = overlay.export()
        yield Lane(name, *ends, "c", keep, refused, partial(_fill_vpcs, lab, alone))


def _fill_vpcs(lab: Built, alone: dict[str, Any], count: int) -> None:
    """Give other VPCs a limit each, so that there are so many with the one of the lane."""
    others = {
        f"v{n}": {"vni": 1000 + n, "limits": {"egress": {"rate": "1gbit"}}} for n in range(1, count)
    }
    with lab.overlay("h1") as overlay:
        overlay.apply(topology.parse_plain({"vpcs": alone["vpcs"] | others}), prune=True)


def _limit(lab: Built, paced: bool, rate: str | None) -> None:
    with lab.overlay("h1") as overlay:
        if any(one["name"] == "c" for one in overlay.limit_list("red", over_s=READ_S)):
            overlay.limit_clear("egress", eni="c")
        if rate:
            overlay.limit_set("egress", eni="c", rate=rate, shape=paced)


def _refused(lab: Built) -> int:
    with lab.overlay("h1") as overlay:
        (limit,) = overlay.limit_list("red", over_s=READ_S)
    return int(limit["counters"]["over_rate_packets"])


@contextmanager
def queued(kind: str) -> Iterator[Lane]:
    """The kernel's vxlan and bridge, and a queue of that kind."""
    host = f"b{kind[0]}-h1"
    with kernel_vxlan(f"b{kind[0]}") as path:
        keep, refused = partial(_queue, host, kind), partial(_dropped, host)
        crowd = partial(_add_classes, host)
        yield Lane(kind, path.client, path.server, host, "t0", keep, refused, crowd)


def _add_classes(host: str, count: int) -> None:
    """Note how many classes the next HTB queue has."""
    CLASSES[host] = count


def _dropped(host: str) -> int:
    (root, *_) = json.loads(run("tc", "-s", "-j", "qdisc", "show", "dev", "vx0", netns=host))
    return int(root["drops"])


def _queue(host: str, kind: str, rate: str | None) -> None:
    run("tc", "qdisc", "del", "dev", "vx0", "root", netns=host, check=False)
    if rate is None:
        return
    add = ("tc", "qdisc", "add", "dev", "vx0", "root")
    burst = max(LEAST_TBF_BURST, round(RATES[rate] / 8 * TBF_BURST_S))
    if kind == "tbf":
        run(*add, "tbf", "rate", rate, "burst", burst, "latency", f"{TBF_LATENCY_MS}ms", netns=host)
        return
    run(*add, "handle", "1:", "htb", "default", 1, netns=host)
    run(
        "tc", "class", "add", "dev", "vx0", "parent", "1:", "classid", "1:1", "htb", "rate", rate,
        "burst", burst, "cburst", burst, netns=host,
    )  # fmt: skip
    others = "".join(
        f"class add dev vx0 parent 1: classid 1:{n:x} htb rate 1gbit quantum 1514\n"
        for n in range(2, CLASSES.get(host, 1) + 1)
    )
    batch = ["ip", "netns", "exec", host, "tc", "-batch", "-"]
    subprocess.run(batch, input=others, text=True, check=True)


PACED = "ours, paced"
LANES = {
    "ours": ours,
    PACED: lambda: ours(paced=True),
    "tbf": lambda: queued("tbf"),
    "htb": lambda: queued("htb"),
}
