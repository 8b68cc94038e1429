# SPDX-License-Identifier: Apache-2.0
"""Rule sets swapped a thousand times under load: judged by the old or the new, never a mixture.

Two rule sets agree on some services and not on others, and each says what it
says in rules of another kind: half of one and half of the other would drop
what both allow, or let pass what both forbid. Every datagram is counted.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from command import Machine, machine
from lab import run, wait_for
from raw_frames import Wire
from traffic import Mailbox, Tap

from cipu_xdp.loader import model as models
from cipu_xdp.loader import rule_words
from cipu_xdp.loader.instance import Instance
from cipu_xdp.loader.lab_build import inside
from cipu_xdp.loader.records import Model

pytestmark = pytest.mark.root

SERVICES = BOTH, NEITHER, ONLY_A, ONLY_B = 7001, 7002, 7003, 7004
# A allows two services by name. B allows all, but denies two before that.
A = (
    ("allow", {"protocol": "udp", "ports": (BOTH, ONLY_A), "group": "peers", "priority": 5}),
    ("deny", {"priority": 50}),
)
B_ALLOWS = (("allow", {"cidr": "10.0.0.0/8"}), ("allow", {"cidr": "fd00::/16"}))
B_DENIES = (("deny", {"protocol": "udp", "ports": (NEITHER, ONLY_A), "priority": 10}),)
# Most datagrams are the only ones of their flow; those from the first port are of old ones.
OLD_FLOW, NEW_FLOWS = 1000, range(8000, 65536)
ROUNDS = 16
ADDRESSES = {f"eni-t{n}": (f"10.0.0.1{n}", f"fd00:10::1{n}") for n in (1, 2)}


@pytest.fixture(scope="module")
def host() -> Iterator[Machine]:
    """eni-t1 is policed, eni-t2 is whom it talks to, eni-t3 only another in security groups."""
    with machine("cx-swap") as host:
        host.attach_small()
        host.do("vpc", "create", "red", "--vni", 100)
        for subnet in ("10.0.0.0/24", "fd00:10::/64"):
            host.do("subnet", "create", "red", subnet)
        host.do("sg", "create", "peers", "--vpc", "red")
        host.do("sg", "rule", "add", "peers", "ingress", "allow", "any")
        for name, (ipv4, ipv6) in (ADDRESSES | {"eni-t3": ("10.0.0.13", "fd00:10::13")}).items():
            dev = name.removeprefix("eni-")
            run("ip", "address", "add", f"{ipv6}/64", "dev", "eth0", "nodad",
                netns=f"{host.name}-{dev}")  # fmt: skip
            host.do("eni", "create", name, "--vpc", "red", "--ip", ipv4, "--ip", ipv6, "--dev", dev)
        yield host


def with_group(model: Model, name: str, *rules: tuple[str, dict[str, Any]]) -> Model:
    """The model and one group more, whose rules are for both directions."""
    made = [
        rule_words.rule(direction, action, **words)
        for direction, (action, words) in itertools.product(("ingress", "egress"), rules)
    ]
    return models.create_group(model, name, "red", first=made)


def in_groups(model: Model, **members: list[str]) -> Model:
    """The model with ENIs t1, t2 and t3 in groups; the name of each is `eni-` and what is given."""
    for name, groups in members.items():
        model = models.set_eni(model, f"eni-{name}", groups=groups)
    return model


def by_rules(model: Model) -> tuple[Model, Model]:
    """The ENI's group gets other rules; each time the set is made anew."""
    sets = (A, (*B_ALLOWS, *B_DENIES))
    return tuple(
        in_groups(with_group(model, "one", *rules), t1=["one"], t2=["peers"]) for rules in sets
    )  # type: ignore[return-value]


def by_groups(model: Model) -> tuple[Model, Model]:
    """The ENI changes its groups with another one; both sets are in use all the time."""
    model = with_group(model, "one", *A)
    model = with_group(with_group(model, "two", *B_ALLOWS), "three", *B_DENIES)
    one, other = ["one"], ["two", "three"]
    return (
        in_groups(model, t1=one, t2=["peers"], t3=other),
        in_groups(model, t1=other, t2=["peers"], t3=one),
    )


