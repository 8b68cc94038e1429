# SPDX-License-Identifier: Apache-2.0
"""Every kind of NIC in every hook mode: two hosts, a tenant on each, ping and TCP across.

The virtio-net NICs are those of the guest, the two ends of one wire.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from lab import namespaces, run, wait_for
from traffic import answered, iperf_servers, ping, tcp_bytes

from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.overlay import Overlay
from cipu_xdp.loader.pins import RUN
from kernels.guest import MACS

pytestmark = [pytest.mark.root, pytest.mark.kernel, pytest.mark.timeout(1500)]

HOSTS = ("cx-near", "cx-far")
VTEPS = ("192.0.2.1", "192.0.2.2")
TENANT_MACS = ("02:00:00:00:00:11", "02:00:00:00:00:12")
ADDRESSES = (("10.0.0.11", "fd00:10::11"), ("10.0.0.12", "fd00:10::12"))
SUBNETS = {"10.0.0.0/24": "24", "fd00:10::/64": "64"}
# By the mode that status tells: hook and XDP mode of the uplink, hook of its ENIs.
MODES = {
    "XDP native": ("xdp", "native", "xdp"),
    "XDP native, tenants TC": ("xdp", "native", "tc"),
    "XDP generic": ("xdp", "generic", "tc"),
    "TC": ("tc", "auto", "tc"),
}
WAIT_S = 60
MEBIBYTE = 1 << 20


def veths() -> None:
    """A wire between two hosts."""
    near, far = HOSTS
    run("ip", "link", "add", "up0", "netns", near, "type", "veth", "peer", "name", "up0",
        "netns", far)  # fmt: skip
    for host in HOSTS:
        run("ethtool", "-K", "up0", "tx", "off", netns=host)


def virtio_nics() -> None:
    """The guest's own NICs; they come back by themselves when the hosts go."""
    found = {one["address"]: one["ifname"] for one in json.loads(run("ip", "-j", "link"))}
    for host, mac in zip(HOSTS, MACS, strict=True):
        run("ip", "link", "set", found[mac], "down")
        run("ip", "link", "set", found[mac], "netns", host, "name", "up0")


NICS: dict[str, Callable[[], None]] = {"veth": veths, "virtio-net": virtio_nics}


@pytest.fixture(scope="module", params=NICS)
def nic(request: pytest.FixtureRequest) -> Iterator[str]:
    """Two hosts with a NIC of this kind and the VTEP on it, and a tenant's namespace of each."""
    names = [*HOSTS, *(f"{host}-t" for host in HOSTS)]
    with namespaces(*names):
        NICS[request.param]()
        for host, vtep in zip(HOSTS, VTEPS, strict=True):
            run("ip", "link", "set", "up0", "mtu", 1600, "up", netns=host)
            run("ip", "addr", "add", f"{vtep}/24", "dev", "up0", netns=host)
        for number, host in enumerate(HOSTS):
            make_tenant(host, number)
        yield request.param
    wait_for(lambda: set(MACS) <= set(run("ip", "link").split()), "the NICs to be back", WAIT_S)


def make_tenant(host: str, number: int) -> None:
    tenant = f"{host}-t"
    run("ip", "link", "add", "t0", "netns", host, "type", "veth", "peer", "name", "eth0",
        "netns", tenant)  # fmt: skip
    run("ip", "link", "set", "t0", "mtu", 1500, "up", netns=host)
    run("ip", "link", "set", "eth0", "address", TENANT_MACS[number], "mtu", 1500, "up",
        netns=tenant)  # fmt: skip
    # As XDP wants it of veths (README): what comes is whole, and what it redirects is taken.
    run("ethtool", "-K", "eth0", "tx", "off", "gro", "on", netns=tenant)
    for address, length in zip(ADDRESSES[number], SUBNETS.values(), strict=True):
        more = ["nodad"] if ":" in address else []
        run("ip", "addr", "add", f"{address}/{length}", "dev", "eth0", *more, netns=tenant)


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, nic: str) -> Iterator[str]:
    """The hosts attached in this mode, each with both tenants as ENIs of one VPC."""
    hook, xdp_mode, eni_hook = MODES[request.param]
    with ExitStack() as stack:
        for number, host in enumerate(HOSTS):
            stack.enter_context(inside(host))
            overlay = stack.enter_context(Overlay(host))
            stack.callback(overlay.detach_all)
            uplink = overlay.attach("up0", hook=hook, xdp_mode=xdp_mode)
            assert (uplink["hook"], uplink["ok"]) == (hook, True), uplink
            if hook == "xdp":
                assert uplink["xdp_mode"] == xdp_mode, uplink
            configure(overlay, number, eni_hook)
        yield request.param


def configure(overlay: Overlay, own: int, hook: str) -> None:
    """A VPC with an ENI here and one at the other host. What was before goes."""
    for eni in overlay.eni_list():
        overlay.eni_delete(eni["name"])
    if not overlay.vpc_list():
        overlay.vpc_create("red", 100)
        for subnet in SUBNETS:
            overlay.subnet_create("red", subnet)
    for number, (ips, mac) in enumerate(zip(ADDRESSES, TENANT_MACS, strict=True)):
        place = {"dev": "t0", "hook": hook} if number == own else {"host": VTEPS[number]}
        overlay.eni_create(f"eni{number}", vpc="red", ips=ips, mac=mac, **place)


def test_ping_and_tcp_pass_across(
    nic: str, mode: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("nic", nic)
    record_property("mode", mode)
    near, far = (f"{host}-t" for host in HOSTS)
    for address in ADDRESSES[1]:
        assert answered(ping(near, address, count=3)) == 3
        assert answered(ping(near, address, count=3, size=1400)) == 3
    with iperf_servers(far):
        for address in ADDRESSES[1]:
            for words in ((), ("-R",)):
                assert tcp_bytes(near, address, 8 * MEBIBYTE, *words) > 4 * MEBIBYTE


def test_a_frame_that_no_buffer_holds_is_left_to_tc_and_told(nic: str) -> None:
    """A driver takes a program without frags up to the MTU that one buffer holds."""
    host = HOSTS[0]
    kind = "" if nic == "virtio-net" else nic
    with inside(host), Overlay(host) as overlay:
        run("ip", "link", "set", "up0", "mtu", 9000)
        try:
            taken = overlay.attach("up0")
            assert (taken["hook"], taken["ok"]) == ("tc", True), taken
            driver = next(one for one in overlay.doctor("up0") if one["check"] == "XDP")
            (uplink,) = overlay.status()["uplinks"]
            assert uplink["nic"]["driver"] == (kind or "virtio_net")
            if not kind:
                assert "MTU 9000" in taken["why"], taken
                # Kernels before 6.3 do not say what drivers take.
                told = uplink["nic"]["xdp"] is not None
                assert driver["state"] == "warning"
                assert ("MTU 9000" in driver["found"]) == told, driver
        finally:
            overlay.detach_all()
            run("ip", "link", "set", "up0", "mtu", 1600)


def test_nothing_of_ours_is_left(nic: str) -> None:
    for host in HOSTS:
        said = run("ip", "-d", "link", "show", "up0", netns=host)
        said += run("tc", "qdisc", "show", "dev", "up0", netns=host)
        assert "xdp" not in said
        assert "clsact" not in said
    assert not RUN.exists()
