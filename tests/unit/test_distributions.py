# SPDX-License-Identifier: Apache-2.0
"""What `make test-distributions` hands to a root, and what it keeps; the roots are its matter."""

from __future__ import annotations

from pathlib import Path

import pytest
from distributions import pip_settings, root
from kept import kept

SAID = r"""
:env:.cert='/etc/ssl/certs/all.crt'
:env:.config-file='/etc/own.conf'
:env:.timeout='60'
global.extra-index-url='file://{0}/one/simple\nhttps://two.example/simple'
global.find-links='{0}/wheels {0}/gone'
global.timeout='15'
install.no-index='false'
list.format='columns'
"""


def test_what_pip_is_told_becomes_variables_and_the_environment_wins(tmp_path: Path) -> None:
    assert pip_settings.variables(SAID.format(tmp_path)) == {
        "PIP_CERT": "/etc/ssl/certs/all.crt",
        "PIP_EXTRA_INDEX_URL": f"file://{tmp_path}/one/simple https://two.example/simple",
        "PIP_FIND_LINKS": f"{tmp_path}/wheels {tmp_path}/gone",
        "PIP_NO_INDEX": "false",
        "PIP_TIMEOUT": "60",
    }


def test_an_index_is_shared_with_the_files_beside_it_and_authorities_are_not(
    tmp_path: Path,
) -> None:
    for name in ("one/simple", "wheels"):
        (tmp_path / name).mkdir(parents=True)
    found = pip_settings.places(pip_settings.variables(SAID.format(tmp_path)))
    assert found == [tmp_path / "one", tmp_path / "wheels"]


def test_a_tree_is_made_once_and_again_if_it_was_cut_short(tmp_path: Path) -> None:
    def cut_short(draft: Path) -> None:
        (draft / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "tree", cut_short)
    assert not (tmp_path / "tree").exists()
    for _ in range(2):
        assert kept(tmp_path / "tree", lambda draft: (draft / "whole").mkdir()) == tmp_path / "tree"
    assert [path.name for path in tmp_path.rglob("*")] == ["tree", "whole"]


def test_a_root_has_the_sources_of_the_checkout_and_nothing_that_was_made_of_them(
    tmp_path: Path,
) -> None:
    checkout, base = tmp_path / "checkout", tmp_path / "base"
    for name in (".git/HEAD", ".venv/bin/python", "build/big", "cli/__pycache__/x", "cli/main.py"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).touch()
    (checkout / ".gitignore").write_text("/.venv/\n/build/\n__pycache__/\n")
    (base / "etc").mkdir(parents=True)
    for _ in range(2):
        root.fresh(base, tmp_path / "run", checkout)
        found = (tmp_path / "run" / root.CHECKOUT.strip("/")).rglob("*")
        assert {path.name for path in found if path.is_file()} == {".gitignore", "main.py"}
        assert not (tmp_path / "run/left").exists()
        (tmp_path / "run/left").touch()
