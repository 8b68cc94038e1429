# SPDX-License-Identifier: Apache-2.0
"""From a file of text, YAML or JSON, to plain dictionaries, lists and scalars, and back.

It decides what a scalar is (YAML 1.2's core: only true and false are
booleans, and a MAC address is text), that a key is given once, and how a
document is laid out. What the keys mean is left to ``topology_schema``.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cipu_xdp.loader.errors import BadInput

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[a-z][a-z0-9_-]*", re.IGNORECASE)


class _Loader(_SafeLoader):
    """YAML 1.2's core schema over PyYAML, which knows 1.1 only.

    In 1.1 ``on`` is a boolean, 12:34:56:00:00:01 a number in base 60 and a
    repeated key silently wins; a topology has names, MACs and mappings.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _loader, node: int(node.value))


def load(path: Path) -> Any:
    """Read the file at ``path``; ``.json`` is JSON, any other name YAML.

    Raises:
        BadInput: it cannot be read, or is not YAML or JSON; names the line.
    """
    tried = f"read {path}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInput(tried, why, "Give the path of a YAML or JSON file.") from error
    return loads(text, tried, as_json=path.suffix == ".json")


def loads(text: str, tried: str = "read the text", *, as_json: bool = False) -> Any:
    """Turn ``text`` into plain data; ``tried`` opens the sentence of an error.

    Raises:
        BadInput: it is not YAML (or JSON); names the line.
    """
    try:
        if as_json:
            return json.loads(text, object_pairs_hook=_unique)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from the safe loader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadInput(tried, f"{line}{error.problem}", "Correct that line.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = str(error).split("\n", maxsplit=1)[0].rstrip(".")
        raise BadInput(tried, why, "Write it as YAML or JSON.") from error


def dumps(document: Mapping[str, Any]) -> str:
    """A document as YAML. An ENI has one line, in the flow style: there may be a million."""
    return "".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    for key, part in document.items():
        if key != "vpcs" or not part:
            yield yaml.safe_dump({key: part}, sort_keys=False)
            continue
        yield "vpcs:\n"
        for name, vpc in part.items():
            yield f"  {_key(name)}:\n"
            yield from _vpc_lines(vpc)


def _vpc_lines(vpc: Mapping[str, Any]) -> Iterator[str]:
    for key, part in vpc.items():
        if key == "enis":
            yield "    enis:\n"
            for name, eni in part.items():
                yield f"      {_key(name)}: {json.dumps(eni)}\n"
        else:
            yield textwrap.indent(yaml.safe_dump({key: part}, sort_keys=False), "    ")


def _key(name: str) -> str:
    """Quoted where a reader could take it for anything but text, by YAML 1.1 or 1.2."""
    return name if PLAIN.fullmatch(name) else json.dumps(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found
