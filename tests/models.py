# SPDX-License-Identifier: Apache-2.0
"""Random models, and what must hold of every model.

Verbs draw from small pools, so that they collide as often as they fit. The
invariants are written from the rules' words and do not call the rules.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from ipaddress import ip_address
from typing import Any

import group_models
import limit_models
import pytest
from hypothesis import strategies as st

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Link, Model, Uplink

Verb = Callable[[Model], Model]

VPCS = ("red", "blue", "green")
VNIS = (1, 100, 16777215)
CIDRS = ("10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/30", "10.0.0.0/8", "fd00::/64", "fd00::/126")
ADDRESSES = (
    *(f"10.0.0.{n}" for n in (0, 1, 2, 3, 4, 5, 6, 7, 127, 130, 255)),
    *(f"10.0.1.{n}" for n in (2, 3)),
    *(f"fd00::{n}" for n in range(7)),
)
PREFIXES = (*CIDRS, "0.0.0.0/0", "::/0", *(f"{ip}/32" for ip in ADDRESSES[:5]), "fd00::3/128")
ENIS = ("a", "b", "c", "d", "e", "f")
MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02", verbs.gateway_mac(100))
DEVICES = ("v1", "v2", "v3", "v4", "eth0", "eth1")
HOSTS = ("192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::1", "2001:db8::2", "192.0.2.1")

vpcs, vnis, enis = st.sampled_from((*VPCS[:2], *VPCS)), st.sampled_from(VNIS), st.sampled_from(ENIS)
cidrs, prefixes = st.sampled_from(CIDRS), st.sampled_from(PREFIXES)
devices, hosts = st.sampled_from(DEVICES), st.sampled_from(HOSTS)
addresses = st.lists(st.sampled_from(ADDRESSES), min_size=1, max_size=2, unique=True)
macs = st.sampled_from((None, None, None, *MACS))
hooks = st.sampled_from(("tc", "xdp"))
places: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.fixed_dictionaries({"dev": devices, "hook": hooks}), st.fixed_dictionaries({"host": hosts})
)


@st.composite
def routes(draw: st.DrawFn) -> Verb:
    """A create_route with a target of the right kind."""
    targets: dict[str, st.SearchStrategy[str | None]] = {
        "eni": enis,
        "host": hosts,
        "vpc": vpcs,
        "blackhole": st.none(),
    }
    kind = draw(st.sampled_from(sorted(targets)))
    vpc, prefix, target = draw(vpcs), draw(prefixes), draw(targets[kind])
    return lambda model: verbs.create_route(model, vpc, prefix, kind, target)


def create_eni(name: str, vpc: str, ips: list[str], mac: str | None, place: dict[str, str]) -> Verb:
    """A create_eni as a function of the model alone."""
    return lambda model: verbs.create_eni(model, name, vpc=vpc, ips=ips, mac=mac, **place)  # type: ignore[arg-type]


def set_eni(name: str, ips: list[str] | None, mac: str | None, place: dict[str, str]) -> Verb:
    """A set_eni as a function of the model alone."""
    return lambda model: verbs.set_eni(model, name, ips=ips, mac=mac, **place)  # type: ignore[arg-type]


uplinks = st.builds(Uplink, devices, hosts.map(ip_address))
# How often each verb comes, and the verb: one_of would give all the same share.
KINDS: tuple[tuple[int, st.SearchStrategy[Verb]], ...] = (
    (1, st.builds(lambda uplink: lambda m: verbs.set_uplink(m, uplink), uplinks)),
    (1, st.builds(lambda name, vni: lambda m: verbs.create_vpc(m, name, vni), vpcs, vnis)),
    (2, st.builds(lambda vpc, cidr: lambda m: verbs.create_subnet(m, vpc, cidr), vpcs, cidrs)),
    (16, st.builds(create_eni, enis, vpcs, addresses, macs, places)),
    (4, st.builds(set_eni, enis, st.none() | addresses, macs, st.just({}) | places)),
    (6, routes()),
    (1, st.builds(lambda dev: lambda m: verbs.remove_uplink(m, dev), devices)),
    (1, st.builds(lambda name: lambda m: verbs.delete_vpc(m, name), vpcs)),
    (2, st.builds(lambda vpc, cidr: lambda m: verbs.delete_subnet(m, vpc, cidr), vpcs, cidrs)),
    (2, st.builds(lambda name: lambda m: verbs.delete_eni(m, name), enis)),
    (2, st.builds(lambda vpc, cidr: lambda m: verbs.delete_route(m, vpc, cidr), vpcs, prefixes)),
    *group_models.KINDS,
    *limit_models.KINDS,
)
SHARES = tuple(index for index, (times, _) in enumerate(KINDS) for _ in range(times))
histories = st.lists(
    st.sampled_from(SHARES).flatmap(lambda index: KINDS[index][1]), min_size=20, max_size=60
)


def beginning() -> Model:
    """Two VPCs with the same addresses and an uplink: where most verbs find something."""
    model = verbs.set_uplink(Model(), Uplink("eth0", ip_address("192.0.2.1")))
    for name, vni in (("red", 100), ("blue", 1)):
        model = verbs.create_vpc(model, name, vni)
        model = verbs.create_subnet(model, name, "10.0.0.0/24")
        model = verbs.create_subnet(model, name, "fd00::/64")
    return model


def peopled() -> Model:
    """`beginning` with the ENI a of the VPC red here and the ENI b on another host."""
    model = verbs.create_eni(beginning(), "a", vpc="red", ips=["10.0.0.5", "fd00::5"], dev="v1")
    return verbs.create_eni(model, "b", vpc="red", ips=["10.0.0.6"], host="192.0.2.2")


def refused(why: str, verb: Callable[..., object], *args: Any, **options: Any) -> BadInput:
    """Call a verb that must refuse for a reason matching `why`; return the error."""
    with pytest.raises(BadInput, match=why) as caught:
        verb(*args, **options)
    assert caught.value.hint
    return caught.value


def states(model: Model, history: Iterable[Verb]) -> Iterator[Model]:
    """Each state of the history; a verb that is refused leaves the one before."""
    for verb in history:
        try:
            model = verb(model)
        except BadInput:
            continue
        yield model


def model_after(history: list[Verb]) -> Model:
    """The last state of a history that starts from `peopled`."""
    return [start := peopled(), *states(start, history)][-1]


models = st.builds(model_after, histories)
links = st.dictionaries(
    st.sampled_from(DEVICES),
    st.builds(
        Link,
        ifindex=st.integers(1, 1 << 20),
        mac=st.just("02:00:00:00:00:aa"),
        mtu=st.just(1500),
        kind=st.sampled_from(("", "veth", "tun")),
        peer_elsewhere=st.booleans(),
    ),
).filter(lambda found: len({link.ifindex for link in found.values()}) == len(found))


def assert_whole(model: Model) -> None:
    """Fail if `model` breaks a rule."""
    _assert_unique(vpc.vni for vpc in model.vpcs.values())
    _assert_unique(uplink.vtep for uplink in model.uplinks.values())
    _assert_subnets_apart(model)
    _assert_enis_placed(model)
    _assert_addresses_right(model)
    _assert_routes_lead_somewhere(model)
    _assert_paths_match(model)
    group_models.assert_groups_whole(model)
    limit_models.assert_limits_whole(model)


def _assert_unique(values: Iterable[Hashable]) -> None:
    assert [value for value, times in Counter(values).items() if times > 1] == []


def _assert_subnets_apart(model: Model) -> None:
    for subnet in model.subnets.values():
        assert subnet.vpc in model.vpcs
        assert subnet.gateway in subnet.cidr
        assert subnet.gateway != subnet.cidr.network_address
        for other in model.subnets.values():
            apart = other.vpc != subnet.vpc or not other.cidr.overlaps(subnet.cidr)
            assert other is subnet or apart


def _assert_enis_placed(model: Model) -> None:
    found = model.enis.values()
    _assert_unique(eni.number for eni in found)
    _assert_unique(eni.dev for eni in found if eni.dev)
    _assert_unique((eni.vpc, eni.mac) for eni in found)
    for eni in found:
        assert (eni.dev is None) != (eni.host is None)
        assert eni.dev not in model.uplinks
        assert eni.mac != verbs.gateway_mac(model.vpcs[eni.vpc].vni)
        assert eni.host not in {uplink.vtep for uplink in model.uplinks.values()}


def _assert_addresses_right(model: Model) -> None:
    owned = [(eni.vpc, ip) for eni in model.enis.values() for ip in eni.ips]
    gateways = [(subnet.vpc, subnet.gateway) for subnet in model.subnets.values()]
    _assert_unique([*owned, *gateways])
    for vpc, ip in owned:
        (subnet,) = [s for s in model.subnets.values() if s.vpc == vpc and ip in s.cidr]
        assert ip != subnet.cidr.network_address
        assert ip.version == 6 or ip != subnet.cidr.broadcast_address
    singles = {(vpc, p[0]) for vpc, p in model.routes if p.prefixlen == p.max_prefixlen}
    assert singles.isdisjoint([*owned, *gateways])


def _assert_routes_lead_somewhere(model: Model) -> None:
    assert model.routes.keys().isdisjoint(model.subnets)
    for route in model.routes.values():
        assert route.vpc in model.vpcs
        if route.kind == "eni":
            assert model.enis[str(route.target)].vpc == route.vpc
        if route.kind == "vpc":
            assert route.target in model.vpcs
            assert route.target != route.vpc


def _assert_paths_match(model: Model) -> None:
    named = {eni.host for eni in model.enis.values() if eni.host}
    named |= {ip_address(str(r.target)) for r in model.routes.values() if r.kind == "host"}
    assert named == set(model.hosts)
    _assert_unique(model.hosts.values())
    assert all(index >= 1 for index in model.hosts.values())
