# SPDX-License-Identifier: Apache-2.0
"""Building the devices of a lab, and taking them down: namespaces, veths, addresses.

It does what a plan says, and knows nothing of VPCs or the datapath. Taking
down asks for what is there, never for what should be, so that it works after
a crash at any point. Only the lab's own namespaces are written to; of this
machine itself, only the uplink that was named, and that is put back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2 import netns as names
from pyroute2.ethtool.ioctl import IoctlEthtool
from pyroute2.netlink.exceptions import NetlinkError

from cipu_xdp.loader import netns
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.lab_plan import BRIDGE, TENANT_DEVICE, UPLINK, Fabric, HostPart, Plan, Tenant

NO_DAD = 0x02  # IFA_F_NODAD of linux/if_addr.h
GRO = "rx-gro"
CHECKSUM = "tx-checksum-ip-generic"
UDP_SEGMENTS = "tx-udp-segmentation"
SYSCTLS = Path("/proc/sys/net")


def exists(name: str) -> bool:
    """Whether the name of a network namespace is taken."""
    return (netns.NAMED / name).exists()


def usable(name: str) -> bool:
    """Whether a network namespace can be entered; one killed half-made is a mere file."""
    return exists(name) and (netns.NAMED / name).stat().st_dev != netns.NAMED.stat().st_dev


def inside(name: str | None) -> AbstractContextManager[Any]:
    """The calling thread in the namespace `name`; None is where it is."""
    return netns.entered(name) if name else nullcontext()


@contextmanager
def refusals(tried: str) -> Iterator[None]:
    """Turn what the kernel refuses in the block into KernelRefused."""
    try:
        yield
    except NetlinkError as error:
        raise KernelRefused(tried, str(error.args[-1] if error.args else error)) from error
    except OSError as error:
        raise KernelRefused(tried, error.strerror or str(error)) from error


def make_namespace(name: str, *, forwards: bool = False) -> None:
    """Make a namespace with `lo` up, ready for addresses that need no waiting (RFC 4862, 5.4).

    Raises:
        KernelRefused: it exists, or the process may not.
    """
    with refusals(f"make the network namespace {name}"):
        names.create(name)
        with inside(name), IPRoute() as ip:
            ip.link("set", index=_index(ip, "lo"), state="up")
            _sysctl("ipv6/conf/all/accept_dad", 0)
            _sysctl("ipv6/conf/default/accept_dad", 0)
            if forwards:
                _sysctl("ipv4/ip_forward", 1)
                _sysctl("ipv6/conf/all/forwarding", 1)


def make_fabric(fabric: Fabric, hosts: tuple[HostPart, ...]) -> None:
    """Make the underlay in its namespace and each host its end, `up0`. Raises KernelRefused."""
    with refusals(f"build the underlay {fabric.netns}"), inside(fabric.netns), IPRoute() as ip:
        if not fabric.routers:
            # Snooping would learn who listens to which ND group too late.
            ip.link("add", ifname=BRIDGE, kind="bridge", br_mcast_snooping=0, mtu=fabric.mtu)
            ip.link("set", index=_index(ip, BRIDGE), state="up")
        for host in hosts:
            _make_port(ip, fabric, host)


def _make_port(ip: Any, fabric: Fabric, host: HostPart) -> None:
    port = host.name[:15]
    peer = {"ifname": UPLINK, "mtu": fabric.mtu}
    _veth(ip, port, {"mtu": fabric.mtu}, peer, host.netns)
    index = _index(ip, port)
    if fabric.routers:
        _add_address(ip, index, fabric.routers[host.name])
    else:
        ip.link("set", index=index, master=_index(ip, BRIDGE))
    ip.link("set", index=index, state="up")
    if host.port_gro:
        _offload(port, GRO, True)


def uplink_before(host: HostPart) -> dict[str, Any]:
    """What `make_uplink` may change of the uplink: MTU, state, addresses.

    Raises:
        KernelRefused: there is no such interface.
    """
    with refusals(f"read the uplink {host.uplink}"), inside(host.netns), IPRoute() as ip:
        link = ip.get_links(_index(ip, host.uplink))[0]
        up = bool(link["flags"] & 1)
        return {"mtu": link.get("mtu"), "up": up, "addresses": _addresses(ip, link["index"])}


def make_uplink(host: HostPart) -> None:
    """Give the uplink the VTEP's address, MTU and routes, where it has them not yet.

    Raises:
        KernelRefused: a device or address operation failed.
    """
    with refusals(f"set up the uplink of {host.name}"), inside(host.netns), IPRoute() as ip:
        index = _index(ip, host.uplink)
        ip.link("set", index=index, mtu=host.mtu, state="up")
        if host.address not in _addresses(ip, index):
            _add_address(ip, index, host.address)
        for prefix, via in host.routes:
            ip.route("replace", dst=prefix, gateway=via, oif=index)
        if host.netns:
            # A veth carries super-packets whole, and no BPF helper takes the mark of the
            # tunnel off one again: TCP does not mind, a datagram's socket drops it.
            _offload(host.uplink, UDP_SEGMENTS, False)
        if not host.checksum and host.netns:
            _offload(host.uplink, CHECKSUM, False)


def make_tenant(host: HostPart, tenant: Tenant) -> None:
    """Make a tenant's device on its host, and the tenant behind it. Raises KernelRefused."""
    with refusals(f"make the tenant {tenant.name}"):
        with inside(host.netns), IPRoute() as ip:
            if tenant.netns is None:
                ip.link("add", ifname=tenant.dev, kind="tuntap", mode="tap")
                ip.link("set", index=_index(ip, tenant.dev), mtu=tenant.mtu)
            else:
                peer = {"ifname": TENANT_DEVICE, "mtu": tenant.mtu, "address": tenant.mac}
                _veth(ip, tenant.dev, {"mtu": tenant.mtu}, peer, tenant.netns)
            ip.link("set", index=_index(ip, tenant.dev), state="up")
        if tenant.netns is not None:
            _equip(tenant)


