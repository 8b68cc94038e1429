/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * judge: packets that no fresh session answers for, in programs of their own,
 * a tail call away: the rules of each end that is bound here are asked, each in
 * a run of its own; then a session is opened, or found again for fragments and
 * ICMP errors. One program for all would be more than the verifier can follow.
 */
#ifndef CIPU_JUDGE_H
#define CIPU_JUDGE_H

inline_always __u32 service_of(__u8 protocol, __u16 port, __u8 type, __u8 code)
{
	__u32 service = protocol << 16;

	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP)
		return service | net16(port);
	if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6)
		return service | type << 8 | code;
	return service;
}

/*
 * The rule set that binds an ENI, and the generation that goes with it. Its
 * row may be replaced, and the set removed or the row's place be another
 * ENI's, between two looks: then it is looked up again.
 */
inline_always void *rule_set_of(key32 eni, __u64 *generation)
{
	struct rule_set_key key;
	struct policy *policy;
	void *set;

	for (int attempt = 0; attempt < 3; attempt++) {
		policy = policies.lookup(&eni);
		if (!policy)
			return NULL;
		key.digest = policy->digest;
		*generation = policy->generation;
		set = rule_sets.lookup(&key);
		if (set && policies.lookup(&eni) == policy && policy->digest == key.digest)
			return set;
	}
	return NULL;
}

/* Leaves in *rule the number of the rule that decided; 0: none did. */
inline_always bool is_allowed(struct flow *f, __u32 end, __u32 *rule)
{
	const __u8 *remote = end ? f->key.low_address : f->key.high_address;
	__u32 direction = end == f->opener ? DIRECTION_EGRESS : DIRECTION_INGRESS;
	const __u32 *words = (const __u32 *)remote;
	void *set = rule_set_of(f->eni[end & 1], &f->generation[end & 1]);

	f->question.high = (__u64)net32(words[0]) << 32 | net32(words[1]);
	f->question.low = (__u64)net32(words[2]) << 32 | net32(words[3]);
	f->question.service = f->service;
	f->question.head = direction * 2 + (f->key.family == FAMILY_IPV6);
	f->question.order = RULE_ORDER_NONE;
	f->question.rule = 0;
	if (set && fill_groups(&f->question, f->member[!end]))
		ask(set, &f->question);
	*rule = f->question.rule;
	return f->question.order != RULE_ORDER_NONE && f->question.order & 1;
}

/* Asks the rules of one end. The opener's have the first turn. */
inline_always enum verdict judge_end(struct flow *f, __u32 bytes, bool traced)
{
	__u32 end = (f->opener ^ f->turn) & 1;

	if (!f->ask[end] || is_allowed(f, end, &f->rules[end]))
		return NEXT;
	if (!traced)
		count_rule(f->rules[end], 1, 1, bytes);
	return f->turn ? INGRESS_DENIED : EGRESS_DENIED;
}

/* An error comes from whoever is on the way: its sender's policy is not the far end's. */
inline_always void place_far_end(const struct packet *p, struct flow *f,
				 const struct target *target)
{
	__u32 far = f->sender & 1;

	f->member[far] = target->flags & TARGET_FLAG_MEMBER ? target->eni : 0;
	if (!same_address(p->source.address, f->quoted.address) || p->source.vni != f->quoted.vni)
		f->generation[far] = 0;
}

/* The session whose packet an ICMP error quotes, if it was the receiver that sent that. */
inline_always struct session *find_quoted(const struct packet *p, struct flow *f)
{
	struct target target;

	if (!p->quote.protocol || !same_address(p->quote.source, p->destination.address))
		return NULL;
	f->quoted.vni = p->destination.vni;
	f->quoted.family = p->destination.family;
	__builtin_memcpy(f->quoted.address, p->quote.destination, 16);
	if (resolve(&f->quoted, &target) != NEXT)
		return NULL;
	f->sender = !fill_key(&f->key, &p->destination, &f->quoted, p->quote.source_port,
			      p->quote.destination_port, p->quote.protocol, p->quote.query);
	place_ends(f);
	place_far_end(p, f, &target);
	return find_session(&f->key, f->now);
}

/* What is said of the flow's opening packet: that of its session, else this packet. */
inline_always void fill_opening(struct flow *f, const struct packet *p,
				const struct session *session)
{
	if (!session) {
		f->opener = f->sender;
		f->service = service_of(p->protocol, p->destination_port, p->icmp_type,
					p->icmp_code);
		return;
	}
	f->opener = session->opener & 1;
	f->service = service_of(f->key.protocol,
				f->opener ? f->key.low_port : f->key.high_port,
				session->icmp_type, session->icmp_code);
}

inline_always void stamp(struct session *session, const struct flow *f)
{
	session->low_generation = f->generation[0];
	session->high_generation = f->generation[1];
	session->low_eni = f->eni[0];
	session->high_eni = f->eni[1];
	session->low_rule = f->rules[0];
	session->high_rule = f->rules[1];
}

