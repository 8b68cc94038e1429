# SPDX-License-Identifier: Apache-2.0
"""Programs replaced under traffic: nothing is lost, and what fails changes nothing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command import UPLINK, Machine, machine
from killed import points, start
from lab import run
from old_stores import make_store
from versions import by, counted, other_version

from cipu_xdp.loader.pins import Place
from cipu_xdp.loader.schema import SCHEMA
from cipu_xdp.loader.store import SqliteStore

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

KILLS, UPGRADES, PINGS = 3, 3, 3000


@pytest.fixture(name="host", scope="module")
def host_fixture() -> Iterator[Machine]:
    with machine("cx-upgrade") as host:
        host.attach_small()
        host.add_vpcs()
        host.do("sg", "create", "open", "--vpc", "red")
        host.do("sg", "rule", "add", "open", "ingress", "allow", "icmp")
        for name in ("eni-t1", "eni-t2"):
            host.do("eni", "set", name, "--sg", "open")
        host.do("limit", "set", "eni-t1", "egress", "--pps", "100k")
        yield host


@pytest.fixture(name="newer", scope="module")
def newer_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version that does the same by other instructions."""
    changes = {f"bpf/{name}.c": [_extra(f"{name}.c")] for name in ("tenant", "uplink")}
    return other_version(tmp_path_factory.mktemp("newer"), changes)


def _extra(name: str) -> tuple[str, str]:
    """A hook that reads the clock once more: the same packets, another program."""
    hook = name.removesuffix(".c")
    old = f"int {hook}_ingress(struct __sk_buff *skb)\n{{\n"
    return old, f"{old}\tif (bpf_ktime_get_ns() == 1)\n\t\treturn 2;\n"


def test_upgrades_under_traffic_lose_no_packet_no_session_and_no_count(
    host: Machine, newer: Path
) -> None:
    delivered, limit = counted(host, "delivered"), host.do("limit", "list")[0]["counters"]
    line = ["ip", "netns", "exec", f"{host.name}-t1", "ping", "-q", "-i", "0.002", "-c", str(PINGS),
            "10.0.0.12"]  # fmt: skip
    programs = host.programs()
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as ping:
        turns = 0
        while ping.poll() is None and turns < UPGRADES:
            done = by(host, newer, "upgrade")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["uplinks"][0]["state"] == "replaced"
            back = host.do("upgrade")
            assert back["uplinks"][0]["state"] == "replaced"
            turns += 1
        said = ping.communicate(timeout=60)[0]
    assert f"{PINGS} packets transmitted, {PINGS} received" in said, said
    assert turns
    assert not host.programs() & programs
    assert counted(host, "delivered") - delivered == 2 * PINGS
    now = host.do("limit", "list")[0]["counters"]
    assert now["packets"] - limit["packets"] == PINGS
    sessions = host.do("session", "list", "--proto", "icmp")
    assert [s["opener"]["packets"] for s in sessions if s["opener"]["packets"] >= PINGS]


def test_what_is_the_same_is_left_alone_unless_it_is_forced(host: Machine) -> None:
    programs = host.programs()
    assert host.do("upgrade")["uplinks"][0]["state"] == "same"
    assert host.programs() == programs
    assert host.do("upgrade", "--force")["uplinks"][0]["state"] == "replaced"
    assert not host.programs() & programs
    assert host.ping("t1", "10.0.0.12")


def test_a_hook_that_somebody_took_off_is_put_back_though_all_is_the_same(host: Machine) -> None:
    run("tc", "filter", "del", "dev", UPLINK, "ingress", netns=host.name)
    assert host.do("upgrade", "--dry-run")["uplinks"][0]["state"] == "tested"
    assert host.do("upgrade")["uplinks"][0]["state"] == "replaced"
    assert host.do("status")["uplinks"][0]["ok"]
    assert host.do("upgrade")["uplinks"][0]["state"] == "same"


def test_a_dry_run_tests_and_replaces_nothing(host: Machine, newer: Path) -> None:
    programs = host.programs()
    done = by(host, newer, "upgrade", "--dry-run")
    assert done.returncode == 0, done.stderr
    (uplink,) = json.loads(done.stdout)["uplinks"]
    assert uplink["state"] == "tested"
    changed = {one["name"] for one in uplink["programs"] if one["was"] != one["is"]}
    assert changed == {"tenant_ingress", "uplink_ingress"}
    assert host.programs() == programs


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("bpf/tenant.c", ("int tenant_ingress(struct __sk_buff *skb)\n{\n",
         "int tenant_ingress(struct __sk_buff *skb)\n{\n\treturn 0;\n"), "is sent does not hold"),
        ("bpf/uplink.c", ("int uplink_ingress(struct __sk_buff *skb)\n{\n",
         "int uplink_ingress(struct __sk_buff *skb)\n{\n\treturn 2;\n"), "does not hold"),
        ("bpf/uplink.c", ("int uplink_ingress(struct __sk_buff *skb)\n{\n",
         "int uplink_ingress(struct __sk_buff *skb)\n{\n\tfor (;;)\n\t\tskb->mark++;\n"), ""),
        ("bpf/tenant.c", ("int tenant_ingress(", "int no such thing tenant_ingress("), ""),
    ],
)  # fmt: skip
def test_a_version_that_is_not_right_replaces_nothing(
    host: Machine, tmp_path: Path, file: str, change: tuple[str, str], why: str
) -> None:
    programs = host.programs()
    done = by(host, other_version(tmp_path, {file: [change]}), "upgrade")
    assert done.returncode == 5, done.stdout + done.stderr
    assert why in done.stderr
    assert host.programs() == programs
    assert host.ping("t1", "10.0.0.12")


def test_a_dry_run_leaves_an_older_store_to_its_version(host: Machine) -> None:
    path = Place(host.name).store
    kept = path.rename(path.with_name("kept.db"))
    with closing(SqliteStore.to_read(kept)) as store:
        make_store(path, SCHEMA - 1, store.load())
    try:
        answer = host.do("upgrade", "--dry-run")
        assert [one["state"] for one in answer["uplinks"]] == ["same"]
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA - 1,)
    finally:
        kept.replace(path)


def test_nothing_is_upgraded_where_nothing_is_attached() -> None:
    with machine("cx-upgrade2") as host:
        assert host.command("upgrade").code == 3


def test_killed_anywhere_packets_go_on_and_the_next_upgrade_finishes(host: Machine) -> None:
    words = ("upgrade", "--force")
    for at in points(host.name, KILLS, *words):
        start(host.name, at, *words)
        assert host.ping("t1", "10.0.0.12"), f"cut at {at}"
        assert not host.ping("t3", "10.0.0.12"), f"open at {at}"
        host.do(*words)
    assert host.do("status")["uplinks"][0]["ok"]
