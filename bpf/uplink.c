/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The hooks on an uplink. TC ingress can do the whole way of a packet from
 * the fabric. XDP, where the device can, does the common case before the
 * kernel has spent anything on it, and either redirects to the tenant's
 * device or hands over to TC. TC egress learns next hops. What is not the
 * overlay's leaves every hook untouched.
 */
#include "kernel.h"
#include "abi.h"
#include "tables.h"
#include "verdict.h"
#include "packet.h"
#include "icmp.h"
#include "tcp.h"
#include "parse.h"
#include "address.h"
#include "way.h"
#include "ends.h"
#include "rule_set.h"
#include "session.h"
#include "flow_log.h"
#include "policy.h"
#include "quota.h"
#include "fragment.h"
#include "opening.h"
#include "judge.h"
#include "bucket.h"
#include "load.h"
#include "meter.h"
#include "watch.h"
#include "sight.h"
#include "vxlan.h"
#include "fabric.h"
#include "frame.h"
#include "tc.h"
#include "answer.h"
#include "underlay.h"

#define HANDOVER_MAGIC 0x63697075

/* Where the hooks' further programs are. */
BPF_PROG_ARRAY(steps, STEPS);
#ifdef WITH_XDP
BPF_PROG_ARRAY(steps_xdp, STEPS);
#endif

_Static_assert(sizeof(((struct scratch *)0)->outer) >= sizeof(struct outer), "outer");

inline_always void leave_outer(const struct outer *o)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (scratch)
		*(struct outer *)scratch->outer = *o;
}

inline_always enum verdict fabric_parse(struct packet *p, struct outer *o, void *frame, void *end,
					__u32 length, __u32 gso_bytes)
{
	enum verdict verdict = parse_outer(o, frame, end);

	if (verdict != NEXT)
		return verdict;
	if (frame + OUTER_BYTES + ETH_HLEN > end || length < OUTER_BYTES)
		return RUNT;
	return parse(p, frame + OUTER_BYTES, end, length - OUTER_BYTES, gso_bytes);
}

inline_always enum verdict uplink_parse(struct __sk_buff *skb, struct packet *p, struct outer *o)
{
	enum verdict verdict = HOST;
	void *frame = frame_of(skb);

	if (skb->vlan_present)	/* for a VLAN device above this one */
		return HOST;
	/* Too little at hand to tell whose it is: a driver may leave all in pages. */
	if (frame + ETH_HLEN + OUTER_IP_BYTES + ICMP_BYTES > end_of(skb))
		pull_more(skb);
	for (int attempt = 0; attempt < 2; attempt++) {
		verdict = fabric_parse(p, o, frame_of(skb), end_of(skb), skb->len, skb->gso_size);
		if (verdict != RUNT || !pull_more(skb))
			break;
	}
	count_segments(skb, p);
	return verdict;
}

/*
 * Takes the outer headers off and leaves an Ethernet header, not yet written,
 * before the tenant's packet. The kernel keeps the outer packet's protocol
 * unless it is told of the other family, which shifts the size by 20. An
 * answer goes straight back into the tunnel and keeps what the kernel knows;
 * but ARP is shorter than the kernel lets a packet of IPv6 become.
 */
