# SPDX-License-Identifier: Apache-2.0
"""Compiling and loading: the only module that imports bcc.

Takes a hook file, constants and open tables; gives loaded programs. A compiler
error or a verifier's refusal becomes VerifierRefused with what they said.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from cipu_xdp.loader import abi, kernel, maps, source
from cipu_xdp.loader.errors import KernelRefused, VerifierRefused
from cipu_xdp.loader.tables import Tables

TC, XDP = "SCHED_CLS", "XDP"
# What a hook's first program calls, and where it looks for it.
NEXT = {"judge": "STEP_JUDGE", "settle": "STEP_SETTLE"}
LOG_LINES = 40


class Programs:
    """The loaded programs of one hook file; they live while this object or a pin does.

    `fds` has the programs and the arrays (judges, judges_xdp) by which a hook's
    first program finds the next ones: whoever keeps the first keeps those.
    """

    def __init__(self, owner: Any, fds: Mapping[str, int]) -> None:
        self._owner = owner
        self.fds = fds

    def id(self, name: str) -> int:
        """The kernel's number of one of them."""
        return kernel.program_info(self.fds[name]).id

    def bytecode(self, name: str) -> bytes:
        """A program as the compiler made it, before the kernel's verifier has seen it."""
        return bytes(self._owner.dump_func(name.encode()))


def load_tenant(tables: Tables, *, xdp: bool) -> Programs:
    """The programs of ENIs' devices: tenant_ingress, if asked tenant_xdp, and what they call."""
    return _load("tenant.c", tables, _kinds("tenant", xdp), {})


def load_uplink(
    tables: Tables, vtep: IPv4Address | IPv6Address, vxlan_port: int, *, xdp: bool
) -> Programs:
    """The programs of one uplink: uplink_ingress, uplink_egress and, if asked, uplink_xdp."""
    kinds = {"uplink_egress": TC} | _kinds("uplink", xdp)
    words = vtep.packed.ljust(16, b"\0")
    parts = [int.from_bytes(words[n : n + 4], "little") for n in range(0, 16, 4)]
    constants = {
        "UPLINK_FAMILY": str(vtep.version),
        "VTEP_WORDS": ",".join(f"{part:#x}" for part in parts),
        "VXLAN_PORT": str(vxlan_port),
    }
    return _load("uplink.c", tables, kinds, constants)


def _kinds(side: str, xdp: bool) -> dict[str, str]:
    """The hooks of a side, each with the programs that it calls."""
    tc = {f"{side}_{part}": TC for part in ("ingress", *NEXT)}
    parts = ("xdp", *(f"{part}_xdp" for part in NEXT)) if xdp else ()
    return tc | {f"{side}_{part}": XDP for part in parts}


def _link(owner: Any, side: str, fds: dict[str, int], kind: str) -> None:
    """Fill the array by which the hook of this kind calls its next programs."""
    name, suffix = ("judges_xdp", "_xdp") if kind == XDP else ("judges", "")
    fds[name] = owner.get_table(name.encode()).map_fd
    for part, step in NEXT.items():
        maps.update(fds[name], abi.u32(abi.number(step)), abi.u32(fds[f"{side}_{part}{suffix}"]))


def _load(
    name: str, tables: Tables, kinds: Mapping[str, str], constants: Mapping[str, str]
) -> Programs:
    bpf = _import_bcc()
    constants = {"SLOTS_ENTRIES": str(tables["slots"].capacity), **constants}
    flags = source.cflags() + [f"-D{key}={value}" for key, value in constants.items()]
    if XDP in kinds.values():
        flags.append("-DWITH_XDP")
    text = source.joined(name, tables.c_text())
    with _said(f"compile {name}"):
        owner = bpf(text=text.encode(), cflags=flags)
    fds = {}
    for function, kind in kinds.items():
        with _said(f"load {function}"):
            fds[function] = owner.load_func(function.encode(), getattr(bpf, kind)).fd
    for kind in sorted(set(kinds.values())):
        _link(owner, name.removesuffix(".c"), fds, kind)
    return Programs(owner, fds)


def _import_bcc() -> Any:
    os.environ["BCC_KERNEL_SOURCE"] = str(source.header_tree())
    try:
        from bcc import BPF
    except ImportError as error:
        raise KernelRefused(
            "compile the datapath",
            "the Python module bcc is missing",
            "Install it for the system's Python (Debian: apt install python3-bpfcc).",
        ) from error
    return BPF


@contextlib.contextmanager
def _said(tried: str) -> Iterator[None]:
    """Catch what the compiler and the verifier write to stderr; raise it if they fail."""
    keep = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception as error:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            why = "\n".join([str(error), *lines[-LOG_LINES:]])
            raise VerifierRefused(tried, why, "Report it with the kernel's version.") from error
        finally:
            os.dup2(keep, 2)
            os.close(keep)
