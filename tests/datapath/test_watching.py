# SPDX-License-Identifier: Apache-2.0
"""Who watches is told of every packet that he asked for, with the verdict that is counted."""

import contextlib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import worlds
from bench_tables import coarse_ns
from packets import between, datagram, from_fabric, tunnelled
from run_packet import DEVICES, Bench
from scapy.layers.inet import TCP
from verdict_cases import ANNA, AXEL, BERT, CASES

from cipu_xdp.loader import abi, sights
from cipu_xdp.loader.errors import KernelRefused
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.tracer import KEY, Frame, Tracer
from cipu_xdp.loader.watching import Sight, Watcher, Wish, end

BOTH = 3


@contextlib.contextmanager
def watcher(tables: Tables, **words: Any) -> Iterator[Watcher]:
    with contextlib.closing(Watcher(tables, contextlib.nullcontext, Wish(**words))) as made:
        yield made


def seen(by: Watcher) -> list[tuple[str, str]]:
    """Verdicts and stages, in the order in which they were told."""
    return [(verdict_of(sight), sights.STAGE_NAMES[sight.fields["stage"]]) for sight in by.read(0)]


def verdict_of(sight: Sight) -> str:
    return abi.verdicts()[sight.fields["verdict"]].name


@pytest.fixture(autouse=True)
def nobody_watches(empty_bench: Bench) -> Iterator[None]:
    yield
    (row,) = empty_bench.tables["watchings"].values(KEY)
    assert abi.record("watching").numbers(row)["secret"] == 0


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_the_verdict_that_is_told_is_the_one_that_is_counted(
    bench: Bench, verdict: abi.Verdict
) -> None:
    with watcher(bench.tables, stages=BOTH, frame_bytes=9216) as anybody:
        outcome = CASES[verdict.name](bench)
        told = list(anybody.read(0))
    assert outcome.verdict == verdict.name
    last = [sight for sight in told if verdict_of(sight) == verdict.name]
    assert last
    # A packet that goes on is told of as it left, too, to the byte.
    goes_on = verdict.action in ("DELIVER", "SEND", "ANSWER") or verdict.name == "HANDED_OVER"
    assert last[-1].fields["stage"] == goes_on
    if goes_on:
        assert last[-1].frame == outcome.packet


def test_what_came_is_told_as_it_came(bench: Bench) -> None:
    packet, outer = between(ANNA, BERT), from_fabric(BERT, ANNA)
    for hook in ("tc", "xdp"):
        with watcher(bench.tables, frame_bytes=9216) as anybody:
            bench.tenant("v1", packet, hook=hook)
            bench.fabric(outer, hook=hook)
            first, second = anybody.read(0)
        assert (first.frame, second.frame) == (packet, outer)
        assert (first.fields["ifindex"], second.fields["ifindex"]) == (DEVICES["v1"][0], 4)
        assert first.fields["sender_eni"] == bench.model.enis["anna"].number
        assert second.fields["receiver_eni"] == bench.model.enis["anna"].number


def test_a_long_frame_is_cut_where_it_was_asked(bench: Bench) -> None:
    packet = between(ANNA, AXEL, datagram(1000))
    with (
        watcher(bench.tables, frame_bytes=100) as short,
        watcher(bench.tables, frame_bytes=900) as long,
    ):
        bench.tenant("v1", packet)
        for by, size in ((short, 100), (long, 900)):
            (sight,) = by.read(0)
            assert (sight.frame, sight.fields["length"]) == (packet[:size], len(packet))


def one_way(source: str, port: int = 0) -> tuple[Any, Any]:
    network = ip_network(source)
    return end(network.network_address.packed, network.prefixlen, port), end(b"", 0, 0)


