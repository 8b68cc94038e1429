# SPDX-License-Identifier: Apache-2.0
"""What became of a traced packet, stage by stage, in the words of the model.

The verdict, the rules that decided, the target and the limits that were asked
are the programs' own words (struct trace); what is said besides, such as which
rules were beaten or what is left in a limit, is read from model and tables.
The keys are a contract.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address
from socket import ntohs
from struct import unpack
from typing import Any, NamedTuple

from cipu_xdp.loader import abi, frames, remedies, rule_words, sessions, show_limits, timeouts
from cipu_xdp.loader.records import Address, Eni, Limit, Model, Rule, mac_text
from cipu_xdp.loader.rule_match import Asked, matching
from cipu_xdp.loader.tables import Tables
from cipu_xdp.loader.tracer import Frame, Traced

Answer = dict[str, Any]
PASSED, STOPPED, DONE = "passed", "stopped", "done"
# Where a packet of that verdict came to its end.
CARRIED = "carry"
ENDS = {
    "device": "UNKNOWN_DEVICE",
    "frame": "RUNT BAD_HEADER VLAN_TAGGED NOT_IP MULTICAST TOO_MANY_HEADERS",
    "tunnel": "HOST WRONG_PORT LIMIT_LEARNED OUTER_FRAGMENT OUTER_OPTIONS BAD_VXLAN UNKNOWN_VNI"
    " UNKNOWN_VTEP",
    "source": "SPOOFED MISPLACED",
    "route": "ANSWERED_ARP ANSWERED_ND ANSWERED_PING ANSWERED_EXPIRED ARP_UNANSWERED"
    " ND_UNANSWERED GATEWAY_CLOSED NO_ROUTE NO_SUCH_ADDRESS BLACKHOLE NOT_PEERED NOT_LOCAL EXPIRED"
    " CONGESTION_UNSEEN",
    "groups": "EGRESS_DENIED INGRESS_DENIED NO_SESSION UNKNOWN_FRAGMENT SESSIONS_FULL",
    "way": "HOST_UNREACHABLE DEVICE_GONE ANSWERED_TOO_BIG TOO_BIG",
    "limits": "EGRESS_OVER_RATE EGRESS_OVER_PPS INGRESS_OVER_RATE INGRESS_OVER_PPS",
    CARRIED: "DELIVERED SENT SENT_BY_KERNEL HANDED_OVER GSO_REFUSED KERNEL_REFUSED",
}
END_OF = {verdict: stage for stage, found in ENDS.items() for verdict in found.split()}
STAGES = {
    "tenant": ("device", "frame", "source", "route", "groups", "way", "limits", CARRIED),
    "uplink": ("tunnel", "frame", "source", "route", "groups", "way", "limits", CARRIED),
}
PLACES = ("egress", "egress", "ingress", "ingress")
KINDS = {"rate": "bytes", "ceil": "bytes", "packets": "packets"}


def stage_of(verdict: str) -> str:
    """The stage at which packets of a verdict come to their end."""
    return END_OF[verdict]


class Hop(NamedTuple):
    """Where a packet was traced: at an ENI ("tenant") or an uplink, by its name."""

    instance: str
    side: str
    name: str
    dev: str


class Explainer:
    """Says what became of packets on one instance."""

    def __init__(self, model: Model, tables: Tables) -> None:
        self._model, self._tables = model, tables
        self._vpcs = {vpc.vni: vpc.name for vpc in model.vpcs.values()}

    def answer(self, hop: Hop, frame: Frame, traced: Traced) -> Answer:
        """All that is said of one hop."""
        verdict = next(one for one in abi.verdicts() if one.name == traced.verdict)
        told = _Told(self._model, self._tables, self._vpcs, hop, frame, traced)
        return {
            "instance": hop.instance,
            "at": {"tenant": "eni", "uplink": "uplink"}[hop.side],
            "name": hop.name,
            "dev": hop.dev,
            "hook": traced.hook,
            "packet": frames.words(frame.data),
            "stages": list(told.stages()),
            "verdict": verdict.name.lower(),
            "meaning": verdict.meaning,
            "remedy": remedies.remedy(verdict),
            "action": traced.action,
            "frame": traced.frame.hex() if traced.action == "redirect" else None,
        }


class _Told:
    """One packet at one hop."""

    def __init__(
        self, model: Model, tables: Tables, vpcs: dict[int, str], hop: Hop, frame: Frame,
        traced: Traced,
    ) -> None:  # fmt: skip
        self._model, self._tables, self._vpcs, self._hop = model, tables, vpcs, hop
        self._frame, self._traced, self._account = frame, traced, traced.account
        self._end = stage_of(traced.verdict)

    def stages(self) -> Iterator[Answer]:
        """The stages that the packet came to, each with what was found there."""
        saying: dict[str, Callable[[], Answer]] = {
            "device": self._device, "frame": self._parsed, "tunnel": self._tunnel,
            "source": self._source, "route": self._route, "groups": self._groups,
            "way": self._way, "limits": self._limits, CARRIED: self._carried,
        }  # fmt: skip
        for stage in STAGES[self._hop.side]:
            ends = stage == self._end
            state = (DONE if stage == CARRIED else STOPPED) if ends else PASSED
            found = saying[stage]()
            if found or ends:
                yield {"stage": stage, "state": state, "found": "", **found}
            if ends:
                return

    def _number(self, name: str) -> int:
        value = self._account[name]
        assert isinstance(value, int)
        return value

    def _bytes(self, name: str) -> bytes:
        value = self._account[name]
        assert isinstance(value, bytes)
        return value

    def _vpc(self, vni: int) -> str:
        return f"VPC {self._vpcs[vni]} (VNI {vni})" if vni in self._vpcs else f"VNI {vni}"

    # What each stage found

    def _device(self) -> Answer:
        eni = self._model.enis.at_device(self._hop.dev)
        if eni is None:
            return {"found": f"{self._hop.dev} is not an ENI's device"}
        vni = self._model.vpcs[eni.vpc].vni
        return {"found": f"{self._hop.dev} is ENI {eni.name}'s, of {self._vpc(vni)}"}

    def _parsed(self) -> Answer:
        data = self._frame.data
        if self._hop.side == "uplink" and self._end != "tunnel":
            return {"found": frames.inner_words(data)}
        return {"found": frames.words(data)}

    def _tunnel(self) -> Answer:
        if self._end == "tunnel":
            return {}
        vni = self._number("source_vni")
        return {"found": f"from a host of {self._vpc(vni)}"}

    def _source(self) -> Answer:
        eni = self._model.enis.at_device(self._hop.dev) if self._hop.side == "tenant" else None
        if self._end == "source":
            return {}
        if eni is None:
            return {"found": "the inner source lives behind the outer one"}
        checked = "MAC and address are the ENI's" if eni.source_check else "its MAC is the ENI's"
        return {"found": checked}

    def _route(self) -> Answer:
        kind = self._number("target_kind")
        if not kind:
            return {}
        names = {
            number: name.lower()
            for name, number in abi.numbers("TARGET_").items()
            if not name.startswith("FLAG_")
        }
        target = names[kind]
        eni = self._eni(self._number("target_eni"))
        vni = self._number("destination_vni")
        found: Answer = {"target": target, "eni": eni.name if eni else None, "found": ""}
        if eni:
            place = f"on {eni.dev}" if eni.dev else f"on host {eni.host}"
            found["found"] = f"to ENI {eni.name} of {self._vpc(vni)}, {place}"
        elif target == "remote":
            found["found"] = f"by a route of {self._vpc(vni)} to host {self._host()}"
        if self._number("routed"):
            found["found"] += ", by way of the gateway"
        return found

    def _way(self) -> Answer:
        if not self._number("mtu"):
            return {}
        room = f"a tenant's packet may have {self._number('mtu')} bytes"
        if not self._number("remote"):
            return {"found": f"delivered here; {room}", "mtu": self._number("mtu")}
        hop = self._number("hop_destination")
        mac = mac_text((hop & (1 << 48) - 1).to_bytes(6, "little"))
        following = f"next hop {mac}" if hop else "the kernel is asked for the next hop"
        return {
            "found": f"to host {self._host()}, {following}; {room}",
            "host": str(self._host()), "mtu": self._number("mtu"),
        }  # fmt: skip

    def _carried(self) -> Answer:
        traced = self._traced
        if traced.action != "redirect":
            return {}
        if self._number("remote"):
            return {"found": f"{frames.words(traced.frame)}: {frames.inner_words(traced.frame)}"}
        return {"found": frames.words(traced.frame)}

    # Security groups

    def _groups(self) -> Answer:
        if not self._number("policed"):
            return {} if self._end == "groups" else {"found": "no ENI of this host is in one"}
        row = self._session_row()
        found: Answer = {"session": self._session(row), "rules": list(self._rules(row))}
        said = [found["session"], *(rule["found"] for rule in found["rules"])]
        return {"found": "; ".join(said), **found}

    def _session_row(self) -> dict[str, int | bytes] | None:
        value = next(self._tables["sessions"].values(self._bytes("session")), None)
        return abi.record("session").unpack(value) if value else None

    def _session(self, row: dict[str, int | bytes] | None) -> str:
        """Whether a session answered, or why none did."""
        if self._number("related"):
            return "it is an error about a packet of a session"
        if row is None:
            return "it has no session"
        state = {number: name for name, number in timeouts.states().items()}[int(row["state"])]
        judged, known = self._number("judged"), self._number("known")
        asked = self._number("asked_low") or self._number("asked_high")
        if not judged or (known and not asked):
            return f"its session ({state}) answers for it"
        if known:
            return f"its session ({state}) was let through under other rules"
        life = sessions.lifetimes(self._tables).get(int(row["state"]), 0)
        if self._number("now_ns") - int(row["last_ns"]) > life:
            return f"its session ({state}) has expired"
        return f"its session ({state}) is not one that this packet continues"

    def _rules(self, row: dict[str, int | bytes] | None) -> Iterator[Answer]:
        """What was said at each end that is bound on this host."""
        names = {
            rule.number: (group.name, rule)
            for group in self._model.groups.values()
            for rule in group.rules.values()
        }
        opener = self._number("opener") if self._number("judged") else int((row or {})["opener"])
        denied = {"EGRESS_DENIED": "egress", "INGRESS_DENIED": "ingress"}.get(self._traced.verdict)
        for end, direction in ((opener, "egress"), (1 - opener, "ingress")):
            eni = self._at(end)
            if eni is None or not (eni.dev and eni.groups):
                continue
            if self._traced.verdict in ("NO_SESSION", "UNKNOWN_FRAGMENT"):
                continue
            rule = names.get(self._number(("low_rule", "high_rule")[end]))
            asked = self._number("judged") and self._number(("asked_low", "asked_high")[end])
            if asked:
                yield _decided(eni, direction, rule, self._matching(end, direction, row))
            elif rule:
                yield _let_through(eni, direction, rule)
            if direction == denied:
                return

    def _at(self, end: int) -> Eni | None:
        """Whose end it is; of an error it is not its sender's, but who is quoted."""
        sends = end == self._number("sender")
        if sends and self._hop.side == "tenant" and not self._number("related"):
            return self._model.enis.at_device(self._hop.dev)
        if not sends and self._number("target_eni"):
            return self._eni(self._number("target_eni"))
        return self._owner(end)

    def _owner(self, end: int) -> Eni | None:
        """Whose the address of an end is."""
        vpc = self._vpcs.get(self._key()[f"{('low', 'high')[end]}_vni"])
        return self._model.enis.with_address(vpc, self._address(end)) if vpc else None

    def _groups_of(self, end: int) -> frozenset[str]:
        """The groups that rules mean by an end: none where it speaks with another's address."""
        owner = self._owner(end)
        return frozenset(owner.groups if owner and owner == self._at(end) else ())

    def _address(self, end: int) -> Address:
        key = abi.record("session_key").unpack(self._bytes("session"))
        packed = bytes(key[f"{('low', 'high')[end]}_address"])
        return IPv4Address(packed[:4]) if key["family"] == 4 else IPv6Address(packed)

    def _key(self) -> dict[str, int]:
        return abi.record("session_key").numbers(self._bytes("session"))

    def _matching(
        self, end: int, direction: str, row: dict[str, int | bytes] | None
    ) -> list[tuple[str, Rule]]:
        """Every rule of the ENI at an end that speaks of the flow's first packet."""
        key, eni = self._key(), self._at(end)
        assert eni is not None
        opener = end if direction == "egress" else 1 - end
        protocol, icmp = key["protocol"], (0, 0)
        if protocol in (1, 58):
            icmp = (int(row["icmp_type"]), int(row["icmp_code"])) if row else self._icmp()
        port = ntohs(key[("high_port", "low_port")[opener]])
        asked = Asked(
            direction, protocol, self._address(1 - end), port, icmp, self._groups_of(1 - end),
        )  # fmt: skip
        return matching((self._model.groups[name] for name in eni.groups), asked)

    def _icmp(self) -> tuple[int, int]:
        return frames.icmp(self._frame.data, tunnelled=self._hop.side == "uplink")

    # Limits

    def _limits(self) -> Answer:
        if not self._number("metered"):
            return {} if self._end == "limits" else {"found": "none is set"}
        by_number = {limit.number: limit for limit in self._model.limits.values()}
        gauge = show_limits.Gauge(self._tables)
        found = [
            self._limit(by_number[number], gauge)
            for number in unpack("=4I", self._bytes("limits"))
            if number in by_number
        ]
        said = [one["found"] for one in found]
        wait_ns = self._number("wait_ns")
        if wait_ns and self._end != "limits":
            said.append(f"it waits {wait_ns / 1e6:.3f} ms")
        if self._number("marked"):
            said.append("it is marked congested")
        return {"found": "; ".join(said), "limits": found, "wait_ns": wait_ns}

    def _limit(self, limit: Limit, gauge: show_limits.Gauge) -> Answer:
        left = gauge.left(limit.number)
        numbers = unpack("=4I", self._bytes("limits"))
        refuses = (
            self._end == "limits" and numbers[self._number("refusing_place") & 3] == limit.number
        )
        words = ", ".join(f"{max(0, n)} {KINDS[kind]} of {kind}" for kind, n in left.items())
        name = f"{limit.scope} {limit.name} {limit.direction}"
        verb = "refuses" if refuses else "lets it go"
        return {
            "found": f"{name} {verb}, with {words} left",
            "scope": limit.scope, "name": limit.name, "direction": limit.direction,
            "left": left, "refuses": refuses,
        }  # fmt: skip

    # Who and where

    def _eni(self, number: int) -> Eni | None:
        return self._model.enis.numbered(number) if number else None

    def _host(self) -> Address | None:
        path = self._number("path")
        return next((host for host, index in self._model.hosts.items() if index == path), None)


