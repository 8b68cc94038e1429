# SPDX-License-Identifier: Apache-2.0
"""Policy in the kernel's tables: whole at every moment, and no more than there must be."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import class_bench
import pytest
import table_watch
from cell_search import CellSearch
from decoded import LINKS
from models import peopled
from policed import allow, with_group
from rule_probes import LinearScan, probes
from table_watch import Watch

from cipu_xdp.loader import abi, maps, policy_rows
from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.model import Model
from cipu_xdp.loader.records import frozen
from cipu_xdp.loader.rows import rows
from cipu_xdp.loader.tables import SIZED, WRITTEN, Tables, checked_sizes


@pytest.fixture(scope="module")
def opened() -> Iterator[Tables]:
    """Small tables on a bpffs of their own."""
    directory = Path(tempfile.mkdtemp(prefix="cipu-xdp-rule-sets-"))
    subprocess.run(["mount", "-t", "bpf", "bpf", str(directory)], check=True)
    try:
        sizes = dict.fromkeys(SIZED, 1024) | {"rule_counters": 16384}
        made = Tables.create(directory, checked_sizes(sizes))
        yield made
        made.close()
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


@pytest.fixture
def tables(opened: Tables) -> Tables:
    """The same, without a row."""
    opened.sync(rows(Model(), {}))
    return opened


def with_member(*groups: str) -> Model:
    """`peopled` with the groups web and db; its local ENI a is in `groups`."""
    model = with_group(peopled(), "web", allow("ingress", 6, 80))
    model = with_group(model, "db", allow("ingress", group="web"))
    return verbs.set_eni(model, "a", groups=groups)


def load(tables: Tables, model: Model) -> None:
    tables.sync(rows(model, LINKS))


def set_numbers(tables: Tables) -> dict[bytes, bytes]:
    """The kernel's number of each rule set: another one for one that was made anew."""
    return tables["rule_sets"].rows()


def test_a_rule_set_is_there_as_it_was_compiled(tables: Tables) -> None:
    model = with_member("web", "db")
    load(tables, model)
    ((key, cells),) = rows(model, LINKS)["rule_sets"].items()
    assert b"".join(tables["rule_sets"].values(key)) == cells
    assert tables.holds("rule_sets", rows(model, LINKS)["rule_sets"])
    load(tables, with_member())
    assert set_numbers(tables) == {}
    assert not tables.holds("rule_sets", rows(model, LINKS)["rule_sets"])
    assert list(tables["rule_sets"].values(key)) == []


def test_a_rule_set_that_does_not_change_is_left_alone(tables: Tables) -> None:
    model = with_member("web")
    load(tables, model)
    before = set_numbers(tables)
    model = verbs.create_eni(model, "c", vpc="red", ips=["10.0.0.7"], dev="v2")
    model = verbs.set_eni(model, "c", groups=["db"])
    load(tables, model)
    assert set_numbers(tables).items() > before.items()


def test_ten_thousand_rules_are_in_the_kernel_and_take_less_than_eight_megabytes(
    tables: Tables,
) -> None:
    model = with_member("web")
    group = replace(class_bench.group("acl", 10_000), name="web", number=1)
    model = replace(model, groups=frozen({**model.groups, "web": group}))
    load(tables, model)
    ((key, number),) = set_numbers(tables).items()
    search = CellSearch(b"".join(tables["rule_sets"].values(key)))
    scan = LinearScan(group.rules.values())
    for probe in probes(list(group.rules.values()), 50):
        rule = scan.first(probe)
        assert search.find(*probe[:2], probe.service).rule == (rule.number if rule else 0)
    fd = maps.open_by_id(int.from_bytes(number, "little"))
    told = Path(f"/proc/self/fdinfo/{fd}").read_text()
    os.close(fd)
    (memory,) = re.findall(r"memlock:\s+(\d+)", told)
    assert int(memory) < 8 << 20


