# SPDX-License-Identifier: Apache-2.0
"""What `make test-kernels` makes of names of packages and of reports; the guests are its matter."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import packages, table

REPORT = """<testsuites><testsuite>
<testcase name="ping[veth-TC]"><properties>
  <property name="nic" value="veth"/><property name="mode" value="TC"/></properties></testcase>
<testcase name="ping[virtio-net-TC]"><properties>
  <property name="nic" value="virtio-net"/><property name="mode" value="TC"/></properties>
  <failure>no answer</failure></testcase>
<testcase name="something else"/>
</testsuite></testsuites>"""


def report(place: Path, series: str, release: str, text: str) -> None:
    (place / series).mkdir()
    (place / series / "release").write_text(f"{release}\n")
    (place / series / "junit.xml").write_text(text)


def test_the_newest_ordinary_kernel_of_a_series_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = [
        "linux-image-6.1.0-9-amd64", "linux-image-6.1.0-56-amd64", "linux-image-6.1.0-57-rt-amd64",
        "linux-image-6.1.0-58-cloud-amd64", "linux-image-6.1.0-59-amd64-unsigned",
        "linux-image-6.1.0-56-amd64-dbg",
    ]  # fmt: skip
    monkeypatch.setattr(packages, "_run", lambda *_words: "\n".join(known))
    (tmp_path / "linux-image-6.1.0-56-amd64").mkdir()
    kernel = packages.fetch("6.1", tmp_path)
    assert kernel.release == "6.1.0-56-amd64"
    assert kernel.image == tmp_path / "linux-image-6.1.0-56-amd64/boot/vmlinuz-6.1.0-56-amd64"


def test_a_series_that_apt_does_not_know_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "_run", lambda *_words: "")
    with pytest.raises(SystemExit, match=r"apt knows no kernel 5\.4"):
        packages.fetch("5.4", tmp_path)


def test_where_apt_knows_nothing_yet_it_is_updated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []

    def run(*words: str) -> str:
        said.append(words[0] if words[0] != "apt-get" else words[-1])
        return "linux-image-6.1.0-56-amd64" if "update" in said else ""

    monkeypatch.setattr(packages, "_run", run)
    (tmp_path / "linux-image-6.1.0-56-amd64").mkdir()
    assert packages.fetch("6.1", tmp_path).release == "6.1.0-56-amd64"
    assert said == ["apt-cache", "update", "apt-cache"]


def test_the_table_says_what_passed_what_failed_and_what_was_not_run(tmp_path: Path) -> None:
    report(tmp_path, "6.12", "6.12.9", REPORT)
    report(tmp_path, "6.1", "6.1.10", REPORT.replace("virtio-net", "virtio"))
    text = f"before\n{table.BEGIN}\nan old one\n{table.END}\nafter\n"
    assert table.replaced(text, table.outcomes(tmp_path)).splitlines() == [
        "before",
        table.BEGIN,
        "| NIC | mode | 6.1.10 | 6.12.9 |",
        "|---|---|---|---|",
        "| veth | TC | passes | passes |",
        "| virtio | TC | FAILS | not run |",
        "| virtio-net | TC | not run | FAILS |",
        table.END,
        "after",
    ]


def test_a_file_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(SystemExit, match="no place"):
        table.replaced("nothing", {})
