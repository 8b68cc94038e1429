# SPDX-License-Identifier: Apache-2.0
"""Flows as IPFIX: tshark, which is not ours, reads what was meant."""

import socket
import time
from contextlib import closing
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ipfix_reader import PORT, read_back

from cipu_xdp.loader import abi, ipfix
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.flow_answers import CLOSED, DENIED, OPENED
from cipu_xdp.loader.flow_log import Event, unpacked
from cipu_xdp.loader.ipfix import Exporter, Writer

SECOND_NS = 1_000_000_000


def event(kind: int = CLOSED, *, family: int = 4, opener: int = 0, **words: Any) -> Event:
    """A flow from 10.0.0.5 (fd00::5) port 1000 to .50 port 80, whichever end the opener is."""
    ends = {4: ("10.0.0.5", "10.0.0.50"), 6: ("fd00::5", "fd00::50")}[family]
    first, second = ("high", "low") if opener else ("low", "high")
    key: dict[str, Any] = {"family": family, "protocol": words.pop("protocol", 6)}
    for side, address, port, vni in zip((first, second), ends, (1000, 80), (100, 300), strict=True):
        key |= {
            f"{side}_address": ip_address(address).packed,
            f"{side}_port": socket.htons(port),
            f"{side}_vni": vni,
        }
    value = {
        "opener": opener, "opened_ns": 5 * SECOND_NS, "last_ns": 7 * SECOND_NS,
        f"{first}_packets": 3, f"{first}_bytes": 300,
        f"{second}_packets": 2, f"{second}_bytes": 222,
        "icmp_type": words.pop("icmp_type", 0),
    }  # fmt: skip
    end = abi.number("FLOW_END_IDLE") if kind == CLOSED else 0
    row = unpacked(abi.record("session_key").pack(**key), abi.record("session").pack(**value))
    return Event(8 * SECOND_NS, kind, 0, end, row)


@pytest.mark.parametrize("opener", [0, 1])
@pytest.mark.parametrize("family", [4, 6])
def test_a_session_is_one_flow_of_both_directions_from_its_opener(
    tmp_path: Path, family: int, opener: int
) -> None:
    (flow,) = read_back(
        [m.data for m in Writer().messages([event(family=family, opener=opener)])], tmp_path / "x"
    )
    ends = {4: ("10.0.0.5", "10.0.0.50"), 6: ("fd00::5", "fd00::50")}[family]
    assert (flow["SrcAddr"], flow["DstAddr"]) == ([ends[0]], [ends[1]])
    assert (flow["SrcPort"], flow["DstPort"], flow["Protocol"]) == (["1000"], ["80"], ["TCP (6)"])
    assert flow["Packets"] == ["3", "2 (Reverse Type 2 PKTS)"]
    assert [said.split()[0] for said in flow["Layer2 Octet Delta Count"]] == ["300", "222"]
    # The type of the overlay, VXLAN, is in the highest byte.
    vnis = [int(said.split()[0]) for said in flow["Layer2 Segment Id"]]
    assert vnis == [1 << 56 | 100, 1 << 56 | 300]
    assert flow["Biflow Direction"] == ["Initiator (1)"]


@pytest.mark.parametrize(
    ("kind", "firewall", "reason", "packets"),
    [
        (OPENED, "Flow created (1)", "Unknown (0)", "0"),
        (CLOSED, "Flow deleted (2)", "Idle timeout (1)", "3"),
        (DENIED, "Flow denied (3)", "Unknown (0)", "3"),
    ],
)
def test_what_happened_is_said_and_packets_count_once(
    tmp_path: Path, kind: int, firewall: str, reason: str, packets: str
) -> None:
    (flow,) = read_back([m.data for m in Writer().messages([event(kind)])], tmp_path / "x")
    assert (flow["Firewall Event"], flow["Flow End Reason"]) == ([firewall], [reason])
    assert flow["Packets"][0] == packets


def test_times_are_those_of_the_session(tmp_path: Path) -> None:
    boot_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    (flow,) = read_back([m.data for m in Writer().messages([event()])], tmp_path / "x")
    for name, at in (("StartTime", 5), ("EndTime", 7)):
        said = datetime.strptime(flow[name][0][:24], "%b %d, %Y %H:%M:%S.%f").replace(tzinfo=UTC)
        assert abs(said.timestamp() - boot_ns / SECOND_NS - at) < 0.1


def test_icmp_is_told_by_type_and_has_no_ports(tmp_path: Path) -> None:
    (flow,) = read_back(
        [m.data for m in Writer().messages([event(protocol=1, icmp_type=8)])], tmp_path / "x"
    )
    assert (flow["SrcPort"], flow["DstPort"], flow["ICMP Type"]) == (["0"], ["0"], ["0x0800"])


@given(st.lists(st.tuples(st.sampled_from([4, 6]), st.sampled_from([OPENED, CLOSED, DENIED]))))
@settings(max_examples=100, deadline=None)
def test_every_record_is_in_one_message_of_the_size_that_a_path_takes(
    wanted: list[tuple[int, int]],
) -> None:
    writer, told = Writer(), 0
    for part in (wanted[: len(wanted) // 2], wanted[len(wanted) // 2 :]):
        for message in writer.messages(event(kind, family=family) for family, kind in part):
            version, length, _, sequence, _ = ipfix.HEADER.unpack_from(message.data)
            assert (version, length, sequence) == (10, len(message.data), told)
            assert length <= ipfix.MESSAGE_BYTES
            assert message.records == len(_records(message.data))
            told += message.records
    assert told == len(wanted)


def _records(message: bytes) -> list[int]:
    """The family of each data record, by the lengths of the sets."""
    at, found = ipfix.HEADER.size, []
    families = {number: family for family, number in ipfix.TEMPLATES.items()}
    while at < len(message):
        number, length = ipfix.SET.unpack_from(message, at)
        if number in families:
            family = families[number]
            size = sum(one.size for one in ipfix.elements(family))
            assert (length - ipfix.SET.size) % size == 0
            found += [family] * ((length - ipfix.SET.size) // size)
        at += length
    assert at == len(message)
    return found


def test_templates_come_first_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, now = Writer(), time.monotonic()
    had = []
    for later in (0, 1, ipfix.TEMPLATES_S + 1, ipfix.TEMPLATES_S + 2):
        monkeypatch.setattr("cipu_xdp.loader.ipfix.time.monotonic", lambda at=now + later: at)
        (message,) = writer.messages([event()])
        had.append(ipfix.template_set() in message.data)
    assert had == [True, False, True, False]


def test_what_nobody_took_is_counted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with closing(Exporter("127.0.0.1", port)) as exporter:
            exporter.add_all([event()] * 3)
            assert len(taken.recv(65535)) <= ipfix.MESSAGE_BYTES
            assert exporter.unsent == 0
            taken.close()
            exporter.add_all([event()] * 2)  # nobody is there, which is told by and by
            exporter.settle()
            assert exporter.unsent == 2
            exporter.add_all([event()])
            exporter.settle()
            assert exporter.unsent == 3


def test_a_collector_that_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match="no known host"):
        Exporter("nobody.invalid", PORT)
