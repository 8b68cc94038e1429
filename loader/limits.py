# SPDX-License-Identifier: Apache-2.0
"""The verbs of rate limits: a model and a wish in, a new model out.

Part of model, which offers these verbs to everybody. A limit belongs to an ENI
or VPC and goes with it; what it holds for on this host is decided in limit_rows.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cipu_xdp.loader import limit_words, parse, rules
from cipu_xdp.loader.parse import Unfit, trying
from cipu_xdp.loader.records import (
    LIMIT_SCOPES,
    RULE_DIRECTIONS,
    Eni,
    Limit,
    LimitKey,
    Model,
    added,
    frozen,
    removed,
)

ETHERNET_BYTES = 14
DEFAULT_MTU = 1500
LEAST_MTU = 68  # of whatever carries IPv4 (RFC 791, 3.2)
CREDIT = ("credit", limit_words.MAX_CREDIT_BYTES)
PACKET_BURST = ("burst of packets", limit_words.MAX_BURST_PACKETS)
# What `set_limit` takes of amounts: the field, and how its text is read.
AMOUNTS: dict[str, tuple[str, Callable[[Any], int]]] = {
    "rate": ("rate_bps", limit_words.rate),
    "burst": ("burst_bytes", limit_words.size),
    "ceil": ("ceil_bps", limit_words.rate),
    "credit": ("credit_bytes", lambda text: limit_words.size(text, *CREDIT)),
    "pps": ("pps", limit_words.count),
    "burst_packets": ("burst_packets", lambda text: limit_words.count(text, *PACKET_BURST)),
}


def set_limit(
    model: Model,
    scope: str,
    name: str,
    direction: str,
    *,
    mtu: int = DEFAULT_MTU,
    ecn: bool = False,
    shape: bool = False,
    **amounts: Any,
) -> Model:
    """Set the limit of an ENI or VPC in a direction, in place of the one it had.

    Args:
        scope: "eni" or "vpc"; `name` says which.
        mtu: bytes of the biggest IP packet that it limits.
        amounts: by the words of AMOUNTS; None is as good as not given.

    Raises:
        BadInput: an amount is no amount, or they do not fit together.
    """
    key = (scope, name, direction)
    old = model.limits.get(key)
    number = old.number if old else _free_number(model)
    words = {"ecn": ecn, "shape": shape} | amounts
    limit = new_limit(model, key, number, mtu, **words)
    return replace(model, limits=added(model.limits, key, limit))


def new_limit(
    model: Model,
    key: LimitKey,
    number: int,
    mtu: int,
    *,
    ecn: bool = False,
    shape: bool = False,
    **amounts: Any,
) -> Limit:
    """A limit that the model could have too; arguments as set_limit. Raises BadInput."""
    scope, name, direction = key
    with trying(f"limit {direction} of the {_noun(scope)} {name}"):
        _key(model, scope, name, direction)
        given = {word: amount for word, amount in amounts.items() if amount is not None}
        fields: dict[str, Any] = {AMOUNTS[word][0]: AMOUNTS[word][1](given[word]) for word in given}
        for word, value in (("ecn", ecn), ("shape", shape)):
            if not isinstance(value, bool):
                raise Unfit(f"{word} is {value!r}, neither true nor false", "Say true or false.")
        limit = Limit(*key, number, ecn=ecn, shape=shape, **fields)
        _check(limit, mtu)
        return limit


def clear_limit(model: Model, scope: str, name: str, direction: str) -> Model:
    """Remove the limit of an ENI or VPC in a direction. Raises BadInput."""
    with trying(f"clear the limit on {direction} of the {_noun(scope)} {name}"):
        key = _key(model, scope, name, direction)
        if key not in model.limits:
            raise Unfit("there is no such limit", "List them with 'cipu-xdp limit list'.")
        return replace(model, limits=removed(model.limits, key))


def clear_limits(model: Model, scope: str, name: str) -> Model:
    """Remove all limits of an ENI or VPC. Raises BadInput, also if there is none."""
    with trying(f"clear the limits of the {_noun(scope)} {name}"):
        _find(model, scope, name)
        if not limits_of(model, scope, name):
            raise Unfit("it has none", "List them with 'cipu-xdp limit list'.")
        return without_limits_of(model, scope, name)


def without_limits_of(model: Model, scope: str, name: str) -> Model:
    """The model without the limits of an ENI or VPC that goes."""
    left = {key: limit for key, limit in model.limits.items() if key[:2] != (scope, name)}
    return replace(model, limits=frozen(left)) if len(left) < len(model.limits) else model


def limits_of(model: Model, scope: str, name: str) -> dict[str, Limit]:
    """The limits of an ENI or VPC by direction."""
    keys = ((direction, (scope, name, direction)) for direction in RULE_DIRECTIONS)
    return {direction: model.limits[key] for direction, key in keys if key in model.limits}


def bound_here(model: Model, scope: str, name: str) -> list[Eni]:
    """The ENIs with a device here that a limit of an ENI or VPC is for."""
    return [e for e in model.enis.local() if name == (e.vpc if scope == "vpc" else e.name)]


def _noun(scope: str) -> str:
    return "VPC" if scope == "vpc" else "ENI"


def _find(model: Model, scope: str, name: str) -> None:
    if parse.choice(scope, LIMIT_SCOPES, "kind of limit") == "vpc":
        rules.find_vpc(model, name)
    else:
        rules.find_eni(model, name)


def _key(model: Model, scope: str, name: str, direction: str) -> LimitKey:
    _find(model, scope, name)
    return scope, name, parse.choice(direction, RULE_DIRECTIONS, "direction")


def _free_number(model: Model) -> int:
    return rules.lowest_free([limit.number for limit in model.limits.values()])


def _check(limit: Limit, mtu: int) -> None:
    if limit.rate_bps is None and limit.pps is None:
        raise Unfit("it says neither a rate nor packets a second", "Give --rate, --pps or both.")
    needs = (
        ("burst", limit.burst_bytes, "rate", limit.rate_bps),
        ("ceil", limit.ceil_bps, "rate", limit.rate_bps),
        ("credit", limit.credit_bytes, "ceil", limit.ceil_bps),
        ("burst-packets", limit.burst_packets, "pps", limit.pps),
    )
    for word, value, other, needed in needs:
        if value is not None and needed is None:
            raise Unfit(f"--{word} means nothing without --{other}", f"Give --{other} as well.")
    _check_burst(limit, mtu)
    if limit.ceil_bps is not None and limit.rate_bps and limit.ceil_bps <= limit.rate_bps:
        ceil, rate = map(limit_words.rate_text, (limit.ceil_bps, limit.rate_bps))
        raise Unfit(f"the ceiling {ceil} is not above the rate {rate}", "Give a higher --ceil.")
    if limit.shape and limit.direction != "egress":
        raise Unfit("what is received cannot be paced", "Leave out --shape, or limit egress.")


def _check_burst(limit: Limit, mtu: int) -> None:
    least = mtu + ETHERNET_BYTES
    if limit.credit_bytes is not None and limit.credit_bytes < least:
        given = limit_words.size_text(limit.credit_bytes)
        why = f"a credit of {given} is less than one packet of the MTU {mtu}, {least} bytes"
        raise Unfit(why, f"Give {least}b or more, or leave out --ceil.")
    if limit.burst_bytes is not None and limit.burst_bytes < least:
        given = limit_words.size_text(limit.burst_bytes)
        usual = limit_words.burst_bytes(replace(limit, burst_bytes=None))
        raise Unfit(
            f"a burst of {given} is less than one packet of the MTU {mtu}, {least} bytes",
            f"Give {least}b or more; {limit_words.size_text(usual)} is recommended.",
        )
