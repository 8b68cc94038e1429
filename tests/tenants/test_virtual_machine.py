# SPDX-License-Identifier: Apache-2.0
"""A virtual machine as a tenant: a stock kernel, virtio-net on the tap of an ENI.

Nothing in it is changed; it is told its addresses, as by cloud-init. On the
other host, its peer is behind a veth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import SCRIPT
from kernels import packages
from kernels.guest import Guest, started
from lab import Built, built, eni, hosts, run
from traffic import answered, iperf_servers, ping, tcp_bytes

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

KERNEL = "6.1"
BUILD = Path(__file__).resolve().parents[2] / "build" / "kernels"
MAC, VM, FAR = "02:00:00:00:00:99", ("10.0.0.99", "fd00:10::99"), ("10.0.0.12", "fd00:10::12")
GATEWAYS = ("10.0.0.1", "fd00:10::1")
# What of the NIC's offloads the machine is offered, and takes.
OFFLOADS = {
    "all": "",
    "none": ",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off,"
            "host_tso4=off,host_tso6=off,host_ufo=off",
}  # fmt: skip
BOTH = pytest.mark.parametrize("index", [0, 1], ids=["ipv4", "ipv6"])
SIZE = 16 << 20


@dataclass(frozen=True)
class Tenant:
    """The machine that runs, and what it was offered."""

    guest: Guest
    offloads: str


@pytest.fixture(scope="module")
def lab() -> Iterator[Built]:
    """alpha with the tap that the machine is behind, bravo with its peer."""
    enis = {
        "vm": eni("tc", "alpha", *VM, kind="tap", mac=MAC),
        "far": eni("tc", "bravo", *FAR),
    }
    red = {"vni": 100, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": enis}
    plain = {"name": "machine"} | hosts("tc", 4, "alpha", "bravo") | {"vpcs": {"red": red}}
    with built(plain) as lab, iperf_servers(lab.netns("far")):
        yield lab


@pytest.fixture(scope="module", params=OFFLOADS)
def vm(
    lab: Built, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tenant]:
    with booted(lab, tmp_path_factory.mktemp("vm"), request.param) as guest:
        yield Tenant(guest, request.param)


@contextmanager
def booted(lab: Built, place: Path, offloads: str) -> Iterator[Guest]:
    """The machine, told its addresses, until the block ends."""
    nics = ["-netdev", "tap,id=tap,ifname=vm,script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=tap,mac={MAC}{OFFLOADS[offloads]}"]  # fmt: skip
    kernel = packages.fetch(KERNEL, BUILD / "packages")
    with started(kernel, place, nics, lab.netns("alpha")) as guest:
        guest.do(
            f"ip link set eth0 up && ip address add {VM[0]}/24 dev eth0"
            f" && ip address add {VM[1]}/64 dev eth0 nodad"
            f" && ip route add default via {GATEWAYS[0]} && iperf3 -s -D"
        )
        yield guest


# Before the others, for which a machine has the tap.
def test_a_machine_that_is_booted_again_goes_on_as_before(lab: Built, tmp_path: Path) -> None:
    for turn in ("first", "second"):
        place = tmp_path / turn
        place.mkdir()
        with booted(lab, place, "all") as guest:
            assert answered(guest.do(f"ping -n -c 3 -i 0.2 -W 5 {FAR[0]}")) == 3
            assert answered(ping(lab.netns("far"), VM[1], count=3)) == 3
    with lab.overlay("alpha") as overlay:
        assert overlay.status()["enis"]["gone"] == []


@BOTH
def test_ping_of_every_size_is_answered_both_ways(lab: Built, vm: Tenant, index: int) -> None:
    for size in (56, 1400, 4000):
        assert answered(ping(lab.netns("far"), VM[index], count=3, size=size)) == 3, size
        # The gateway answers what comes in one piece.
        for address in (FAR[index], GATEWAYS[index])[: 2 if size < 1500 else 1]:
            said = vm.guest.do(f"ping -n -c 3 -i 0.2 -W 5 -s {size} {address}", check=False)
            assert answered(said) == 3, said


@BOTH
def test_tcp_bulk_flows_both_ways(lab: Built, vm: Tenant, index: int) -> None:
    assert tcp_bytes(lab.netns("far"), VM[index], SIZE) > SIZE / 2
    assert tcp_bytes(lab.netns("far"), VM[index], SIZE, "-R") > SIZE / 2


def test_the_machine_negotiated_the_offloads_that_it_was_offered(vm: Tenant) -> None:
    said = vm.guest.do("ethtool -k eth0")
    for name in ("tx-checksumming", "tcp-segmentation-offload"):
        assert re.search(rf"^{name}: {'on' if vm.offloads == 'all' else 'off'}", said, re.M), said


def test_a_packet_too_big_for_the_tunnel_is_told_and_then_fits(lab: Built, vm: Tenant) -> None:
    lab.set_underlay_mtu(1500)
    try:
        said = vm.guest.do(f"ping -n -M do -c 3 -i 0.2 -W 5 -s 1472 {FAR[0]}", check=False)
        assert "mtu = 1450" in said or "mtu=1450" in said, said
        assert tcp_bytes(lab.netns("far"), VM[0], SIZE, "-R") > SIZE / 2
    finally:
        lab.set_underlay_mtu(1600)
        vm.guest.do("ip route flush cache")


def test_the_machine_goes_on_while_the_programs_are_replaced(lab: Built, vm: Tenant) -> None:
    vm.guest.do(f"ping -n -i 0.05 {FAR[0]} > /run/pinged 2>&1 & echo $! > /run/pid")
    upgrade = (SCRIPT, "--instance", lab.netns("alpha"), "upgrade", "--force")
    for _ in range(3):
        run(*upgrade, netns=lab.netns("alpha"))
    said = vm.guest.do("kill -INT $(cat /run/pid); sleep 0.5; tail -n 3 /run/pinged")
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    assert int(found[1]) - int(found[2]) <= 1, said  # the last one may be on its way
    assert int(found[2]) > 10, said
