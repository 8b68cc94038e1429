# SPDX-License-Identifier: Apache-2.0
"""Tests on distribution kernels, in virtual machines that this machine emulates in software.

Each kernel is fetched by apt, kept, booted over this checkout, which it cannot
change, and has pytest run the tests that are marked `kernel`, and those in
tests/kernels that need a machine of their own. A guest that says nothing for
too long is a failure, as a test is that was skipped.

Example:
    .venv/bin/python tests/kernels/run.py 6.1 6.12
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import junit

from kernels import guest, packages

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "kernels"
SERIES, CACHE = ("6.1", "6.12"), "cache"
# What tests need of a distribution's modules beside those that are loaded when they are asked for.
LOADED = ("veth", "sch_ingress", "cls_bpf", "vxlan", "sch_fq", "bridge", "nf_tables", "tun")
TESTS = ("tests/datapath", "tests/kernels")
# To compile a hook's programs takes a minute there, and says nothing.
SILENCE_S = 900


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("series", nargs="*", default=SERIES, help="of kernels: 6.1 6.12")
    given.add_argument("--pytest", default="", help="further words for pytest: '-k native'")
    words = given.parse_args()
    # Whoever ends it still has it end its guests.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bad = [series for series in words.series if not _passes(series, words.pytest)]
    if bad:
        sys.exit(f"Linux {', '.join(bad)}: see above, and {BUILD}")


def _passes(series: str, further: str) -> bool:
    kernel = packages.fetch(series, BUILD / "packages")
    results = BUILD / series
    # The bytecode that was compiled there is kept: it takes longer than most of the tests.
    (results / CACHE).mkdir(parents=True, exist_ok=True)
    for name in ("status", "junit.xml", "console.log"):
        (results / name).unlink(missing_ok=True)
    (results / "release").write_text(kernel.release)
    began = time.monotonic()
    try:
        status = guest.run(kernel, _command(further), results, silence_s=SILENCE_S)
    except guest.Hung as hung:
        print(f"Linux {kernel.release}: {hung}")
        return False
    found = junit.counts(results / "junit.xml")
    print(f"Linux {kernel.release}: {junit.told(found)}, in {time.monotonic() - began:.0f} s")
    return status == 0 and found["tests"] > 0 and not found["skipped"]


def _command(further: str) -> str:
    pytest = [
        str(Path(sys.prefix) / "bin/pytest"), "-v", "-m", "kernel", "-p", "no:cacheprovider",
        "-o", "timeout=1500", "--junitxml=/mnt/junit.xml", *TESTS, *shlex.split(further),
    ]  # fmt: skip
    return f"""
for module in {" ".join(LOADED)}; do modprobe $module || echo "no module $module"; done
cd {shlex.quote(str(ROOT))}
export PYTHONPYCACHEPREFIX=/tmp/bytecode CIPU_XDP_CACHE=/mnt/{CACHE}
exec {shlex.join(pytest)}
"""


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
