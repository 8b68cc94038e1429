# SPDX-License-Identifier: Apache-2.0
"""What the kernel's verifier has to follow: an attach waits for it, and old kernels follow more."""

import re
from pathlib import Path

import bcc
from run_packet import Bench

# It gives up at a million (BPF_COMPLEXITY_LIMIT_INSNS). Of what LLVM 14 makes (Debian 12's bcc) it
# follows 195,000 at most (tenant_meter); of LLVM 19's (Debian 13), 381,000 (tenant_meter).
MOST = 250_000 if bcc.__version__.startswith("0.2") else 400_000


def test_every_program_is_less_than_half_of_what_the_verifier_follows(empty_bench: Bench) -> None:
    followed = {}
    for programs in (empty_bench.tenant_programs, *empty_bench.uplink_programs.values()):
        for name, fd in programs.fds.items():
            said = re.search(
                r"^verified_insns:\t(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.M
            )
            if said:
                followed[name] = int(said.group(1))
    assert {"tenant_settle", "tenant_judge_xdp", "uplink_meter"} <= followed.keys()
    assert {name: count for name, count in followed.items() if count > MOST} == {}
