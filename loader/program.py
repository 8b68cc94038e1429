# SPDX-License-Identifier: Apache-2.0
"""Loaded programs: a hook file, constants and open tables in, programs that call each other out.

The bytecode comes from the cache or the compiler. What the verifier does not
take becomes VerifierRefused with what it said.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from cipu_xdp.loader import abi, code_cache, compiler, kernel, maps, progress, source
from cipu_xdp.loader.compiler import Code
from cipu_xdp.loader.table import declarations
from cipu_xdp.loader.tables import Tables

TC, XDP = "tc", "xdp"
ARRAYS = {TC: "steps", XDP: "steps_xdp"}
# What a hook's first program calls, and where it looks for it.
NEXT = {
    "judge": "STEP_JUDGE",
    "settle": "STEP_SETTLE",
    "meter": "STEP_METER",
    "watch": "STEP_WATCH",
}


class Programs:
    """The loaded programs of one hook file; they live while this object or a pin does.

    `fds` has the programs and the arrays (steps, steps_xdp) by which a hook's
    first program finds the next ones: whoever keeps the first keeps those.
    """

    def __init__(
        self,
        side: str,
        kinds: Mapping[str, str],
        code: Code,
        tables: Tables,
        constants: Mapping[str, int],
    ) -> None:
        self.side, self._kinds, self._code, self._constants = side, kinds, code, constants
        self.fds: dict[str, int] = {}
        self._load(tables)

    def _load(self, tables: Tables) -> None:
        arrays = _arrays(self._kinds)
        for array in arrays:
            self.fds[array] = maps.create("prog_array", array, 4, 4, abi.number("STEPS"), "0")
        known = tables.fds() | self.fds
        own = {"SLOTS": tables["slots"].capacity} | dict(self._constants)
        put = {abi.number(f"CONSTANT_{name}"): value for name, value in own.items()}

        def load(name: str) -> None:
            code = self._code.linked(name, known, put)
            self.fds[name] = kernel.load_program(name, self._kinds[name], code)

        told = f"verifying the programs of {self.side}s"
        progress.tell(told, 0, len(self._kinds))
        # The verifier takes a core's time for each, and takes any number at once.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for done, _ in enumerate(pool.map(load, self._kinds), 1):
                progress.tell(told, done, len(self._kinds))
        for array, kind in arrays.items():
            _fill(self.fds, array, self.side, "_xdp" if kind == XDP else "")

    def __del__(self) -> None:
        for fd in self.fds.values():
            with suppress(OSError):
                os.close(fd)

    def id(self, name: str) -> int:
        """The kernel's number of one of them."""
        return kernel.program_info(self.fds[name]).id

    def tags(self) -> dict[str, str]:
        """The digest of each program's instructions, by name."""
        return {name: kernel.program_info(self.fds[name]).tag for name in self._kinds}

    def beside(self, tables: Tables, *names: str) -> "Programs":
        """These of the programs, loaded once more and working on other tables."""
        kinds = {name: self._kinds[name] for name in names}
        return Programs(self.side, kinds, self._code, tables, self._constants)

    def bytecode(self, name: str) -> bytes:
        """A program as the compiler made it, before the kernel's verifier has seen it."""
        return self._code.programs[name]


def load_tenant(tables: Tables, *, xdp: bool) -> Programs:
    """The programs of ENIs' devices: tenant_ingress, if asked tenant_xdp, and what they call."""
    return _load("tenant.c", tables, _kinds("tenant", xdp), {})


def load_uplink(
    tables: Tables, vtep: IPv4Address | IPv6Address, vxlan_port: int, *, xdp: bool
) -> Programs:
    """The programs of one uplink: uplink_ingress, uplink_egress and, if asked, uplink_xdp."""
    kinds = {"uplink_egress": TC} | _kinds("uplink", xdp)
    words = vtep.packed.ljust(16, b"\0")
    constants = {
        f"VTEP_{n}": int.from_bytes(words[4 * n : 4 * n + 4], "little") for n in range(4)
    } | {"VXLAN_PORT": socket.htons(vxlan_port)}
    return _load("uplink.c", tables, kinds, constants, [f"-DUPLINK_FAMILY={vtep.version}"])


def _kinds(side: str, xdp: bool) -> dict[str, str]:
    """The hooks of a side, each with the programs that it calls."""
    tc = {f"{side}_{part}": TC for part in ("ingress", *NEXT)}
    parts = ("xdp", *(f"{part}_xdp" for part in NEXT)) if xdp else ()
    return tc | {f"{side}_{part}": XDP for part in parts}


def _load(
    name: str,
    tables: Tables,
    kinds: Mapping[str, str],
    constants: Mapping[str, int],
    defines: Sequence[str] = (),
) -> Programs:
    flags = [*source.cflags(), *defines]
    arrays = _arrays(kinds)
    if XDP in arrays.values():
        flags.append("-DWITH_XDP")
    text = source.joined(name, tables.c_text())
    # Where the tables are pinned, and how big they are, makes no difference to the bytecode.
    plain = "\n".join(one.c_text("", one.entries) for one in declarations().values())
    depends_on = [source.joined(name, plain), *flags, *kinds, compiler.version()]
    side = name.removesuffix(".c")

    def make() -> Code:
        progress.tell(f"compiling the programs of {side}s")
        return compiler.compiled(name, text, flags, list(kinds), tables.names(), list(arrays))

    code = code_cache.code("\n".join(depends_on), make)
    return Programs(side, kinds, code, tables, constants)


def _arrays(kinds: Mapping[str, str]) -> dict[str, str]:
    return {ARRAYS[kind]: kind for kind in sorted(set(kinds.values()))}


def _fill(fds: Mapping[str, int], array: str, side: str, suffix: str) -> None:
    """Fill the array by which a hook calls its next programs."""
    for part, step in NEXT.items():
        name = f"{side}_{part}{suffix}"
        if name in fds:
            maps.update(fds[array], abi.u32(abi.number(step)), abi.u32(fds[name]))
