# SPDX-License-Identifier: Apache-2.0
"""A host on which each packet has another limit of very many: 10,000 ENIs, and three that send.

Packets come from one device, as there are not 10,000 here; cost_entry.c gives
its ENI another limit each time. The limits are real: those of ENIs of the
model. What is measured on it is decided elsewhere.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

from lab import run
from run_packet import skb

from bench.generator import FRAME_BYTES, UDP, Flows, frame
from bench.policed_host import BEST_OF, EVERYTHING, PLAIN, PolicedHost, coarse_ns
from cipu_xdp.loader import abi, kernel, links, maps, source
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.records import Eni, Limit, frozen

GUEST, FAR, FAR_HOST = "guest", "far", "192.0.2.2"
FIRST_NUMBER = 1000
HOP_MAC = 0x02FF00000002
SIZES = {"limits": 16384, "sessions": 1024, "addresses": 32768}
# Who sends to where.
ELSEWHERE = "another host"
PATHS = {
    "same host": (PLAIN, "198.51.100.1"),
    ELSEWHERE: (PLAIN, "10.0.250.1"),
    "same host, policed": (GUEST, "198.51.100.1"),
}


@dataclass(frozen=True)
class Limits:
    """Of so many ENIs one each on what they send, and `more` of (scope, name, direction).

    Each says `words`: fields of Limit.
    """

    enis: int
    words: Mapping[str, int]
    more: Sequence[tuple[str, str, str]] = ()


class LimitedHost:
    """The host; it has no limits until `load`."""

    def __init__(self, stack: ExitStack) -> None:
        self.host = PolicedHost(stack, [GUEST], SIZES, "cxb-limits")
        words = ("type", "veth", "peer", "name", "up1")
        run("ip", "link", "add", "up0", "mtu", 1600, *words, netns=self.host.place)
        with self.host.inside():
            self.host.links = links.links()
        self.host.police({GUEST: EVERYTHING})
        self._base = verbs.create_eni(
            self.host.model, FAR, vpc="red", ips=["10.0.250.1"], mac="02:11:00:00:ff:01",
            host=FAR_HOST,
        )  # fmt: skip
        self._entry = _Entry(self.host)

    def load(self, limits: Limits) -> None:
        """Let there be these limits and no others."""
        self.host.load(_with_limits(self._base, limits))

    def send(self, path: str, in_use: int, count: int) -> int:
        """Nanoseconds a packet, by so many limits at random; the best of a few tries."""
        sender, to = PATHS[path]
        self.host.generator.load(
            Flows([frame(self.host.ends(sender, IPv4Address(to)), UDP, 1, 1)], 0)
        )
        context = skb(self.host.links[self.host.dev(sender)].ifindex)
        self._entry.pick(in_use)
        return min(self._send(context, count) for _ in range(BEST_OF))

    def _send(self, context: bytes, count: int) -> int:
        self._learn()
        with self.host.inside():
            return self._entry.run("enter", count, context)

    def _learn(self) -> None:
        """The next hop to the other host, as known just now."""
        now, mac = coarse_ns(), HOP_MAC | 1600 << 48
        hop = abi.record("next_hop").pack(destination=mac, source=HOP_MAC, stamp_ns=now)
        index = self._base.hosts[ip_address(FAR_HOST)]
        self.host.tables["next_hops"].put(abi.u32(index), hop)

    def clock(self, name: str, count: int) -> int:
        """Nanoseconds of "nothing", "clock" or "coarse" of cost_entry.c."""
        return min(self._entry.run(name, count) for _ in range(BEST_OF))


class _Entry:
    """The programs of cost_entry.c."""

    def __init__(self, host: PolicedHost) -> None:
        os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
        from bcc import BPF

        (field,) = (each for each in abi.record("eni").fields if each.name == "limit")
        flags = [f"-DENIS={host.tables['enis'].fd}", f"-DLIMIT_AT={field.offset}"]
        text = (Path(__file__).parent / "cost_entry.c").read_text(encoding="utf-8")
        self._bpf = BPF(text=text.encode(), cflags=[*source.cflags(), *flags])
        self._fds = {
            name: self._bpf.load_func(name.encode(), BPF.SCHED_CLS).fd
            for name in ("enter", "nothing", "clock", "coarse")
        }
        onward = int(self._bpf.get_table(b"onward").map_fd)
        maps.update(onward, abi.u32(0), abi.u32(host.generator.tc))
        self._picks = int(self._bpf.get_table(b"picks").map_fd)

    def pick(self, count: int) -> None:
        """Have packets limited by one of so many from now on."""
        picks = struct.pack("=QII", 1, FIRST_NUMBER if count else 0, count)
        maps.update(self._picks, abi.u32(0), picks)

    def run(self, name: str, count: int, context: bytes = b"") -> int:
        return kernel.test_run(self._fds[name], bytes(FRAME_BYTES), context, count).duration_ns


def _with_limits(model: Model, limits: Limits) -> Model:
    """Made at once: one verb for each of 10,000 would take minutes."""
    first, enis = model.enis.next_number(), model.enis.draft()
    found: list[Limit] = []
    for n in range(limits.enis):
        name = f"x{n}"
        mac = f"02:22:00:00:{n >> 8:02x}:{n & 255:02x}"
        address = ip_address(f"10.0.{100 + (n >> 8)}.{n & 255}")
        enis.put(Eni(name, first + n, "red", mac, (address,), dev=name))
        found.append(Limit("eni", name, "egress", FIRST_NUMBER + n, **limits.words))
    for number, whose in enumerate(limits.more, 1):
        found.append(Limit(*whose, number, **limits.words))
    keyed: dict[Any, Limit] = {(one.scope, one.name, one.direction): one for one in found}
    return replace(model, enis=enis, limits=frozen(keyed))
