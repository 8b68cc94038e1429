# SPDX-License-Identifier: Apache-2.0
"""What happens on one random host: packets, changes of policy, time.

Keeps a log that a failure shows, and counts what was met, so that a test can
tell whether it has seen everything it means to.
"""

from collections import Counter

import oracle
from flows import Address, End, Transport, is_error
from policy_driver import Driver, Shipment, agrees
from policy_oracle import is_policed
from random_policies import changed
from random_talks import Talk, fit_to_cut, packet, random_error, random_piece, random_talk
from random_worlds import World
from run_packet import DEVICES, Bench
from session_oracle import FRAGMENT_SECONDS, Session, ends

from cipu_xdp.loader.model import Eni

AGES = (5, 15, 25, 35, 65, 125, 305, 605, 7445)
NEAR_SECONDS = 2
PASSED = ("SENT", "DELIVERED")
TALKS, TRIES = 3, 10


class Scene:
    """One host, a few flows, and what happens there."""

    def __init__(self, bench: Bench, world: World, seen: Counter[str]) -> None:
        self.world, self.random, self.seen = world, world.random, seen
        self.driver = Driver(bench)
        self.driver.load(world.model)
        drawn = [talk for _ in range(TRIES) if (talk := random_talk(world))]
        self.talks = sorted(drawn[1:], key=self.is_cut_off)[:TALKS] + drawn[:1]
        self.log: list[str] = []
        self.left_a_policy = False

    def is_cut_off(self, talk: Talk) -> bool:
        """Would one of the ends not reach the other even without policy?"""
        both = (Shipment(*self.places(talk, first), talk.words) for first in (True, False))
        return any(self.driver.foresee(one).verdict not in PASSED for one in both)

    def step(self) -> None:
        """Something happens."""
        kind = self.random.random()
        if not self.talks:
            return
        if kind < 0.1:
            self.change()
        elif kind < 0.16:
            self.wait()
        else:
            talk = self.random.choice(self.talks)
            (self.complain if kind < 0.25 else self.speak)(talk)

    def change(self) -> None:
        """Somebody changes rules or groups."""
        near = [eni.name for talk in self.talks for eni in (talk.first, talk.second)]
        bound = {eni.name for eni in self.world.enis() if is_policed(eni)}
        self.world.model = changed(self.world, near)
        self.log.append("change")
        self.driver.bench.change(self.world.model)
        if bound - {eni.name for eni in self.world.enis() if is_policed(eni)}:
            self.left_a_policy = True
            self.driver.forget_fragments()

    def wait(self) -> None:
        """Time passes, but not to where a moment more decides."""
        sessions, seconds = self.driver.sessions, self.random.choice(AGES)
        self.driver.tell_time()
        stamps = [
            (session.last, sessions.seconds(self.world.model, session.state))
            for session in sessions.sessions.values()
        ]
        stamps += [(stamp, FRAGMENT_SECONDS) for stamp, _ in sessions.pieces.values()]
        now = sessions.now + seconds
        if all(abs(now - last - limit) > NEAR_SECONDS for last, limit in stamps):
            self.log.append(f"wait {seconds}")
            self.driver.age(seconds)

    def session(self, talk: Talk) -> Session | None:
        """The oracle's session of a talk, if it is alive."""
        model = self.world.model
        vni = model.vpcs[talk.first.vpc].vni
        found = oracle.resolve(model, vni, talk.second_address)
        there = End(found.vni, talk.second_address)
        key, _ = ends(talk.version, End(vni, talk.first_address), there, talk.words)
        self.driver.tell_time()
        return self.driver.sessions.live(model, key)

    def speak(self, talk: Talk) -> None:
        """One of the ends sends the next packet of a talk."""
        by_first = self.random.random() < 0.6
        session = self.session(talk)
        _, src, _ = places = self.places(talk, by_first)
        by_opener = session.opener[0].address == src if session else by_first
        connection = session.connection if session else None
        what = packet(self.random, talk, by_first, connection, by_opener)
        piece = random_piece(self.random)
        extra = self.random.choice((0, 0, 0, 0, 0, 0, 1250, 1500))
        self.ship(Shipment(*places, fit_to_cut(what) if piece else what, piece, extra))

    def complain(self, talk: Talk) -> None:
        """One of the ends, or somebody else, sends an error about a packet of a talk."""
        to_first = self.random.random() < 0.5
        sender, src, dst = self.places(talk, not to_first)
        if self.random.random() < 0.3:
            sender = self.random.choice(self.world.enis())
            src = next((ip for ip in sender.ips if ip.version == src.version), src)
        what = random_error(self.world, talk, to_first)
        self.ship(Shipment(sender, src, dst, what))

    def places(self, talk: Talk, by_first: bool) -> tuple[Eni, Address, Address]:
        """Who sends, and from where to where."""
        model = self.world.model
        one, other = talk.first_address, talk.second_address
        if by_first:
            return model.enis[talk.first.name], one, other
        return model.enis[talk.second.name], other, one

    def ship(self, shipment: Shipment) -> None:
        """Put a packet to both, and compare."""
        if shipment.sender.dev and shipment.sender.dev not in DEVICES:
            return
        later = shipment.piece is not None and shipment.piece.later
        if later and not self.all_remembered():
            self.seen["collided"] += 1  # two first fragments fell on one place of the table
            return
        hook = self.random.choice(("tc", "xdp"))
        got, fate = self.driver.send(shipment, hook)
        self.log.append(
            f"{hook}: {shipment.sender.name} {shipment.src} > {shipment.dst} {shipment.what}"
            f" {shipment.piece or ''} {got.verdict}, foreseen {fate.verdict}"
        )
        assert agrees(got, fate), self.told()
        self.count(shipment.what, later, fate.verdict)

    def all_remembered(self) -> bool:
        """Has each first fragment still a row of its own?"""
        return len(self.driver.bench.memory.fragments()) == len(self.driver.sessions.pieces)

    def count(self, what: Transport, later: bool, verdict: str) -> None:
        """Note what was met."""
        self.seen[verdict] += 1
        version = 4 if what.icmp and what.protocol != 58 else 6
        passed = "passed" if verdict in PASSED else "stopped"
        if is_error(version, what) and what.quote:
            self.seen[f"error_{passed}"] += 1
        if later:
            self.seen[f"later_{passed}"] += 1
        for session in self.driver.sessions.sessions.values():
            self.seen[session.state] += 1

    def told(self) -> str:
        """The log, for whom it concerns."""
        return "\n".join(self.log)

    def end(self) -> None:
        """What is left is what the oracle has."""
        try:
            self.driver.check_sessions(owners=not self.left_a_policy)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from error
