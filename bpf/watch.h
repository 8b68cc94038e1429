/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * watch: does anybody want to know what becomes of a packet? Asked once, at the
 * start; what is watched is carried out by a program of its own (STEP_WATCH),
 * which tells of it. A packet that is traced carries a secret which the command
 * that sends it has just made up, so no other is taken for it; it changes
 * nothing, whoever would write asks `traced` first.
 */
#ifndef CIPU_WATCH_H
#define CIPU_WATCH_H

/* token: the secret that the packet carries, if any. */
inline_always void look_out(struct packet *p, __u64 token)
{
	struct scratch *scratch = scratch_of(p);
	key32 zero = 0;
	struct watching *now = watchings.lookup(&zero);

	scratch->watched = scratch->traced = scratch->policed = scratch->judged = 0;
	if (!now || !(now->secret | now->watchers))
		return;
	scratch->traced = now->secret && now->secret == token;
	scratch->watched = scratch->traced || now->watchers;
	/* What is not read of this packet is not to be another's. */
	__builtin_memset(p, 0, __builtin_offsetof(struct packet, options));
}

/* What a frame carries that is traced: drivers leave nothing of ours in front of one. */
inline_always __u64 token_of_frame(const struct xdp_md *xdp)
{
	const __u32 *words = (void *)(long)xdp->data_meta;

	if ((void *)(words + 2) > (void *)(long)xdp->data)
		return 0;
	return (__u64)words[1] << 32 | words[0];
}

/* Leaves a packet to the program that tells of it. */
inline_always void leave_watched(const struct packet *p, struct way *way, enum verdict verdict)
{
	enum action action = action_of(verdict);

	if (action == ACTION_DELIVER || action == ACTION_SEND)
		account(p, way);
	leave(way, verdict);
}

/* What the command is told; all but the bytes of the packet. */
inline_always void tell_trace(const struct scratch *scratch, const struct way *way,
			      enum verdict verdict)
{
	const struct packet *p = (const struct packet *)scratch->packet;
	const struct flow *f = (const struct flow *)scratch->flow;
	const struct load *load = (const struct load *)scratch->load;
	key32 zero = 0;
	struct trace *trace = traces.lookup(&zero);

	if (!trace || !scratch->traced)
		return;
	trace->now_ns = way->now;
	trace->metered_ns = way->metered_ns;
	trace->wait_ns = load->wait_ns;
	trace->hop_destination = way->hop_destination;
	trace->hop_source = way->hop_source;
	__builtin_memcpy(trace->session, &f->key, sizeof(trace->session));
	__builtin_memcpy(trace->limits, load->numbers, sizeof(trace->limits));
	trace->verdict = verdict;
	trace->source_vni = p->source.vni;
	trace->destination_vni = p->destination.vni;
	trace->sender = f->sender;
	trace->opener = f->opener;
	trace->low_rule = scratch->judged ? f->rules[0] : way->rules[0];
	trace->high_rule = scratch->judged ? f->rules[1] : way->rules[1];
	trace->target_link = way->target.link;
	trace->target_eni = way->target.eni;
	trace->path = way->path_index;
	trace->mtu = way->mtu;
	trace->refusing_place = load->refusing_place;
	trace->refusing_kind = load->refusing_kind;
	trace->target_kind = way->target.kind;
	trace->target_flags = way->target.flags;
	trace->policed = scratch->policed;
	trace->judged = scratch->judged;
	trace->known = f->known;
	trace->related = f->related;
	trace->asked_low = f->ask[0];
	trace->asked_high = f->ask[1];
	trace->routed = way->routed;
	trace->remote = way->remote;
	trace->metered = way->metered_ns != 0;
	trace->marked = way->mark;
}
_Static_assert(sizeof(((struct trace *)0)->limits) == sizeof(((struct load *)0)->numbers), "limits");

#endif
