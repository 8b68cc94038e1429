# SPDX-License-Identifier: Apache-2.0
"""The checks of uplinks on facts that were made up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from ipaddress import ip_address, ip_interface

import pytest

from cipu_xdp.loader import doctor_devices, doctor_offloads
from cipu_xdp.loader.doctor_facts import Device, Peer, UplinkFacts
from cipu_xdp.loader.errors import BadInput, CipuError, ForeignInTheWay
from cipu_xdp.loader.ethtool import Queues
from cipu_xdp.loader.findings import Finding, require
from cipu_xdp.loader.foreign import Obstacle
from cipu_xdp.loader.nic import Nic
from cipu_xdp.loader.pins import Hooked
from cipu_xdp.loader.records import Link, Uplink

VTEP, OTHER = ip_address("192.0.2.1"), ip_address("192.0.2.2")
LINK = Link(2, "02:00:00:00:00:01", 1600, networks=(ip_interface("192.0.2.1/24"),))
VETH = replace(LINK, kind="veth")
ALL_XDP = 7
HOOKS = frozenset({"tc ingress", "tc egress", "xdp"})
GOOD = Device("eth0", LINK, nic=Nic("virtio_net", ALL_XDP, Queues(2, 2, 2)), programs=HOOKS)
UPLINK = Uplink("eth0", VTEP)
XDP = Hooked("xdp", "asked for", "native")
FACTS = UplinkFacts(GOOD, vtep=VTEP, uplink=UPLINK, hooked=XDP)
BIGGER = "ip link set eth0 mtu 1600"
AGAIN = "cipu-xdp attach eth0 --vtep 192.0.2.1"
FOREIGN = Obstacle("somebody's is in the way", "", "ip link set eth0 xdpdrv off", replaceable=True)
FIXED = Obstacle("a qdisc is in the way", "Remove it.", "tc qdisc del dev eth0 ingress")


def on(facts: UplinkFacts, **changes: object) -> UplinkFacts:
    """The facts with another device."""
    return replace(facts, device=replace(facts.device, **changes))  # type: ignore[arg-type]


def nic_of(facts: UplinkFacts, **changes: object) -> UplinkFacts:
    """The facts with another NIC in the device."""
    return on(facts, nic=replace(facts.device.nic, **changes))  # type: ignore[arg-type]


def test_a_good_uplink_has_nothing_wrong() -> None:
    for check in (*doctor_devices.CHECKS, *doctor_offloads.CHECKS):
        assert {one.state for one in check(FACTS)} <= {"ok"}, check


def test_of_a_device_that_is_not_there_one_line_is_told() -> None:
    facts = UplinkFacts(Device("eth9"))
    checks = (*doctor_devices.CHECKS, *doctor_offloads.CHECKS)
    found = [one for check in checks for one in check(facts)]
    assert [one.found for one in found if one.state != "ok"] == ["there is no device eth9 here"]


REDIRECTED = replace(FACTS, redirected=True)
LOST = nic_of(on(REDIRECTED, link=VETH), xdp=3)
Check = Callable[[UplinkFacts], Iterable[Finding]]
FAULTS: list[tuple[Check, UplinkFacts, str, str | None]] = [
    (doctor_devices.device, on(FACTS, link=replace(LINK, mac="")), "wrong", None),
    (doctor_devices.mtu, on(FACTS, link=replace(LINK, mtu=1349)), "wrong", BIGGER),
    (doctor_devices.mtu, on(FACTS, link=replace(LINK, mtu=1350)), "warning", BIGGER),
    (doctor_devices.mtu, on(FACTS, link=replace(LINK, mtu=1549)), "warning", BIGGER),
    (
        doctor_devices.address,
        on(FACTS, link=replace(LINK, networks=())),
        "wrong",
        "ip address add 192.0.2.1/LEN dev eth0",
    ),
    (
        doctor_devices.address,
        replace(FACTS, vtep=OTHER),
        "wrong",
        "ip address add 192.0.2.2/LEN dev eth0",
    ),
    (doctor_devices.foreign, on(FACTS, obstacles=(FOREIGN,)), "wrong", f"{AGAIN} --replace"),
    (
        doctor_devices.foreign,
        on(FACTS, obstacles=(FIXED,)),
        "wrong",
        "tc qdisc del dev eth0 ingress",
    ),
    (doctor_devices.state, on(FACTS, up=False), "wrong", "ip link set eth0 up"),
    (doctor_devices.state, on(FACTS, carrier=False), "warning", None),
    (doctor_devices.programs, on(FACTS, programs=HOOKS - {"xdp"}), "wrong", AGAIN),
    (doctor_devices.programs, on(FACTS, programs=frozenset()), "wrong", AGAIN),
    (doctor_devices.programs, replace(FACTS, hooked=None), "wrong", AGAIN),
    (
        doctor_devices.rp_filter,
        replace(FACTS, rp_filter=1),
        "warning",
        "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
    ),
    (
        doctor_devices.port,
        replace(FACTS, users=("the device vx0",)),
        "warning",
        "cipu-xdp attach eth0 --vxlan-port PORT",
    ),
    (
        doctor_devices.queue,
        replace(FACTS, shaped=True),
        "warning",
        "tc qdisc replace dev eth0 root fq",
    ),
    (doctor_offloads.driver, nic_of(FACTS, xdp=None), "warning", None),
    (
        doctor_offloads.driver,
        nic_of(replace(FACTS, uplink=replace(UPLINK, hook="xdp")), xdp=0),
        "wrong",
        "cipu-xdp attach eth0 --hook tc",
    ),
    (doctor_offloads.driver, replace(FACTS, hooked=Hooked("tc", "MTU 9000")), "warning", None),
    (
        doctor_offloads.queues,
        nic_of(replace(FACTS, cpus=4), queues=Queues(1, 2, 8)),
        "warning",
        "ethtool -L eth0 combined 4",
    ),
    (doctor_offloads.redirect, nic_of(REDIRECTED, xdp=3), "wrong", None),
    (doctor_offloads.redirect, nic_of(REDIRECTED, xdp=None), "warning", None),
    (
        doctor_offloads.redirect,
        on(LOST, peer=Peer("eth0", "/run/netns/far")),
        "wrong",
        "ip netns exec far ethtool -K eth0 gro on",
    ),
    (doctor_offloads.redirect, on(LOST, peer=Peer("v1", "")), "wrong", "ethtool -K v1 gro on"),
    (doctor_offloads.redirect, on(LOST, peer=Peer("v1", None)), "wrong", None),
    (
        doctor_offloads.vlans,
        nic_of(replace(FACTS, vlans=("eth0.7",)), offloads=frozenset({"rx-vlan-hw-parse"})),
        "warning",
        "ethtool -K eth0 rx-vlan-offload off",
    ),
    (
        doctor_offloads.checksums,
        on(FACTS, peer=Peer("v1", "", frozenset({"tx-checksum-ip-generic"}))),
        "warning",
        "ethtool -K v1 tx off",
    ),
    (doctor_offloads.checksums, on(FACTS, peer=Peer("v1", None)), "warning", None),
    (
        doctor_offloads.segments,
        nic_of(
            on(replace(FACTS, hooked=Hooked("tc", "")), link=VETH),
            offloads=frozenset({"tx-udp-segmentation"}),
        ),
        "warning",
        "ethtool -K eth0 tx-udp-segmentation off",
    ),
]


@pytest.mark.parametrize(("check", "facts", "state", "mend"), FAULTS)
def test_a_fault_of_an_uplink(
    check: Check, facts: UplinkFacts, state: str, mend: str | None
) -> None:
    (found,) = check(facts)
    assert (found.subject, found.state, found.mend) == ("eth0", state, mend)


NO_FAULTS: list[tuple[Check, UplinkFacts]] = [
    (doctor_devices.mtu, on(FACTS, link=replace(LINK, mtu=1550))),
    (doctor_devices.queue, FACTS),
    (doctor_devices.queue, on(replace(FACTS, shaped=True), link=replace(LINK, paced=True))),
    (doctor_devices.rp_filter, replace(FACTS, rp_filter=2)),
    (doctor_devices.rp_filter, replace(FACTS, rp_filter=None)),
    (doctor_devices.programs, replace(FACTS, hooked=None, recorded=False)),
    (
        doctor_devices.programs,
        on(replace(FACTS, hooked=Hooked("tc", "")), programs=HOOKS - {"xdp"}),
    ),
    (doctor_offloads.driver, nic_of(FACTS, xdp=0)),
    (doctor_offloads.redirect, nic_of(FACTS, xdp=3)),
    (doctor_offloads.queues, nic_of(replace(FACTS, cpus=4), queues=Queues(1, 1, 1))),
    (doctor_offloads.queues, nic_of(FACTS, queues=None)),
    (doctor_offloads.vlans, replace(FACTS, vlans=("eth0.7",))),
    (doctor_offloads.vlans, nic_of(FACTS, offloads=frozenset({"rx-vlan-hw-parse"}))),
    (doctor_offloads.checksums, on(FACTS, peer=Peer("v1", "", frozenset()))),
    (doctor_offloads.segments, nic_of(FACTS, offloads=frozenset({"tx-udp-segmentation"}))),
]


@pytest.mark.parametrize(("check", "facts"), NO_FAULTS)
def test_what_is_no_fault(check: Check, facts: UplinkFacts) -> None:
    assert {one.state for one in check(facts)} <= {"ok"}


def test_an_ipv6_underlay_takes_more_of_the_mtu() -> None:
    six = replace(FACTS, vtep=ip_address("2001:db8::1"))
    for mtu, state in ((1569, "warning"), (1570, "ok")):
        (found,) = doctor_devices.mtu(on(six, link=replace(LINK, mtu=mtu)))
        assert found.state == state


def test_a_link_local_address_is_no_vtep() -> None:
    link = replace(LINK, networks=(ip_interface("fe80::1/64"),))
    (found,) = doctor_devices.address(UplinkFacts(Device("eth0", link)))
    assert (found.state, found.mend) == ("wrong", "ip address add ADDR/LEN dev eth0")


@pytest.mark.parametrize(
    ("facts", "error", "words"),
    [
        (on(FACTS, link=None), BadInput, "there is no device eth0 here"),
        (
            on(FACTS, link=replace(LINK, mac="00:00:00:00:00:00")),
            BadInput,
            "not an Ethernet device",
        ),
        (on(FACTS, link=replace(LINK, mtu=1000)), BadInput, "MTU is 1000; tenants need 1350"),
        (on(FACTS, link=replace(LINK, networks=())), BadInput, "no address for the VTEP"),
        (replace(FACTS, vtep=OTHER), BadInput, "192.0.2.2 is not an address of it"),
        (on(FACTS, obstacles=(FOREIGN,)), ForeignInTheWay, "give --replace"),
        (on(FACTS, obstacles=(FIXED,)), ForeignInTheWay, "Remove it."),
    ],
)
def test_attach_refuses_by_the_same_checks(
    facts: UplinkFacts, error: type[CipuError], words: str
) -> None:
    checks = (*doctor_devices.NEEDED, doctor_devices.foreign)
    with pytest.raises(error, match=words):
        require("attach eth0", (one for check in checks for one in check(facts)))


def test_the_command_that_attaches_again_has_what_was_asked_for() -> None:
    uplink = Uplink("eth0", VTEP, 8472, "xdp", "generic")
    assert doctor_devices.attach_as(uplink) == (
        f"{AGAIN} --vxlan-port 8472 --hook xdp --xdp-mode generic"
    )
    assert doctor_devices.attach_command(UplinkFacts(Device("eth1"))) == "cipu-xdp attach eth1"