inline_always bool decapsulate(struct __sk_buff *skb, const struct packet *p, bool answering)
{
	int bytes = OUTER_BYTES;

	if (p->source.family != UPLINK_FAMILY && (!answering || p->kind == FRAME_ARP)) {
		if (bpf_skb_change_proto(skb, UPLINK_FAMILY == 4 ? net16(ETH_P_IPV6)
								 : net16(ETH_P_IP), 0))
			return false;
		bytes = OUTER_IPV4_BYTES + OUTER_IPV6_BYTES - OUTER_BYTES;
	}
	return !bpf_skb_adjust_room(skb, -bytes, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

inline_always bool write_inner(void *frame, void *end, struct packet *p, const struct way *way,
			       __u8 outer_tos)
{
	struct ethhdr *eth = frame;
	__u8 tos;

	if (frame + ETH_HLEN + sizeof(struct iphdr) > end)
		return false;
	write_macs(eth, p, way);
	eth->h_proto = p->kind == FRAME_ARP ? net16(ETH_P_ARP) :
		       p->source.family == FAMILY_IPV6 ? net16(ETH_P_IPV6) : net16(ETH_P_IP);
	tos = combine_ecn(p->tos, outer_tos);
	if (p->kind == FRAME_IP && tos != p->tos)
		write_tos(p, eth + 1, tos);
	if (way->mark)
		write_mark(p, eth + 1);
	return true;
}

/* The reply goes back to the host that asked, from the MAC that answered: bridges learn it. */
inline_always bool uplink_answer(struct __sk_buff *skb, struct packet *p, const struct outer *o,
				 struct way *way, enum verdict verdict, int *action)
{
	const __u8 none[16] = {}, *gateway = none;
	struct eni *eni = enis.lookup(&way->target.link);
	struct ethhdr *eth;

	if (eni)
		gateway = p->source.family == FAMILY_IPV6 ? eni->gateway_ipv6 : eni->gateway_ipv4;
	if (!answer(skb, p, way, verdict, gateway))
		return false;
	if (find_path(skb, way, o->path_index) != NEXT)
		return false;
	eth = frame_of(skb);
	if ((void *)(eth + 1) > end_of(skb))
		return false;
	copy_mac(way->target.mac, eth->h_dest);
	copy_mac(p->source_mac, eth->h_source);
	way->routed = 0;
	return send(skb, p, way, p->source.vni, action);
}

inline_always bool uplink_carry(struct __sk_buff *skb, struct packet *p, const struct outer *o,
				struct way *way, enum verdict verdict, int *action)
{
	bool answering = action_of(verdict) == ACTION_ANSWER;

	if (!decapsulate(skb, p, answering))
		return false;
	if (!write_inner(frame_of(skb), end_of(skb), p, way, o->tos))
		return false;
	if (answering)
		return uplink_answer(skb, p, o, way, verdict, action);
	*action = deliver(skb, way->target.link, way->target.flags);
	return true;
}

/* Frames that XDP has decapsulated and GRO may have merged since. */
inline_always bool take_over(struct __sk_buff *skb, int *action)
{
	struct handover *left = (void *)(long)skb->data_meta;

	if ((void *)(left + 1) > frame_of(skb) || left->magic != HANDOVER_MAGIC)
		return false;
	*action = deliver(skb, left->ifindex, left->flags);
	return true;
}

inline_always __u32 inner_bytes(__u32 length)
{
	return length < OUTER_BYTES ? 0 : length - OUTER_BYTES;
}

inline_always int uplink_carry_out(struct __sk_buff *skb, struct packet *p, const struct outer *o,
				   struct way *way, enum verdict *verdict)
{
	__u32 length = inner_bytes(skb->len);
	int action = TC_DROP;

	if (action_of(*verdict) == ACTION_PASS) {
		count(scratch_of(p), *verdict, skb->len);
		return TC_NEXT_FILTER;
	}
	if (action_of(*verdict) != ACTION_DROP && !uplink_carry(skb, p, o, way, *verdict, &action)) {
		*verdict = refusal(skb);
		action = TC_DROP;
	}
	if (*verdict == DELIVERED)
		account(p, way);
	else
		take_back(p, way);
	count(scratch_of(p), *verdict, length);
	count_received(scratch_of(p), o->path_index, way, *verdict,
		       action == TC_DROP, length);
	return action;
}

inline_always int uplink_finish(struct __sk_buff *skb, struct packet *p, const struct outer *o,
				struct way *way, enum verdict verdict)
{
	/* It keeps the tunnel's mark, by which the tenant's stack would cut it wrong. */
	if (verdict == DELIVERED && skb->gso_size && p->protocol == IPPROTO_UDP)
		verdict = GSO_REFUSED;
	if (may_be_known_to_other(p, verdict))
		steps.call(skb, STEP_OTHER);
	if (is_to_be_metered(way, verdict) && !meter_at_once(p, way)) {
		account(p, way);
		leave(way, verdict);
		leave_outer(o);
		steps.call(skb, STEP_METER);
		verdict = KERNEL_REFUSED;
	}
	if (scratch_of(p)->watched) {
		leave_watched(p, way, verdict);
		leave_outer(o);
		steps.call(skb, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return uplink_carry_out(skb, p, o, way, &verdict);
}

int uplink_ingress(struct __sk_buff *skb)
{
	struct outer o = { .source.family = UPLINK_FAMILY };
	struct packet *p = packet_here();
	enum verdict verdict;
	struct way way = {};
	int action;

	if (!p)
		return TC_NEXT_FILTER;
	look_out(p, token_of(skb));
	if (take_over(skb, &action)) {
		/* XDP cannot see a tag that the device keeps beside the frame. */
		verdict = skb->vlan_present ? VLAN_TAGGED : DELIVERED;
		count(scratch_of(p), verdict, skb->len);
		return verdict == DELIVERED ? action : TC_DROP;
	}
	verdict = uplink_parse(skb, p, &o);
	if (verdict == HOST)
		verdict = learn_limit(frame_of(skb), end_of(skb), scratch_of(p)->traced);
	if (verdict == NEXT)
		verdict = know_sender(&o);
	if (verdict == NEXT)
		verdict = fabric_decide(skb, p, &o, &way);
	if (verdict == JUDGE) {
		leave(&way, verdict);
		leave_outer(&o);
		steps.call(skb, STEP_JUDGE);
		verdict = KERNEL_REFUSED;
	}
	return uplink_finish(skb, p, &o, &way, verdict);
}

int uplink_judge(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return TC_DROP;
	steps.call(skb, judge_packet(scratch));
	count(scratch, KERNEL_REFUSED, 0);
	return TC_DROP;
}

int uplink_settle(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};
	struct packet *p;
	struct outer o;

	if (!scratch)
		return TC_DROP;
	p = (struct packet *)scratch->packet;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = settle(scratch, p, &way);
	if (verdict == NEXT)
		verdict = find_way(skb, p, &way);
	return uplink_finish(skb, p, &o, &way, verdict);
}

int uplink_meter(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};
	struct outer o;

	if (!scratch)
		return TC_DROP;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = meter(scratch, &way, false);
	if (scratch->watched) {
		leave(&way, verdict);
		steps.call(skb, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return uplink_carry_out(skb, (struct packet *)scratch->packet, &o, &way, &verdict);
}

int uplink_watch(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct sight_room *room;
	enum verdict verdict;
	struct way way = {};
	struct outer o;
	int action;

	if (!scratch)
		return TC_DROP;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = scratch->verdict;
	room = room_of_sight(scratch);
	if (room)
		look_at(skb, false, room);
	action = uplink_carry_out(skb, (struct packet *)scratch->packet, &o, &way, &verdict);
	tell_trace(scratch, &way, verdict);
	log_denial(scratch, verdict);
	if (room) {
		describe_sight(room, scratch, &way, verdict, WATCH_UPLINK_TC, skb->ifindex, 0);
		tell_stages(skb, false, room, scratch,
			    action != TC_DROP && action != TC_NEXT_FILTER);
	}
	return action;
}

int uplink_egress(struct __sk_buff *skb)
{
	if (skb->ingress_ifindex && skb->cb[0] == LEARN_MARK)
		learn_hop(skb, skb->cb[1]);
	return TC_NEXT_FILTER;
}

#ifdef WITH_XDP
#include "uplink_xdp.h"
#endif
