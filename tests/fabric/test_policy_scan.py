# SPDX-License-Identifier: Apache-2.0
"""Nobody starves his neighbour: scans and floods on a host that has room for few sessions.

On the host live `victim` and `mallory`, who are policed, and `other`, who is
not; `remote` lives on another host, of which there is only a wire.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from command import OTHER, SMALL, UPLINK, VTEP, Machine, machine
from connections import Connection
from lab import run, wait_for
from raw_frames import Stream, Wire

from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.lab_traffic import family
from cipu_xdp.loader.overlay import Overlay

pytestmark = pytest.mark.root

QUOTA = SMALL["sessions"] // 2  # of the two that are policed
PORTS = {"served": 80, "shut": 81}
TALK = 7000
VNI = 100
VXLAN = struct.pack("!II", 8 << 24, VNI << 8)
DEVS = {"victim": "t1", "mallory": "t2", "other": "t3"}
IPS = {
    name: (f"10.0.0.{number}", f"fd00:10::{number}")
    for number, name in enumerate((*DEVS, "remote"), 11)
}


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    with machine("cx-scan") as host:
        host.attach_small()
        host.do("vpc", "create", "red", "--vni", VNI)
        for subnet in ("10.0.0.0/24", "fd00:10::/64"):
            host.do("subnet", "create", "red", subnet)
        for name in ("victims", "scanners"):
            host.do("sg", "create", name, "--vpc", "red")
        ports = ",".join(map(str, (*PORTS.values(), TALK)))
        for words in (("tcp", "--ports", ports), ("icmp",), ("icmpv6",)):
            host.do("sg", "rule", "add", "victims", "ingress", "allow", *words)
        groups = {"victim": ("--sg", "victims"), "mallory": ("--sg", "scanners")}
        for name, (ipv4, ipv6) in IPS.items():
            place = ("--dev", DEVS[name]) if name in DEVS else ("--host", OTHER)
            host.do("eni", "create", name, "--vpc", "red", "--ip", ipv4, "--ip", ipv6,
                    *place, *groups.get(name, ()))  # fmt: skip
        for name in DEVS:
            run("ip", "address", "flush", "dev", "eth0", netns=netns(host, name))
            for address in (f"{IPS[name][0]}/24", f"{IPS[name][1]}/64"):
                run("ip", "address", "add", address, "dev", "eth0", netns=netns(host, name))
        yield host


def netns(host: Machine, name: str) -> str:
    return f"{host.name}-{DEVS[name]}"


def wire(host: Machine, sender: str, receiver: str, index: int) -> Wire:
    macs = [host.do("eni", "show", name)["mac"] for name in (sender, receiver)]
    return Wire(*macs, IPS[sender][index], IPS[receiver][index])


@contextmanager
def serving(netns: str, address: str, port: int) -> Iterator[None]:
    """Somebody listens, and takes nothing."""
    with inside(netns):
        listener = socket.create_server((address, port), family=family(address))
    with listener:
        yield


def between_vteps(host: Machine) -> Wire:
    """From the other host's VTEP to ours."""
    macs = [
        run("cat", f"/sys/class/net/{dev}/address", netns=where).strip()
        for dev, where in (("eth0", f"{host.name}-out"), (UPLINK, host.name))
    ]
    return Wire(*macs, OTHER, VTEP)


def sessions(host: Machine, name: str) -> dict[str, Any]:
    return host.do("eni", "show", name)["sessions"]


@contextmanager
def counting(host: Machine, *names: str) -> Iterator[dict[str, dict[str, int]]]:
    """What ENIs had of sessions more when the block ended."""
    before = {name: sessions(host, name) for name in names}
    more: dict[str, dict[str, int]] = {}
    yield more
    for name in names:
        more[name] = {key: count - before[name][key] for key, count in sessions(host, name).items()}


def talk(host: Machine, opener: str, responder: str, index: int) -> Connection:
    near, far = netns(host, opener), netns(host, responder)
    return Connection(near, far, IPS[responder][index], TALK)


