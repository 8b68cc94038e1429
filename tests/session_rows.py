# SPDX-License-Identifier: Apache-2.0
"""Sessions as the datapath would write them, for tests of those who read them.

Says what a row looks like, and who its ends are in a small model. Which end
comes first is left to chance in the datapath, and to `turned` here.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from socket import htons

from cipu_xdp.loader import abi, timeouts
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.session_filters import Row
from cipu_xdp.loader.sessions import now_ns

SECOND = 1_000_000_000
KEY, VALUE = abi.record("session_key"), abi.record("session")


@dataclass(frozen=True)
class End:
    """One end of a session: who it is, who is bound there by which rule, and what it has sent."""

    ip: str
    port: int = 0
    vni: int = 100
    eni: int = 0
    rule: int = 0
    packets: int = 0
    bytes: int = 0


WEB, DB = End("10.0.0.11", 40000, eni=1, rule=1), End("10.0.0.12", 443, eni=2, rule=2)


def two_vpcs() -> Model:
    """red (VNI 100) with web and db, blue (VNI 200) where another has web's address."""
    model = Model(uplinks={"eth0": verbs.Uplink("eth0", ip_address("192.0.2.1"))})
    for vpc, vni in (("red", 100), ("blue", 200)):
        model = verbs.create_vpc(model, vpc, vni)
        model = verbs.create_subnet(model, vpc, "10.0.0.0/24")
    model = verbs.create_subnet(model, "red", "fd00::/64")
    model = verbs.create_eni(model, "web", vpc="red", ips=["10.0.0.11", "fd00::11"], dev="v1")
    model = verbs.create_eni(model, "db", vpc="red", ips=["10.0.0.12", "fd00::12"], dev="v2")
    return verbs.create_eni(model, "other", vpc="blue", ips=["10.0.0.11"], dev="v3")


def packed(
    opener: End,
    responder: End,
    *,
    protocol: int = 6,
    state: str = "tcp_established",
    turned: bool = False,
    icmp: tuple[int, int] = (0, 0),
    age_s: int = 60,
    idle_s: int = 0,
    at_ns: int = 0,
) -> tuple[bytes, bytes]:
    """Key and value of a session, `at_ns` or now; if `turned`, the opener is its high end."""
    ends = {"low": responder, "high": opener} if turned else {"low": opener, "high": responder}
    key: dict[str, int | bytes] = {"family": ip_address(opener.ip).version, "protocol": protocol}
    now = at_ns or now_ns()
    value = {
        "opened_ns": now - age_s * SECOND,
        "last_ns": now - idle_s * SECOND,
        "state": timeouts.states()[state],
        "opener": int(turned),
        "icmp_type": icmp[0],
        "icmp_code": icmp[1],
    }
    for side, end in ends.items():
        key |= {
            f"{side}_vni": end.vni,
            f"{side}_address": ip_address(end.ip).packed,
            f"{side}_port": htons(end.port),
        }
        for field in ("eni", "rule", "packets", "bytes"):
            value[f"{side}_{field}"] = getattr(end, field)
    return KEY.pack(**key), VALUE.pack(**value)


def unpacked(row: tuple[bytes, bytes]) -> Row:
    """The same as it comes out of a table."""
    return KEY.codec.unpack(row[0]), VALUE.codec.unpack(row[1])
