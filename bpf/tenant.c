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
#include "tenant.h"
#include "vxlan.h"
#include "frame.h"
#include "tc.h"
#include "inner.h"
#include "answer.h"

/* Where the hooks' further programs are. */
BPF_PROG_ARRAY(steps, STEPS);
#ifdef WITH_XDP
BPF_PROG_ARRAY(steps_xdp, STEPS);
#endif

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
	count_segments(skb, p);
	if (verdict == NEXT && p->protocol != IPPROTO_TCP && has_segments(skb))
		count_tunnelled(skb, p);
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
	if (way->mark)
		write_mark(p, frame + ETH_HLEN);
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

inline_always int tenant_carry_out(struct __sk_buff *skb, struct packet *p, const struct eni *eni,
				   struct way *way, enum verdict *verdict)
{
	__u32 length = skb->len;
	int action = TC_DROP;
	bool done = true;

	switch (action_of(*verdict)) {
	case ACTION_DELIVER:
	case ACTION_SEND:
		done = tenant_forward(skb, p, way, &action);
		if (done)
			account(p, way);
		break;
	case ACTION_ANSWER:
		done = eni && tenant_answer(skb, p, way, eni, *verdict, &action);
		break;
	default:
		break;
	}
	if (!done) {
		action = TC_DROP;
		*verdict = refusal(skb);
	}
	if (action == TC_DROP)
		take_back(p, way);
	count(scratch_of(p), *verdict, length);
	count_sent(scratch_of(p), way, *verdict, action == TC_DROP, length);
	return action;
}

inline_always int tenant_finish(struct __sk_buff *skb, struct packet *p, const struct eni *eni,
				struct way *way, enum verdict verdict)
{
	if (may_be_known_to_other(p, verdict))
		steps.call(skb, STEP_OTHER);
	if (is_to_be_metered(way, verdict) && !meter_at_once(p, way)) {
		account(p, way);
		leave(way, verdict);
		steps.call(skb, STEP_METER);
		verdict = KERNEL_REFUSED;
	}
	if (scratch_of(p)->watched) {
		leave_watched(p, way, verdict);
		steps.call(skb, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return tenant_carry_out(skb, p, eni, way, &verdict);
}

int tenant_ingress(struct __sk_buff *skb)
{
	key32 ifindex = skb->ifindex;
	struct eni *eni = enis.lookup(&ifindex);
	enum verdict verdict = UNKNOWN_DEVICE;
	struct packet *p = packet_here();
	struct way way = {};

	if (!p)
		return TC_DROP;
	look_out(p, token_of(skb));
	if (eni) {
		way.sender_counters = eni->counters;
		verdict = tenant_parse(skb, p);
	}
	if (eni && verdict == NEXT)
		verdict = tenant_decide(skb, p, eni, &way);
	if (verdict == JUDGE) {
		leave(&way, verdict);
		steps.call(skb, STEP_JUDGE);
		verdict = KERNEL_REFUSED;
	}
	return tenant_finish(skb, p, eni, &way, verdict);
}

int tenant_judge(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return TC_DROP;
	steps.call(skb, judge_packet(scratch));
	count(scratch, KERNEL_REFUSED, 0);
	return TC_DROP;
}

int tenant_settle(struct __sk_buff *skb)
{
	key32 ifindex = skb->ifindex, zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct eni *eni = enis.lookup(&ifindex);
	enum verdict verdict;
	struct way way = {};
	struct packet *p;

	if (!scratch)
		return TC_DROP;
	p = (struct packet *)scratch->packet;
	take_up(scratch, &way);
	verdict = settle(scratch, p, &way);
	if (verdict == NEXT)
		verdict = find_way(skb, p, &way);
	return tenant_finish(skb, p, eni, &way, verdict);
}

int tenant_meter(struct __sk_buff *skb)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};

	if (!scratch)
		return TC_DROP;
	take_up(scratch, &way);
	verdict = meter(scratch, &way, true);
	if (scratch->watched) {
		leave(&way, verdict);
		steps.call(skb, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	way.path = path_of(&way);
	return tenant_carry_out(skb, (struct packet *)scratch->packet, NULL, &way, &verdict);
}

int tenant_watch(struct __sk_buff *skb)
{
	key32 ifindex = skb->ifindex, zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct eni *eni = enis.lookup(&ifindex);
	struct sight_room *room;
	enum verdict verdict;
	struct way way = {};
	int action;

	if (!scratch)
		return TC_DROP;
	take_up(scratch, &way);
	way.path = path_of(&way);
	verdict = scratch->verdict;
	room = room_of_sight(scratch);
	if (room)
		look_at(skb, false, room);
	action = tenant_carry_out(skb, (struct packet *)scratch->packet, eni, &way, &verdict);
	tell_trace(scratch, &way, verdict);
	log_denial(scratch, verdict);
	if (room) {
		describe_sight(room, scratch, &way, verdict, WATCH_TENANT_TC, skb->ifindex,
			       eni ? eni->number : 0);
		tell_stages(skb, false, room, scratch, action != TC_DROP);
	}
	return action;
}

#ifdef WITH_XDP
#include "tenant_xdp.h"
#endif
