# SPDX-License-Identifier: Apache-2.0
"""From a file of text, YAML or JSON, to plain dictionaries, lists and scalars, and back.

It decides what a scalar is (YAML 1.2's core: only true and false are
booleans, and a MAC address is text), that a key is given once, and how a
document is laid out. What the keys mean is left to ``topology_schema``.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import textwrap
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cipu_xdp.loader import progress
from cipu_xdp.loader.errors import BadInput

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml: the same, slower
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]


TAG = "tag:yaml.org,2002:"
# Digits, at most: of numbers without end Python makes none.
LONGEST = 40
# A topology has nine; libyaml's composer crashes where a file is nested without end.
DEEPEST = 32
TOO_DEEP = f"it is nested more than {DEEPEST} deep"
PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[a-z][a-z0-9_-]*", re.IGNORECASE)
# What JSON lets be and YAML's readers do not take.
ODD = re.compile(r"[^ -~]")
_json = json.JSONEncoder(ensure_ascii=False).encode


class _Text(io.StringIO):
    """Text that tells how much of it has been read, in thousands of characters."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.thousands = len(text) // 1000

    def read(self, size: int | None = -1) -> str:
        progress.tell("reading the text, in thousands", self.tell() // 1000, self.thousands)
        return super().read(size)


class _Loader(_SafeLoader):
    """YAML 1.2's core schema over PyYAML, which knows 1.1 only.

    In 1.1 ``on`` is a boolean, 12:34:56:00:00:01 a number in base 60 and a
    repeated key silently wins; a topology has names, MACs and mappings.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    # Also where a tag asks for it, there is no other kind of value: no sets, dates, bytes.
    yaml_constructors = {  # noqa: RUF012
        tag: made for tag, made in _SafeLoader.yaml_constructors.items()
        if tag in (None, f"{TAG}str", f"{TAG}seq", f"{TAG}map")
    }  # fmt: skip

    def __init__(self, stream: _Text) -> None:
        super().__init__(stream)
        self._depth = self._mappings = 0
        self._thousands = stream.thousands

    def descend_resolver(self, parent: yaml.Node | None, index: object) -> None:
        """Called for each node before it is composed."""
        self._depth += 1
        if self._depth > DEEPEST:
            where = None if parent is None else parent.start_mark
            raise yaml.composer.ComposerError(None, None, TOO_DEEP, where)

    def ascend_resolver(self) -> None:
        """Called for each node when it has been composed."""
        self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} is given twice", node.start_mark
            )
        self._mappings += 1
        if self._mappings % progress.EVERY == 0:
            at = node.start_mark.index // 1000
            progress.tell("making sense of the text, in thousands", at, self._thousands)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes what a reader could take for anything but text, by YAML 1.1 or as _Loader does."""


def _reader(kind: str, pattern: re.Pattern[str], read: Callable[[str], Any]) -> Any:
    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        text = loader.construct_scalar(node)
        if not pattern.fullmatch(text) or len(text) > LONGEST:
            why = f"{text[:LONGEST]!r} is no {kind}"
            raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)
        return read(text)

    return construct


for _kind, _words, _first, _read in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""], lambda _: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+", "-+0123456789", int),
):
    _pattern = re.compile(f"^(?:{_words})$")
    for _reads in (_Loader, _Dumper):
        _reads.add_implicit_resolver(TAG + _kind, _pattern, list(_first))
    _Loader.add_constructor(TAG + _kind, _reader(_kind, _pattern, _read))


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
        BadInput: it is not YAML (or JSON); names the line, or the key.
    """
    try:
        return _from_json(text, tried) if as_json else _from_yaml(text, tried)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        # Some versions of libyaml have a limit of their own, which text may come to first.
        why = TOO_DEEP if "nesting depth" in (error.problem or "") else error.problem
        raise BadInput(tried, f"{line}{why}", "Correct that line.") from error
    except RecursionError as error:
        raise BadInput(tried, "it is nested too deep", "Write it as YAML or JSON.") from error
    except (yaml.YAMLError, ValueError) as error:
        why = str(error).split("\n", maxsplit=1)[0].rstrip(".")
        raise BadInput(tried, why, "Write it as YAML or JSON.") from error


def _from_yaml(text: str, tried: str) -> Any:
    # JSON is YAML but for characters beyond 16 bits, which it escapes as two.
    if text.lstrip()[:1] == "{":
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            return _from_json(text, tried)
    return yaml.load(_Text(text), Loader=_Loader)  # noqa: S506 - derived from the safe loader


def _from_json(text: str, tried: str) -> Any:
    twice: list[tuple[dict[str, Any], str]] = []
    # Nearly: text may have braces of its own.
    read, total = 0, text.count("{")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal read
        read += 1
        if read % progress.EVERY == 0:
            progress.tell("reading the text: mappings", read, total)
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice.append((found, next(key for key in keys if keys.count(key) > 1)))
        return found

    whole = json.loads(text, object_pairs_hook=unique)
    if twice:
        # The last is in no other, of which only one of two would be in the whole.
        found, key = twice[-1]
        place = ".".join([*_place(whole, found), key])
        raise BadInput(tried, f"{place} is given twice", "Give it once.")
    return whole


def _place(whole: Any, part: dict[str, Any]) -> list[str]:
    """The keys that lead to a part of the whole."""
    left: list[tuple[list[str], Any]] = [([], whole)]
    while left:
        keys, one = left.pop()
        if one is part:
            return keys
        inner = one.items() if isinstance(one, dict) else enumerate(one)
        left += [([*keys, str(key)], i) for key, i in inner if isinstance(i, dict | list)]
    raise AssertionError("it is in the whole")


def dumps(document: Mapping[str, Any]) -> str:
    """A document as YAML. An ENI has one line, in the flow style: there may be a million."""
    return "".join(_lines(document))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    for key, part in document.items():
        if key != "vpcs" or not part:
            yield _block({key: part})
            continue
        yield "vpcs:\n"
        for name, vpc in part.items():
            yield f"  {_key(name)}:\n"
            yield from _vpc_lines(vpc)


def _vpc_lines(vpc: Mapping[str, Any]) -> Iterator[str]:
    for key, part in vpc.items():
        if key == "enis":
            yield "    enis:\n"
            for name, eni in progress.counted(part.items(), "writing down the ENIs"):
                yield f"      {_key(name)}: {_flow(eni)}\n"
        else:
            yield textwrap.indent(_block({key: part}), "    ")


def _block(part: Mapping[str, Any]) -> str:
    return yaml.dump(part, Dumper=_Dumper, sort_keys=False)


def _key(name: str) -> str:
    """Quoted where a reader could take it for anything but text, by YAML 1.1 or 1.2."""
    return name if PLAIN.fullmatch(name) else _flow(name)


def _flow(part: Any) -> str:
    """As JSON, which is YAML but for how characters beyond 16 bits are escaped."""
    return ODD.sub(lambda odd: f"\\U{ord(odd[0]):08x}", _json(part))
