/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * policy: do the security groups of the ENIs of this host let a packet pass?
 * Here is what most packets need: a live session, judged under the policies
 * of now, answers for both directions. All else is left to judge.
 */
#ifndef CIPU_POLICY_H
#define CIPU_POLICY_H

/* The flow of a packet; what has two entries is by end: 0 low, 1 high. */
struct flow {
	struct session_key key;
	__u64 now;
	__u64 generation[2];	/* of the policy that binds the end now; 0: none */
	__u64 sender_generation;
	__u64 receiver_generation;
	__u32 eni[2];		/* the ENI that it binds, 0: none of this host */
	__u32 member[2];	/* the end's ENI if it is in groups, here or elsewhere */
	__u32 sender_eni;
	__u32 receiver_eni;
	__u32 sender_member;
	__u32 receiver_member;
	__u32 sender;		/* the end that sent the packet */
	__u32 opener;		/* the end that sent the session's first */
	__u32 service;		/* what that was sent for, as in struct rule_cell */
	__u32 rules[2];		/* numbers of those that let the packet pass, 0 for none */
	__s32 verdict;		/* of the rules */
	__u8 ask[2];		/* are the rules of the end to be asked? */
	__u8 turn;		/* 0: those of the opener's end; 1: of the other */
	__u8 known;		/* it has a live session */
	__u8 related;		/* which is that of a packet which this ICMP error quotes */
	struct question question;
	struct address_key quoted;	/* the far end of a packet that an ICMP error quotes */
};
_Static_assert(sizeof(((struct scratch *)0)->flow) >= sizeof(struct flow), "flow");

inline_always bool opens(const struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
	return !is_icmp(p) || !p->icmp_query || p->icmp_type == p->icmp_query;
}

/* The ends of the flow, once its key says which the sender is. */
inline_always void place_ends(struct flow *f)
{
	__u32 sender = f->sender & 1, receiver = !f->sender;

	f->eni[sender] = f->sender_eni;
	f->eni[receiver] = f->receiver_eni;
	f->generation[sender] = f->sender_generation;
	f->generation[receiver] = f->receiver_generation;
	f->member[sender] = f->sender_member;
	f->member[receiver] = f->receiver_member;
}

inline_always struct session *find_own(const struct packet *p, struct flow *f)
{
	struct session *session;

	f->sender = fill_key(&f->key, &p->source, &p->destination, p->source_port,
			     p->destination_port, p->protocol,
			     query_of(p->icmp_query, p->icmp_type));
	place_ends(f);
	session = find_session(&f->key, f->now);
	/* RFC 9293 3.6.1: the ports of a closed connection may be used again. */
	if (session && session->state == SESSION_TCP_CLOSED && opens(p))
		return NULL;
	return session;
}

inline_always bool is_fresh(const struct session *session, const struct flow *f)
{
	return session->low_generation == f->generation[0] &&
	       session->high_generation == f->generation[1];
}

/* The packet passes, as one of the session. */
inline_always void pass(struct session *session, const struct packet *p, const struct flow *f,
			struct way *way)
{
	if (!scratch_of(p)->traced)
		follow(session, p, f->sender, f->now);
	way->session = session;
	way->policed = 1;
	way->sender = f->sender;
	way->rules[0] = session->low_rule;
	way->rules[1] = session->high_rule;
}

/* What binds the two ends. An ENI that is bound, by a policy that is not there, may do nothing. */
inline_always enum verdict fill_bounds(struct flow *f, key32 sender, key32 receiver)
{
	struct policy *policy;

	f->sender_eni = sender;
	f->receiver_eni = receiver;
	f->sender_generation = f->receiver_generation = 0;
	if (sender) {
		policy = policies.lookup(&sender);
		if (!policy)
			return EGRESS_DENIED;
		f->sender_generation = policy->generation;
	}
	if (receiver) {
		policy = policies.lookup(&receiver);
		if (!policy)
			return INGRESS_DENIED;
		f->receiver_generation = policy->generation;
	}
	return NEXT;
}

/* sender: the ENI of this host that sent it, if it is bound; member: that ENI if it is in groups. */
inline_always enum verdict police(struct packet *p, struct way *way, __u32 sender, __u32 member)
{
	key32 zero = 0, receiver = way->target.kind == TARGET_LOCAL &&
				   way->target.flags & TARGET_FLAG_POLICED ? way->target.eni : 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct session *session;
	enum verdict verdict;
	struct flow *f;

	if (!sender && !receiver)
		return NEXT;
	if (!scratch)
		return EGRESS_DENIED;
	f = (struct flow *)scratch->flow;
	verdict = fill_bounds(f, sender, receiver);
	if (verdict != NEXT)
		return verdict;
	f->sender_member = member;
	f->receiver_member = way->target.flags & TARGET_FLAG_MEMBER ? way->target.eni : 0;
	f->turn = 0;
	scratch->policed = 1;
	f->now = way->now = coarse_ns();
	if (p->fragmented || p->icmp_error || p->tcp_flags & TCP_SYN || is_sweep_due(f->now))
		return JUDGE;
	session = find_own(p, f);
	if (!session || !is_fresh(session, f))
		return JUDGE;
	pass(session, p, f, way);
	return NEXT;
}

/* The packet went its way, or is about to. */
inline_always void account(const struct packet *p, struct way *way)
{
	if (way->accounted || scratch_of(p)->traced)
		return;
	way->accounted = 1;
	if (way->session)
		account_session(way->session, way->sender, 1, p->length);
	count_rule(way->rules[0], 0, 1, p->length);
	count_rule(way->rules[1], 0, 1, p->length);
}

/* It did not, after all. */
inline_always void take_back(const struct packet *p, const struct way *way)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct session *session = NULL;

	if (!way->accounted || !scratch)
		return;
	/* Only a packet that is policed has a flow here; what else stands there is another's. */
	if (way->policed)
		session = sessions.lookup(&((struct flow *)scratch->flow)->key);
	if (session)
		account_session(session, way->sender, -1, -(__u64)p->length);
	count_rule(way->rules[0], 0, -1, -(__u64)p->length);
	count_rule(way->rules[1], 0, -1, -(__u64)p->length);
}

#endif
