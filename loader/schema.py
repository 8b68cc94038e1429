# SPDX-License-Identifier: Apache-2.0
"""The desired state as relations: the tables of the store, and a model as their rows.

The constraints repeat what the model already keeps, so that a state that
breaks a rule cannot be stored by mistake. Those of security groups are in
schema_groups, of limits in schema_limits, of ENIs in schema_enis; files and
transactions are store's.
"""

from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from cipu_xdp.loader import schema_enis, schema_groups, schema_limits
from cipu_xdp.loader.enis import Enis
from cipu_xdp.loader.errors import LayoutMismatch
from cipu_xdp.loader.records import Model, Route, Subnet, Uplink, Vpc, frozen
from cipu_xdp.loader.relations import Relation, Row, lacking

# "cipu" in the file's header: tells a store from any other SQLite file.
APPLICATION_ID = 0x63697075
# What older versions can do with does not make another: they could not be gone back to.
SCHEMA = 5

# What schema 1 was. References are checked at the end of a transaction,
# because a changed row is deleted and inserted again.
FIRST = (
    "CREATE TABLE state (revision INTEGER NOT NULL) STRICT",
    "INSERT INTO state VALUES (0)",
    """CREATE TABLE uplinks (
        iface TEXT PRIMARY KEY, vtep TEXT NOT NULL UNIQUE,
        vxlan_port INTEGER NOT NULL CHECK (vxlan_port BETWEEN 1 AND 65535),
        hook TEXT NOT NULL CHECK (hook IN ('auto', 'xdp', 'tc')),
        xdp_mode TEXT NOT NULL CHECK (xdp_mode IN ('auto', 'native', 'generic'))
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE vpcs (
        name TEXT PRIMARY KEY, vni INTEGER NOT NULL UNIQUE CHECK (vni BETWEEN 1 AND 16777215)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE subnets (
        vpc TEXT NOT NULL REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        cidr TEXT NOT NULL, gateway TEXT NOT NULL,
        PRIMARY KEY (vpc, cidr)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE hosts (
        address TEXT PRIMARY KEY, path INTEGER NOT NULL UNIQUE CHECK (path > 0)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE enis (
        name TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE CHECK (number > 0),
        vpc TEXT NOT NULL REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        mac TEXT NOT NULL, dev TEXT UNIQUE,
        host TEXT REFERENCES hosts DEFERRABLE INITIALLY DEFERRED,
        source_check INTEGER NOT NULL CHECK (source_check IN (0, 1)),
        hook TEXT NOT NULL CHECK (hook IN ('tc', 'xdp')),
        UNIQUE (vpc, mac), UNIQUE (name, vpc), CHECK ((dev IS NULL) <> (host IS NULL))
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE eni_addresses (
        eni TEXT NOT NULL, position INTEGER NOT NULL,
        vpc TEXT NOT NULL, address TEXT NOT NULL,
        PRIMARY KEY (eni, position), UNIQUE (vpc, address),
        FOREIGN KEY (eni, vpc) REFERENCES enis (name, vpc) DEFERRABLE INITIALLY DEFERRED
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE routes (
        vpc TEXT NOT NULL REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        prefix TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('eni', 'host', 'vpc', 'blackhole')),
        eni TEXT, host TEXT REFERENCES hosts DEFERRABLE INITIALLY DEFERRED,
        peer TEXT REFERENCES vpcs DEFERRABLE INITIALLY DEFERRED,
        PRIMARY KEY (vpc, prefix),
        FOREIGN KEY (eni, vpc) REFERENCES enis (name, vpc) DEFERRABLE INITIALLY DEFERRED,
        CHECK ((eni IS NOT NULL) = (kind = 'eni') AND (host IS NOT NULL) = (kind = 'host')
               AND (peer IS NOT NULL) = (kind = 'vpc'))
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE table_sizes (
        name TEXT PRIMARY KEY, entries INTEGER NOT NULL CHECK (entries > 0)
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE intents (dev TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)
# What makes of the store of one schema that of the next, in the same transaction.
UPGRADES: Mapping[int, tuple[str, ...]] = {
    1: (*schema_groups.CREATE, "PRAGMA user_version = 2"),
    2: (*schema_limits.CREATE, "PRAGMA user_version = 3"),
    3: (*schema_enis.CREATE, "PRAGMA user_version = 4"),
    4: (*schema_enis.INDEXES_NAMED, "PRAGMA user_version = 5"),
    6: (*schema_enis.BACK_TO_FIVE, "PRAGMA user_version = 5"),
}
CREATE = (*FIRST, *(statement for age in range(1, SCHEMA) for statement in UPGRADES[age]))


def refused(tried: str, version: int) -> LayoutMismatch:
    """What is said of a store of another schema."""
    age = "a newer" if version > SCHEMA else "an older"
    why = f"{age} cipu-xdp wrote it (schema {version}, this one knows {SCHEMA})"
    return LayoutMismatch(tried, why, "Use the version that wrote it.")


# Their names go into SQL as they are, so they are all written here.
# Those that are read whole; what is left is read where it is asked for.
READ_WHOLE = (
    Relation("uplinks", ("iface", "vtep", "vxlan_port", "hook", "xdp_mode"), 1),
    Relation("vpcs", ("name", "vni"), 1),
    Relation("subnets", ("vpc", "cidr", "gateway"), 2),
    Relation("hosts", ("address", "path"), 1),
    Relation("routes", ("vpc", "prefix", "kind", "eni", "host", "peer"), 2),
    Relation("table_sizes", ("name", "entries"), 1),
    *schema_groups.RELATIONS,
    *schema_limits.RELATIONS,
)
RELATIONS = (*READ_WHOLE, *schema_enis.RELATIONS)
ROUTE_TARGETS = ("eni", "host", "vpc")


def differing_rows(model: Model, other: Model) -> dict[str, Collection[Row]]:
    """Return, by relation, the rows that say what of `model` is not the same in `other`.

    A row that both would have may be among them, if the objects it was made
    from are equal and not the same.
    """
    groups = lacking(model.groups, other.groups)
    uplinks = lacking(model.uplinks, other.uplinks).values()
    routes = lacking(model.routes, other.routes).values()
    subnets = lacking(model.subnets, other.subnets).values()
    return {
        "uplinks": {(u.iface, str(u.vtep), u.vxlan_port, u.hook, u.xdp_mode) for u in uplinks},
        "vpcs": {(vpc.name, vpc.vni) for vpc in lacking(model.vpcs, other.vpcs).values()},
        "subnets": {(s.vpc, str(s.cidr), str(s.gateway)) for s in subnets},
        "hosts": {(str(host), path) for host, path in lacking(model.hosts, other.hosts).items()},
        "routes": {_route_row(route) for route in routes},
        "table_sizes": set(lacking(model.table_sizes, other.table_sizes).items()),
        "rules": set(schema_groups.rule_rows(groups, other.groups)),
        "timeouts": set(lacking(model.timeouts, other.timeouts).items()),
        "limits": schema_limits.limit_rows(lacking(model.limits, other.limits).values()),
        **schema_groups.group_rows(groups.values()),
        **schema_enis.rows(model.enis, other.enis),
    }


def model_of(relations: Mapping[str, list[Any]], enis: Enis) -> Model:
    """Return the model of these ENIs and what rows of READ_WHOLE say, as `select` gives them.

    Raises ValueError where a text is not an address, as only a foreign hand writes it.
    """
    uplinks = [
        Uplink(iface, ip_address(vtep), *rest) for iface, vtep, *rest in relations["uplinks"]
    ]
    subnets = [Subnet(v, ip_network(c), ip_address(g)) for v, c, g in relations["subnets"]]
    routes = [_route(row) for row in relations["routes"]]
    return Model(
        uplinks=frozen({uplink.iface: uplink for uplink in uplinks}),
        vpcs=frozen({name: Vpc(name, vni) for name, vni in relations["vpcs"]}),
        subnets=frozen({(subnet.vpc, subnet.cidr): subnet for subnet in subnets}),
        enis=enis,
        routes=frozen({(route.vpc, route.prefix): route for route in routes}),
        hosts=frozen({ip_address(host): path for host, path in relations["hosts"]}),
        table_sizes=frozen(dict(relations["table_sizes"])),
        groups=schema_groups.groups_of(relations),
        timeouts=frozen(dict(relations["timeouts"])),
        limits=schema_limits.limits_of(relations),
    )


def _route_row(route: Route) -> Row:
    targets = [route.target if route.kind == kind else None for kind in ROUTE_TARGETS]
    return (route.vpc, str(route.prefix), route.kind, *targets)


def _route(row: Sequence[Any]) -> Route:
    vpc, prefix, kind, *targets = row
    target = None if kind == "blackhole" else targets[ROUTE_TARGETS.index(kind)]
    return Route(vpc, ip_network(prefix), kind, target)
