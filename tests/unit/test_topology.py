# SPDX-License-Identifier: Apache-2.0
"""The language of topology files: what it takes, what it refuses, and how it says so."""

import json
from contextlib import suppress
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cipu_xdp.loader import (
    topology,
    topology_enis,
    topology_schema,
    topology_shipped,
    topology_text,
)
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Uplink
from cipu_xdp.loader.topology import parse_plain

ALPHA = Uplink("up0", ip_address("192.0.2.1"))
BRAVO = Uplink("up0", ip_address("192.0.2.2"))


def deep(levels: int) -> list[Any]:
    """A list in a list, and so on."""
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


def plain() -> dict[str, Any]:
    return {
        "underlay": {"prefix": "192.0.2.0/24", "mtu": 1550},
        "hosts": {"alpha": {"vtep": "192.0.2.1"}, "bravo": {"vtep": "192.0.2.2"}},
        "vpcs": {
            "red": {
                "vni": 100,
                "subnets": ["10.0.0.0/24", {"cidr": "fd00::/64", "gateway": "fd00::5"}],
                "security_groups": {
                    "web": {"rules": [{"direction": "ingress", "action": "allow", "group": "db"}]},
                    "db": {"established": "keep"},
                },
                "enis": {
                    "a": {
                        "host": "alpha",
                        "ips": ["10.0.0.11", "fd00::11"],
                        "security_groups": ["web", "db"],
                    },
                    "b": {"host": "192.0.2.2", "ips": ["10.0.0.12"], "source_check": False},
                },
                "routes": [
                    {"prefix": "10.9.0.0/16", "eni": "b"},
                    {"prefix": "10.8.0.0/16", "host": "bravo"},
                    {"prefix": "10.7.0.0/16", "blackhole": True},
                    {"prefix": "10.6.0.0/16", "vpc": "blue"},
                ],
            },
            "blue": {"vni": 200},
        },
        "timeouts": {"udp_opening": 5},
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """`plain()` with another value at a path of keys with dots between."""
    told = plain()
    *way, last = path.split(".")
    part = told
    for key in way:
        part = part[key]
    part[last] = value
    return told


def refused(told: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        parse_plain(told)
    return caught.value


@pytest.mark.parametrize(
    ("path", "value", "why", "hint"),
    [
        ("hosts.alpha.vtep", "x", "hosts.alpha.vtep: 'x' is not", "such as 10.0.0.5"),
        ("hosts.alpha.vtep", 5, "hosts.alpha.vtep: 5 is not text", "quotes"),
        ("hosts.alpha.vtep", "224.0.0.1", "multicast", "unicast"),
        ("hosts.alpha.vtep", None, "hosts.alpha.vtep is missing", "Add it"),
        ("hosts.alpha.hook", "ebpf", "hosts.alpha.hook", "'auto', 'xdp' or 'tc'"),
        ("hosts.alpha.colour", "red", "no key 'colour'", "Allowed are vtep"),
        ("host", {}, "no key 'host'", "Did you mean 'hosts'?"),
        ("hosts", ["alpha"], "hosts: ['alpha'] does not fit", "mapping"),
        ("underlay.mtu", 100, "underlay.mtu: 100", "1350"),
        ("underlay.mtu", "1500", "underlay.mtu: '1500'", "integer"),
        ("underlay.router", "yes", "underlay.router", "boolean"),
        ("vpcs.red.vni", 0, "vpcs.red.vni: 0 is not a VNI", "1 to 16777215"),
        ("vpcs.red.vni", True, "vpcs.red.vni", "1 to 16777215"),
        ("vpcs.red.subnets", ["10.0.0.1/24"], "subnets.0.cidr", "Did you mean 10.0.0.0/24?"),
        ("hosts.bravo.vtep", "192.0.2.1", "hosts: two have the VTEP 192.0.2.1", "once"),
        (
            "vpcs.red.subnets",
            ["10.0.0.0/24", {"cidr": "10.0.0.0/24", "gateway": "10.0.0.9"}],
            "vpcs.red.subnets: two have the CIDR 10.0.0.0/24",
            "once",
        ),
        (
            "vpcs.red.routes",
            [{"prefix": "10.9.0.0/16", "eni": "a"}, {"prefix": "10.9.0.0/16", "blackhole": True}],
            "vpcs.red.routes: two have the prefix 10.9.0.0/16",
            "once",
        ),
        ("vpcs.red.enis.a.ips", [], "vpcs.red.enis.a.ips", "at least 1"),
        ("vpcs.red.enis.a.ips", "10.0.0.11", "vpcs.red.enis.a.ips", "list"),
        ("vpcs.red.enis.a.mac", "01:00:00:00:00:01", "multicast", "even"),
        ("vpcs.red.enis.a.host", "gamma", "enis.a.host: 'gamma' is not a host", "alpha, bravo"),
        ("vpcs.red.enis.a.host", None, "vpcs.red.enis.a: it is nowhere", "'host'"),
        ("vpcs.red.enis.a.kind", "bridge", "enis.a.kind", "'veth' or 'tap'"),
        ("vpcs.red.routes", [{"prefix": "10.9.0.0/16"}], "routes.0: it leads", "eni, host, vpc"),
        ("vpcs.blue.enis", {"a": {"dev": "a", "ips": ["10.0.0.1"]}}, "same name", "its own"),
        ("vpcs.a b", {"vni": 1}, "vpcs.a b", "letters"),
        ("vpcs.red.enis", {True: {}}, "vpcs.red.enis.true: True is not text", "quotes"),
        ("vpcs.red.enis", {None: {}}, "vpcs.red.enis.null: None is not text", "quotes"),
        ("vpcs.red.enis", {8: {}}, "vpcs.red.enis.8: 8 is not text", "quotes"),
        ("vpcs.red.enis.a.dev", "\ud800", "'\\ud800' cannot be the name of an", "ip link"),
        ("vpcs.red.vni", deep(900), "vpcs.red.vni: [[[", "1 to 16777215"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(
    path: str, value: object, why: str, hint: str
) -> None:
    error = refused(changed(path, value))
    assert why in error.why
    assert hint in error.hint


@pytest.mark.parametrize("told", [5, "text", [1], [plain()]])
def test_a_file_must_be_a_mapping(told: object) -> None:
    assert "mapping" in refused(told).hint


@pytest.mark.parametrize("text", ["", "---", "# vpcs: {}", "null"])
def test_a_file_that_says_nothing_is_no_wish_to_have_nothing(text: str) -> None:
    error = refused(topology_text.loads(text))
    assert "says nothing" in error.why
    assert "vpcs: {}" in error.hint
    assert parse_plain(topology_text.loads("vpcs: {}")).vpcs == {}


def test_a_key_with_nothing_after_it_is_as_good_as_none() -> None:
    assert parse_plain(changed("vpcs.red.enis.a.mac", None)) == parse_plain(plain())


def test_one_file_serves_every_host() -> None:
    topo = parse_plain(plain())
    here, there = topology.desired(topo, [ALPHA]), topology.desired(topo, [BRAVO])
    assert (here.enis["a"].dev, here.enis["a"].host) == ("a", None)
    assert (there.enis["a"].dev, there.enis["a"].host) == (None, ALPHA.vtep)
    assert (here.enis["b"].host, there.enis["b"].dev) == (BRAVO.vtep, "b")
    assert [here.enis[name].mac for name in "ab"] == [there.enis[name].mac for name in "ab"]
    assert not here.enis["b"].source_check


def test_a_route_to_a_host_is_none_on_that_host() -> None:
    topo = parse_plain(plain())
    key = ("red", IPv4Network("10.8.0.0/16"))
    assert topology.desired(topo, [ALPHA]).routes[key].target == "192.0.2.2"
    assert key not in topology.desired(topo, [BRAVO]).routes


def test_what_does_not_fit_together_is_refused_with_the_file_named() -> None:
    topo = parse_plain(changed("vpcs.red.enis.a.ips", ["10.99.0.1"]), source="lab.yaml")
    with pytest.raises(BadInput, match=r"cannot use lab\.yaml: .*create the ENI a"):
        topology.desired(topo, [ALPHA])


@pytest.mark.parametrize("uplink", [ALPHA, BRAVO])
def test_a_document_says_what_the_model_says(uplink: Uplink) -> None:
    model = topology.desired(parse_plain(plain()), [uplink])
    told = json.loads(json.dumps(topology.document(model)))
    assert topology.desired(parse_plain(told), [uplink]) == model


def test_a_document_serves_the_other_host_too() -> None:
    topo = parse_plain(changed("vpcs.red.routes", []))
    here, there = topology.desired(topo, [ALPHA]), topology.desired(topo, [BRAVO])
    told = parse_plain(topology.document(here))
    seen = topology.desired(told, [BRAVO])
    assert seen.enis["a"] == there.enis["a"]
    assert seen.enis["b"].dev == there.enis["b"].dev


@pytest.mark.parametrize("name", topology_shipped.shipped())
def test_shipped_topologies_are_found_by_name_and_fit(name: str) -> None:
    topo = topology_shipped.find(name)
    assert topo.name == name
    for host in topo.hosts.values():
        assert topology.desired(topo, [Uplink("up0", host.vtep)]).enis


def test_a_name_that_is_not_shipped_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInput) as caught:
        topology_shipped.find("nosuch")
    assert "two-hosts" in caught.value.hint


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    as_json, as_yaml = tmp_path / "lab.json", tmp_path / "lab.yaml"
    as_json.write_text(json.dumps(plain(), indent="\t"))
    as_yaml.write_text(json.dumps(plain()))
    assert topology.load(as_json).vpcs == topology.load(as_yaml).vpcs
    assert topology.load(as_json).name == "lab"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12:34:56:00:00:01", "12:34:56:00:00:01"),
        ("no", "no"),
        ("2001-01-01", "2001-01-01"),
        ("fd00::/64", "fd00::/64"),
        ("true", True),
        ("010", 10),
        ("~", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert topology_text.loads(f"key: {text}") == {"key": value}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\nb: 2\na: 3", "'a' is given twice"),
        ("a:\n  - [", "line 3"),
        ("a: !!python/object:os.system x", "line 1"),
    ],
)
def test_text_that_is_not_yaml_is_refused_by_line(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        topology_text.loads(text)
    assert why in caught.value.why


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name, text in (("a.json", b'{"a": 1, "a": 2}'), ("b.yaml", b"\xff\xfe\xff")):
        (tmp_path / name).write_bytes(text)
    for name in ("a.json", "b.yaml", "missing.yaml"):
        with pytest.raises(BadInput, match=name):
            topology.load(tmp_path / name)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(
    path=st.sampled_from(
        ["hosts", "hosts.alpha", "underlay", "vpcs", "vpcs.red.enis.a", "vpcs.red.routes"]
    ),
    value=trees,
)
def test_anything_at_any_place_is_taken_or_refused_as_bad_input(path: str, value: object) -> None:
    with suppress(BadInput):
        parse_plain(changed(path, value))


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_as_bad_input(text: str) -> None:
    with suppress(BadInput):
        topology_text.loads(text)


texts = st.sampled_from((
    "10.0.0.5", "fd00::5", "::ffff:10.0.0.1", "010.0.0.1", "10.0.0.5 ", "1.2.3", "fe80::1%eth0",
    "a\0b", "\u0661.2.3.4", "", "alpha", "192.0.2.9", "0.0.0.0", "02:00:00:00:00:01",
    "02-00-00-00-00-0A", "01:00:00:00:00:01",
))  # fmt: skip
values = st.one_of(texts, st.none(), st.integers(), st.booleans(), st.lists(texts, max_size=18))


@given(
    st.text(max_size=4) | st.integers() | st.just("a" * 64),
    st.one_of(
        values,
        st.dictionaries(st.sampled_from(("ips", "host", "mac", "dev", "macs")), values),
        st.fixed_dictionaries({"ips": st.lists(texts, max_size=3), "host": texts}),
    ),
)
def test_an_eni_that_is_read_quickly_is_the_one_that_is_read_slowly(name: Any, said: Any) -> None:
    quick = topology_enis.plain_eni(name, said)
    adapter = TypeAdapter(dict[topology_schema.Name, topology_schema.EniPart])
    try:
        ((_, part),) = adapter.validate_python({name: said}).items()
    except ValidationError:
        assert quick is None
        return
    slow = topology_schema._eni(name, part)
    assert quick in (None, slow)
    if said.keys() <= topology_enis.PLAIN and slow.host is not None:
        assert quick == slow
