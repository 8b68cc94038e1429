# SPDX-License-Identifier: Apache-2.0
"""Programs are compiled once, and a host's constants are put in when they are loaded."""

import contextlib
from ipaddress import ip_address

import pytest
import run_packet
import worlds
from packets import between, tunnelled
from run_packet import Bench
from verdict_cases import ANNA, BERT

from cipu_xdp.loader import compiler
from cipu_xdp.loader.compiler import INSTRUCTION, LOAD_WIDE, Code


def test_what_was_compiled_does_for_every_vtep_port_and_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Compiled, and kept, if by now they are not.
    Bench().close()

    def compiled(name: str, *words: object) -> Code:
        raise AssertionError(f"{name} is compiled again")

    monkeypatch.setattr(compiler, "compiled", compiled)
    vteps = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8:99::7")}
    monkeypatch.setattr(run_packet, "VTEPS", vteps)
    monkeypatch.setattr(run_packet, "PORT", 8472)
    with contextlib.closing(Bench(sessions=512)) as other:
        for family, vtep in vteps.items():
            other.load(worlds.host("a", underlay=family))
            packet = between(BERT, ANNA)
            for hook in ("tc", "xdp"):
                words = {"family": family, "hook": hook}
                ours = tunnelled(packet, 100, underlay=family, dst=str(vtep), dport=8472)
                assert other.fabric(ours, **words).verdict in ("DELIVERED", "HANDED_OVER")
            others = (
                tunnelled(packet, 100, underlay=family, dport=8472),
                tunnelled(packet, 100, underlay=family, dst=str(vtep), dport=53),
            )
            for frame in others:
                assert other.fabric(frame, family=family).verdict == "HOST"


def test_a_number_that_stands_for_a_constant_becomes_it_and_no_other_does() -> None:
    stands, value = 7163378133771419649, 0x123456789A
    code = b"".join((
        INSTRUCTION.pack(LOAD_WIDE, 1, 0, _signed(stands)), INSTRUCTION.pack(0, 0, 0, stands >> 32),
        INSTRUCTION.pack(LOAD_WIDE, 2, 0, 77), INSTRUCTION.pack(0, 0, 0, 0),
    ))  # fmt: skip
    linked = Code((), {"one": code}).linked("one", {}, {stands: value})
    words = [INSTRUCTION.unpack_from(linked, at)[3] & 0xFFFFFFFF for at in range(0, 32, 8)]
    assert words == [value & 0xFFFFFFFF, value >> 32, 77, 0]


def _signed(number: int) -> int:
    low = number & 0xFFFFFFFF
    return low - (1 << 32) if low >> 31 else low
