# SPDX-License-Identifier: Apache-2.0
"""What `attach` needs of the host: named before anything is changed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cipu_xdp.loader import compiler, libbpf, needs
from cipu_xdp.loader.errors import BadInput, KernelRefused


def test_this_host_has_it() -> None:
    needs.require_host("attach eth0")


def test_bcc_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    with pytest.raises(KernelRefused, match=r"bcc is missing.*apt install python3-bpfcc"):
        needs.require_host("attach eth0")


def test_another_module_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyPI has one, which has neither a compiler nor a version.py."""
    other = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(compiler, "find_spec", lambda _: other)
    with pytest.raises(KernelRefused, match=r"not BCC's.*apt install python3-bpfcc"):
        needs.require_host("attach eth0")


def test_libbpf_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise KernelRefused("load libbpf.so.1", "cannot open shared object file", "Install it.")

    monkeypatch.setattr(libbpf, "library", missing)
    with pytest.raises(KernelRefused, match=r"shared object.*apt install libbpf1"):
        needs.require_host("attach eth0")


@pytest.mark.parametrize("iface", ["lo", "nowhere"])
def test_a_device_that_will_not_do(iface: str) -> None:
    with pytest.raises(BadInput):
        needs.require_uplink(f"attach {iface}", iface, None)