@pytest.mark.parametrize("seed", range(12))
def test_policy_is_whole_after_every_single_write(tables: Tables, seed: int) -> None:
    random, model = Random(seed), table_watch.beginning()
    before, replaced = rows(model, LINKS), 0
    tables.sync(before)
    for _ in range(40):
        model = table_watch.changed(random, model)
        after = rows(model, LINKS)
        watch = Watch(tables, before, after)
        with pytest.MonkeyPatch.context() as patch:
            table_watch.watching(patch, watch)
            tables.sync(after)
        replaced += watch.flips
        before = after
    assert replaced
    for name in set(WRITTEN) - {"devices"}:  # these devices are not there
        assert tables.holds(name, before[name]), name


KEPT = ("owners", "rings", "fragments")


def keep(tables: Tables, number: int, **counts: int) -> None:
    """What the datapath keeps of an ENI for its sessions."""
    tables["owners"].put(abi.u32(number), abi.record("owner").pack(**counts))
    block = abi.record("ring_key").pack(owner=number, block=7)
    tables["rings"].put(block, abi.record("ring_block").pack())
    place = abi.record("fragment_key").pack(owner=number, place=70)
    tables["fragments"].put(place, abi.record("fragment").pack())


def kept(tables: Tables) -> list[set[bytes]]:
    """The numbers of the ENIs that something is kept of, by table."""
    return [{key[:4] for key in tables[name].rows()} for name in KEPT]


def test_what_is_kept_of_an_eni_for_its_sessions_goes_with_its_last_group(tables: Tables) -> None:
    load(tables, with_member("web"))
    for number in (1, 3):
        keep(tables, number, opened=9)
    load(tables, with_member("web", "db"))
    assert kept(tables) == [{abi.u32(1)}] * len(KEPT)
    load(tables, with_member())
    assert kept(tables) == [set()] * len(KEPT)


@pytest.mark.parametrize("deleted", [False, True])
def test_an_eni_is_told_what_it_has_as_long_as_it_has_it(tables: Tables, deleted: bool) -> None:
    def leave() -> None:
        model = with_member()
        load(tables, verbs.delete_eni(model, "a") if deleted else model)

    load(tables, with_member("web"))
    keep(tables, 1, sessions=9)
    leave()
    assert kept(tables) == [{abi.u32(1)}] * len(KEPT)
    load(tables, with_member("web"))
    (owner,) = tables["owners"].values(abi.u32(1))
    assert abi.record("owner").numbers(owner)["sessions"] == 9
    keep(tables, 1, sessions=0)
    leave()
    assert kept(tables) == [set()] * len(KEPT)


def test_counters_can_be_set_back_to_zero(tables: Tables) -> None:
    counters, size = tables["rule_counters"], abi.record("rule_counter").size
    for number in (5, 6):
        value = abi.record("rule_counter").pack(packets=3)
        counters.put(abi.u32(number), value * (len(counters.rows()[abi.u32(5)]) // size))
    counters.remove_all([abi.u32(5)])
    assert not any(any(value) for value in counters.values(abi.u32(5)))
    assert all(any(value) for value in counters.values(abi.u32(6)))


def test_rules_are_refused_when_there_are_not_as_many_counters(tables: Tables) -> None:
    made = rows(with_member("web"), LINKS)
    tables.check_room(made, 16383)
    with pytest.raises(BadInput, match="16385 entries wanted, it holds 16384") as caught:
        tables.check_room(made, 16384)
    assert "--table-size rule_counters=16385" in caught.value.hint


def test_rule_sets_are_refused_when_there_are_not_as_many_places(tables: Tables) -> None:
    many = dict.fromkeys(range(1, 1026), ())
    made = {**rows(Model(), {}), "rule_sets": policy_rows.RuleSets(many, {})}
    with pytest.raises(BadInput, match="fill the table rule_sets"):
        tables.check_room(made)


def test_there_is_a_slot_for_every_session() -> None:
    assert checked_sizes({"sessions": 77})["slots"] == 154
    with pytest.raises(BadInput, match="no table slots"):
        checked_sizes({"slots": 7})