def _equip(tenant: Tenant) -> None:
    with inside(tenant.netns), IPRoute() as ip:
        index = _index(ip, TENANT_DEVICE)
        ip.link("set", index=index, state="up")
        for address in tenant.addresses:
            _add_address(ip, index, address)
        for gateway in tenant.gateways:
            default = "::/0" if ":" in gateway else "0.0.0.0/0"
            ip.route("add", dst=default, gateway=gateway, oif=index)
        if tenant.gro:
            _offload(TENANT_DEVICE, GRO, True)
        if not tenant.checksum:
            _offload(TENANT_DEVICE, CHECKSUM, False)


def take_down(plan: Plan, before: Mapping[str, Any] | None) -> None:
    """Remove the devices and namespaces of `plan` that are there.

    Args:
        plan: what was to be built; any part of it may be missing.
        before: what `uplink_before` said, if the uplink is this machine's own.

    Raises:
        KernelRefused: something is still there.
    """
    for host in plan.hosts:
        if host.netns is None or usable(host.netns):
            with refusals(f"take down {host.name}"), inside(host.netns), IPRoute() as ip:
                # A veth lives as long as either end's namespace, and a shell
                # left open in a tenant's keeps that alive: remove it by itself.
                devices = [tenant.dev for tenant in host.tenants]
                _remove_links(ip, [*devices, host.uplink] if host.netns else devices)
                if host.netns is None and before:
                    _put_back(ip, host, before)
    for name in plan.namespaces():
        if exists(name):
            with refusals(f"remove the network namespace {name}"):
                names.remove(name)


def _put_back(ip: Any, host: HostPart, before: Mapping[str, Any]) -> None:
    found = ip.link_lookup(ifname=host.uplink)
    if not found:
        return
    routes = {prefix for prefix, _ in host.routes}
    for route in ip.get_routes(oif=found[0]):
        dst = route.get("dst")
        if f"{dst}/{route['dst_len']}" in routes:
            ip.route("del", dst=f"{dst}/{route['dst_len']}", oif=found[0])
    if host.address not in before["addresses"] and host.address in _addresses(ip, found[0]):
        address, _, length = host.address.partition("/")
        ip.addr("del", index=found[0], address=address, prefixlen=int(length))
    state = "up" if before["up"] else "down"
    ip.link("set", index=found[0], mtu=before["mtu"], state=state)


def _veth(ip: Any, near: str, words: dict[str, Any], peer: dict[str, Any], far: str | None) -> None:
    with (netns.NAMED / str(far)).open("rb") as other:
        ip.link(
            "add", ifname=near, kind="veth", peer={**peer, "net_ns_fd": other.fileno()}, **words
        )


def _remove_links(ip: Any, wanted: list[str]) -> None:
    for name in wanted:
        for index in ip.link_lookup(ifname=name):
            ip.link("del", index=index)


def _index(ip: Any, name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise OSError(19, f"there is no interface {name}")
    return int(found[0])


def _add_address(ip: Any, index: int, address: str) -> None:
    text, _, length = address.partition("/")
    flags = {"flags": NO_DAD} if ":" in text else {}
    ip.addr("add", index=index, address=text, prefixlen=int(length), **flags)


def _addresses(ip: Any, index: int) -> list[str]:
    return [f"{a.get('address')}/{a['prefixlen']}" for a in ip.get_addr(index=index)]


def _sysctl(path: str, value: int) -> None:
    # /proc/sys/net shows the network namespace of the thread that opens it.
    (SYSCTLS / path).write_text(f"{value}\n", encoding="ascii")


def _offload(device: str, feature: str, on: bool) -> None:
    tool = IoctlEthtool(device)
    try:
        features = tool.get_features()
        features[feature] = on
        tool.set_features(features)
    finally:
        tool.close()
