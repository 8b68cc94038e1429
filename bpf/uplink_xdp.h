/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The XDP hook on an uplink: what is delivered or dropped before the kernel has
 * spent anything on it. All else is left to TC behind it, untouched and uncounted.
 */
#ifndef CIPU_UPLINK_XDP_H
#define CIPU_UPLINK_XDP_H

/* Room for the note first: a driver without it leaves the packet whole to TC. */
inline_always int hand_over(struct xdp_md *xdp, const struct packet *p, const struct way *way)
{
	struct handover *note = (void *)(long)xdp->data_meta;

	if ((void *)(note + 1) > (void *)(long)xdp->data)
		return XDP_ABORTED;
	note->magic = HANDOVER_MAGIC;
	note->ifindex = way->target.link;
	note->flags = way->target.flags;
	note->eni = way->target.eni;
	return XDP_PASS;
}

inline_always int uplink_xdp_deliver(struct xdp_md *xdp, struct packet *p, const struct outer *o,
				     struct way *way)
{
	if (bpf_xdp_adjust_head(xdp, OUTER_BYTES))
		return XDP_ABORTED;
	if (!write_inner((void *)(long)xdp->data, (void *)(long)xdp->data_end, p, way, o->tos))
		return XDP_ABORTED;
	if (!(way->target.flags & TARGET_FLAG_XDP))
		return hand_over(xdp, p, way);
	return bpf_redirect(way->target.link, 0);
}

inline_always int uplink_xdp_carry_out(struct xdp_md *xdp, struct packet *p, const struct outer *o,
				       struct way *way, enum verdict *verdict)
{
	__u32 length = inner_bytes((void *)(long)xdp->data_end - (void *)(long)xdp->data);
	int action = XDP_DROP;

	if (*verdict == DELIVERED) {
		action = uplink_xdp_deliver(xdp, p, o, way);
		if (action == XDP_ABORTED)
			*verdict = KERNEL_REFUSED;
		else if (action == XDP_PASS)
			*verdict = HANDED_OVER;
	}
	if (*verdict == DELIVERED || *verdict == HANDED_OVER)
		account(p, way);
	else
		take_back(p, way);
	count(scratch_of(p), *verdict, length);
	count_received(scratch_of(p), o->path_index, way, *verdict,
		       action == XDP_DROP || action == XDP_ABORTED, length);
	return action;
}

/* What is delivered or dropped ends here; all else goes on to TC, untouched and uncounted. */
inline_always int uplink_xdp_finish(struct xdp_md *xdp, struct packet *p, const struct outer *o,
				    struct way *way, enum verdict verdict)
{
	if (verdict != DELIVERED && action_of(verdict) != ACTION_DROP)
		return XDP_PASS;
	if (verdict == DELIVERED && !(way->target.flags & TARGET_FLAG_XDP) &&
	    bpf_xdp_adjust_meta(xdp, -(int)sizeof(struct handover)))
		return XDP_PASS;
	if (is_to_be_metered(way, verdict) && !meter_at_once(p, way)) {
		account(p, way);
		leave(way, verdict);
		leave_outer(o);
		steps_xdp.call(xdp, STEP_METER);
		verdict = KERNEL_REFUSED;
	}
	if (scratch_of(p)->watched) {
		leave_watched(p, way, verdict);
		leave_outer(o);
		steps_xdp.call(xdp, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return uplink_xdp_carry_out(xdp, p, o, way, &verdict);
}

int uplink_xdp(struct xdp_md *xdp)
{
	void *frame = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct outer o = { .source.family = UPLINK_FAMILY };
	struct packet *p = packet_here();
	enum verdict verdict;
	struct way way = {};

	if (!p)
		return XDP_PASS;
	look_out(p, token_of_frame(xdp));
	verdict = fabric_parse(p, &o, frame, end, end - frame, 0);
	if (verdict == NEXT)
		verdict = know_sender(&o);
	if (verdict == NEXT)
		verdict = fabric_decide(xdp, p, &o, &way);
	if (verdict == JUDGE) {
		leave(&way, verdict);
		leave_outer(&o);
		steps_xdp.call(xdp, STEP_JUDGE);
		verdict = KERNEL_REFUSED;
	}
	return uplink_xdp_finish(xdp, p, &o, &way, verdict);
}

int uplink_judge_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return XDP_DROP;
	steps_xdp.call(xdp, judge_packet(scratch));
	count(scratch, KERNEL_REFUSED, 0);
	return XDP_DROP;
}

int uplink_settle_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};
	struct packet *p;
	struct outer o;

	if (!scratch)
		return XDP_DROP;
	p = (struct packet *)scratch->packet;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = settle(scratch, p, &way);
	if (verdict == NEXT)
		verdict = find_way(xdp, p, &way);
	return uplink_xdp_finish(xdp, p, &o, &way, verdict);
}

int uplink_meter_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	enum verdict verdict;
	struct way way = {};
	struct outer o;

	if (!scratch)
		return XDP_DROP;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = meter(scratch, &way, false);
	if (scratch->watched) {
		leave(&way, verdict);
		steps_xdp.call(xdp, STEP_WATCH);
		verdict = KERNEL_REFUSED;
	}
	return uplink_xdp_carry_out(xdp, (struct packet *)scratch->packet, &o, &way, &verdict);
}

int uplink_watch_xdp(struct xdp_md *xdp)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct sight_room *room;
	enum verdict verdict;
	struct way way = {};
	struct outer o;
	int action;

	if (!scratch)
		return XDP_DROP;
	o = *(struct outer *)scratch->outer;
	take_up(scratch, &way);
	verdict = scratch->verdict;
	room = room_of_sight(scratch);
	if (room)
		look_at(xdp, true, room);
	action = uplink_xdp_carry_out(xdp, (struct packet *)scratch->packet, &o, &way, &verdict);
	tell_trace(scratch, &way, verdict);
	log_denial(scratch, verdict);
	if (room) {
		describe_sight(room, scratch, &way, verdict, WATCH_UPLINK_XDP,
			       xdp->ingress_ifindex, 0);
		tell_stages(xdp, true, room, scratch, action != XDP_DROP);
	}
	return action;
}

#endif
