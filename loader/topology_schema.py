# SPDX-License-Identifier: Apache-2.0
"""The words of a topology file: which keys there are, what each may hold.

Each class is one kind of mapping in the file, each docstring is its
documentation; those of security groups are in topology_groups, those of limits in
topology_limits. It decides what is well spelled; a value's own form is decided in
parse, what fits together in topology and model. Loaded only to read a file:
importing pydantic takes longer than most commands.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails

from cipu_xdp.loader import parse, progress
from cipu_xdp.loader import topology_records as topology
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.parse import Unfit
from cipu_xdp.loader.rules import MAX_ENI_ADDRESSES
from cipu_xdp.loader.timeouts import DEFAULTS, MAX_SECONDS, MIN_SECONDS
from cipu_xdp.loader.topology_enis import plain_eni
from cipu_xdp.loader.topology_groups import SecurityGroupPart, groups_of
from cipu_xdp.loader.topology_limits import LimitsPart, limits_of
from cipu_xdp.loader.topology_words import (
    CIDR,
    Device,
    Flag,
    Ip,
    MacText,
    Mtu,
    Name,
    Part,
    Prefix,
    TenantMtu,
    Vni,
    Vtep,
    given,
    said,
)

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
ROUTE_KINDS = ("eni", "host", "vpc", "blackhole")


Seconds = Annotated[int, Field(strict=True)]
SECONDS = {"type": "integer", "minimum": MIN_SECONDS, "maximum": MAX_SECONDS}
TIMEOUTS = WithJsonSchema(
    {
        "type": "object",
        "propertyNames": {"enum": list(DEFAULTS)},
        "additionalProperties": SECONDS,
    }
)


def _as_subnet(value: object) -> object:
    return {"cidr": value} if isinstance(value, str) else value


class UnderlayPart(Part):
    """The network between the hosts of a lab; `apply` only takes the port from it."""

    prefix: Prefix | None = None
    mtu: Mtu = topology.DEFAULT_MTU
    router: Flag = False
    vxlan_port: Annotated[int, Field(strict=True, ge=1, le=65535)] = 4789


class HostPart(Part):
    """A host: its address on the underlay, and options of `attach`."""

    vtep: Vtep
    prefix: Prefix | None = None
    uplink: Device | None = None
    hook: Literal["auto", "xdp", "tc"] = "auto"
    xdp_mode: Literal["auto", "native", "generic"] = "auto"


class SubnetPart(Part):
    """A subnet: a CIDR alone, or with the address of its gateway."""

    cidr: Prefix
    gateway: Ip | None = None


class EniPart(Part):
    """An ENI: addresses, and the host it is on (a name or a VTEP) or its device here."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [given("host"), given("dev")]})

    ips: Annotated[list[Ip], Field(min_length=1, max_length=MAX_ENI_ADDRESSES)]
    host: Annotated[str, Field(strict=True)] | None = None
    dev: Device | None = None
    mac: MacText | None = None
    hook: Literal["auto", "tc", "xdp"] = "auto"
    source_check: Flag = True
    kind: Literal["veth", "tap"] = "veth"
    mtu: TenantMtu | None = None
    security_groups: list[Name] = Field(default_factory=list)
    limits: LimitsPart = Field(default_factory=LimitsPart)

    @model_validator(mode="after")
    def _placed(self) -> EniPart:
        if self.host is None and self.dev is None:
            raise Unfit("it is nowhere", "Give 'host', a host's name or VTEP, or 'dev'.")
        return self


def read_enis(value: object, validate: ValidatorFunctionWrapHandler) -> dict[str, Any]:
    """ENIs by name: records of those that say no more than a million of them would, else parts."""
    if not isinstance(value, dict):
        return dict(validate(value))
    told = progress.counted(value.items(), "reading the ENIs of the file")
    plain = {name: plain_eni(name, said) for name, said in told}
    others = {name: value[name] for name, eni in plain.items() if eni is None}
    return plain | dict(validate(others)) if others else plain


def _yes(value: object) -> bool:
    # To Python, 1 is True as well.
    if value is not True:
        raise Unfit(f"{said(value)} is not true", "Say true, or leave it out.")
    return value


