# SPDX-License-Identifier: Apache-2.0
"""Debian's kernels as they are packaged: found, fetched and unpacked, never installed."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kept import kept

# Flavours that are no ordinary kernel: of a cloud (no 9p), real-time, unsigned, debugging symbols.
OTHERS = ("cloud", "rt", "unsigned", "dbg", "template")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: `tree` holds boot/ and lib/modules/."""

    release: str
    tree: Path

    @property
    def image(self) -> Path:
        """What is booted."""
        return self.tree / "boot" / f"vmlinuz-{self.release}"

    def modules_for(self, *names: str) -> list[Path]:
        """The files of these modules and of all that they need, in the order of loading."""
        found: dict[Path, None] = {}
        for name in names:
            said = _run("modprobe", "-d", self.tree, "-S", self.release, "--show-depends", name)
            lines = (line.split() for line in said.splitlines())
            found |= {Path(words[1]): None for words in lines if words[0] == "insmod"}
        return list(found)


def fetch(series: str, cache: Path) -> Kernel:
    """The newest kernel of a series ("6.1") that apt knows, unpacked in `cache`."""
    try:
        return _fetched(series, cache)
    except SystemExit:
        # apt may know nothing yet, or what is there no more.
        _run("apt-get", "-qq", "update")
        return _fetched(series, cache)


def _fetched(series: str, cache: Path) -> Kernel:
    known = _run("apt-cache", "pkgnames", f"linux-image-{series}.").split()
    ordinary = [name for name in known if _is_ordinary(name)]
    if not ordinary:
        raise SystemExit(f"apt knows no kernel {series}: is its suite in sources.list?")
    name = max(ordinary, key=lambda one: [int(part) for part in re.findall(r"\d+", one)])
    tree = kept(cache / name, lambda draft: _unpack(name, draft))
    release = name.removeprefix("linux-image-")
    return Kernel(release, tree)


def _is_ordinary(name: str) -> bool:
    return name.endswith("-amd64") and not set(OTHERS) & set(name.split("-"))


def _unpack(name: str, draft: Path) -> None:
    # As root, apt fetches as a user of its own, who may not write there.
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", name, cwd=draft)
    (package,) = draft.glob("*.deb")
    _run("dpkg-deb", "-x", package, draft)
    package.unlink()
    _run("depmod", "-b", draft, name.removeprefix("linux-image-"))


def _run(*words: str | Path, cwd: Path | None = None) -> str:
    line = [str(word) for word in words]
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}: {done.stderr or done.stdout}")
    return done.stdout
