# SPDX-License-Identifier: Apache-2.0
"""A namespace that forwards packets through a chain of nftables, timed by the kernel.

Live frames (BPF_PROG_TEST_RUN) come in by a veth and are routed out to a
bridge without ports, where they end. What a chain costs is what the same hop
takes more than with none. Which chains there are is decided elsewhere.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from ipaddress import IPv4Address

from lab import namespaces, run
from pyroute2 import NFCTSocket

from bench.generator import LIVE, NOTHING, Ends, Flows, Generator
from cipu_xdp.loader import links, netns

ROUTER_MAC, BEYOND_MAC = "02:22:00:00:00:01", "02:22:00:00:00:02"
CLIENT, BEYOND = "10.0.1.3", "192.0.2.2"
BEST_OF = 3
# TCP checksums are not right here, and for conntrack nothing shall hang on that.
SETTINGS = (
    "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.in0.rp_filter=0",
    "net.netfilter.nf_conntrack_checksum=0",
)  # fmt: skip
# The rule that comes before others, so that these are for first packets.
CONNTRACK = "ct state established accept"
CHAIN = "type filter hook forward priority filter; policy drop;"


class NftHop:
    """The namespace; it has no table of nftables until `load`."""

    def __init__(self, stack: ExitStack, generator: Generator, name: str) -> None:
        stack.enter_context(namespaces(name))
        self.name, self.generator, self._sent = name, generator, 0
        self._command("ip", "link", "add", "in0", "address", ROUTER_MAC, "type", "veth", "peer",
                      "name", "in1")  # fmt: skip
        self._command("ip", "link", "add", "out0", "type", "bridge")
        for dev in ("in0", "in1", "out0"):
            self._command("ip", "link", "set", dev, "up")
        self._command("ip", "address", "add", "192.0.2.1/24", "dev", "out0")
        self._command("ip", "neighbour", "add", BEYOND, "lladdr", BEYOND_MAC, "dev", "out0")
        self._command("ip", "route", "add", "default", "via", BEYOND)
        for setting in SETTINGS:
            self._command("sysctl", "-qw", setting)
        with netns.entered(name):
            self.ifindex = links.links()["in0"].ifindex

    def _command(self, *words: str) -> None:
        run(*words, netns=self.name)

    def ends(self, dst: IPv4Address) -> Ends:
        """From a host behind in0 to an address beyond; its answers come the same way."""
        return Ends(ROUTER_MAC, ROUTER_MAC, IPv4Address(CLIENT), dst)

    def load(self, lines: Iterable[str]) -> None:
        """Make these lines the one chain there is."""
        load(self.name, lines)

    def dropped(self) -> int:
        """Packets that no rule of the chain spoke of."""
        words = run("nft", "list", "chain", "inet", "bench", "forward", netns=self.name).split()
        return int(words[len(words) - 1 - words[::-1].index("packets") + 1])

    def send(self, flows: Flows, count: int, start: int = 0) -> int:
        """That many packets through the hop; nanoseconds for each."""
        self.generator.load(flows, NOTHING, start)
        with netns.entered(self.name):
            return self.generator.run_xdp(self.ifindex, count, LIVE)

    def best(self, flows: Flows, count: int) -> int:
        """The least of a few tries."""
        return min(self.send(flows, count, turn * count) for turn in range(BEST_OF))

    def fresh(self, flows: Flows, count: int) -> int:
        """The same with flows that conntrack has not seen, and has room for."""
        spent = []
        for _ in range(BEST_OF):
            self.forget()
            spent.append(self.send(flows, count, self._sent))
            self._sent += count
        return min(spent)

    def forget(self) -> None:
        """Let conntrack forget all flows."""
        with netns.entered(self.name), NFCTSocket() as conntrack:
            conntrack.flush()


def load(namespace: str, lines: Iterable[str]) -> None:
    """Make these lines the one chain that there is in a namespace, of what is forwarded."""
    text = "\n".join(
        ["flush ruleset", "table inet bench {", "chain forward {", CHAIN, *lines,
         "counter drop", "}", "}"]
    )  # fmt: skip
    done = subprocess.run(
        ["ip", "netns", "exec", namespace, "nft", "-f", "-"],
        input=text, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:2000]
