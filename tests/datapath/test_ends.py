# SPDX-License-Identifier: Apache-2.0
"""What each ENI of this host, and each other host, is counted to have sent and got."""

import pytest
from packets import between, datagram, frame, from_fabric, tunnelled
from run_packet import LINKS, Bench
from verdict_cases import ANNA, AXEL, BERT, CASES

from cipu_xdp.loader import abi, model, placement
from cipu_xdp.loader.counter_places import SHARED
from cipu_xdp.loader.rows import rows

Counts = dict[tuple[str, str], tuple[int, int]]
ENI = ("egress", "egress_dropped", "ingress", "ingress_dropped")
PATH = ("sent", "received")


def counts(bench: Bench) -> Counts:
    """Packets and bytes of every end that is counted, by its name; without zeros."""
    places = bench.tables.places(bench.model)
    enis = {places[eni.number]: eni.name for eni in bench.model.enis.local()}
    hosts = {number: str(host) for host, number in bench.model.hosts.items()}
    found: Counts = {}
    for table, names, words in (("eni_counters", enis, ENI), ("path_counters", hosts, PATH)):
        record = abi.record(table.removesuffix("s"))
        for key, name in names.items():
            parts = [record.numbers(value) for value in bench.tables[table].values(abi.u32(key))]
            for word in words:
                packets, size = (
                    sum(part[f"{word}_{unit}"] for part in parts) for unit in ("packets", "bytes")
                )
                if packets or size:
                    found[name, word] = (packets, size)
    return found


@pytest.fixture(autouse=True)
def _nothing_counted(bench: Bench) -> None:
    for table in ("eni_counters", "path_counters"):
        bench.tables[table].remove_all(list(bench.tables[table].walk()))


def test_a_packet_to_another_host_counts_at_its_sender_and_at_that_host(bench: Bench) -> None:
    packet = between(ANNA, BERT)
    bench.tenant("v1", packet)
    bench.tenant("v1", packet, hook="xdp")
    twice = (2, 2 * len(packet))
    assert counts(bench) == {("anna", "egress"): twice, ("192.0.2.2", "sent"): twice}


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_a_packet_to_a_neighbour_counts_at_both(bench: Bench, hook: str) -> None:
    packet = between(ANNA, AXEL)
    assert bench.tenant("v1", packet, hook=hook).verdict == "DELIVERED"
    once = (1, len(packet))
    assert counts(bench) == {("anna", "egress"): once, ("axel", "ingress"): once}


@pytest.mark.parametrize("hook", ["tc", "xdp"])
def test_a_packet_from_another_host_counts_there_and_at_its_receiver(
    bench: Bench, hook: str
) -> None:
    bench.fabric(from_fabric(BERT, ANNA), hook=hook)
    once = (1, len(between(BERT, ANNA)))
    assert counts(bench) == {("anna", "ingress"): once, ("192.0.2.2", "received"): once}


def test_a_dropped_packet_counts_at_the_ends_that_were_known_by_then(bench: Bench) -> None:
    spoofed = frame(ANNA.mac, BERT.mac, "10.0.0.6", BERT.ip(4))
    bench.tenant("v1", spoofed)
    assert counts(bench) == {("anna", "egress_dropped"): (1, len(spoofed))}
    bench.fabric(tunnelled(between(BERT, ANNA), 100, src="192.0.2.77"))  # of no host that is known
    assert counts(bench) == {("anna", "egress_dropped"): (1, len(spoofed))}
    misplaced = between(BERT, ANNA)
    bench.fabric(tunnelled(misplaced, 100, src="192.0.2.3"))
    assert counts(bench)["192.0.2.3", "received"] == (1, len(misplaced))


def test_what_a_neighbours_limit_drops_counts_at_both_as_dropped(bench: Bench) -> None:
    bench.change(model.set_limit(bench.model, "eni", "anna", "ingress", pps=1, burst_packets=1))
    packet = between(AXEL, ANNA)
    for verdict in ("DELIVERED", "INGRESS_OVER_PPS"):
        assert bench.tenant("v2", packet).verdict == verdict
    once = (1, len(packet))
    assert counts(bench) == {
        ("axel", "egress"): once, ("anna", "ingress"): once,
        ("axel", "egress_dropped"): once, ("anna", "ingress_dropped"): once,
    }  # fmt: skip


@pytest.mark.parametrize("verdict", abi.verdicts(), ids=lambda verdict: verdict.name)
def test_only_what_is_dropped_counts_as_dropped(
    bench: Bench, verdict: abi.Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: Counts = {}
    run = bench._run

    def noting(*words: object) -> object:
        before.clear()
        before.update(counts(bench))
        return run(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(bench, "_run", noting)
    CASES[verdict.name](bench)
    grown = {of for of, count in counts(bench).items() if count != before.get(of, (0, 0))}
    dropped = {word for _, word in grown if word.endswith("dropped")}
    passed = {word for _, word in grown if word in ("egress", "ingress", "sent")}
    assert not (dropped if verdict.action != "DROP" else passed), grown


def test_an_eni_that_comes_counts_from_zero(bench: Bench) -> None:
    bench.tenant("v1", between(ANNA, BERT))
    bench.change(placement.set_eni(bench.model, "anna", host="192.0.2.2"))
    bench.change(placement.set_eni(bench.model, "anna", dev="v1"))
    packet = between(ANNA, BERT, datagram(9))
    bench.tenant("v1", packet)
    assert counts(bench)["anna", "egress"] == (1, len(packet))


def test_those_without_a_place_share_the_first(bench: Bench) -> None:
    with bench.inside():
        bench.tables.sync(rows(bench.model, LINKS, places={}))
    packets = between(ANNA, BERT), between(AXEL, BERT)
    assert {bench.tenant(dev, p).verdict for dev, p in zip(("v1", "v2"), packets, strict=True)} == {
        "SENT"
    }
    record = abi.record("eni_counter")
    first = bench.tables["eni_counters"].values(abi.u32(SHARED))
    assert sum(record.numbers(value)["egress_packets"] for value in first) == len(packets)
