# SPDX-License-Identifier: Apache-2.0
"""ENIs on other Ethernet devices, ENIs that move, ENIs that go: a device is a device again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import OTHER, SCRIPT, UPLINK, Machine, machine
from lab import run, wait_for

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def attached() -> Iterator[Machine]:
    with machine("cx-devices") as host:
        host.do("attach", UPLINK)
        host.do("vpc", "create", "red", "--vni", 100)
        host.do("subnet", "create", "red", "10.0.0.0/24")
        host.do("eni", "create", "one", "--vpc", "red", "--ip", "10.0.0.11", "--dev", "t1")
        yield host


@pytest.fixture
def host(attached: Machine) -> Iterator[Machine]:
    yield attached
    attached.command("eni", "delete", "two")
    for device in ("br0", "v0", "m0"):
        run("ip", "link", "delete", device, netns=attached.name, check=False)
    run("ip", "link", "set", "t2", "up", netns=attached.name)
    run("ip", "neigh", "flush", "all", netns=f"{attached.name}-t1")


def mac_of(host: Machine, tenant: str) -> str:
    return run("cat", "/sys/class/net/eth0/address", netns=f"{host.name}-{tenant}").strip()


def create(host: Machine, dev: str, *words: str) -> None:
    host.do("eni", "create", "two", "--vpc", "red", "--ip", "10.0.0.12", "--dev", dev,
            "--mac", mac_of(host, "t2"), *words)  # fmt: skip


def test_a_veth_whose_far_end_is_on_a_bridge_of_the_host(host: Machine) -> None:
    run("ip", "link", "add", "br0", "type", "bridge", netns=host.name)
    run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", netns=host.name)
    for port in ("v1", "t2"):
        run("ip", "link", "set", port, "master", "br0", "up", netns=host.name)
    for device in ("br0", "v0"):
        run("ip", "link", "set", device, "up", netns=host.name)
    create(host, "v0")
    wait_for(lambda: host.ping("t1", "10.0.0.12"), "the tenant behind the bridge answers")
    assert host.ping("t2", "10.0.0.11")


def test_a_bridge_port(host: Machine) -> None:
    """The ENI takes the port's frames before the bridge sees them."""
    run("ip", "link", "add", "br0", "type", "bridge", netns=host.name)
    run("ip", "link", "set", "t2", "master", "br0", netns=host.name)
    run("ip", "link", "set", "br0", "up", netns=host.name)
    create(host, "t2")
    assert host.ping("t1", "10.0.0.12")
    assert host.ping("t2", "10.0.0.11")


def test_a_macvlan_that_passes_a_device_through(host: Machine) -> None:
    run("ip", "link", "add", "m0", "link", "t2", "type", "macvlan", "mode", "passthru",
        netns=host.name)  # fmt: skip
    run("ip", "link", "set", "m0", "up", netns=host.name)
    create(host, "m0")
    assert host.ping("t1", "10.0.0.12")
    assert host.ping("t2", "10.0.0.11")


def test_an_eni_that_moves_to_another_device(host: Machine) -> None:
    create(host, "t2")
    assert host.ping("t1", "10.0.0.12")
    # The tenant's new NIC has its MAC and address.
    run("ip", "link", "set", "eth0", "address", mac_of(host, "t2"), netns=f"{host.name}-t3")
    run("ip", "address", "flush", "dev", "eth0", netns=f"{host.name}-t3")
    run("ip", "address", "add", "10.0.0.12/24", "dev", "eth0", netns=f"{host.name}-t3")
    host.do("eni", "set", "two", "--dev", "t3")
    assert host.is_bare("t2")
    assert host.ping("t3", "10.0.0.11")
    run("ip", "link", "set", "t2", "down", netns=host.name)
    assert host.ping("t1", "10.0.0.12")


def test_an_eni_that_moves_to_another_host_and_back(host: Machine) -> None:
    create(host, "t2")
    host.do("eni", "set", "two", "--host", OTHER)
    assert host.is_bare("t2")
    assert not host.ping("t1", "10.0.0.12")
    sent = {v["verdict"]: v["packets"] for v in host.do("status")["verdicts"]}
    assert sent["sent"] + sent["sent_by_kernel"] == 1  # no other test here sends any away
    host.do("eni", "set", "two", "--dev", "t2")
    assert host.ping("t1", "10.0.0.12")


def test_a_new_address_is_the_enis_and_the_old_one_no_longer(host: Machine) -> None:
    create(host, "t2")
    run("ip", "address", "add", "10.0.0.22/24", "dev", "eth0", netns=f"{host.name}-t2")
    host.do("eni", "set", "two", "--ip", "10.0.0.22")
    assert host.ping("t1", "10.0.0.22")
    assert not host.ping("t1", "10.0.0.12")


def test_an_eni_that_is_deleted_leaves_a_plain_device(host: Machine) -> None:
    create(host, "t2")
    host.do("eni", "delete", "two")
    assert host.is_bare("t2"), host.hooks("t2")
    assert not host.ping("t1", "10.0.0.12")
    run("ip", "address", "add", "10.0.0.50/24", "dev", "t2", netns=host.name)
    assert host.ping("t2", "10.0.0.50")


def test_status_says_of_a_nic_what_ethtool_says(attached: Machine) -> None:
    for on in ("on", "off"):
        run("ethtool", "-K", UPLINK, "tso", on, "rx-gro-list", "off", netns=attached.name)
        said = run("ethtool", "-k", UPLINK, netns=attached.name)
        active = {line.split(":")[0].strip() for line in said.splitlines() if ": on" in line}
        (nic,) = (one["nic"] for one in attached.do("status")["uplinks"])
        assert nic["driver"] == "veth"
        assert {"basic", "redirect"} <= set(nic["xdp"])
        # ethtool has names of its own for these, and the kernel's for the rest.
        assert ("tx-tcp-segmentation" in nic["offloads"]) == ("tx-tcp-segmentation" in active)
        assert ("tx-tcp-segmentation" in nic["offloads"]) == (on == "on")
        assert ("rx-gro" in nic["offloads"]) == ("generic-receive-offload" in active)
    channels = run("ethtool", "-l", UPLINK, netns=attached.name).split("Current")[1]
    said = dict(line.split(":") for line in channels.splitlines() if "\t" in line)
    number = {word: int(count.strip().replace("n/a", "0")) for word, count in said.items()}
    assert nic["queues"]["receive"] == number["RX"] + number["Combined"]
    assert nic["queues"]["transmit"] == number["TX"] + number["Combined"]
    told = run(str(SCRIPT), "status", netns=attached.name)
    assert "XDP features" in told
    assert f"veth, {nic['queues']['receive']} queues to receive" in told
