# SPDX-License-Identifier: Apache-2.0
"""What is written as YAML reads back the same, and ENIs are one line each."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cipu_xdp.loader import topology_text

NAMES = st.sampled_from(["web", "on", "null", "123", "12:34", "a-b.c", "true", "~", "é"])
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
