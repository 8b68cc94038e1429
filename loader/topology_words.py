# SPDX-License-Identifier: Apache-2.0
"""The scalars of a topology file, and what every mapping in it has in common.

A value's own form is decided in parse; which mappings there are is written in
topology_schema and topology_groups.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from reprlib import Repr
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from cipu_xdp.loader import parse
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.records import Address, Network

MIN_MTU = 1350  # IPv6 needs 1280 (RFC 8200, 5), VXLAN over IPv6 takes 70
MAX_MTU = 65535


# A value as it is said back: of a page, or lists in lists without end, the beginning.
_short = Repr()
_short.maxstring = _short.maxother = 60
said = _short.repr


def _text(check: Callable[[str], Any]) -> PlainValidator:
    def validate(value: object) -> Any:
        if not isinstance(value, str):
            raise Unfit(f"{said(value)} is not text", "Put it between quotes.")
        return check(value)

    return PlainValidator(validate)


def text_like(pattern: str) -> dict[str, Any]:
    """The JSON Schema of text that is wholly as the pattern says."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def given(key: str) -> dict[str, Any]:
    """The JSON Schema of a mapping with something after the key."""
    return {"required": [key], "properties": {key: {"not": {"type": "null"}}}}


CIDR = text_like(parse.CIDR.pattern)
IP = WithJsonSchema(text_like("[0-9A-Fa-f.:]+"))
MAC = WithJsonSchema(text_like("[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"))
# What is 15 bytes long has at most 15 characters.
DEVICE = WithJsonSchema(text_like(r"(?!\.{1,2}$)[^/:\s]{1,15}"))

Name = Annotated[
    str,
    _text(lambda text: parse.name(text, "part of a topology")),
    WithJsonSchema(text_like(parse.NAME.pattern)),
]
Device = Annotated[str, _text(parse.device), DEVICE]
Ip = Annotated[Address, _text(parse.address), IP]
Vtep = Annotated[Address, _text(parse.underlay_address), IP]
Prefix = Annotated[Network, _text(parse.prefix), WithJsonSchema(CIDR)]
MacText = Annotated[str, _text(parse.mac), MAC]
Vni = Annotated[
    int,
    PlainValidator(parse.vni),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": parse.MAX_VNI}),
]
Mtu = Annotated[int, Field(strict=True, ge=MIN_MTU, le=MAX_MTU)]
TenantMtu = Annotated[int, Field(strict=True, ge=576, le=MAX_MTU)]
Flag = Annotated[bool, Field(strict=True)]


class Part(BaseModel):
    """A mapping of the file: a key it does not know is an error, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    raise Unfit(f"there is no key {key!r} here", _allowed(key, cls.model_fields))
            # A key with nothing after it is as good as none.
            return {key: part for key, part in value.items() if part is not None}
        return value


def _allowed(key: object, keys: Any) -> str:
    near = difflib.get_close_matches(str(key), list(keys), 1)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return f"{meant}Allowed are {', '.join(keys)}."