/* Finds what answers for the packet, and which rules are to be asked. */
inline_always enum verdict prepare(struct packet *p, struct flow *f)
{
	__u32 owner = payer_of(f);
	struct session *session = NULL;

	f->known = f->related = 0;	/* what stands there is of another packet */
	f->rules[0] = f->rules[1] = 0;
	if (p->later_fragment && !recall_fragment(p, owner, f->now))
		return UNKNOWN_FRAGMENT;
	if (p->icmp_error)
		session = find_quoted(p, f);
	f->related = session != NULL;
	if (!session) {
		session = find_own(p, f);
		if (p->icmp_error)
			session = NULL;
	}
	f->known = session != NULL;
	if (!session && !opens(p))
		return NO_SESSION;
	fill_opening(f, p, session);
	f->rules[0] = session ? session->low_rule : 0;
	f->rules[1] = session ? session->high_rule : 0;
	f->ask[0] = f->generation[0] && !(session && session->low_generation == f->generation[0]);
	f->ask[1] = f->generation[1] && !(session && session->high_generation == f->generation[1]);
	return NEXT;
}

/* Does a flow log want to know? */
inline_always bool is_denial(__s32 verdict)
{
	return verdict == EGRESS_DENIED || verdict == INGRESS_DENIED || verdict == NO_SESSION ||
	       verdict == SESSIONS_FULL;
}

/*
 * A hook's second program: what do the rules say? Leaves it in the scratch for
 * the next one, whose step it gives: itself, if another end is to be asked.
 */
inline_always __u32 judge_packet(struct scratch *scratch)
{
	struct packet *p = (struct packet *)scratch->packet;
	struct flow *f = (struct flow *)scratch->flow;

	scratch->judged = 1;
	if (!f->turn)
		f->verdict = prepare(p, f);
	if (f->verdict == NEXT)
		f->verdict = judge_end(f, p->length, scratch->traced);
	if (is_denial(f->verdict) && flow_log_at(f->now))
		scratch->watched = 1;
	if (f->verdict != NEXT || f->turn || !f->ask[!f->opener])
		return STEP_SETTLE;
	f->turn = 1;
	return STEP_JUDGE;
}

/* An ENI that may send from any address must not end sessions which are not its own. */
inline_always bool is_of_sender(const struct session *session, const struct flow *f)
{
	__u32 eni = OF(session, eni, f->sender);

	return !eni || !f->sender_eni || eni == f->sender_eni;
}

/* Carries the judgement out on the table of sessions. */
inline_always enum verdict settle_session(struct scratch *scratch, struct packet *p, struct way *way)
{
	struct flow *f = (struct flow *)scratch->flow;
	struct session *session = f->known ? sessions.lookup(&f->key) : NULL;

	if (f->verdict != NEXT) {
		if (session && !scratch->traced && is_of_sender(session, f))
			remove_session(&f->key, session, session->slot, FLOW_END_FORCED);
		return f->verdict;
	}
	way->now = f->now;
	way->rules[0] = f->rules[0];
	way->rules[1] = f->rules[1];
	if (f->related || !keeps_state(p))
		return NEXT;
	if (scratch->traced)
		return session || has_room(p, f) ? NEXT : SESSIONS_FULL;
	if (session)
		stamp(session, f);
	else
		session = open_session(scratch, p, f);
	if (!session) {
		if (flow_log_at(f->now))
			scratch->watched = 1;
		return SESSIONS_FULL;
	}
	pass(session, p, f, way);
	return NEXT;
}

/* A hook's third program. */
inline_always enum verdict settle(struct scratch *scratch, struct packet *p, struct way *way)
{
	struct flow *f = (struct flow *)scratch->flow;
	enum verdict verdict;

	if (!scratch->traced)
		sweep(p, f);
	verdict = settle_session(scratch, p, way);
	if (verdict == NEXT && p->fragmented && !p->later_fragment && !scratch->traced)
		remember_fragment(scratch, p, payer_of(f), f->now);
	return verdict;
}

/*
 * No session of ours lets it pass; while one version takes over from another,
 * one of the other's may (STEP_OTHER). Nothing is there to call at any other time.
 */
inline_always bool may_be_known_to_other(const struct packet *p, enum verdict verdict)
{
	if (scratch_of(p)->traced)	/* the other would not know that it is */
		return false;
	return verdict == EGRESS_DENIED || verdict == INGRESS_DENIED || verdict == NO_SESSION ||
	       verdict == UNKNOWN_FRAGMENT;
}

/* Of a packet that policy denies, in this version as in any other. */
inline_always void log_denial(struct scratch *scratch, enum verdict verdict)
{
	const struct packet *p = (const struct packet *)scratch->packet;
	struct session *session = (struct session *)scratch->session;
	const struct flow *f = (const struct flow *)scratch->flow;

	if (!is_denial(verdict) || !scratch->judged || scratch->traced || !is_denied_told(f->now))
		return;
	describe(session, p, f);
	OF(session, packets, f->sender) = 1;
	OF(session, bytes, f->sender) = p->length;
	log_denied(&f->key, session, verdict, f->now);
}

#endif
