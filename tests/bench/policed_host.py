# SPDX-License-Identifier: Apache-2.0
"""A host whose tenants' programs run on packets made up here, with any security groups.

It has one ENI without a group (plain), one that everything is sent to (sink,
in none either), and as many in groups as there are groups. Its tables,
programs and network namespace are gone with it. What is measured on it is
decided elsewhere.
"""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from lab import namespaces, run
from policed import allow, in_groups
from run_packet import skb

from bench.generator import PROGRAM, VXLAN_PORT, Ends, Flows, Generator
from cipu_xdp.loader import abi, links, netns, program, rows
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.records import Rule, SecurityGroup, frozen
from cipu_xdp.loader.tables import Tables, checked_sizes

PLAIN, SINK = "plain", "sink"
CLOCK_MONOTONIC_COARSE = 6
REMEMBERED = ("sessions", "owners", "rings", "fragments", "session_clocks")
BEST_OF = 3
EVERYTHING = (allow("egress"), allow("ingress"))


class PolicedHost:
    """Tables, programs and devices in a namespace; `names` are the ENIs besides plain and sink.

    If a VTEP is given, the programs of its uplink are loaded too.
    """

    def __init__(
        self,
        stack: ExitStack,
        names: Sequence[str],
        sizes: Mapping[str, int],
        place: str = "cxb-host",
        vtep: IPv4Address | None = None,
    ) -> None:
        stack.enter_context(namespaces(place))
        self.place = place
        self.names = (PLAIN, SINK, *names)
        for number in range(len(self.names)):
            words = ("type", "veth", "peer", "name", f"f{number}")
            run("ip", "link", "add", f"d{number}", *words, netns=place)
        with self.inside():
            self.links = links.links()
        self.sizes = dict(sizes)
        with _bpffs() as directory:
            self.tables = Tables.create(directory, checked_sizes(self.sizes))
            stack.callback(self.tables.close)
            self.programs = program.load_tenant(self.tables, xdp=True)
            if vtep:
                self.uplink = program.load_uplink(self.tables, vtep, VXLAN_PORT, xdp=True)
        self.generator = Generator()
        self.generator.aim(self.programs.fds["tenant_ingress"], self.programs.fds["tenant_xdp"])
        self.model = self._model()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """In its network namespace."""
        with netns.entered(self.place):
            yield

    def dev(self, name: str) -> str:
        return f"d{self.names.index(name)}"

    def _model(self) -> Model:
        model = verbs.set_uplink(Model(), verbs.Uplink("up0", ip_address("192.0.2.1")))
        model = verbs.create_vpc(model, "red", 100)
        model = verbs.create_subnet(model, "red", "10.0.0.0/16")
        for name in self.names:
            # The sink answers for whomever it was asked as.
            model = verbs.create_eni(
                model, name, vpc="red", ips=[self.ip(name)], mac=self.mac(name),
                dev=self.dev(name), hook="xdp", source_check=name != SINK,
            )  # fmt: skip
        return verbs.create_route(model, "red", "0.0.0.0/0", "eni", SINK)

    def mac(self, name: str) -> str:
        return f"02:11:00:00:00:{self.names.index(name) + 1:02x}"

    def ip(self, name: str) -> str:
        return f"10.0.1.{self.names.index(name) + 1}"

    def ends(self, sender: str, dst: IPv4Address) -> Ends:
        """From an ENI to an address that leads to the sink."""
        return Ends(self.mac(sender), self.mac(SINK), IPv4Address(self.ip(sender)), dst)

    # What rules there are

    def police(self, groups: Mapping[str, Sequence[Rule]]) -> None:
        """Put each of these ENIs into a group with these rules, and all others into none."""
        model, number = self._model(), 1
        for name, listed in groups.items():
            model = with_rules(model, name, listed, number)
            model = in_groups(model, name, name)
            number += len(listed)
        self.load(model)

    def load(self, model: Model) -> None:
        """Bring the tables in line with a model, as a command would."""
        self.model = replace(model, table_sizes=self.sizes)
        with self.inside():
            self.tables.sync(
                rows.rows(self.model, self.links, places=self.tables.places(self.model))
            )

    def forget(self) -> None:
        """No sessions, as on a host that has seen no packet; what is counted stays."""
        for name in REMEMBERED:
            self.tables[name].remove_all(list(self.tables[name].walk()))
        slots = self.tables["slots"]
        taken = [key for key, value in slots.items() if value[8:16] != bytes(8)]
        slots.remove_all(taken)

    def look_for_room_at(self, place: int) -> None:
        """Where the next slot is looked for."""
        clock = abi.record("session_clock").pack(swept_ns=coarse_ns(), hand=place)
        self.tables["session_clocks"].put(abi.u32(0), clock)

    # Packets

    def send(
        self, sender: str, flows: Flows, count: int, *, target: int = PROGRAM, start: int = 0,
        hook: str = "tc",
    ) -> int:  # fmt: skip
        """That many packets, flow after flow, out of an ENI's device; nanoseconds for each."""
        self.generator.load(flows, target, start)
        ifindex = self.links[self.dev(sender)].ifindex
        with self.inside():
            if hook == "tc":
                return self.generator.run_tc(skb(ifindex), count)
            return self.generator.run_xdp(ifindex, count)

    def best(self, sender: str, flows: Flows, count: int, **more: object) -> int:
        """The least of a few tries, each with flows that were not sent before it."""
        times = []
        for turn in range(BEST_OF):
            times.append(self.send(sender, flows, count, start=turn * count, **more))  # type: ignore[arg-type]
        return min(times)

    def verdicts(self) -> dict[str, int]:
        """Packets of each verdict so far."""
        return {name: packets for name, (packets, _) in self.tables.counters().items()}

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """Fills in, at the end of the block, the verdicts that were counted in it."""
        before = self.verdicts()
        counted: dict[str, int] = {}
        yield counted
        after = self.verdicts()
        counted |= {name: n - before[name] for name, n in after.items() if n != before[name]}

    def owner(self, name: str) -> dict[str, int]:
        """What an ENI has of sessions, and had."""
        record, number = abi.record("owner"), self.model.enis[name].number
        return record.numbers(
            next(self.tables["owners"].values(abi.u32(number)), bytes(record.size))
        )

    def set_timeout(self, state: str, ns: int) -> None:
        """How long sessions in a state live; what a command would not take as well."""
        key = abi.u32(abi.number(f"SESSION_{state.upper()}"))
        self.tables["timeouts"].put(key, struct.pack("=Q", ns % (1 << 64)))


def with_rules(model: Model, name: str, listed: Sequence[Rule], first: int) -> Model:
    """The model with a group of these rules; their counters are numbered from `first` on."""
    numbered = {
        id_: replace(rule, id=id_, number=first + id_ - 1) for id_, rule in enumerate(listed, 1)
    }
    number = len(model.groups) + 1
    group = SecurityGroup(name, number, "red", "cut", len(listed) + 1, frozen(numbered))
    return replace(model, groups=frozen({**model.groups, name: group}))


def coarse_ns() -> int:
    """The clock that the datapath reads."""
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE)


@contextmanager
def _bpffs() -> Iterator[Path]:
    """A bpffs for as long as programs are made; open tables and programs need no pin."""
    with tempfile.TemporaryDirectory(prefix="cipu-xdp-policy-") as name:
        run("mount", "-t", "bpf", "bpf", name)
        try:
            yield Path(name)
        finally:
            run("umount", "--lazy", name)
