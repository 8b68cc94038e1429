# SPDX-License-Identifier: Apache-2.0
"""A host of ours with everything on, hooks and all, between two veths.

The tenant is in a security group and under two levels of limits each way, far
above what is sent; its source is checked, its packets are carried in VXLAN and
counted. What is sent through it must have gone the way that was meant: each
measurement looks at verdicts, rules and limits, and is an error otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lab import run
from policed import in_groups

from bench.generator import Flows
from bench.hops import FABRIC, MOST_LOST, TENANT, Beyond, Hops, quiet
from bench.policed_host import PolicedHost, with_rules
from bench.traffic_mix import (
    FAR,
    FAR_MAC,
    FAR_VTEP,
    FARS,
    FARS_PREFIX,
    GUEST,
    GUEST_MAC,
    HOP_MAC,
    SUBNETS,
    UPLINK_MAC,
    VNI,
    VTEP,
    Talk,
)  # fmt: skip
from cipu_xdp.loader import abi, links
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.devices import EGRESS, INGRESS
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.records import Rule
from cipu_xdp.loader.show_limits import Gauge

WHO, UPLINK, BEYOND_UPLINK = "guest", "up0", "up1"
# So many that nothing is ever refused.
RATE, BURST = "1000gbit", "4gb"
HALF_OPEN_MAX, OPENINGS = 4096, 3
# What packets from a side come to; a few ask the kernel for the next hop again.
PASSED = {TENANT: ("SENT", "SENT_BY_KERNEL"), FABRIC: ("DELIVERED", "HANDED_OVER")}
DIRECTIONS = {TENANT: "egress", FABRIC: "ingress"}
FAST_SHARE = 0.95
# What the rules say that let packets to the other host's tenants pass.
ALLOWED = (str(FARS_PREFIX), SUBNETS[1])


@dataclass(frozen=True)
class Seen:
    """What the datapath has counted so far."""

    verdicts: Mapping[str, int]
    ruled: int
    limited: Mapping[tuple[str, str, str], int]


class WholeHost:
    """The host; `hook` is that of the uplink and the tenant, "xdp" or "tc"."""

    def __init__(
        self, stack: ExitStack, beyond: Beyond, hook: str, sessions: int, place: str = "cxb-whole"
    ) -> None:
        self.hook = hook
        self.host = PolicedHost(stack, [WHO], {"sessions": sessions}, place, VTEP)
        self._make_devices()
        near = {TENANT: self.host.dev(WHO), FABRIC: UPLINK}
        far = {TENANT: near[TENANT].replace("d", "f"), FABRIC: BEYOND_UPLINK}
        self.hops = Hops(beyond, place, near, far)
        self._attach(stack)
        self._policed = self._limited = False

    def _make_devices(self) -> None:
        place, dev = self.host.place, self.host.dev(WHO)
        quiet(place)
        words = ("address", UPLINK_MAC, "mtu", 1600, "type", "veth", "peer", "name", BEYOND_UPLINK)
        run("ip", "link", "add", UPLINK, *words, netns=place)
        for name in (dev, dev.replace("d", "f"), UPLINK, BEYOND_UPLINK):
            run("ip", "link", "set", name, "up", netns=place)
        run("ip", "address", "add", f"{VTEP}/24", "dev", UPLINK, netns=place)
        run("ip", "neighbour", "add", FAR_VTEP, "lladdr", HOP_MAC, "dev", UPLINK, netns=place)
        with self.host.inside():
            self.host.links = links.links()

    def _attach(self, stack: ExitStack) -> None:
        """As the command does: TC everywhere, XDP before it where the hook says so."""
        dev = self.hops.near[TENANT]
        tenant, uplink = self.host.programs.fds, self.host.uplink.fds
        self.hops.put_tc(dev, INGRESS, tenant["tenant_ingress"])
        self.hops.put_tc(UPLINK, INGRESS, uplink["uplink_ingress"])
        self.hops.put_tc(UPLINK, EGRESS, uplink["uplink_egress"])
        if self.hook == "xdp":
            self.hops.put_xdp(stack, dev, tenant["tenant_xdp"])
            self.hops.put_xdp(stack, UPLINK, uplink["uplink_xdp"])
        else:
            # A veth takes live frames if its far end has an XDP program or it has GRO.
            for name in (dev, UPLINK):
                run("ethtool", "-K", name, "gro", "on", netns=self.host.place)
        self.hops.put_sinks(stack, xdp=self.hook == "xdp")

    # What it knows

    def model(self, listed: Sequence[Rule] = (), *, limits: bool = False) -> Model:
        """The tenant and those of the other host; with rules it is in a group, or not at all."""
        model = verbs.set_uplink(Model(), verbs.Uplink(UPLINK, VTEP))
        model = verbs.create_vpc(model, "red", VNI)
        for prefix in SUBNETS:
            model = verbs.create_subnet(model, "red", prefix)
        model = verbs.create_eni(
            model, WHO, vpc="red", ips=[str(ip) for ip in GUEST.values()], mac=GUEST_MAC,
            dev=self.hops.near[TENANT], hook=self.hook,
        )  # fmt: skip
        for n in range(FARS):
            model = verbs.create_eni(
                model, f"far{n}", vpc="red", ips=[str(ip + n) for ip in FAR.values()],
                mac=f"{FAR_MAC[:-2]}{n + 1:02x}", host=str(FAR_VTEP),
            )  # fmt: skip
        if listed:
            model = in_groups(with_rules(model, WHO, listed, 1), WHO, WHO)
        for scope, name in (("eni", WHO), ("vpc", "red")) if limits else ():
            for direction in DIRECTIONS.values():
                model = verbs.set_limit(model, scope, name, direction, rate=RATE, burst=BURST)
        return model

    def load(self, listed: Sequence[Rule] = (), *, limits: bool = False) -> None:
        """Let these rules and limits hold; there are no sessions."""
        self.host.forget()
        self.change(listed, limits=limits)

    def change(self, listed: Sequence[Rule], *, limits: bool = False) -> None:
        """The same, and sessions stay."""
        self._policed, self._limited = bool(listed), limits
        self.host.load(self.model(listed, limits=limits))

    def owner(self) -> dict[str, int]:
        """What the tenant has of sessions, and had."""
        return self.host.owner(WHO)

    # What is sent through it

    def open(self, talk: Talk) -> None:
        """The flows' sessions, answered, and none besides."""
        self.host.forget()
        # On a busy machine packets are lost; those that are sent again do no harm.
        for _ in range(OPENINGS):
            self._open(talk)
            if self.owner()["sessions"] == talk.count:
                return
        raise AssertionError(f"{self.owner()['sessions']} of {talk.count} sessions were opened")

    def _open(self, talk: Talk) -> None:
        # Half of the tenant's sessions at most may be half open, too.
        step = min(HALF_OPEN_MAX, talk.count // 2)
        for start in range(0, talk.count, step):
            for side in (TENANT, FABRIC):
                self.hops.put(side, talk.sent[side], min(step, talk.count - start), start)

    def best(self, side: str, flows: Flows, count: int, start: int = 0) -> float:
        """Nanoseconds a packet, of a few tries in which all went the way that was meant."""
        return self.hops.best(side, flows, count, start, self._send)

    def _send(self, side: str, flows: Flows, count: int, start: int) -> float:
        before = self._seen()
        spent = self.hops.send(side, flows, count, start)
        self._check(side, count, before, self._seen())
        return spent

    def _seen(self) -> Seen:
        limits = self.host.model.limits
        counted = Gauge(self.host.tables).counts([one.number for one in limits.values()])
        found = {key: counted[one.number]["packets"] for key, one in limits.items()}
        return Seen(self.host.verdicts(), self._ruled(), found)

    def _ruled(self) -> int:
        """Packets that the rules have let pass which are meant to."""
        record, table = abi.record("rule_counter"), self.host.tables["rule_counters"]
        return sum(
            record.numbers(value)["packets"]
            for group in self.host.model.groups.values()
            for rule in group.rules.values()
            if rule.cidr in ALLOWED
            for value in table.values(abi.u32(rule.number))
        )

    def _check(self, side: str, count: int, before: Seen, after: Seen) -> None:
        counted = {
            name: n - before.verdicts[name]
            for name, n in after.verdicts.items()
            if n != before.verdicts[name]
        }
        whole, fast = sum(counted.values()), counted.get(PASSED[side][0], 0)
        passed = sum(counted.get(name, 0) for name in PASSED[side])
        assert passed == whole >= count * (1 - MOST_LOST), f"not all packets passed: {counted}"
        assert fast >= FAST_SHARE * whole, f"packets went the slow way: {counted}"
        if self._policed:
            assert after.ruled - before.ruled == whole, "packets passed without a rule"
        for key, packets in after.limited.items():
            if key[2] == DIRECTIONS[side]:
                moved = packets - before.limited[key]
                assert moved == whole, f"limit {key} let {moved} of {whole} packets pass"
