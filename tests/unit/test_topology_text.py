# SPDX-License-Identifier: Apache-2.0
"""What is written as YAML reads back the same, and ENIs are one line each."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader import parse, topology, topology_text
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model, Uplink

NAMES = st.sampled_from(
    ["web", "on", "null", "123", "12:34", "a-b.c", "true", "~", "é", "😀", "08", "\x7f"]
)
SCALARS = st.one_of(NAMES, st.integers(-9, 9), st.booleans(), st.sampled_from(["", "02:00", "#"]))
ENIS = st.dictionaries(
    NAMES,
    st.fixed_dictionaries(
        {"mac": SCALARS, "ips": st.lists(SCALARS, max_size=2)},
        optional={"limits": st.dictionaries(NAMES, st.dictionaries(NAMES, SCALARS))},
    ),
    min_size=1,
    max_size=3,
)
VPCS = st.fixed_dictionaries(
    {"vni": st.integers(1, 99)},
    optional={
        "subnets": st.lists(st.dictionaries(NAMES, SCALARS, min_size=1), min_size=1, max_size=2),
        "security_groups": st.dictionaries(NAMES, SCALARS, min_size=1, max_size=2),
        "enis": ENIS,
        "routes": st.lists(st.dictionaries(NAMES, SCALARS, min_size=1), min_size=1, max_size=2),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"vpcs": st.dictionaries(NAMES, VPCS, max_size=3)},
    optional={"timeouts": st.dictionaries(NAMES, st.integers(1, 9), min_size=1)},
)


@given(DOCUMENTS)
def test_what_is_written_reads_back_the_same(document: dict[str, Any]) -> None:
    text = topology_text.dumps(document)
    assert topology_text.loads(text) == document
    count = sum(len(vpc.get("enis", {})) for vpc in document["vpcs"].values())
    assert sum('"ips"' in line for line in text.splitlines()) == count


WORDS = ("08", "09", "0x1F", "0o7", "0b1", "1e3", "1_0", "10", "1.5", "true", "Yes", "no", "n", "Y",
         "off", "null", "NULL", "2001-01-01", "1-", "a.", "0.0.0.0", "e" * 63)  # fmt: skip
MODEL_NAMES = st.sampled_from(WORDS) | st.from_regex(parse.NAME, fullmatch=True)
ODD_DEVICES = st.sampled_from(
    ("~", "-", "?", "=", "<<", "#", "&a", "*a", "!x", "%", "@", "`", "'", '"', "{", "[]", "|", ">",
     "+5", "-08", ".5", "v\U0001f600", "\\U00000041", "é", "ǆ", "\U00020000", ",", "\\")
)  # fmt: skip


def is_device(text: str) -> bool:
    try:
        return parse.device(text) == text
    except parse.Unfit:
        return False


DEVICE_NAMES = ODD_DEVICES | MODEL_NAMES.map(lambda name: name[:15]) | st.text("a0~:😀é \x7f\\'")


@given(
    st.lists(MODEL_NAMES, min_size=2, max_size=2, unique=True),
    st.lists(MODEL_NAMES, min_size=2, max_size=2, unique=True),
    MODEL_NAMES,
    DEVICE_NAMES.filter(is_device),
)
@settings(deadline=None)
def test_whatever_things_are_called_a_model_is_exported_and_read_back(
    vpcs: list[str], groups: list[str], eni: str, dev: str
) -> None:
    here = Uplink("up0", ip_address("192.0.2.1"))
    model = verbs.set_uplink(Model(), here)
    for vni, vpc in enumerate(vpcs, 1):
        model = verbs.create_vpc(model, vpc, vni)
        model = verbs.create_subnet(model, vpc, "10.0.0.0/24")
    for group in groups:
        model = verbs.create_group(model, group, vpcs[0])
    model = verbs.add_rule(model, groups[0], "ingress", "allow", group=groups[1])
    model = verbs.create_eni(model, eni, vpc=vpcs[0], ips=["10.0.0.5"], dev=dev, groups=groups)
    model = verbs.create_route(model, vpcs[0], "10.1.0.0/16", "eni", eni)
    model = verbs.create_route(model, vpcs[0], "10.2.0.0/16", "vpc", vpcs[1])
    document = topology.document(model)
    for text, as_json in (
        (topology_text.dumps(document), False),
        (json.dumps(document), True),
        (json.dumps(document), False),
    ):
        plain = topology_text.loads(text, as_json=as_json)
        again = topology.desired(topology.parse_plain(plain), [here])
        assert topology.document(again) == document


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("vni: !!bool maybe", "line 1: 'maybe' is no bool"),
        ("a: 1\nvni: !!int foo", "line 2: 'foo' is no int"),
        ("vni: !!null foo", "line 1: 'foo' is no null"),
        ("vni: !!timestamp foo", "line 1: could not determine a constructor"),
        ("vni: !!float foo", "line 1: could not determine a constructor"),
        ("vpcs: !!set {red}", "line 1: could not determine a constructor"),
        (f"vni: {'9' * 5000}", "is no int"),
        ("vpcs: " + "[" * 3000 + "]" * 3000, "nested more than 32 deep"),
        ("vpcs: " + "[" * 1_000_000, "nested more than 32 deep"),
        ('{"a": ' + "[" * 1_000_000, "nested more than 32 deep"),
    ],
)  # fmt: skip
def test_what_yaml_says_and_a_topology_cannot_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        topology_text.loads(text)
    assert why in caught.value.why


@pytest.mark.parametrize("as_json", [True, False])
def test_a_key_that_json_has_twice_is_told_with_its_place(as_json: bool) -> None:
    text = '{"vpcs": {"red": {"routes": [{}, {"prefix": "a", "prefix": "b"}], "vni": 1}}}'
    with pytest.raises(BadInput, match=r"vpcs\.red\.routes\.1\.prefix is given twice"):
        topology_text.loads(text, as_json=as_json)
    with pytest.raises(BadInput, match=r": vpcs is given twice"):
        topology_text.loads('{"vpcs": {"a": 1, "a": 2}, "vpcs": {}}', as_json=as_json)


def test_json_without_end_is_refused() -> None:
    with pytest.raises(BadInput, match="too deep"):
        topology_text.loads("[" * 1_000_000, as_json=True)
