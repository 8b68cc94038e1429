# SPDX-License-Identifier: Apache-2.0
"""The host that one would have instead: the kernel's vxlan device and bridge between two veths.

With policy if asked: nftables in the bridge's forward path (br_netfilter, as
OpenStack's and Docker's bridges have it), with connection tracking or each
packet down the chain; and HTB, a class of the tenant's within one of the VPC's,
each way, far above what is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from lab import namespaces, run

from bench import nft_hop
from bench.hops import FABRIC, TENANT, Beyond, Hops, make_veth, quiet
from bench.traffic_mix import (
    FAR_MAC,
    FAR_VTEP,
    GUEST_MAC,
    HOP_MAC,
    UPLINK_MAC,
    VNI,
    VTEP,
    Talk,
    nft_lines,
)  # fmt: skip
from cipu_xdp.loader import netns
from cipu_xdp.loader.records import Rule

NEAR, FAR = {TENANT: "t0", FABRIC: "u0"}, {TENANT: "t1", FABRIC: "u1"}
BRIDGE, TUNNEL = "br0", "vx0"
HOOKED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
TRACKED = Path("/proc/sys/net/netfilter/nf_conntrack_count")
# Two levels, and none of them refuses anything.
HTB = (
    ("qdisc", "add", "dev", "{}", "root", "handle", "1:", "htb", "default", "10"),
    ("class", "add", "dev", "{}", "parent", "1:", "classid", "1:1", "htb", "rate", "100gbit",
     "burst", "10mb", "cburst", "10mb"),
    ("class", "add", "dev", "{}", "parent", "1:1", "classid", "1:10", "htb", "rate", "100gbit",
     "burst", "10mb", "cburst", "10mb"),
)  # fmt: skip


class KernelHost:
    """The host, in a namespace of that name."""

    def __init__(self, stack: ExitStack, beyond: Beyond, place: str) -> None:
        stack.enter_context(namespaces(place))
        self.place = place
        quiet(place)
        make_veth(place, NEAR[TENANT], FAR[TENANT], mtu=1500)
        make_veth(place, NEAR[FABRIC], FAR[FABRIC], mtu=1600, address=UPLINK_MAC)
        self._bridge()
        self.hops = Hops(beyond, place, NEAR, FAR)
        # A veth takes live frames if its far end has an XDP program or it has GRO.
        for name in NEAR.values():
            run("ethtool", "-K", name, "gro", "on", netns=place)
        self.hops.put_sinks(stack, xdp=False)

    def _bridge(self) -> None:
        uplink = NEAR[FABRIC]
        self._run("ip", "address", "add", f"{VTEP}/24", "dev", uplink)
        self._run("ip", "neighbour", "add", FAR_VTEP, "lladdr", HOP_MAC, "dev", uplink)
        self._run(
            "ip", "link", "add", TUNNEL, "mtu", 1500, "type", "vxlan", "id", VNI, "dstport", 4789,
            "local", VTEP, "remote", FAR_VTEP, "nolearning",
        )  # fmt: skip
        self._run("ip", "link", "add", BRIDGE, "mtu", 1500, "type", "bridge", "mcast_snooping", 0)
        for name, mac in ((TUNNEL, FAR_MAC), (NEAR[TENANT], GUEST_MAC)):
            self._run("ip", "link", "set", name, "master", BRIDGE, "up")
            self._run("bridge", "fdb", "add", mac, "dev", name, "master", "static")
        self._run("ip", "link", "set", BRIDGE, "up")

    def _run(self, *words: object) -> None:
        run(*map(str, words), netns=self.place)

    def police(self, listed: Sequence[Rule], talk: Talk, *, tracked: bool) -> None:
        """These rules, and HTB; with tracking, flows of the talk are open from now on."""
        assert HOOKED.exists(), "bridges pass nftables by: load the module br_netfilter first"
        self._run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
        lines = nft_lines(listed)
        nft_hop.load(self.place, [nft_hop.CONNTRACK, *lines] if tracked else lines)
        if tracked:
            self._run("sysctl", "-qw", "net.netfilter.nf_conntrack_checksum=0")
        for name in NEAR.values():
            for words in HTB:
                self._run("tc", *(word.format(name) for word in words))
        for side in (TENANT, FABRIC):
            self.hops.put(side, talk.sent[side], talk.count)
        if tracked:
            with netns.entered(self.place):
                there = int(TRACKED.read_text(encoding="ascii"))
            assert there >= talk.count, f"conntrack has {there} of {talk.count} flows"
