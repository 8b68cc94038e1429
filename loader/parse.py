# SPDX-License-Identifier: Apache-2.0
"""From what a person wrote to a value: one function for each kind of word.

Decides what is well formed on its own. Whether it fits the rest of the model
is decided in rules. Both say why not with `Unfit`; `trying` adds what was tried.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.records import Address, Network, mac_bytes

AddressLike = str | Address
NetworkLike = str | Network

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
CIDR = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}")

MAX_VNI = 0xFFFFFF
MAX_TABLE_ENTRIES = 1 << 30
SUBNET_BITS = {4: range(8, 31), 6: range(16, 127)}

MAPPED = IPv6Network("::ffff:0:0/96")
# Nobody can be reached at these (RFC 6890). The link-local addresses of IPv6
# are among them because a path and a route have no room for a scope.
NOWHERE: tuple[tuple[Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("255.255.255.255/32"), "broadcast"),
    (IPv6Network("::/128"), "unspecified"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    (MAPPED, "IPv4-mapped"),
)
LINK_LOCAL_IPV4 = (IPv4Network("169.254.0.0/16"), "link-local")


class Unfit(ValueError):
    """A value or a change that cannot be: why (a clause) and one thing to do."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why, hint)
        self.why = why
        self.hint = hint


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Turn an `Unfit` of the block into BadInput("cannot `what`: ...")."""
    try:
        yield
    except Unfit as unfit:
        raise BadInput(what, unfit.why, unfit.hint) from None


def name(text: str, noun: str) -> str:
    """Return `text` if it can name a `noun` ("VPC", "ENI"). Raises Unfit."""
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise Unfit(
            f"{text!r} cannot be the name of a {noun}",
            "Use 1 to 63 letters, digits, '_', '.' and '-', starting with a letter or digit.",
        )
    return text


def device(text: str) -> str:
    """Return `text` if Linux could have an interface of this name (dev_valid_name()).

    Raises Unfit.
    """
    bad = not text or text in (".", "..") or not text.isprintable()
    if bad or len(text.encode()) > 15 or any(c in "/:" or c.isspace() for c in text):
        raise Unfit(f"{text!r} cannot be the name of an interface", "See ip link for their names.")
    return text


def number(value: int, low: int, high: int, noun: str) -> int:
    """Return `value` if it is a whole number in low..high. Raises Unfit."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Unfit(f"{value!r} is not a {noun}", f"Use a number from {low} to {high}.")
    return value


def vni(value: int) -> int:
    """Return `value` if it is a VNI: 24 bits (RFC 7348), and 0 stands for none. Raises Unfit."""
    return number(value, 1, MAX_VNI, "VNI")


def choice(value: str, choices: Sequence[str], noun: str) -> str:
    """Return `value` if it is one of `choices`. Raises Unfit."""
    if value not in choices:
        raise Unfit(f"{value!r} is not a {noun}", f"Use {' or '.join(choices)}.")
    return value


def address(value: AddressLike) -> Address:
    """Return an IPv4 or IPv6 address. Raises Unfit, also for scopes and IPv4-mapped ones."""
    try:
        parsed = ip_address(str(value))
    except ValueError:
        hint = "Give one such as 10.0.0.5 or fd00::5."
        raise Unfit(f"{str(value)!r} is not an IPv4 or IPv6 address", hint) from None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            raise Unfit(f"{parsed} has a scope", "Give an address that needs none.")
        if parsed.ipv4_mapped is not None:
            raise Unfit(f"{parsed} is an IPv4-mapped address", f"Use {parsed.ipv4_mapped}.")
    return parsed


def underlay_address(value: AddressLike) -> Address:
    """Return the address of a VTEP: one a host can be reached at. Raises Unfit."""
    parsed = address(value)
    for network, word in NOWHERE:
        if parsed in network:
            article = "an" if word[0] in "aeiouI" else "a"
            raise Unfit(f"{parsed} is {article} {word} address", "Give the VTEP's unicast address.")
    return parsed


def prefix(value: NetworkLike) -> Network:
    """Return a CIDR without host bits. Raises Unfit, naming the right one if there are some."""
    text = str(value)
    try:
        if not CIDR.fullmatch(text):
            raise ValueError(text)
        parsed = ip_network(text, strict=False)
    except ValueError:
        hint = "Give a prefix such as 10.0.0.0/24 or fd00::/64."
        raise Unfit(f"{text!r} is not a CIDR", hint) from None
    if str(parsed.network_address) != str(ip_address(text.partition("/")[0])):
        raise Unfit(f"{text} has host bits set", f"Did you mean {parsed}?")
    return parsed


def route_prefix(value: NetworkLike) -> Network:
    """Return a CIDR that packets of a tenant can go to. Raises Unfit."""
    parsed = prefix(value)
    for network, word in (*NOWHERE, LINK_LOCAL_IPV4):
        if _within(parsed, network):
            raise Unfit(f"{parsed} is {word}", "Only unicast prefixes are routed.")
    return parsed


def subnet_prefix(value: NetworkLike) -> Network:
    """Return a CIDR that tenants can live in. Raises Unfit."""
    parsed = prefix(value)
    bits = SUBNET_BITS[parsed.version]
    if parsed.prefixlen not in bits:
        raise Unfit(
            f"/{parsed.prefixlen} is not the size of a subnet",
            f"IPv{parsed.version} subnets are /{bits.start} to /{bits.stop - 1}.",
        )
    for network, word in (*NOWHERE, LINK_LOCAL_IPV4):
        if _within(parsed, network) or _within(network, parsed):
            raise Unfit(f"{parsed} overlaps {network} ({word})", "Choose a unicast prefix.")
    return parsed


def mac(text: str) -> str:
    """Return a unicast MAC in lower case with colons. Raises Unfit."""
    plain = str(text).lower().replace("-", ":")
    if not MAC.fullmatch(plain):
        raise Unfit(f"{text!r} is not a MAC", "Give one such as 02:00:00:00:00:01.")
    if mac_bytes(plain)[0] & 1:
        raise Unfit(f"{plain} is a multicast MAC", "The first byte of an ENI's MAC must be even.")
    if not any(mac_bytes(plain)):
        raise Unfit("a MAC cannot be all zeros", "Leave it out to have one made.")
    return plain


def _within(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and inner.prefixlen >= outer.prefixlen
        and inner.network_address in outer
    )
