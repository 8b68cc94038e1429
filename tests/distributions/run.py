# SPDX-License-Identifier: Apache-2.0
"""What README says of a fresh machine, and tests, on another Debian's Python, bcc and libbpf.

Each is made by debootstrap, kept, and copied for the run; in the copy are done,
one by one, the things that a user does with a checkout. The kernel is this
machine's: other kernels are the matter of tests/kernels.

Example:
    .venv/bin/python tests/distributions/run.py trixie
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import junit

from distributions import pip_settings, root

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "distributions"
SUITES = ("trixie",)
# All programs past the verifier, every stage and mode, and each verb; in some ten minutes.
TESTS = (
    "tests/unit", "tests/datapath", "tests/fabric/test_modes.py",
    "tests/fabric/test_security_groups.py", "tests/fabric/test_upgrade.py",
)  # fmt: skip
APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq"
# What a checkout takes for granted, what README tells, and what is installed then.
INSTALL = (
    f"{APT} update --error-on=any && {APT} -y install --no-install-recommends make",
    "make setup install",
    "python3 --version && dpkg-query -W python3-bpfcc libbpf1 'libllvm*' && cipu-xdp --version",
)
TRY = ("cipu-xdp doctor", "make demo")
REPORTS = "/mnt"


def main() -> None:
    given = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("suites", nargs="*", default=SUITES, help="of Debian: bookworm trixie")
    given.add_argument("--mirror", default="", help="from where, if not from debootstrap's own")
    given.add_argument("--pytest", default="", help="other words for pytest: 'tests/fabric -k tap'")
    words = given.parse_args()
    # Whoever ends it still has it end what it runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    bad = [suite for suite in words.suites if not _passes(suite, words.mirror, words.pytest)]
    if bad:
        sys.exit(f"{', '.join(bad)}: see above, and {BUILD}")


def _passes(suite: str, mirror: str, tests: str) -> bool:
    archives, reports = BUILD / "archives", BUILD / "reports"
    report = reports / f"{suite}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    base = root.base(suite, BUILD, archives, mirror)
    place = BUILD / f"{suite}.run"
    root.fresh(base, place, ROOT)
    pip = pip_settings.settings()
    there = root.Root(
        place,
        {archives: "/var/cache/apt/archives", BUILD / "pip": "/root/.cache/pip", reports: REPORTS},
        pip_settings.places(pip),
        root.environment(pip),
    )
    try:
        for command in INSTALL:
            there.do(command, network=True)
        for command in TRY:
            there.do(command)
        there.do("make setup-dev", network=True)
        words = [f"--junitxml={REPORTS}/{report.name}", *(shlex.split(tests) or TESTS)]
        there.do(f"PYTEST_ADDOPTS={shlex.quote(shlex.join(words))} make test")
    except root.Failed as failed:
        print(f"{suite}: {failed}; its files are left in {place}")
        return False
    finally:
        found = junit.counts(report)
        print(f"{suite}: {junit.told(found)}, in {time.monotonic() - began:.0f} s")
    shutil.rmtree(place)
    return found["tests"] > 0 and not found["skipped"]


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
