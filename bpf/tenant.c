/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The hooks on an ENI's device. TC ingress carries everything, super-packets
 * whole. XDP, where asked for, carries what can be redirected at once, drops
 * what must be dropped, and leaves the rest to TC behind it.
 */
#include "kernel.h"
#include "abi.h"
#include "tables.h"
#include "verdict.h"
#include "packet.h"
#include "address.h"
#include "way.h"
#include "tenant.h"
#include "vxlan.h"
#include "frame.h"
#include "tc.h"
#include "answer.h"

inline_always enum verdict tenant_parse(struct __sk_buff *skb, struct packet *p)
{
	enum verdict verdict = RUNT;

	if (skb->vlan_present)
		return VLAN_TAGGED;
	for (int attempt = 0; attempt < 2; attempt++) {
		verdict = parse(p, frame_of(skb), end_of(skb), skb->len, skb->gso_size);
		if (verdict != RUNT || !pull_more(skb))
			break;
	}
	return verdict;
}

inline_always bool tenant_forward(struct __sk_buff *skb, struct packet *p, struct way *way,
				  int *action)
{
	void *frame = frame_of(skb);

	/* Every IPv4 packet that ND or ARP is not is at least this long with its Ethernet header. */
	if (frame + ETH_HLEN + sizeof(struct iphdr) > end_of(skb))
		return false;
	if (way->routed)
		write_hop_limit(p, frame + ETH_HLEN);
	if (way->path)
		return send(skb, p, way, p->destination.vni, action);
	write_macs(frame, p, way);
	*action = deliver(skb, way->target.link, way->target.flags);
	return true;
}

inline_always bool tenant_answer(struct __sk_buff *skb, struct packet *p, struct way *way,
				 const struct eni *eni, enum verdict verdict, int *action)
{
	const __u8 *gateway = p->source.family == FAMILY_IPV6 ? eni->gateway_ipv6
							      : eni->gateway_ipv4;

	if (!answer(skb, p, way, verdict, gateway))
		return false;
	*action = bpf_redirect(skb->ifindex, 0);
	return true;
}

int tenant_ingress(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, length = skb->len;
	struct eni *eni = enis.lookup(&ifindex);
	enum verdict verdict = UNKNOWN_DEVICE;
	int action = TC_DROP;
	struct way way = {};
	struct packet p;
	bool done = true;

	if (eni)
		verdict = tenant_parse(skb, &p);
	if (verdict == NEXT) {
		verdict = tenant_decide(skb, &p, eni, &way);
		switch (action_of(verdict)) {
		case ACTION_DELIVER:
		case ACTION_SEND:
			done = tenant_forward(skb, &p, &way, &action);
			break;
		case ACTION_ANSWER:
			done = tenant_answer(skb, &p, &way, eni, verdict, &action);
			break;
		default:
			break;
		}
	}
	count(done ? verdict : refusal(skb), length);
	return done ? action : TC_DROP;
}

#ifdef WITH_XDP
inline_always int tenant_xdp_forward(struct xdp_md *xdp, struct packet *p, struct way *way)
{
	void *frame = (void *)(long)xdp->data;
	void *end = (void *)(long)xdp->data_end;

	if (frame + ETH_HLEN + sizeof(struct ipv6hdr) > end)
		return XDP_PASS;
	if (way->routed)
		write_hop_limit(p, frame + ETH_HLEN);
	if (!way->path) {
		write_macs(frame, p, way);
		return bpf_redirect(way->target.link, 0);
	}
	if (bpf_xdp_adjust_head(xdp, -(int)outer_bytes(way->path)))
		return XDP_ABORTED;
	if (!write_outer((void *)(long)xdp->data, (void *)(long)xdp->data_end, p, way,
			 p->destination.vni))
		return XDP_ABORTED;
	return bpf_redirect(way->path->ifindex, 0);
}

/* What XDP can carry out itself; everything else goes on to TC, untouched and uncounted. */
int tenant_xdp(struct xdp_md *xdp)
{
	void *frame = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	__u32 ifindex = xdp->ingress_ifindex, length = end - frame;
	struct eni *eni = enis.lookup(&ifindex);
	enum verdict verdict;
	struct way way = {};
	struct packet p;
	int action;

	if (!eni)
		return XDP_PASS;
	verdict = parse(&p, frame, end, length, 0);
	if (verdict == NEXT)
		verdict = tenant_decide(xdp, &p, eni, &way);
	if (action_of(verdict) == ACTION_DROP) {
		count(verdict, length);
		return XDP_DROP;
	}
	if (verdict != SENT && !(verdict == DELIVERED && way.target.flags & TARGET_FLAG_XDP))
		return XDP_PASS;
	action = tenant_xdp_forward(xdp, &p, &way);
	if (action == XDP_REDIRECT)
		count(verdict, length);
	else if (action == XDP_ABORTED)
		count(KERNEL_REFUSED, length);
	return action;
}
#endif