Yes = Annotated[bool, PlainValidator(_yes), WithJsonSchema({"const": True})]


class RoutePart(Part):
    """A route: a prefix, and one of where it leads."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [given(kind) for kind in ROUTE_KINDS]})

    prefix: Prefix
    eni: Name | None = None
    host: Annotated[str, Field(strict=True)] | None = None
    vpc: Name | None = None
    blackhole: Yes | None = None

    @model_validator(mode="after")
    def _one_target(self) -> RoutePart:
        if len([kind for kind in ROUTE_KINDS if getattr(self, kind) is not None]) != 1:
            raise Unfit("it leads to none or to several", f"Give one of {', '.join(ROUTE_KINDS)}.")
        return self


class VpcPart(Part):
    """A VPC: its VNI, and all that is in it."""

    vni: Vni
    subnets: list[Annotated[SubnetPart, BeforeValidator(_as_subnet)]] = Field(default_factory=list)
    security_groups: dict[Name, SecurityGroupPart] = Field(default_factory=dict)
    enis: Annotated[dict[Name, EniPart], WrapValidator(read_enis)] = Field(default_factory=dict)
    routes: list[RoutePart] = Field(default_factory=list)
    limits: LimitsPart = Field(default_factory=LimitsPart)


class FilePart(Part):
    """A whole file."""

    name: Name | None = None
    underlay: UnderlayPart | None = None
    hosts: dict[Name, HostPart] = Field(default_factory=dict)
    vpcs: dict[Name, VpcPart] = Field(default_factory=dict)
    timeouts: Annotated[dict[str, Seconds], TIMEOUTS] = Field(default_factory=dict)


def topology_of(plain: Any, source: str, name: str) -> topology.Topology:
    """Check plain data and make a topology of it; arguments as `topology.parse_plain`.

    Raises:
        BadInput: names the place in the file and what is allowed there.
    """
    if plain is None:
        # The output of what failed is no wish to have nothing.
        raise BadInput(f"use {source}", "it says nothing", "Write 'vpcs: {}' to mean no VPC.")
    try:
        part = FilePart.model_validate(plain)
    except ValidationError as error:
        raise _bad_input(error, source) from None
    except RecursionError:
        why = "a value is nested too deep"
        raise BadInput(f"use {source}", why, "See cipu-xdp apply --schema.") from None
    made = topology.Topology(
        name=part.name or name,
        source=source,
        hosts={key: topology.Host(key, **dict(host)) for key, host in part.hosts.items()},
        vpcs={key: _vpc(key, vpc) for key, vpc in part.vpcs.items()},
        underlay=topology.Underlay(**dict(part.underlay)) if part.underlay else None,
        timeouts=part.timeouts,
    )
    _check_references(made)
    return made


def json_schema() -> dict[str, Any]:
    """What a file may say, as a JSON Schema (draft 2020-12) for editors and other checkers."""
    parts = FilePart.model_json_schema()
    # A subnet may be its CIDR alone.
    subnets = parts["$defs"]["VpcPart"]["properties"]["subnets"]
    subnets["items"] = {"anyOf": [CIDR, subnets["items"]]}
    for part in (parts, *parts["$defs"].values()):
        part.pop("title", None)
        needed = part.get("required", ())
        for key, value in part["properties"].items():
            part["properties"][key] = _nullable(_named(value), needed=key in needed)
    return {"$schema": SCHEMA_DIALECT, "title": "A topology of cipu-xdp", **parts}


def _named(value: dict[str, Any]) -> dict[str, Any]:
    """Of a mapping of names, all keys are names; pydantic says it of those that are."""
    for pattern, inner in value.pop("patternProperties", {}).items():
        value |= {"propertyNames": {"pattern": pattern}, "additionalProperties": inner}
    return value


def _nullable(value: dict[str, Any], *, needed: bool) -> dict[str, Any]:
    """What a key may hold; one with nothing after it is as good as none."""
    value.pop("title", None)
    if needed or {"type": "null"} in value.get("anyOf", ()):
        return value
    default = {"default": value.pop("default")} if "default" in value else {}
    return {"anyOf": [value, {"type": "null"}]} | default


def _vpc(name: str, part: VpcPart) -> topology.Vpc:
    return topology.Vpc(
        name,
        part.vni,
        tuple(topology.Subnet(**dict(subnet)) for subnet in part.subnets),
        tuple(_eni(key, eni) for key, eni in part.enis.items()),
        tuple(_route(route) for route in part.routes),
        groups_of(part.security_groups),
        limits_of(part.limits),
    )


def _eni(name: str, part: EniPart | topology.Eni) -> topology.Eni:
    if isinstance(part, topology.Eni):
        return part
    words = dict(part) | {"ips": tuple(part.ips), "limits": limits_of(part.limits)}
    return topology.Eni(name, groups=tuple(words.pop("security_groups")), **words)


def _route(part: RoutePart) -> topology.Route:
    kind = next(kind for kind in ROUTE_KINDS if getattr(part, kind) is not None)
    target = None if kind == "blackhole" else getattr(part, kind)
    return topology.Route(part.prefix, kind, target)


def _check_references(made: topology.Topology) -> None:
    seen: dict[str, str] = {}
    # A million ENIs are behind a few hosts.
    known: set[str | None] = {None, *made.hosts}
    _check_once(made, "hosts", "VTEP", [host.vtep for host in made.hosts.values()])
    for vpc in made.vpcs.values():
        _check_once(made, f"vpcs.{vpc.name}.subnets", "CIDR", [one.cidr for one in vpc.subnets])
        _check_once(made, f"vpcs.{vpc.name}.routes", "prefix", [one.prefix for one in vpc.routes])
        for eni in vpc.enis:
            if eni.name in seen:
                places = [f"vpcs.{name}.enis.{eni.name}" for name in (vpc.name, seen[eni.name])]
                why = f"{places[0]}: {places[1]} has the same name"
                raise BadInput(f"use {made.source}", why, "An ENI's name is its own in all VPCs.")
            seen[eni.name] = vpc.name
            if eni.host not in known:
                _check_host(made, eni.host, f"vpcs.{vpc.name}.enis.{eni.name}.host")
                known.add(eni.host)
        for number, route in enumerate(vpc.routes):
            if route.kind == "host" and route.target not in known:
                _check_host(made, route.target, f"vpcs.{vpc.name}.routes.{number}.host")


def _check_once(made: topology.Topology, place: str, what: str, values: Sequence[object]) -> None:
    twice = [value for value, number in Counter(values).items() if number > 1]
    if twice:
        why = f"{place}: two have the {what} {twice[0]}"
        raise BadInput(f"use {made.source}", why, "Give each one once.")


def _check_host(made: topology.Topology, host: str | None, place: str) -> None:
    try:
        parse.underlay_address(str(host))
    except Unfit as unfit:
        known = ", ".join(made.hosts) or "none"
        why = f"{place}: {host!r} is not a host of this file, and {unfit.why}"
        hint = f"Give the address of a VTEP or a host; there are: {known}."
        raise BadInput(f"use {made.source}", why, hint) from None


def _bad_input(error: ValidationError, source: str) -> BadInput:
    first = error.errors(include_url=False)[0]
    place = ".".join(_steps(first)) or "the file"
    unfit = first.get("ctx", {}).get("error")
    if isinstance(unfit, Unfit):
        return BadInput(f"use {source}", f"{place}: {unfit.why}", unfit.hint)
    message = first["msg"].replace("Input should be", "It should be")
    if first["type"] in ("model_type", "dict_type"):
        message = "It should be a mapping of keys and values"
    if first["type"] == "missing":
        return BadInput(f"use {source}", f"{place} is missing", "Add it.")
    why = f"{place}: {said(first['input'])} does not fit"
    return BadInput(f"use {source}", why, f"{message}.")


def _steps(error: ErrorDetails) -> list[str]:
    """The keys and places that lead to it, as the file spells them."""
    *steps, last = map(str, error["loc"] or [""])
    if last != "[key]":
        return [*steps, last]
    key = error["input"]
    # pydantic tells the key true as 1.
    return [*steps[:-1], json.dumps(key)] if isinstance(key, bool | None) else steps