def _decided(
    eni: Eni, direction: str, rule: tuple[str, Rule] | None, matching: list[tuple[str, Rule]]
) -> Answer:
    """What was said when the rules of an ENI were asked now; None: no rule spoke of it."""
    beaten = [_rule(one) for one in matching if rule is None or one[1].number != rule[1].number]
    if rule is None:
        sentence = f"no {direction} rule of ENI {eni.name} allows it"
    else:
        verb = {"allow": "allows", "deny": "denies"}[rule[1].action]
        sentence = f"{_named(rule, direction, eni)} {verb} it"
    if beaten:
        others = (f"{one['sg']} {one['id']}" for one in beaten)
        sentence += f", before {', '.join(others)}"
    return {
        "found": sentence, "eni": eni.name, "direction": direction,
        "rule": rule and _rule(rule), "beaten": beaten, "now": True,
    }  # fmt: skip


def _let_through(eni: Eni, direction: str, rule: tuple[str, Rule]) -> Answer:
    """What was said when they were asked last."""
    return {
        "found": f"{_named(rule, direction, eni)} let its session through",
        "eni": eni.name, "direction": direction, "rule": _rule(rule), "beaten": [], "now": False,
    }  # fmt: skip


def _named(rule: tuple[str, Rule], direction: str, eni: Eni) -> str:
    return (
        f"{direction} rule {rule[0]} {rule[1].id} (priority {rule[1].priority}) of ENI {eni.name}"
    )


def _rule(found: tuple[str, Rule]) -> Answer:
    group, rule = found
    return {
        "sg": group, "id": rule.id, "action": rule.action, "priority": rule.priority,
        "protocol": rule_words.protocol_name(rule.protocol),
    }  # fmt: skip
