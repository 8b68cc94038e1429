# SPDX-License-Identifier: Apache-2.0
"""Tests on distribution kernels, in virtual machines that this machine emulates in software.

Each kernel is fetched by apt, kept, booted over this checkout, which it cannot
change, and has pytest run the tests that are marked `kernel`, and those in
tests/kernels that need a machine of their own. A guest that says nothing for
too long is a failure, as a test is that was skipped.

The brief run, which CI makes, is of one test: the programs are loaded there,
natively on a virtio-net NIC, and carry ping and TCP.

Example:
    .venv/bin/python tests/kernels/run.py --brief 6.1 6.12
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import junit

from cipu_xdp.loader import code_cache
from kernels import guest, packages

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "kernels"
SERIES, CACHE = ("6.1", "6.12"), "cache"
# Where `make test` has Python's bytecode: a guest takes what is there, and cannot change it.
PYTHON_CACHE = ROOT / "build/bytecode"
# What tests need of a distribution's modules beside those that are loaded when they are asked for.
LOADED = ("veth", "sch_ingress", "cls_bpf", "vxlan", "sch_fq", "bridge", "nf_tables", "tun")
TESTS = ("tests/datapath", "tests/kernels")
BRIEF = ("tests/kernels/test_nics.py::test_ping_and_tcp_pass_across[virtio-net-XDP native]",)
# To compile a hook's programs takes minutes there, and says nothing.
SILENCE_S = 900


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("series", nargs="*", default=SERIES, help="of kernels: 6.1 6.12")
    given.add_argument("--pytest", default="", help="further words for pytest: '-k native'")
    given.add_argument("--brief", action="store_true", help="one test, all kernels at once")
    words = given.parse_args()
    # Whoever ends it still has it end its guests.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if words.brief and len(words.series) > 1:
        bad = _side_by_side(words.series)
    else:
        tests = BRIEF if words.brief else TESTS
        bad = [one for one in words.series if not _passes(one, tests, words.pytest)]
    if bad:
        sys.exit(f"Linux {', '.join(bad)}: see above, and {BUILD}")


def _side_by_side(series: Sequence[str]) -> list[str]:
    """Brief runs, a process each: an emulated machine has the time of one CPU."""
    for one in series:
        packages.fetch(one, BUILD / "packages")  # apt serves one at a time
    running = [subprocess.Popen([sys.executable, __file__, "--brief", one]) for one in series]
    try:
        return [one for one, run in zip(series, running, strict=True) if run.wait()]
    finally:
        for run in running:
            run.terminate()
            run.wait()


def _passes(series: str, tests: Sequence[str], further: str) -> bool:
    kernel = packages.fetch(series, BUILD / "packages")
    results = BUILD / series
    (results / CACHE).mkdir(parents=True, exist_ok=True)
    _lend_bytecode(results / CACHE)
    for name in ("status", "junit.xml", "console.log"):
        (results / name).unlink(missing_ok=True)
    (results / "release").write_text(kernel.release)
    began = time.monotonic()
    try:
        status = guest.run(kernel, _command(tests, further), results, silence_s=SILENCE_S)
    except guest.Hung as hung:
        print(f"Linux {kernel.release}: {hung}")
        return False
    found = junit.counts(results / "junit.xml")
    print(f"Linux {kernel.release}: {junit.told(found)}, in {time.monotonic() - began:.0f} s")
    return status == 0 and found["tests"] > 0 and not found["skipped"]


def _lend_bytecode(place: Path) -> None:
    """What is compiled here or there is kept: it takes a guest longer than most of the tests.

    The guest has this machine's compiler and headers, so it would make the same.
    """
    own = code_cache.directory()
    for path in own.iterdir() if own.is_dir() else ():
        if not (place / path.name).exists():
            shutil.copy2(path, place)


def _command(tests: Sequence[str], further: str) -> str:
    pytest = [
        str(Path(sys.prefix) / "bin/pytest"), "-v", "-m", "kernel", "-p", "no:cacheprovider",
        "-o", "timeout=1500", "--junitxml=/mnt/junit.xml", *tests, *shlex.split(further),
    ]  # fmt: skip
    return f"""
for module in {" ".join(LOADED)}; do modprobe $module || echo "no module $module"; done
cd {shlex.quote(str(ROOT))}
export PYTHONPYCACHEPREFIX={shlex.quote(str(PYTHON_CACHE))} CIPU_XDP_CACHE=/mnt/{CACHE}
exec {shlex.join(pytest)}
"""


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
