/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * opening: a session is opened for a packet that the rules let pass, if the
 * ENI whose places it takes has one left; what is expired is swept first.
 */
#ifndef CIPU_OPENING_H
#define CIPU_OPENING_H

_Static_assert(sizeof(((struct scratch *)0)->session) == sizeof(struct session), "session");

/* Errors, and messages that nobody answers, leave nothing behind. */
inline_always bool keeps_state(const struct packet *p)
{
	return !is_icmp(p) || p->icmp_query;
}

inline_always __u8 first_state(const struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return SESSION_TCP_SYN_SENT;
	if (p->protocol == IPPROTO_UDP)
		return SESSION_UDP_OPENING;
	return is_icmp(p) ? SESSION_ICMP_OPENING : SESSION_OTHER_OPENING;
}

inline_always void describe(struct session *session, const struct packet *p,
			    const struct flow *f)
{
	__builtin_memset(session, 0, sizeof(*session));
	session->opened_ns = session->last_ns = f->now;
	session->low_generation = f->generation[0];
	session->high_generation = f->generation[1];
	session->low_eni = f->eni[0];
	session->high_eni = f->eni[1];
	session->low_rule = f->rules[0];
	session->high_rule = f->rules[1];
	session->opener = f->sender;
	session->state = first_state(p);
	session->icmp_type = p->icmp_type;
	session->icmp_code = p->icmp_code;
	session->low_scale = session->high_scale = WINDOW_SCALE_NONE;
	if (p->protocol != IPPROTO_TCP)
		return;
	follow_syn(session, p, f->sender);
}

/* False: there is no room. Another CPU may have opened it just now: then that one counts. */
inline_always bool insert_session(struct session *session, struct flow *f, struct owner *owner)
{
	bool there = !sessions.insert(&f->key, session);

	if (!there && !sessions.lookup(&f->key)) {
		make_room(f->now);
		there = !sessions.insert(&f->key, session);
	}
	if (there) {
		log_opened(&f->key, session);
		__sync_fetch_and_add(&owner->opened, 1);
		count_rule(f->rules[0], 1, 0, 0);
		count_rule(f->rules[1], 1, 0, 0);
	}
	return there;
}

/* Whose places a session takes: its sender's, if that is here. */
inline_always __u32 payer_of(const struct flow *f)
{
	return f->sender_eni ? f->sender_eni : f->receiver_eni;
}

/* What comes from outside leaves an ENI a quarter of its quota for its own. */
inline_always __u32 share_of(const struct flow *f, const struct policy *policy)
{
	return f->sender_eni ? policy->quota : policy->quota - policy->quota / 4;
}

/* NULL: no room. */
inline_always struct session *open_session(struct scratch *scratch, const struct packet *p,
					   struct flow *f)
{
	key32 number = payer_of(f);
	struct session *session = (struct session *)scratch->session, *old;
	struct policy *policy = policies.lookup(&number);
	struct owner *owner = owner_of(number);
	__u32 slot;

	if (!policy || !owner)
		return NULL;
	old = sessions.lookup(&f->key);
	if (old)
		remove_session(&f->key, old, old->slot, FLOW_END_IDLE);
	slot = take_slot(number, owner, share_of(f, policy), &f->key, f->now);
	if (slot && !enter_ring(number, owner, policy->quota, slot - 1)) {
		free_slot(slot - 1);
		slot = 0;
	}
	if (slot) {
		describe(session, p, f);
		session->slot = slot - 1;
		session->owner = number;
		if (!insert_session(session, f, owner))
			free_slot(slot - 1);
	}
	session = sessions.lookup(&f->key);
	if (!session)
		__sync_fetch_and_add(&owner->refused, 1);
	return session;
}

/* Is one to be opened, for an ENI that has no place left? Then its ring is to be swept. */
inline_always bool wants_place(const struct packet *p, const struct flow *f, struct sweep *sweep)
{
	key32 number = payer_of(f);
	struct policy *policy = policies.lookup(&number);
	struct owner *owner = owners.lookup(&number);

	if (f->verdict != NEXT || f->known || f->related || !keeps_state(p) || !policy || !owner ||
	    (__s64)owner->sessions < (__s64)share_of(f, policy))
		return false;
	sweep_ring(sweep, number, owner, policy->quota);
	return true;
}

/* Once a tick, on the CPU that comes first; and whenever a place is wanted. */
inline_always void sweep(const struct packet *p, const struct flow *f)
{
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);
	struct sweep sweep = {};
	__u64 swept;

	if (!clock)
		return;
	swept = clock->swept_ns;
	if (!wants_place(p, f, &sweep) &&
	    (swept == f->now ||
	     __sync_val_compare_and_swap(&clock->swept_ns, swept, f->now) != swept))
		return;
	sweep.first = __sync_fetch_and_add(&clock->hand, SWEEP_SLOTS);
	carry_out(&sweep, f->now);
}

/* Would open_session find room, after a sweep? Nothing is changed. */
inline_always bool has_room(const struct packet *p, const struct flow *f)
{
	key32 number = payer_of(f), zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);
	struct policy *policy = policies.lookup(&number);
	struct owner *owner = owners.lookup(&number);
	struct session *old = sessions.lookup(&f->key);
	__u64 held = owner ? owner->sessions : 0;
	struct sweep sweep = {};

	if (!policy || !clock)
		return false;
	if (old && old->owner != number)
		old = NULL;
	if (wants_place(p, f, &sweep)) {
		sweep.first = clock->hand;
		held -= count_vacant(&sweep, f->now, old ? old->slot : NO_SLOT);
	}
	/* It gives back its own. */
	return (__s64)held - !!old < (__s64)share_of(f, policy);
}

#endif
