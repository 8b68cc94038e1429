# SPDX-License-Identifier: Apache-2.0
"""The paths that are measured side by side: two tenants on two hosts, joined four ways.

Each path is built alike (tenant, veth, host, veth, bridge, veth, host, veth,
tenant; tenants of 1500 bytes on an underlay of 1600) and differs only in what
the hosts do. What is measured on them is decided elsewhere.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lab import built, eni, hosts, namespaces, run
from traffic import answered, ping

from cipu_xdp.loader import kernel, netns, source

SUBNET, FIRST, SECOND = "10.0.0.0/24", "10.0.0.11", "10.0.0.12"


@dataclass(frozen=True)
class Path:
    """A path that is up: where the client and the server are, and the server's address.

    `carried` says how many packets of the client's an overlay of ours has sent so far.
    """

    client: str
    server: str
    address: str
    carried: Callable[[], int] | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Fails if what is done in the block did not go this way."""
        before = self.carried() if self.carried else 0
        yield
        assert not self.carried or self.carried() > before, "packets did not go by the overlay"


@contextmanager
def overlay(mode: str) -> Iterator[Path]:
    """This project; `mode` is tc, handover or redirect."""
    enis = {"c": eni(mode, "h1", FIRST), "s": eni(mode, "h2", SECOND)}
    plain = {
        "name": f"b{mode[:3]}",
        **hosts(mode, 4, "h1", "h2"),
        "vpcs": {"red": {"vni": 100, "subnets": [SUBNET], "enis": enis}},
    }
    with built(plain) as lab:
        for host in ("h1", "h2"):
            # Frames that XDP hands over are merged again by GRO on the uplink.
            run("ethtool", "-K", "up0", "gro", "on", netns=lab.netns(host))

        def carried() -> int:
            verdicts = lab.verdicts("h1")
            return verdicts["sent"] + verdicts["sent_by_kernel"]

        yield Path(lab.netns("c"), lab.netns("s"), SECOND, carried)


@contextmanager
def kernel_vxlan(prefix: str = "bk") -> Iterator[Path]:
    """The kernel's vxlan device and bridge; namespaces have names with that prefix."""
    with _two_hosts(prefix) as (tenants, near):
        for number, host in enumerate(near, 1):
            other = 3 - number
            run(
                "ip", "link", "add", "vx0", "mtu", 1500, "type", "vxlan", "id", 100, "dstport",
                4789, "local", f"192.0.2.{number}", "remote", f"192.0.2.{other}", netns=host,
            )  # fmt: skip
            run("ip", "link", "add", "br0", "mtu", 1500, "type", "bridge", netns=host)
            for device in ("vx0", "t0"):
                run("ip", "link", "set", device, "master", "br0", "up", netns=host)
            run("ip", "link", "set", "br0", "up", netns=host)
        for tenant, address in zip(tenants, (FIRST, SECOND), strict=True):
            run("ip", "address", "add", f"{address}/24", "dev", "eth0", netns=tenant)
        yield Path(tenants[0], tenants[1], SECOND)


@contextmanager
def routed(*, xdp: bool = False) -> Iterator[Path]:
    """The same hops with no overlay: the hosts forward; with an XDP program that does nothing."""
    with _two_hosts("bx" if xdp else "br") as (tenants, near), ExitStack() as stack:
        for number, (tenant, host) in enumerate(zip(tenants, near, strict=True), 1):
            other = 3 - number
            run("ip", "address", "add", f"10.0.{number}.1/24", "dev", "t0", netns=host)
            run("sysctl", "-qw", "net.ipv4.ip_forward=1", netns=host)
            run("ip", "route", "add", f"10.0.{other}.0/24", "via", f"192.0.2.{other}", netns=host)
            run("ip", "address", "add", f"10.0.{number}.2/24", "dev", "eth0", netns=tenant)
            run("ip", "route", "add", "default", "via", f"10.0.{number}.1", netns=tenant)
            if xdp:
                stack.enter_context(_xdp_pass(host))
                run("ethtool", "-K", "up0", "gro", "on", netns=host)
        yield Path(tenants[0], tenants[1], "10.0.2.2")


PATHS = {
    "tc": lambda: overlay("tc"),
    "xdp hand-over": lambda: overlay("handover"),
    "xdp redirect": lambda: overlay("redirect"),
    "kernel vxlan": kernel_vxlan,
    "no overlay": routed,
    "no overlay, xdp": lambda: routed(xdp=True),
}

# Ours, as it is attached to veths if nothing else is asked for; and what it is beside.
OURS, KERNEL, ROUTED = "tc", "kernel vxlan", "no overlay"
BASES = (ROUTED, "no overlay, xdp", KERNEL)


def all_up(stack: ExitStack) -> dict[str, Path]:
    """Every path, until the stack closes; their ends have answered each other."""
    paths = {name: stack.enter_context(path()) for name, path in PATHS.items()}
    for path in paths.values():
        assert answered(ping(path.client, path.address, count=3)), "a path does not carry ping"
    return paths


@contextmanager
def _xdp_pass(host: str) -> Iterator[None]:
    """An XDP program on the uplink that passes everything: what XDP itself costs."""
    os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
    from bcc import BPF

    text = "#include <uapi/linux/bpf.h>\nint nothing(struct xdp_md *ctx) { return XDP_PASS; }\n"
    program = BPF(text=text, cflags=source.cflags()).load_func("nothing", BPF.XDP)
    with netns.entered(host):
        link = kernel.create_xdp_link(program.fd, socket.if_nametoindex("up0"), kernel.XDP_NATIVE)
    yield
    os.close(link)


@contextmanager
def _two_hosts(prefix: str) -> Iterator[tuple[list[str], list[str]]]:
    """Two tenants and two hosts, wired but not configured: (tenants, hosts)."""
    fabric, near, tenants = f"{prefix}-f", [f"{prefix}-h1", f"{prefix}-h2"], []
    tenants = [f"{prefix}-c", f"{prefix}-s"]
    with namespaces(fabric, *near, *tenants):
        run("ip", "link", "add", "br0", "mtu", 1600, "type", "bridge", netns=fabric)
        run("ip", "link", "set", "br0", "up", netns=fabric)
        for number, (tenant, host) in enumerate(zip(tenants, near, strict=True), 1):
            _veth(fabric, f"p{number}", host, "up0", 1600)
            run("ip", "link", "set", f"p{number}", "master", "br0", netns=fabric)
            run("ip", "address", "add", f"192.0.2.{number}/24", "dev", "up0", netns=host)
            _veth(host, "t0", tenant, "eth0", 1500)
        yield tenants, near


def _veth(near: str, near_name: str, far: str, far_name: str, mtu: int) -> None:
    run(
        "ip", "link", "add", near_name, "mtu", mtu, "type", "veth", "peer", "name", far_name,
        "mtu", mtu, "netns", far, netns=near,
    )  # fmt: skip
    run("ip", "link", "set", near_name, "up", netns=near)
    run("ip", "link", "set", far_name, "up", netns=far)
