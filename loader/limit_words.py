# SPDX-License-Identifier: Apache-2.0
"""Rates, counts and sizes as people write them, and what a limit means by what was left out.

Units are those of tc: SI prefixes, "bit" for rates, "b" for bytes. Whether a
limit's parts fit together is decided in limits, what the datapath makes of
them in limit_rows.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal

from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Limit

AMOUNT = r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
NUMBER = re.compile(rf"({AMOUNT})\s*([a-z]*)")
PREFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
RATE_UNITS = {"": 1} | {f"{prefix}bit": factor for prefix, factor in PREFIXES.items()}
SIZE_UNITS = {"": 1} | {f"{prefix}b": factor for prefix, factor in PREFIXES.items()}

MIN_RATE_BPS, MAX_RATE_BPS = 1000, 10**12
MAX_PPS = 10**9
MAX_BURST_BYTES, MAX_BURST_PACKETS, MAX_CREDIT_BYTES = 1 << 36, 1 << 30, 1 << 50

# What a policer has to hold so that TCP gets its rate: after a loss it may be
# silent for its least retransmission timeout (Linux: 200 ms), and what does not
# fit in meanwhile is lost to it. Measured (DESIGN 45).
BURST_S = 0.3
# A queue absorbs what a policer would drop, and the next one on the way need not.
SHAPED_BURST_S = 0.005
# What may wait there (bpf/bucket.h, HORIZON_NS).
QUEUE_S = 0.1
# About the biggest super-packet, in bytes and in packets.
SUPER_BYTES, SUPER_PACKETS = 65536, 64
LEAST_BURST_BYTES, LEAST_BURST_PACKETS = 4 * SUPER_BYTES, 4 * SUPER_PACKETS
# As long a limit that was never used may stay at its ceiling.
CREDIT_S = 60
# Characters of an amount that are said back.
LONGEST = 40


def rate(text: object) -> int:
    """Bits a second, from a number or text such as "100mbit", "1.5gbit". Raises Unfit."""
    found = _amount(text, RATE_UNITS, "rate", "Give it like 64kbit, 100mbit or 1.5gbit.")
    if not MIN_RATE_BPS <= found <= MAX_RATE_BPS:
        raise Unfit(f"{_said(text)} is not a rate that is kept", "Give one from 1kbit to 1000gbit.")
    return found


def count(text: object, noun: str = "number of packets a second", most: int = MAX_PPS) -> int:
    """A number, from a number or text such as "50k", "1.5m". Raises Unfit."""
    found = _amount(text, PREFIXES, noun, "Give it like 500, 50k or 1.5m.")
    if not 1 <= found <= most:
        raise Unfit(f"{_said(text)} is not a {noun}", f"Give one from 1 to {count_text(most)}.")
    return found


def size(text: object, noun: str = "burst", most: int = MAX_BURST_BYTES) -> int:
    """Bytes, from a number or text such as "64kb", "1mb". Raises Unfit."""
    found = _amount(text, SIZE_UNITS, noun, "Give it in bytes, like 64kb or 1mb.")
    if not 1 <= found <= most:
        raise Unfit(f"{_said(text)} is not a {noun}", f"Give one from 1 byte to {size_text(most)}.")
    return found


def rate_text(bps: int) -> str:
    """The shortest way to write a rate, "1500kbit" for 1,500,000."""
    return _text(bps, "bit")


def count_text(number: int) -> str:
    """The shortest way to write a count, "50k" for 50,000."""
    return _text(number, "")


def size_text(size_bytes: int) -> str:
    """The shortest way to write a size, "64kb" for 64,000."""
    return _text(size_bytes, "b")


def about(amount: int, unit: str = "") -> str:
    """An amount to three digits, "94.8mbit" for 94,837,261 bits."""
    step = 10 ** max(0, len(str(amount)) - 3)
    amount = (amount + step // 2) // step * step
    fitting = ((p, f) for p, f in reversed(PREFIXES.items()) if amount >= f)
    prefix, factor = next(fitting, ("", 1))
    digits = amount / factor if amount % factor else amount // factor
    return f"{digits}{prefix}{unit}"


def burst_bytes(limit: Limit) -> int:
    """How many bytes may pass at once: what was given, or what is recommended for the rate."""
    if limit.burst_bytes is not None:
        return limit.burst_bytes
    return _recommended(_fastest(limit), LEAST_BURST_BYTES, SUPER_BYTES, limit.shape)


def shaped_burst_bytes(limit: Limit) -> int:
    """How many of them leave at once where packets can wait; the others do so one by one."""
    return _shaped(burst_bytes(limit), _fastest(limit), LEAST_BURST_BYTES)


def burst_packets(limit: Limit) -> int:
    """How many packets may pass at once."""
    if limit.burst_packets is not None:
        return limit.burst_packets
    return _recommended(limit.pps or 0, LEAST_BURST_PACKETS, SUPER_PACKETS, limit.shape)


def shaped_burst_packets(limit: Limit) -> int:
    """How many of them leave at once where packets can wait."""
    return _shaped(burst_packets(limit), limit.pps or 0, LEAST_BURST_PACKETS)


def credit_bytes(limit: Limit) -> int:
    """How many bytes can be banked, to be sent faster than the rate: none without a ceiling."""
    if limit.ceil_bps is None or limit.rate_bps is None:
        return 0
    if limit.credit_bytes is not None:
        return limit.credit_bytes
    return (limit.ceil_bps - limit.rate_bps) * CREDIT_S // 8


def plain(limit: Limit) -> dict[str, object]:
    """What was asked for, in the words of `limit set` and of topology files."""
    words = {
        "rate": limit.rate_bps and rate_text(limit.rate_bps),
        "burst": limit.burst_bytes and size_text(limit.burst_bytes),
        "ceil": limit.ceil_bps and rate_text(limit.ceil_bps),
        "credit": limit.credit_bytes and size_text(limit.credit_bytes),
        "pps": limit.pps and count_text(limit.pps),
        "burst_packets": limit.burst_packets and count_text(limit.burst_packets),
        "ecn": limit.ecn or None,
        "shape": limit.shape or None,
    }
    return {word: value for word, value in words.items() if value is not None}


def _fastest(limit: Limit) -> float:
    """Bytes a second, at most."""
    return (limit.ceil_bps or limit.rate_bps or 0) / 8


def _recommended(rate: float, least: int, biggest: int, shape: bool) -> int:
    policed = max(least, int(rate * BURST_S))
    if not shape:
        return policed
    # What leaves at once, a full queue, and the packet that fills it.
    return max(policed, _at_once(rate, least) + int(rate * QUEUE_S) + biggest)


def _shaped(burst: int, rate: float, least: int) -> int:
    """What waits is part of the burst: of a small one, at least half may leave at once."""
    return min(_at_once(rate, least), max(burst - int(rate * QUEUE_S), burst - burst // 2))


def _at_once(rate: float, least: int) -> int:
    return max(least, int(rate * SHAPED_BURST_S))


def _amount(text: object, units: Mapping[str, int], noun: str, hint: str) -> int:
    if isinstance(text, bool) or not isinstance(text, (int, str)):
        raise Unfit(f"{text!r} is not a {noun}", hint)
    if isinstance(text, int) and text >= 0:
        return text
    found = NUMBER.fullmatch(str(text).strip().lower()) if isinstance(text, str) else None
    if not found:
        raise Unfit(f"{_said(text)!r} is not a {noun}", hint)
    if found[2] not in units:
        known = _listed([unit for unit in units if unit])
        raise Unfit(f"{_said(text)!r} has no unit of a {noun}", f"Units are {known}.")
    amount = Decimal(found[1]) * units[found[2]]
    if amount != int(amount):
        raise Unfit(f"{_said(text)} is not a whole number of the smallest unit", hint)
    return int(amount)


def _said(text: object) -> object:
    """What was given, as it is said back: not a page, nor a number that has no text in Python."""
    if isinstance(text, int):
        return text if abs(text) < 10**LONGEST else "so big a number"
    return text if len(str(text)) <= LONGEST else f"{str(text)[:LONGEST]}..."


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _text(amount: int, unit: str) -> str:
    for prefix, factor in reversed(PREFIXES.items()):
        if amount and amount % factor == 0:
            return f"{amount // factor}{prefix}{unit}"
    return f"{amount}{unit}"
