# SPDX-License-Identifier: Apache-2.0
"""An overlay that only remembers what it was asked.

It answers the command line with one object of each kind, in the shapes of
``loader.overlay``, or raises what it was told to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from click.testing import Result


class Sessions(list[dict[str, Any]]):
    """Sessions that are there, and `more` that are not."""

    more = 0

    def texts(self) -> Iterator[str]:
        return map(json.dumps, self)


LIMIT = {
    "scope": "eni",
    "name": "web",
    "vpc": "blue",
    "direction": "egress",
    "number": 1,
    "rate_bps": 50_000_000,
    "burst_bytes": 37_500_000,
    "ceil_bps": 1_000_000_000,
    "credit_bytes": 2_000_000_000,
    "credit_s": 16.842,
    "pps": None,
    "burst_packets": None,
    "recommended": ["burst", "burst_packets"],
    "shaped_burst_bytes": 625_000,
    "ecn": True,
    "shape": True,
}
PPS_LIMIT = LIMIT | {
    "direction": "ingress",
    "number": 2,
    "rate_bps": None,
    "burst_bytes": None,
    "ceil_bps": None,
    "credit_bytes": None,
    "credit_s": None,
    "pps": 10_000,
    "burst_packets": 500,
    "recommended": ["burst", "credit"],
    "shaped_burst_bytes": None,
    "ecn": False,
    "shape": False,
}
NOT_MEASURED = {"now": None, "left": None, "counters": None}
MEASURED = {
    "now": {"rate_bps": 94_837_261, "pps": 8144},
    "left": {"rate": 1_000_000, "ceil": 37_500_000},
    "counters": {
        "packets": 12_000, "bytes": 18_000_000, "over_rate_packets": 30, "over_rate_bytes": 45_000,
        "over_pps_packets": 7, "over_pps_bytes": 700, "marked": 5,
    },
}  # fmt: skip
COUNTED_THINGS = {"subnet_count": 1, "eni_count": 2, "route_count": 1, "group_count": 1}
VPC = COUNTED_THINGS | {
    "name": "blue", "vni": 100, "gateway_mac": "02:63:78:00:00:64", "limits": [],
}  # fmt: skip
SUBNET = {"vpc": "blue", "cidr": "10.0.0.0/24", "gateway": "10.0.0.1"}
ROUTE = {"vpc": "blue", "prefix": "0.0.0.0/0", "kind": "eni", "target": "web"}
LOCAL = {
    "name": "web",
    "number": 1,
    "vpc": "blue",
    "vni": 100,
    "mac": "02:11:22:33:44:55",
    "ips": ["10.0.0.10", "fd00:1::10"],
    "dev": "veth-web",
    "host": None,
    "source_check": True,
    "hook": "tc",
    "groups": ["web"],
    "limits": [LIMIT, PPS_LIMIT],
    "notes": ["the peer of veth-web has GRO off"],
}
REMOTE = LOCAL | {
    "name": "db",
    "number": 2,
    "dev": None,
    "host": "192.0.2.2",
    "limits": [],
    "notes": [],
}
COUNTS = {"in_use": 3, "opened": 40, "evicted": 2, "refused": 1}
SESSION = {
    "protocol": "tcp",
    "state": "tcp_established",
    "opener": {
        "vpc": "blue", "ip": "fd00:1::10", "port": 40000, "eni": "web", "packets": 7, "bytes": 900,
    },
    "responder": {
        "vpc": "blue", "ip": "fd00:1::9", "port": 443, "eni": None, "packets": 5, "bytes": 600,
    },
    "icmp": None,
    "age_s": 30,
    "idle_s": 4,
    "expires_s": 7436,
    "rules": {"egress": {"sg": "outside", "id": 1}, "ingress": None},
}  # fmt: skip
TIMEOUT = {"state": "udp_established", "seconds": 120, "default": 300}
GROUP = {
    "name": "web",
    "number": 1,
    "vpc": "blue",
    "established": "cut",
    "rule_count": 2,
    "member_count": 1,
}
RULE = {
    "sg": "web",
    "id": 3,
    "direction": "ingress",
    "action": "allow",
    "protocol": "tcp",
    "ports": "80,443",
    "icmp": None,
    "cidr": "10.0.0.0/8",
    "group": None,
    "priority": 100,
}
COUNTED = RULE | {"sessions": 5, "packets": 120, "bytes": 34000}
UNCOUNTED = RULE | {"id": 4, "cidr": None, "group": "db", "ports": None, "sessions": None}
WHOLE_GROUP = GROUP | {
    "members": ["web"],
    "rules": [COUNTED, UNCOUNTED | {"packets": None, "bytes": None}],
}
UPLINK = {
    "iface": "eth0",
    "device": "eth0",
    "renamed": None,
    "ifindex": 2,
    "vtep": "192.0.2.1",
    "vxlan_port": 4789,
    "hook": "xdp",
    "hook_asked": "auto",
    "why": "the driver runs XDP itself",
    "xdp_mode": "native",
    "mtu": 1600,
    "tenant_mtu": 1550,
    "nic": {
        "driver": "virtio_net",
        "xdp": ["basic", "redirect"],
        "queues": {"receive": 2, "transmit": 4, "most": 4},
        "offloads": ["rx-checksum", "rx-gro"],
    },
    "shaping": None,
    "programs": [{"hook": "xdp", "id": 7, "tag": "ab12", "name": "from_fabric"}],
    "ok": True,
    "notes": ["eth0 has a second address"],
}
STATUS = {
    "instance": "default",
    "netns": "host-a",
    "store": "/var/lib/cipu-xdp/default/store.db",
    "version": "0.1.0",
    "attached": True,
    "configured": ["eth0"],
    "uplinks": [UPLINK],
    "vpcs": 1,
    "subnets": 2,
    "enis": {"local": 1, "remote": 1},
    "routes": 1,
    "groups": 1,
    "limits": 2,
    "sessions": COUNTS | {"capacity": 65536},
    "tables": [
        {
            "name": "addresses",
            "kind": "hash",
            "entries": 4,
            "max_entries": 65536,
            "used_percent": 0,
            "pressure": "room",
            "evicted": 0,
            "refused": 0,
        }
    ],
    "verdicts": [
        {
            "verdict": "ENCAPSULATED",
            "action": "redirect",
            "packets": 12,
            "bytes": 3400,
            "meaning": "sent to another host inside VXLAN",
        },
        {"verdict": "SPOOFED", "action": "drop", "packets": 0, "bytes": 0, "meaning": "not its"},
    ],
}
PACKETS = {"packets": 1200, "bytes": 3_400_000, "dropped_packets": 5, "dropped_bytes": 500}
PATH = {"packets": 1000, "bytes": 3_000_000}
DEVICE = {
    f"{side}_{what}": number
    for side in ("received", "sent")
    for what, number in (("packets", 9000), ("bytes", 10**9), ("dropped", 3), ("errors", 0))
}
LIMIT_COUNTS = {
    "packets": 900, "bytes": 10**6, "over_rate_packets": 7, "over_rate_bytes": 700,
    "over_pps_packets": 0, "over_pps_bytes": 0, "marked": 2,
}  # fmt: skip
STATS = {
    "instance": "default",
    "time": 1_800_000_000.5,
    "verdicts": [
        {"verdict": "sent", "action": "send", "packets": 1000, "bytes": 3_000_000},
        {"verdict": "delivered", "action": "deliver", "packets": 1195, "bytes": 400_000},
        {"verdict": "host", "action": "pass", "packets": 0, "bytes": 0},
        {"verdict": "spoofed", "action": "drop", "packets": 5, "bytes": 500},
    ],
    "enis": [
        {"eni": "idle", "vpc": "blue", "dev": "veth1", "counted": True,
         "egress": dict.fromkeys(PACKETS, 0), "ingress": dict.fromkeys(PACKETS, 0),
         "sessions": None},
        {"eni": "web", "vpc": "blue", "dev": "veth0", "counted": True, "egress": PACKETS,
         "ingress": PACKETS | {"packets": 800}, "sessions": COUNTS | {"quota": 1000}},
    ],
    "vpcs": [{"vpc": "blue", "vni": 100, "enis": 2, "egress": PACKETS, "ingress": PACKETS}],
    "uplinks": [
        {"iface": "eth0", "vtep": "192.0.2.1", "sent": PATH, "received": PATH, "device": DEVICE},
        {"iface": "eth1", "vtep": "2001:db8::1", "sent": dict.fromkeys(PATH, 0),
         "received": dict.fromkeys(PATH, 0), "device": None},
    ],
    "hosts": [{"host": "192.0.2.9", "uplink": "eth0", "sent": PATH, "received": PATH}],
    "limits": [
        each | {"vpc": "blue", "counters": LIMIT_COUNTS} for each in (LIMIT, PPS_LIMIT)
    ],
    "flow_log": [{"outcome": "told", "events": 9}, {"outcome": "lost", "events": 2}],
    "tables": [{key: value for key, value in STATUS["tables"][0].items() if key != "kind"}],  # type: ignore[index]
    "sessions": COUNTS | {"capacity": 65536},
}  # fmt: skip
DOCTOR = [
    {"check": check, "subject": "eth0", "state": state, "found": found, "mend": mend}
    for check, state, found, mend in (
        ("link", "ok", "up", None),
        ("MTU", "warning", "1500, which leaves tenants 1450", "ip link set eth0 mtu 1600"),
        ("host", "wrong", "it does not answer", None),
    )
]
ANSWERS: dict[str, object] = {
    "attach": UPLINK,
    "detach": UPLINK,
    "detach_all": ["eth0", "eth1"],
    "status": STATUS,
    "stats": STATS,
    "doctor": DOCTOR,
    "vpc_list": [VPC],
    "subnet_list": [SUBNET],
    "eni_list": [LOCAL, REMOTE],
    "route_list": [ROUTE],
    "eni_create": LOCAL,
    "eni_set": LOCAL,
    "eni_delete": LOCAL,
    "eni_show": LOCAL | {"sessions": COUNTS | {"quota": 1000}},
    "route_create": ROUTE,
    "route_delete": ROUTE,
    "session_list": Sessions([SESSION]),
    "session_flush": {"flushed": 12},
    "session_timeouts": [TIMEOUT],
    "session_timeout_set": TIMEOUT,
    "session_timeout_reset": [TIMEOUT],
    "sg_list": [GROUP],
    "sg_show": WHOLE_GROUP,
    "sg_rule_add": RULE,
    "sg_rule_delete": RULE,
    "limit_set": LIMIT | {"notes": ["It polices instead of pacing."]},
    "limit_clear": [LIMIT, PPS_LIMIT],
    "limit_list": [LIMIT | MEASURED, PPS_LIMIT | NOT_MEASURED],
    "export": {"vpcs": {"blue": {"vni": 100}}},
}
BY_NOUN: dict[str, object] = {"vpc": VPC, "subnet": SUBNET, "sg": GROUP}


class FakeOverlay:
    """Remembers what it was asked, and answers or raises what it was told."""

    name = "default"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.instances: list[str | None] = []
        self.answers = dict(ANSWERS)
        self.error: BaseException | None = None

    def open(self, instance: str | None) -> FakeOverlay:
        self.instances.append(instance)
        return self

    def __enter__(self) -> FakeOverlay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, verb: str) -> Callable[..., object]:
        def call(*args: Any, **named: Any) -> object:
            self.calls.append((verb, args, named))
            if self.error:
                raise self.error
            return self.answers.get(verb, BY_NOUN.get(verb.split("_")[0]))

        return call


Run = Callable[[str], Result]
