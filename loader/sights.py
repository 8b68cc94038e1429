# SPDX-License-Identifier: Apache-2.0
"""Packets that were seen, in the words of the model, and as pcapng; the keys are a contract.

Which packets are meant is said in a person's words, too. How they are told of
is watching.py's.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cipu_xdp.loader import abi, frames, parse, rule_words, rules
from cipu_xdp.loader.parse import AddressLike, NetworkLike, Unfit
from cipu_xdp.loader.records import Link, Model
from cipu_xdp.loader.watching import End, Sight, Wish, end

Answer = dict[str, Any]
HOOKS = ("eni tc", "eni xdp", "uplink tc", "uplink xdp")
STAGES = {"before": 1, "after": 2, "both": 3}
STAGE_NAMES = ("before", "after")
MAX_PER_SECOND = 1_000_000
SECOND_NS = 1_000_000_000


def wish(
    model: Model,
    links: dict[str, Link],
    *,
    verdicts: Iterable[str] = (),
    drops: bool = False,
    eni: str | None = None,
    uplink: str | None = None,
    vpc: str | None = None,
    proto: str | int | None = None,
    ip: Iterable[AddressLike | NetworkLike] = (),
    port: Iterable[int] = (),
    stage: str = "before",
    frame_bytes: int = 128,
    per_second: int = 0,
) -> Wish:
    """What is asked for, as the datapath takes it.

    Args:
        verdicts: by name; none for all, or with `drops` all that drop.
        ip, port: of one end, or of both in any order; two at most.
        stage: "before", "after" or "both".

    Raises Unfit.
    """
    family, ends = _ends([*ip], [*port])
    return Wish(
        verdicts=_verdict_bits([*verdicts], drops=drops),
        stages=STAGES[parse.choice(stage, tuple(STAGES), "stage")],
        frame_bytes=parse.number(frame_bytes, 1, abi.number("SIGHT_BYTES"), "number of bytes"),
        per_second=parse.number(per_second, 0, MAX_PER_SECOND, "number of packets a second"),
        vni=0 if vpc is None else rules.find_vpc(model, vpc).vni,
        eni=0 if eni is None else rules.find_local_eni(model, eni).number,
        ifindex=0 if uplink is None else _ifindex(links, uplink),
        family=family,
        protocol=(rule_words.protocol_number(proto) or 0) if proto is not None else 0,
        ends=ends,
    )


def _verdict_bits(names: list[str], *, drops: bool) -> int:
    known = {verdict.name.lower(): verdict for verdict in abi.verdicts()}
    for name in names:
        if name not in known:
            raise Unfit(f"{name!r} is not a verdict", "cipu-xdp status --json lists them.")
        if drops and known[name].action != "DROP":
            raise Unfit(f"{name} drops nothing", "cipu-xdp capture shows what goes on.")
    chosen = [known[name] for name in names] or list(known.values())
    return sum(1 << one.index for one in chosen if not drops or one.action == "DROP")


def _ends(ip: list[AddressLike | NetworkLike], port: list[int]) -> tuple[int, tuple[End, End]]:
    if len(ip) > 2 or len(port) > 2:
        hint = "Give --ip and --port twice at most."
        raise Unfit("a packet has two ends, and more are given", hint)
    networks = [ip_network(str(one), strict=False) for one in ip]
    if len({network.version for network in networks}) > 1:
        raise Unfit("the two ends are of two families")
    ports = [parse.number(one, 1, rule_words.MAX_PORT, "port") for one in port]
    found = []
    for n in range(2):
        network = networks[n] if n < len(networks) else None
        number = ports[n] if n < len(ports) else 0
        packed = network.network_address.packed if network else b""
        found.append(end(packed, network.prefixlen if network else 0, number))
    return networks[0].version if networks else 0, (found[0], found[1])


def _ifindex(links: dict[str, Link], name: str) -> int:
    if name not in links:
        raise Unfit(f"there is no device {name}", "cipu-xdp status lists the uplinks.")
    return links[name].ifindex


class Words:
    """Says what was seen, in the words of a model."""

    def __init__(self, model: Model, links: dict[str, Link]) -> None:
        self._model = model
        self._vpcs = {vpc.vni: vpc.name for vpc in model.vpcs.values()}
        self._names = {link.ifindex: name for name, link in links.items()}
        self._rules = {
            rule.number: (rule.direction, {"sg": group.name, "id": rule.id})
            for group in model.groups.values()
            for rule in group.rules.values()
        }
        self._enis = {eni.number: eni.name for eni in model.enis.local()}
        self._wall_ns = time.time_ns() - time.monotonic_ns()

    def answer(self, sight: Sight) -> Answer:
        """One packet as it was seen."""
        said = sight.fields
        verdict = abi.verdicts()[said["verdict"]]
        outer = said["hook"] >= len(HOOKS) // 2 and said["stage"] == 0
        tunnelled = outer or (said["stage"] == 1 and verdict.action == "SEND")
        return {
            "time": round((said["time_ns"] + self._wall_ns) / SECOND_NS, 6),
            "verdict": verdict.name.lower(),
            "hook": HOOKS[said["hook"]],
            "stage": STAGE_NAMES[said["stage"]],
            "dev": self._names.get(said["ifindex"]),
            "vpc": self._vpcs.get(said["source_vni"] or said["destination_vni"]),
            "from_eni": self._enis.get(said["sender_eni"]),
            "to_eni": self._enis.get(said["receiver_eni"]),
            "rules": list(self._decided(said, verdict.name)),
            "length": said["length"],
            "packet": self._packet(sight.frame, tunnelled=tunnelled),
            "frame": sight.frame.hex(),
        }

    def _decided(self, said: Mapping[str, int], verdict: str) -> Iterator[Answer]:
        """The rules that let it pass, or the one that did not."""
        denied = {"EGRESS_DENIED": "egress", "INGRESS_DENIED": "ingress"}.get(verdict)
        for name in ("low_rule", "high_rule"):
            direction, rule = self._rules.get(said[name], ("", {}))
            if rule and denied in (None, direction):
                yield rule

    def _packet(self, frame: bytes, *, tunnelled: bool) -> str:
        inner = frames.inner_words(frame) if tunnelled else ""
        return inner or frames.words(frame)


class Pcapng:
    """A pcapng file of what was seen; verdict and stage are in each packet's comment."""

    def __init__(self, path: str | Path) -> None:
        self._file = frames.CaptureFile(path)

    def write(self, sight: Sight, said: Mapping[str, Any]) -> None:
        """Add a packet, as it was said of by Words."""
        comment = f"{said['verdict']}, {said['stage']} {said['hook']}"
        if said["rules"]:
            named = ", ".join(f"{rule['sg']} {rule['id']}" for rule in said["rules"])
            comment += f", by rule {named}"
        for end_of in ("from_eni", "to_eni"):
            if said[end_of]:
                comment += f", {end_of.replace('_eni', ' ENI')} {said[end_of]}"
        self._file.add(
            sight.frame, said["time"], said["length"], said["dev"] or "?",
            inbound=said["stage"] == "before", comment=comment,
        )  # fmt: skip

    def close(self) -> None:
        """End the file."""
        self._file.close()
