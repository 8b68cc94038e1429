# SPDX-License-Identifier: Apache-2.0
"""The rate that is kept, by a limit of ours and by the kernel's TBF and HTB: for UDP and TCP.

UDP is a steady load above the rate, and what counts are the bytes of frames
that the receiver's device is told of. TCP is iperf3's, and what counts is
payload: of a frame of 1514 bytes 1448, so a rate is at the most 95.6 % of it,
and what a bucket had saved up at the beginning comes on top.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

from bench.flood import flooding
from bench.goodput import Goodput, goodput, servers
from bench.limit_lanes import LANES, PACED, RATES, Lane, can_pace, lanes
from bench.rounds import Effort, Result, Table, middle, tell
from bench.witness import WINDOW_S, Witness, rates

# How many times the rate is sent, and frames of how many bytes: small ones where few of them go,
# and as big as live frames are where two CPUs could not send enough others.
LOADS = {"1mbit": (4, 214), "10mbit": (2, 1514), "100mbit": (2, 1514), "1gbit": (1.5, 1514),
         "5gbit": (1.3, 3200)}  # fmt: skip
MOST_BPS = 8e9
UDP_S, TCP_S, DRAINED_S = 3, 8, 4
FLOWS = (1, 8)
# Up to this rate all lanes can be busy at once and none is short of CPU.
TOGETHER_BPS = 1e8
WINDOWS = round(1 / WINDOW_S)

Key = tuple[str, ...]


@dataclass
class Kept:
    """Of UDP: offered and received, as multiples of the rate."""

    offered: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)


@dataclass
class Seen:
    """Of all rounds: by rate and lane, by lane, by rate, flows and lane."""

    kept: dict[Key, Kept] = field(default_factory=dict)
    most: dict[str, list[float]] = field(default_factory=dict)
    tcp: dict[Key, list[Goodput]] = field(default_factory=dict)


def measure(effort: Effort) -> Result:
    """Every rate on every lane, round after round."""
    seen = Seen()
    names = [name for name in LANES if name != PACED or can_pace()]
    with lanes(names) as found, servers([lane.server for lane in found]):
        for number in range(effort.rounds):
            for rate in RATES:
                tell(f"round {number + 1}: {rate}")
                _rate(found, rate, effort, seen)
            for lane in found:
                lane.keep(None)
                seen.most.setdefault(lane.name, []).append(_most(lane, effort))
    tables = [_udp_table(seen.kept), _most_table(seen.most), _tcp_table(seen.tcp)]
    figures = {
        "udp": {" ".join(key): asdict(one) for key, one in seen.kept.items()},
        "udp without a limit": seen.most,
        "tcp": {" ".join(key): [asdict(one) for one in got] for key, got in seen.tcp.items()},
    }
    return Result(tables, figures)


def _rate(found: Sequence[Lane], rate: str, effort: Effort, seen: Seen) -> None:
    for lane in found:
        lane.keep(rate)
        keep_udp(lane, rate, effort, seen.kept.setdefault((rate, lane.name), Kept()))
    for flows in FLOWS:
        for name, one in tcp_round(found, rate, flows, effort).items():
            seen.tcp.setdefault((rate, str(flows), name), []).append(one)


# UDP


def keep_udp(lane: Lane, rate: str, effort: Effort, kept: Kept) -> None:
    """Send more than the rate along a lane that keeps it, and note what arrives."""
    times, size = LOADS[rate]
    bps, frame, refused = RATES[rate], lane.frame(size), lane.refused()
    with flooding(lane.host, lane.dev, frame, times * bps) as load, Witness(lane.server) as witness:
        # What was saved up is gone when the first packet is refused.
        until = time.monotonic() + DRAINED_S
        while lane.refused() == refused and time.monotonic() < until:
            time.sleep(0.01)
        before, begun = load.sent, time.monotonic()
        samples = witness.samples(effort.seconds(UDP_S))
        sent = (load.sent - before) * size * 8 / (time.monotonic() - begun)
    kept.offered.append(sent / bps)
    kept.seconds += [one / bps for one in rates(samples, WINDOWS)]
    kept.windows += [one / bps for one in rates(samples)]


def _most(lane: Lane, effort: Effort) -> float:
    frame = lane.frame(LOADS["5gbit"][1])
    with flooding(lane.host, lane.dev, frame, MOST_BPS), Witness(lane.server) as witness:
        return rates(witness.samples(effort.seconds(UDP_S / 2)), 10)[0] / 1e9


def shares_text(values: Sequence[float]) -> str:
    """How far multiples of a rate are off it, in percent."""
    return middle([100 * (value - 1) for value in values], 2)


def _udp_table(kept: dict[Key, Kept]) -> Table:
    table = Table(
        "UDP, a steady load above the rate: how far what arrives is off the rate, %",
        ("rate", "kept by", "sent, x of rate", "over 1 s, %", "over 100 ms, %"),
        notes=(
            "by the receiver's interface statistics, once the burst is spent; frames of 1514 bytes",
            "(1 mbit: 214, 5 gbit: 3200), live frames (BPF_PROG_TEST_RUN) paced by a program on",
            "CPU 1, and the receiving host on CPU 0 (RPS)",
        ),
    )
    for (rate, name), one in kept.items():
        cells = middle(one.offered, 2), shares_text(one.seconds), shares_text(one.windows)
        table.rows.append((rate, name, *cells))
    return table


def _most_table(most: dict[str, list[float]]) -> Table:
    table = Table("the same lanes without a limit", ("lane", "Gbit/s of frames of 3200 bytes"))
    table.rows = [(name, middle(values, 2)) for name, values in most.items()]
    return table


# TCP


def tcp_round(found: Sequence[Lane], rate: str, flows: int, effort: Effort) -> dict[str, Goodput]:
    """What TCP gets across on each of these lanes, which keep the rate."""
    take: Callable[[str], Goodput] = partial(_goodput, flows, effort.seconds(TCP_S))
    clients = [lane.client for lane in found]
    with ThreadPoolExecutor(len(found) if RATES[rate] <= TOGETHER_BPS else 1) as pool:
        got = list(pool.map(take, clients))
    return {lane.name: one for lane, one in zip(found, got, strict=True)}


def _goodput(flows: int, seconds: float, client: str) -> Goodput:
    return goodput(client, seconds, "-P", flows)


def _tcp_table(tcp: dict[Key, list[Goodput]]) -> Table:
    table = Table(
        "TCP, goodput as a share of the rate, %",
        (
            "rate",
            "flows",
            "kept by",
            "all of it",
            "from the 3rd second",
            "over 100 ms",
            "segments again",
        ),
        notes=(
            f"iperf3, {TCP_S} s; up to 100 mbit the lanes at the same time, then one by one;",
            "1448 bytes of each 1514 are payload: 95.6 %; what is above is the burst",
        ),
    )
    for (rate, flows, name), got in tcp.items():
        shares = ([100 * part / RATES[rate] for part in parts] for parts in (
            [one.whole for one in got], [one.steady for one in got],
            [part for one in got for part in one.windows]))  # fmt: skip
        texts = [middle(share, 1) for share in shares]
        table.rows.append((rate, flows, name, *texts, middle([one.again for one in got])))
    return table
