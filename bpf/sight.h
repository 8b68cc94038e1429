/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * sight: tells those who watch of a packet, as it came and as it left. Each
 * watcher has a ring of its own and says which packets it wants; who does not
 * come back in time is as good as gone. Nothing here changes a packet.
 */
#ifndef CIPU_SIGHT_H
#define CIPU_SIGHT_H

_Static_assert(sizeof(struct sight) == sizeof(((struct sight_room *)0)->sight), "sight");
_Static_assert(SIGHT_BYTES == sizeof(((struct sight_room *)0)->frame), "frame");

/* Room for what is told, if anybody wants to know; what is traced never was. */
inline_always struct sight_room *room_of_sight(const struct scratch *scratch)
{
	key32 zero = 0;
	struct watching *now = watchings.lookup(&zero);

	if (!now || !now->watchers || scratch->traced)
		return NULL;
	return sights.lookup(&zero);
}

/* The frame as it is now. xdp: what the context is of. */
inline_always void look_at(void *ctx, bool xdp, struct sight_room *room)
{
	struct sight *sight = (struct sight *)room->sight;
	key32 zero = 0;
	struct watching *now = watchings.lookup(&zero);
	__u64 length, bytes;
	long failed;

	if (xdp)
		length = ((struct xdp_md *)ctx)->data_end - ((struct xdp_md *)ctx)->data;
	else
		length = ((struct __sk_buff *)ctx)->len;
	sight->length = length;
	sight->captured = 0;
	bytes = now ? now->bytes : 0;
	if (bytes > length)
		bytes = length;
	settle_value(bytes);
	if (bytes > SIGHT_BYTES)
		return;
	settle_value(bytes);
	if ((__s64)bytes < 1)	/* of != 0 Linux 6.1 draws no bound */
		return;
	failed = xdp ? xdp_load_bytes(ctx, 0, room->frame, bytes) :
		       bpf_skb_load_bytes(ctx, 0, room->frame, bytes);
	if (!failed)
		sight->captured = bytes;
}

inline_always void describe_sight(struct sight_room *room, const struct scratch *scratch,
				  const struct way *way, enum verdict verdict,
				  enum watch_hook hook, __u32 ifindex, __u32 sender)
{
	struct sight *sight = (struct sight *)room->sight;
	const struct packet *p = (const struct packet *)scratch->packet;
	const struct flow *f = (const struct flow *)scratch->flow;
	const __u32 *rules = scratch->judged ? f->rules : way->rules;

	sight->time_ns = bpf_ktime_get_ns();
	sight->verdict = verdict;
	sight->ifindex = ifindex;
	sight->source_vni = p->source.vni;
	sight->destination_vni = p->destination.vni;
	sight->sender_eni = sender;
	sight->receiver_eni = way->target.kind == TARGET_LOCAL ? way->target.eni : 0;
	sight->low_rule = scratch->policed ? rules[0] : 0;
	sight->high_rule = scratch->policed ? rules[1] : 0;
	sight->hook = hook;
}

inline_always bool is_masked(const __u8 *address, const __u8 *mask, const __u8 *wanted)
{
	const __u64 *is = (const __u64 *)address, *of = (const __u64 *)mask;
	const __u64 *to_be = (const __u64 *)wanted;

	return (is[0] & of[0]) == to_be[0] && (is[1] & of[1]) == to_be[1];
}

/* The one end may be either of the packet's. */
inline_always bool has_ends(const struct watcher *w, const struct packet *p, bool turned)
{
	const __u8 *one = turned ? p->destination.address : p->source.address;
	const __u8 *other = turned ? p->source.address : p->destination.address;
	__u16 one_port = turned ? p->destination_port : p->source_port;
	__u16 other_port = turned ? p->source_port : p->destination_port;

	return (!w->one_port || w->one_port == one_port) &&
	       (!w->other_port || w->other_port == other_port) &&
	       is_masked(one, w->one_mask, w->one_address) &&
	       is_masked(other, w->other_mask, w->other_address);
}

inline_always bool is_wanted(const struct watcher *w, const struct sight *sight,
			     const struct packet *p)
{
	if (!(w->stages >> (sight->stage & 31) & 1) || !(w->verdicts >> (sight->verdict & 63) & 1))
		return false;
	if (w->ifindex && w->ifindex != sight->ifindex)
		return false;
	if (w->vni && w->vni != sight->source_vni && w->vni != sight->destination_vni)
		return false;
	if (w->eni && w->eni != sight->sender_eni && w->eni != sight->receiver_eni)
		return false;
	if (w->family && w->family != p->source.family)
		return false;
	if (w->protocol && w->protocol != p->protocol)
		return false;
	return has_ends(w, p, false) || has_ends(w, p, true);
}

inline_always void tell_one(const struct watcher *w, key32 place, struct sight_room *room)
{
	struct sight *sight = (struct sight *)room->sight;
	struct watcher_count *count = watcher_counts.lookup(&place);
	__u64 captured = sight->captured, bytes = captured;
	void *ring;

	if (!count)
		return;
	if (!is_due(w->interval_ns, count, sight->time_ns)) {
		count->left_out++;
		return;
	}
	ring = watch_rings.lookup(&place);
	if (bytes > w->bytes)
		bytes = w->bytes;
	settle_value(bytes);
	if (!ring || bytes > SIGHT_BYTES)
		return;
	sight->captured = bytes;
	if (ring_output(ring, room, sizeof(*sight) + bytes, 0))
		count->lost++;
	else
		count->told++;
	sight->captured = captured;
}

inline_always void tell_watchers(struct sight_room *room, const struct packet *p,
				 enum watch_stage stage)
{
	struct sight *sight = (struct sight *)room->sight;
	__u64 now = coarse_ns();
	key32 zero = 0;
	struct watching *watching = watchings.lookup(&zero);
	bool alive = false;

	sight->stage = stage;
#pragma unroll 1
	for (__u32 i = 0; watching && i < WATCHERS; i++) {
		key32 place = i;
		struct watcher *w;

		if (!(watching->watchers >> i & 1))
			continue;
		w = watchers.lookup(&place);
		if (!w || (__s64)(now - w->until_ns) > 0)
			continue;
		alive = true;
		if (is_wanted(w, sight, p))
			tell_one(w, place, room);
	}
	/* Who is still there says so twice a second, and is back in no time. */
	if (watching && !alive)
		watching->watchers = 0;
}

/* As it came, and if it went on, as it left. */
inline_always void tell_stages(void *ctx, bool xdp, struct sight_room *room,
			       const struct scratch *scratch, bool left)
{
	const struct packet *p = (const struct packet *)scratch->packet;

	tell_watchers(room, p, WATCH_BEFORE);
	if (!left)
		return;
	look_at(ctx, xdp, room);
	tell_watchers(room, p, WATCH_AFTER);
}

#endif
