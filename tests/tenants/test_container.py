# SPDX-License-Identifier: Apache-2.0
"""A container as a tenant: podman's, without a network of its own, and an ENI by README's recipe.

Its image is busybox alone, its storage and configuration are the test's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from command import SCRIPT
from lab import Built, built, eni, hosts, run
from traffic import answered, ping

from cipu_xdp.loader.lab_build import inside

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

IMAGE, NAME, DEV = "cx-busybox", "cx-web", "web0"
MAC, OWN, FAR = "02:00:00:00:00:11", ("10.0.0.11", "fd00:10::11"), ("10.0.0.12", "fd00:10::12")
SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
STORAGE = """
[storage]
driver = "vfs"
graphroot = "{place}/graph"
runroot = "{place}/run"
"""


@dataclass(frozen=True)
class Podman:
    """podman in a host's namespace, with what is the test's own."""

    netns: str
    environment: dict[str, str]

    def do(self, *words: str) -> str:
        """Run podman, which must succeed; returns what it said."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.netns}", "podman", *words],
            env=self.environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def lab() -> Iterator[Built]:
    """alpha, where the container is to be, and bravo with a tenant that knows it."""
    enis = {"far": eni("tc", "bravo", *FAR), NAME: eni("tc", "alpha", *OWN, mac=MAC)}
    red = {"vni": 100, "subnets": ["10.0.0.0/24", "fd00:10::/64"], "enis": enis}
    plain = {"name": "container"} | hosts("tc", 4, "alpha", "bravo") | {"vpcs": {"red": red}}
    with built(plain) as lab:
        with lab.overlay("alpha") as overlay:
            overlay.eni_delete(NAME)
        yield lab


@pytest.fixture(scope="module")
def podman(lab: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    place = tmp_path_factory.mktemp("podman")
    (place / "containers.conf").write_text(SETTINGS)
    (place / "storage.conf").write_text(STORAGE.format(place=place))
    environment = os.environ | {
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    podman = Podman(lab.netns("alpha"), environment)
    podman.do("import", str(image(place)), IMAGE)
    try:
        yield podman
    finally:
        podman.do("rm", "--force", "--all", "--time", "0")
        podman.do("rmi", "--force", "--all")
        shutil.rmtree(place, ignore_errors=True)


def image(place: Path) -> Path:
    """A root file system of busybox alone."""
    path = place / "root.tar"
    with tarfile.open(path, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in ("sh", "sleep", "ping", "wget", "md5sum"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return path


@pytest.fixture
def container(lab: Built, podman: Podman) -> Iterator[Podman]:
    """It runs, and has its ENI by the recipe of README."""
    podman.do("run", "--detach", "--name", NAME, "--network", "none", IMAGE, "sleep", "1000000")
    plug(lab, podman)
    command(lab, "eni", "create", NAME, "--vpc", "red", "--dev", DEV,
            *(word for ip in OWN for word in ("--ip", ip)))  # fmt: skip
    yield podman
    command(lab, "eni", "delete", NAME)
    podman.do("rm", "--force", "--time", "0", NAME)


def plug(lab: Built, podman: Podman) -> None:
    """Its end of a veth, with the ENI's addresses."""
    pid = podman.do("inspect", "--format", "{{.State.Pid}}", NAME)
    alpha = lab.netns("alpha")
    run("ip", "link", "add", DEV, "up", "mtu", 1500, "type", "veth", "peer", "name", "eth0",
        "address", MAC, "mtu", 1500, "netns", pid, netns=alpha)  # fmt: skip
    for words in (
        ("link", "set", "eth0", "up"),
        ("address", "add", f"{OWN[0]}/24", "dev", "eth0"),
        ("address", "add", f"{OWN[1]}/64", "dev", "eth0", "nodad"),
    ):
        run("nsenter", "--target", pid, "--net", "ip", *words)


def command(lab: Built, *words: str) -> None:
    alpha = lab.netns("alpha")
    run(SCRIPT, "--instance", alpha, *words, netns=alpha)


@pytest.fixture
def served(lab: Built, tmp_path: Path) -> Iterator[str]:
    """A file of the peer's, by HTTP; what busybox would say is its digest."""
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with inside(lab.netns("far")):
        server = ThreadingHTTPServer((FAR[0], 8000), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield run("md5sum", tmp_path / "file").split()[0]
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_reaches_its_peer_and_its_peer_reaches_it(
    lab: Built, container: Podman, served: str
) -> None:
    for address in FAR:
        assert "3 packets received" in container.do("exec", NAME, "ping", "-c", "3", address)
    for address in OWN:
        assert answered(ping(lab.netns("far"), address, count=3, size=1400)) == 3
    fetch = f"wget -q -O - http://{FAR[0]}:8000/file | md5sum"
    assert container.do("exec", NAME, "sh", "-c", fetch).split()[0] == served


def test_one_that_is_started_again_has_its_eni_again(lab: Built, container: Podman) -> None:
    container.do("restart", "--time", "0", NAME)
    with lab.overlay("alpha") as overlay:
        assert overlay.status()["enis"]["gone"] == [NAME]
    plug(lab, container)
    command(lab, "restore")
    assert "3 packets received" in container.do("exec", NAME, "ping", "-c", "3", FAR[0])
    with lab.overlay("alpha") as overlay:
        assert overlay.status()["enis"]["gone"] == []
