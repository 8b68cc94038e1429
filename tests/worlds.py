# SPDX-License-Identifier: Apache-2.0
"""Who lives where, as each of two hosts sees it.

Host "a" is the bench's: its VTEPs are compiled into the uplink programs. Host
"b" is the other end. VPC red and VPC blue have the same addresses; red and
green peer, red leads to yellow but yellow not back.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Model, Uplink

VNIS = {"red": 100, "blue": 0xABCDEF, "green": 300, "yellow": 400}
HOSTS = {
    "a": {4: "192.0.2.1", 6: "2001:db8::1"},
    "b": {4: "192.0.2.2", 6: "2001:db8::2"},
    "c": {4: "192.0.2.3", 6: "2001:db8::3"},
}
SUBNETS = {
    "red": ("10.0.0.0/24", "10.0.1.0/24", "fd00::/64", "fd00:1::/64"),
    "blue": ("10.0.0.0/24", "fd00::/64"),
    "green": ("10.20.0.0/24", "fd20::/64"),
    "yellow": ("10.30.0.0/24", "fd30::/64"),
}


@dataclass(frozen=True)
class Person:
    """One ENI: where it lives, and its device there. MAC and addresses follow from the number."""

    name: str
    vpc: str
    home: str
    dev: str
    ips: tuple[str, ...]
    hook: str = "tc"
    source_check: bool = True

    @property
    def mac(self) -> str:
        return f"02:11:00:00:00:{PEOPLE.index(self):02x}"

    @property
    def vni(self) -> int:
        return VNIS[self.vpc]

    @property
    def gateway_mac(self) -> str:
        return verbs.gateway_mac(self.vni)

    def ip(self, family: int) -> str:
        return next(ip for ip in self.ips if ip_address(ip).version == family)


PEOPLE = (
    Person("anna", "red", "a", "v1", ("10.0.0.5", "fd00::5")),
    Person("axel", "red", "a", "v2", ("10.0.0.6", "fd00::6"), hook="xdp"),
    Person("anton", "red", "a", "v3", ("10.0.1.7", "fd00:1::7")),
    Person("alma", "red", "a", "v4", ("10.0.0.8", "fd00::8"), source_check=False),
    Person("ada", "blue", "a", "v5", ("10.0.0.5", "fd00::5")),
    Person("agnes", "green", "a", "v6", ("10.20.0.5", "fd20::5")),
    Person("arno", "red", "a", "narrow", ("10.0.0.9", "fd00::9")),
    Person("amir", "red", "a", "gone", ("10.0.0.10", "fd00::10")),
    Person("bert", "red", "b", "v1", ("10.0.0.50", "fd00::50")),
    Person("bella", "blue", "b", "v2", ("10.0.0.50", "fd00::50")),
    Person("bruno", "green", "b", "v3", ("10.20.0.50", "fd20::50")),
    Person("beate", "red", "b", "v4", ("10.0.1.51", "fd00:1::51")),
    Person("boris", "yellow", "b", "v5", ("10.30.0.50", "fd30::50")),
    Person("carl", "red", "c", "v1", ("10.0.0.70", "fd00::70")),
)
BY_NAME = {person.name: person for person in PEOPLE}
# (vpc, prefix, kind, target, the hosts that are told)
ROUTES = (
    ("red", "10.20.0.0/24", "vpc", "green", "ab"),
    ("red", "fd20::/64", "vpc", "green", "ab"),
    ("green", "10.0.0.0/23", "vpc", "red", "ab"),
    ("green", "fd00::/31", "vpc", "red", "ab"),
    ("red", "10.30.0.0/24", "vpc", "yellow", "ab"),
    ("red", "10.99.0.0/16", "blackhole", None, "ab"),
    ("red", "fd99::/16", "blackhole", None, "ab"),
    ("red", "172.17.0.0/16", "eni", "anton", "ab"),
    ("red", "172.18.0.0/16", "eni", "beate", "ab"),
    ("green", "10.40.0.0/16", "vpc", "yellow", "ab"),
    ("red", "10.40.0.0/16", "vpc", "green", "ab"),
)


def host(here: str, underlay: int = 4) -> Model:
    """The desired state of a host; the others are known by their VTEPs of the family `underlay`."""
    model = Model()
    for family in (4, 6):
        vtep = ip_address(HOSTS[here][family])
        model = verbs.set_uplink(model, Uplink(f"up{family}", vtep))
    for vpc, vni in VNIS.items():
        model = verbs.create_vpc(model, vpc, vni)
        for subnet in SUBNETS[vpc]:
            model = verbs.create_subnet(model, vpc, subnet)
    for person in PEOPLE:
        model = _settle(model, person, here, underlay)
    for vpc, prefix, kind, target, told in ROUTES:
        if here in told:
            model = verbs.create_route(model, vpc, prefix, kind, target)
    other = HOSTS["b" if here == "a" else "a"][underlay]
    return verbs.create_route(model, "red", "172.16.0.0/16", "host", other)


def _settle(model: Model, person: Person, here: str, underlay: int) -> Model:
    if person.home != here:
        place = {"host": HOSTS[person.home][underlay]}
    else:
        place = {"dev": person.dev, "hook": person.hook}
    return verbs.create_eni(
        model, person.name, vpc=person.vpc, ips=person.ips, mac=person.mac,
        source_check=person.source_check, **place,
    )  # fmt: skip