@contextmanager
def talks(host: Machine, opener: str, responder: str, count: int) -> Iterator[list[Connection]]:
    """So many connections, in turn of both families, that work at the beginning and at the end."""
    with ExitStack() as stack:
        made = [stack.enter_context(talk(host, opener, responder, n % 2)) for n in range(count)]
        assert all(each.passes() for each in made)
        yield made
        assert all(each.passes() for each in made)


def test_a_scan_by_one_hurts_neither_open_nor_new_sessions_of_his_neighbour(host: Machine) -> None:
    pairs = [
        [wire(host, "mallory", name, index) for name in ("other", "victim")] for index in (0, 1)
    ]
    scan = [
        frame
        for port in range(1, 5_000)
        for to_other, to_victim in pairs
        for frame in (to_other.syn(port, port), to_other.datagram(port, port),
                      to_victim.syn(port, 10_000 + port), to_victim.datagram(port, port))
    ]  # fmt: skip
    with (
        counting(host, "mallory", "victim") as more,
        talks(host, "victim", "other", 20),
        Stream(netns(host, "mallory"), "eth0", scan) as stream,
        talks(host, "other", "victim", 20),
        talks(host, "victim", "other", 100),
    ):
        wait_for(lambda: stream.sent > len(scan), "every port has been tried", 30)
    assert more["victim"]["refused"] == more["victim"]["evicted"] == 0
    assert more["victim"]["opened"] == 140
    assert more["mallory"]["evicted"] + more["mallory"]["refused"] > len(scan) / 4
    assert sessions(host, "mallory")["in_use"] <= QUOTA


@pytest.mark.parametrize(("kind", "index"), [("served", 0), ("shut", 1), ("pings", 0)])
def test_a_flood_from_elsewhere_leaves_its_victim_what_it_has_and_wants(
    host: Machine, kind: str, index: int
) -> None:
    inner, outer = wire(host, "remote", "victim", index), between_vteps(host)
    flood = [
        outer.datagram(50_000, 4789, VXLAN + frame)
        for number in range(1024, 21_024)
        for frame in [inner.echo(number) if kind == "pings" else inner.syn(number, PORTS[kind])]
    ]
    with (
        counting(host, "victim") as more,
        serving(netns(host, "victim"), IPS["victim"][index], PORTS["served"]),
        talks(host, "victim", "other", 20),
        Stream(f"{host.name}-out", "eth0", flood) as stream,
        talks(host, "victim", "other", 100),
        talks(host, "other", "victim", 20),
    ):
        wait_for(lambda: stream.sent > len(flood), "the flood has run once", 30)
    assert more["victim"]["refused"] == 0
    assert more["victim"]["opened"] > len(flood) / 2
    assert sessions(host, "victim")["in_use"] <= QUOTA


def test_a_rule_that_does_not_fit_is_refused_and_changes_nothing(host: Machine) -> None:
    with inside(host.name), Overlay(host.name) as overlay:
        overlay.sg_create("many", vpc="red")
        taken = sum(group["rule_count"] for group in overlay.sg_list())
        for port in range(taken + 1, SMALL["rule_counters"]):
            overlay.sg_rule_add("many", "ingress", "allow", protocol="udp", ports=port)
    for group in ("many", "victims"):
        said = host.refused(2, "sg", "rule", "add", group, "ingress", "allow", "udp")
        assert "rule_counters" in said
    host.do("sg", "delete", "many")
    host.do("sg", "rule", "add", "victims", "egress", "allow", "udp")


def test_a_seventeenth_group_is_refused_and_changes_nothing(host: Machine) -> None:
    names = [f"group-{number}" for number in range(17)]
    with inside(host.name), Overlay(host.name) as overlay:
        for name in names:
            overlay.sg_create(name, vpc="red")
    words = [word for name in names for word in ("--sg", name)]
    assert "17 security groups" in host.refused(2, "eni", "set", "victim", *words)
    assert host.do("eni", "set", "victim", *words[2:])["groups"] == names[1:]
    host.do("eni", "set", "victim", "--sg", "victims")
    with inside(host.name), Overlay(host.name) as overlay:
        for name in names:
            overlay.sg_delete(name)
