# SPDX-License-Identifier: Apache-2.0
"""What a person can do about packets that are dropped, by verdict.

What a verdict means is said in verdict.def, where it falls in traces. A
command here is one that exists; words in capitals are to be filled in.
"""

from cipu_xdp.loader.abi import Verdict

REMEDIES = {
    "RUNT": "Look at who sends it: the packet ends before its headers do.",
    "BAD_HEADER": "Look at who sends it: a length, version or other field of its headers is wrong.",
    "VLAN_TAGGED": "Have the tenant send without a VLAN tag.",
    "NOT_IP": "Have the tenant speak IPv4 or IPv6: nothing else is carried.",
    "MULTICAST": "Do without: give tenants static addresses or cloud-init in place of DHCP.",
    "TOO_MANY_HEADERS": "Have the sender use fewer IPv6 extension headers: 6 are walked.",
    "UNKNOWN_DEVICE": "Create an ENI on it: cipu-xdp eni create NAME --vpc VPC --ip ADDR "
    "--dev IFACE; if it has one: cipu-xdp restore.",
    "SPOOFED": "Give the tenant what cipu-xdp eni show NAME says; if it may send from other "
    "addresses: cipu-xdp eni set NAME --no-source-check.",
    "ARP_UNANSWERED": "Create the ENI or subnet that it asks for, if there is to be one: "
    "cipu-xdp eni create NAME --vpc VPC --ip ADDR.",
    "ND_UNANSWERED": "Give tenants static addresses and routes: routers are not advertised. Or "
    "create the ENI that it asks for: cipu-xdp eni create NAME --vpc VPC --ip ADDR.",
    "GATEWAY_CLOSED": "Ask another address: the gateway has no services, and answers ping alone.",
    "NO_ROUTE": "Create a route: cipu-xdp route create VPC PREFIX --eni NAME; or a subnet: "
    "cipu-xdp subnet create VPC CIDR.",
    "NO_SUCH_ADDRESS": "Create the ENI, also here if it is elsewhere: "
    "cipu-xdp eni create NAME --vpc VPC --ip ADDR --host ADDR.",
    "BLACKHOLE": "Delete the route, if this is to pass: cipu-xdp route delete VPC PREFIX.",
    "NOT_PEERED": "Give the other VPC a route back: cipu-xdp route create VPC PREFIX --vpc VPC; "
    "through a third VPC there is no way.",
    "HOST_UNREACHABLE": "Attach an uplink with an address of that family: cipu-xdp attach IFACE; "
    "if its device was away: cipu-xdp restore.",
    "DEVICE_GONE": "Make the device again, then cipu-xdp restore; or give the ENI another: "
    "cipu-xdp eni set NAME --dev IFACE.",
    "EGRESS_DENIED": "Allow it in a group of the sender: cipu-xdp sg rule add GROUP egress allow "
    "PROTOCOL; cipu-xdp trace names the rule that decided.",
    "INGRESS_DENIED": "Allow it in a group of the receiver: cipu-xdp sg rule add GROUP ingress "
    "allow PROTOCOL; cipu-xdp trace names the rule that decided.",
    "NO_SESSION": "Open the connection anew; if its session expired too soon: "
    "cipu-xdp session timeout set STATE SECONDS.",
    "UNKNOWN_FRAGMENT": "Have the sender not fragment: no fragment passes before its first one.",
    "SESSIONS_FULL": "Give sessions more room, of which quotas are parts: "
    "cipu-xdp upgrade --table-size sessions=N.",
    "EGRESS_OVER_RATE": "Send less, or raise the limit: cipu-xdp limit set ENI egress --rate RATE.",
    "EGRESS_OVER_PPS": "Send fewer packets, or raise the limit: "
    "cipu-xdp limit set ENI egress --pps N.",
    "INGRESS_OVER_RATE": "Have less sent to it, or raise the limit: "
    "cipu-xdp limit set ENI ingress --rate RATE.",
    "INGRESS_OVER_PPS": "Have fewer packets sent to it, or raise the limit: "
    "cipu-xdp limit set ENI ingress --pps N.",
    "EXPIRED": "Have the sender give a greater hop limit (TTL): behind a gateway it takes 2.",
    "TOO_BIG": "Give the tenant the MTU that cipu-xdp status says, or the underlay a greater one.",
    "OUTER_FRAGMENT": "Have who sends it not fragment: ours leave with DF set, so it is another's.",
    "OUTER_OPTIONS": "Find who sends it, or what on the way adds the options: ours have none.",
    "BAD_VXLAN": "Find who sends it: on this port of the VTEP there should be VXLAN alone.",
    "UNKNOWN_VNI": "Create the VPC here, with the VNI of the other hosts: "
    "cipu-xdp vpc create NAME --vni N.",
    "UNKNOWN_VTEP": "Tell this host of the sender: cipu-xdp eni create NAME --vpc VPC --ip ADDR "
    "--host ADDR.",
    "MISPLACED": "Tell this host where the sender is: cipu-xdp eni set NAME --host ADDR.",
    "NOT_LOCAL": "Tell the host that sent it where the receiver is: "
    "cipu-xdp eni set NAME --host ADDR.",
    "CONGESTION_UNSEEN": "Relieve the underlay, which is congested; or have tenants speak ECN.",
    "GSO_REFUSED": "Have it cut before: ethtool -K eth0 tx-udp_tnl-segmentation off "
    "tx-udp_tnl-csum-segmentation off in the tenant; where the underlay is veths, "
    "ethtool -K IFACE tx-udp-segmentation off on the uplink that sent it.",
    "KERNEL_REFUSED": "Nothing, if a host or device was just removed; else see whether the "
    "kernel has memory: cipu-xdp doctor.",
}


def remedy(verdict: Verdict) -> str | None:
    """What can be done about packets of that verdict; None if they are not dropped."""
    return REMEDIES[verdict.name] if verdict.action == "DROP" else None
