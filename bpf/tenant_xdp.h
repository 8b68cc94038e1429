/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The XDP hook on an ENI's device: what can be redirected at once, or must be
 * dropped. All else is left to TC behind it, untouched and uncounted.
 */
#ifndef CIPU_TENANT_XDP_H
#define CIPU_TENANT_XDP_H

inline_always int tenant_xdp_forward(struct xdp_md *xdp, struct packet *p, struct way *way)
{
	void *frame = (void *)(long)xdp->data;
	void *end = (void *)(long)xdp->data_end;

	if (frame + ETH_HLEN + sizeof(struct ipv6hdr) > end)
		return XDP_PASS;
	if (way->routed)
		write_hop_limit(p, frame + ETH_HLEN);
	if (way->mark)
		write_mark(p, frame + ETH_HLEN);
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

inline_always int tenant_xdp_carry_out(struct xdp_md *xdp, struct packet *p, struct way *way,
				       enum verdict *verdict)
{
	__u32 length = p->length;
	int action = XDP_DROP;

	if (action_of(*verdict) != ACTION_DROP) {
		action = tenant_xdp_forward(xdp, p, way);
		if (action != XDP_REDIRECT)
			*verdict = KERNEL_REFUSED;
	}
	if (action == XDP_REDIRECT)
		account(p, way);
	else
		take_back(p, way);
	count(scratch_of(p), *verdict, length);
	count_sent(scratch_of(p), way, *verdict, action != XDP_REDIRECT, length);
	return action;
}

/* What XDP can carry out itself; everything else goes on to TC, untouched and uncounted. */
inline_always int tenant_xdp_finish(struct xdp_md *xdp, struct packet *p, struct way *way,
				    enum verdict verdict)
{
	if (verdict != SENT && !(verdict == DELIVERED && way->target.flags & TARGET_FLAG_XDP) &&
	    action_of(verdict) != ACTION_DROP)
		return XDP_PASS;
	/* Shorter than any on a wire: tenant_xdp_forward could not write into it. */
	if (p->length < ETH_HLEN + sizeof(struct ipv6hdr) && action_of(verdict) != ACTION_DROP)
		return XDP_PASS;
	if (is_to_be_metered(way, verdict) && !meter_at_once(p, way)) {
		account(p, way);
		leave(way, verdict);
		steps_xdp.call(xdp, STEP_METER);
		verdict = KERNEL_REFUSED;
	}
	if (scratch_of(p)->watched) {
		leave_watched(p, way, verdict);
		steps_xdp.call(xdp, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return tenant_xdp_carry_out(xdp, p, way, &verdict);
}

int tenant_xdp(struct xdp_md *xdp)
{
	void *frame = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	key32 ifindex = xdp->ingress_ifindex;
	struct eni *eni = enis.lookup(&ifindex);
	struct packet *p = packet_here();
	enum verdict verdict;
	struct way way = {};

	if (!eni || !p)
		return XDP_PASS;
	look_out(p, token_of_frame(xdp));
	way.sender_counters = eni->counters;
	verdict = parse(p, frame, end, end - frame, 0);
	if (verdict == NEXT)
		verdict = tenant_decide(xdp, p, eni, &way);
	if (verdict == JUDGE) {
		leave(&way, verdict);
		steps_xdp.call(xdp, STEP_JUDGE);
		verdict = KERNEL_REFUSED;
	}
	return tenant_xdp_finish(xdp, p, &way, verdict);
}

int tenant_judge_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return XDP_DROP;
	steps_xdp.call(xdp, judge_packet(scratch));
	count(scratch, KERNEL_REFUSED, 0);
	return XDP_DROP;
}

int tenant_settle_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};
	struct packet *p;

	if (!scratch)
		return XDP_DROP;
	p = (struct packet *)scratch->packet;
	take_up(scratch, &way);
	verdict = settle(scratch, p, &way);
	if (verdict == NEXT)
		verdict = find_way(xdp, p, &way);
	return tenant_xdp_finish(xdp, p, &way, verdict);
}

int tenant_meter_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};

	if (!scratch)
		return XDP_DROP;
	take_up(scratch, &way);
	verdict = meter(scratch, &way, false);
	if (scratch->watched) {
		leave(&way, verdict);
		steps_xdp.call(xdp, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	way.path = path_of(&way);
	return tenant_xdp_carry_out(xdp, (struct packet *)scratch->packet, &way, &verdict);
}

int tenant_watch_xdp(struct xdp_md *xdp)
{
	key32 ifindex = xdp->ingress_ifindex, zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct eni *eni = enis.lookup(&ifindex);
	struct sight_room *room;
	enum verdict verdict;
	struct way way = {};
	int action;

	if (!scratch)
		return XDP_DROP;
	take_up(scratch, &way);
	way.path = path_of(&way);
	verdict = scratch->verdict;
	room = room_of_sight(scratch);
	if (room)
		look_at(xdp, true, room);
	action = tenant_xdp_carry_out(xdp, (struct packet *)scratch->packet, &way, &verdict);
	tell_trace(scratch, &way, verdict);
	log_denial(scratch, verdict);
	if (room) {
		describe_sight(room, scratch, &way, verdict, WATCH_TENANT_XDP,
			       xdp->ingress_ifindex, eni ? eni->number : 0);
		tell_stages(xdp, true, room, scratch, action == XDP_REDIRECT);
	}
	return action;
}

#endif