FILTERS: dict[str, tuple[dict[str, Any], bool]] = {
    "its VPC": ({"vni": 100}, True),
    "another VPC": ({"vni": 101}, False),
    "the device": ({"ifindex": 11}, True),
    "another device": ({"ifindex": 12}, False),
    "the protocol": ({"protocol": 6}, True),
    "another protocol": ({"protocol": 17}, False),
    "the family": ({"family": 4}, True),
    "the other family": ({"family": 6}, False),
    "the source": ({"ends": one_way("10.0.0.5/32")}, True),
    "a prefix": ({"ends": one_way("10.0.0.0/24")}, True),
    "another address": ({"ends": one_way("10.0.0.99/32")}, False),
    "the source and its port": ({"ends": one_way("10.0.0.5/32", 1000)}, True),
    "the source, the other's port": ({"ends": one_way("10.0.0.5/32", 2000)}, False),
    "the verdict": ({"verdicts": 1 << 1}, True),
    "another verdict": ({"verdicts": 1 << 0}, False),
    "as it left": ({"stages": 2}, True),
}


@pytest.mark.parametrize(("words", "wanted"), FILTERS.values(), ids=FILTERS)
def test_only_what_is_asked_for_is_told(bench: Bench, words: dict[str, Any], wanted: bool) -> None:
    assert ip_address(ANNA.ip(4)) == ip_address("10.0.0.5")
    packet = between(ANNA, BERT, TCP(sport=1000, dport=2000, flags="S"))
    with watcher(bench.tables, **words) as asks, watcher(bench.tables) as anybody:
        assert bench.tenant("v1", packet).verdict == "SENT"
        assert len(seen(anybody)) == 1
        assert bool(seen(asks)) == wanted


def test_the_ends_may_be_either_way(bench: Bench) -> None:
    with watcher(bench.tables, ends=one_way("10.0.0.5/32")) as asks:
        bench.tenant("v1", between(ANNA, BERT))
        bench.fabric(from_fabric(BERT, ANNA))
        bench.tenant("v2", between(AXEL, BERT))
        assert [verdict for verdict, _ in seen(asks)] == ["SENT", "DELIVERED"]


def test_a_flood_is_told_of_so_often_and_no_more(bench: Bench) -> None:
    bad = tunnelled(between(BERT, ANNA), 999)
    with watcher(bench.tables, per_second=10) as asks:
        for _ in range(500):
            bench.fabric(bad)
        told, counts = len(seen(asks)), asks.counts()
    # A second's worth on each CPU that the test ran on, and what ran in meanwhile.
    assert 10 <= told < 200
    assert (counts["told"], counts["told"] + counts["left_out"], counts["lost"]) == (told, 500, 0)


def test_what_nobody_reads_is_lost_and_counted(bench: Bench) -> None:
    packet = between(ANNA, AXEL, datagram(1400))
    with watcher(bench.tables, stages=BOTH, frame_bytes=9216) as asks:
        for _ in range(2000):
            bench.tenant("v1", packet)
        counts = asks.counts()
    assert counts["told"] + counts["lost"] == 4000
    assert counts["lost"] > 0


def test_who_was_killed_is_told_nothing_and_forgotten(bench: Bench) -> None:
    with watcher(bench.tables) as asks:
        row = abi.record("watcher")
        (before,) = bench.tables["watchers"].values(KEY)
        gone = row.unpack(before) | {"until_ns": coarse_ns() - 1}
        bench.tables["watchers"].put(KEY, row.pack(**gone))
        bench.tenant("v1", between(ANNA, BERT))
        assert asks.counts() == dict.fromkeys(("told", "left_out", "lost"), 0)
        (watching,) = bench.tables["watchings"].values(KEY)
        assert abi.record("watching").numbers(watching)["watchers"] == 0


def test_there_are_so_many_places_and_then_it_is_said(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(abi.number("WATCHERS")):
            stack.enter_context(watcher(bench.tables))
        with pytest.raises(KernelRefused, match="8 others"):
            stack.enter_context(watcher(bench.tables))
    with watcher(bench.tables) as asks:
        bench.tenant("v1", between(ANNA, BERT))
        assert len(seen(asks)) == 1


def test_who_watches_does_not_see_what_is_traced(bench: Bench) -> None:
    bench.load(worlds.host("a"))
    with watcher(bench.tables) as asks:
        with bench.inside():
            traced = Tracer(bench.tables).run(
                bench.tenant_programs.fds["tenant_ingress"], "tc", 11, Frame(between(ANNA, BERT))
            )
        assert traced is not None
        assert seen(asks) == []
        # And it goes on to see what is real.
        bench.tenant("v1", between(ANNA, BERT))
        assert len(seen(asks)) == 1
