# SPDX-License-Identifier: Apache-2.0
"""The files of another Debian, and commands that run as on a machine that has those.

debootstrap makes them, bubblewrap runs in them. The mounts and processes of a
command are of namespaces of its own, and end with it or with whoever started
it, so nothing has to be unmounted. Its kernel is this machine's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kept import kept

# Names, and authorities that are this machine's own: what it reaches, they are to reach.
MACHINES = ("etc/hosts", "etc/resolv.conf", "usr/local/share/ca-certificates")
CHECKOUT = "/usr/src/cipu-xdp"
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
PLAIN = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TERM": "dumb",
}
OWN_PROCESSES = ("--unshare-pid", "--die-with-parent", "--cap-add", "ALL", "--proc", "/proc")


class Failed(Exception):
    """A command in a root did not succeed."""


@dataclass(frozen=True)
class Root:
    """Files of a distribution, what else its commands see, and their environment."""

    place: Path
    writable: Mapping[Path, str]
    readable: Iterable[Path]
    environment: Mapping[str, str]

    def do(self, command: str, *, network: bool = False) -> None:
        """Run a shell command in its checkout.

        Args:
            network: it has this machine's, and not one of its own in which it is alone.

        Raises:
            Failed: its exit status is not 0.
        """
        print(f"# {command}", flush=True)
        line = ["bwrap", "--dev-bind", str(self.place), "/", "--dev-bind", "/dev", "/dev",
                "--dev-bind", "/sys", "/sys", "--tmpfs", "/run",
                *OWN_PROCESSES, "--chdir", CHECKOUT]  # fmt: skip
        for path in self.readable:
            line += ["--ro-bind", str(path), str(path)]
        for path, inside in self.writable.items():
            path.mkdir(parents=True, exist_ok=True)
            line += ["--bind", str(path), inside]
        line += [] if network else ["--unshare-net"]
        done = subprocess.run(
            [*line, "bash", "-euc", command], env=dict(self.environment), check=False
        )
        if done.returncode:
            raise Failed(f"{command}: exit status {done.returncode}")


def base(suite: str, cache: Path, archives: Path, mirror: str) -> Path:
    """A suite's essential packages alone, made once and kept in `cache`."""
    archives.mkdir(parents=True, exist_ok=True)

    def make(draft: Path) -> None:
        # What it mounts goes with it, wherever it is stopped.
        line = ["bwrap", "--dev-bind", "/", "/", *OWN_PROCESSES, "debootstrap",
                "--variant=minbase", "--force-check-gpg", f"--cache-dir={archives}",
                suite, str(draft), *mirror.split()]  # fmt: skip
        subprocess.run(line, check=True)

    return kept(cache / suite, make)


def fresh(base: Path, place: Path, checkout: Path) -> None:
    """A copy of a base in `place`, with this machine's names and a copy of a checkout's sources."""
    if place.exists():
        shutil.rmtree(place)
    subprocess.run(["cp", "-a", "--reflink=auto", base, place], check=True)
    for name in MACHINES:
        source = Path("/", name)
        if source.is_dir():
            shutil.copytree(source, place / name, dirs_exist_ok=True)
        elif source.exists():
            (place / name).unlink(missing_ok=True)
            shutil.copy(source, place / name)
    made = (line.strip("/") for line in (checkout / ".gitignore").read_text().splitlines())
    shutil.copytree(
        checkout, place / CHECKOUT.strip("/"), symlinks=True,
        ignore=shutil.ignore_patterns(".git", *made),
    )  # fmt: skip


def environment(further: Mapping[str, str]) -> dict[str, str]:
    """What commands are to have: nothing of this machine's but how it reaches others."""
    proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
    return PLAIN | proxies | further