class Lane:
    """Datagrams to every service of one ENI from the other, in one family."""

    def __init__(self, host: Machine, sender: str, receiver: str, index: int) -> None:
        source, target = ADDRESSES[sender][index], ADDRESSES[receiver][index]
        macs = [host.do("eni", "show", name)["mac"] for name in (sender, receiver)]
        self.wire = Wire(*macs, source, target)
        near, far = (f"{host.name}-{name.removeprefix('eni-')}" for name in (sender, receiver))
        self.tap = Tap(near, "eth0")
        self.mailboxes = {port: Mailbox(far, target, port) for port in SERVICES}
        self.sent: Counter[int] = Counter()
        self.received: Counter[int] = Counter()
        for mailbox in self.mailboxes.values():
            mailbox.socket.setblocking(False)

    def send(self, source_port: int) -> None:
        """Send one datagram to each service."""
        for port in SERVICES:
            self.tap.send(self.wire.datagram(source_port, port))
            self.sent[port] += 1

    def take(self) -> None:
        """Count what has come."""
        for port, mailbox in self.mailboxes.items():
            try:
                while mailbox.socket.recv(1):
                    self.received[port] += 1
            except BlockingIOError:
                continue

    def has_all(self) -> bool:
        """Has all come that must?"""
        self.take()
        return self.received[BOTH] == self.sent[BOTH]

    def close(self) -> None:
        for each in (self.tap, *self.mailboxes.values()):
            each.socket.close()


class Load:
    """Keeps all lanes busy in a thread of its own, until the block ends."""

    def __init__(self, lanes: list[Lane]) -> None:
        self.lanes, self.over = lanes, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> Load:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def run(self) -> None:
        ports = itertools.cycle(NEW_FLOWS)
        while not self.over.is_set():
            for port in (OLD_FLOW, *itertools.islice(ports, ROUNDS)):
                for lane in self.lanes:
                    lane.send(port)
            for lane in self.lanes:
                lane.take()


@pytest.fixture(scope="module")
def lanes(host: Machine) -> Iterator[list[Lane]]:
    with ExitStack() as stack:
        made = []
        for ends, index in itertools.product((("eni-t2", "eni-t1"), ("eni-t1", "eni-t2")), (0, 1)):
            made.append(Lane(host, *ends, index))
            stack.callback(made[-1].close)
        yield made


@pytest.mark.parametrize(("swap", "times"), [(by_rules, 40), (by_groups, 1000)])
def test_no_packet_meets_a_mixture_of_rule_sets(
    host: Machine, lanes: list[Lane], swap: Callable[[Model], tuple[Model, Model]], times: int
) -> None:
    before = verdicts(host)
    for lane in lanes:
        lane.sent.clear()
        lane.received.clear()
    with inside(host.name), Instance(host.name).changing() as (store, attachment):
        model = store.load()
        pair = swap(model)
        attachment.write(pair[0])
        with Load(lanes):
            for turn in range(1, times):
                attachment.write(pair[turn % 2])
        for lane in lanes:
            wait_for(lane.has_all, f"{lane.sent} sent, {lane.received} received")
            assert lane.received[NEITHER] == 0
            for port in (ONLY_A, ONLY_B):
                assert 0 < lane.received[port] < lane.sent[port]
        attachment.write(model)
    more = {name: count - before[name] for name, count in verdicts(host).items()}
    lost = sum(sum(lane.sent.values()) - sum(lane.received.values()) for lane in lanes)
    assert more["ingress_denied"] + more["egress_denied"] == lost
    assert more["sessions_full"] == more["no_session"] == 0


def verdicts(host: Machine) -> dict[str, int]:
    """Packets of each verdict."""
    return {each["verdict"]: each["packets"] for each in host.do("status")["verdicts"]}
