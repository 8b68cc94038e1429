/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * session: finds, follows and removes the one entry that a flow has for both
 * directions. What may open one is decided in policy, room for it in quota.
 */
#ifndef CIPU_SESSION_H
#define CIPU_SESSION_H

#define HIGH_END_ASKS 0x100	/* in the port that has an ICMP query's type */

/* A field of one end of a session: 0 the low end, 1 the high end. */
#define OF(session, field, end) ((&(session)->low_##field)[(end) & 1])

/* Sequence numbers wrap (RFC 9293 3.4): is `a` after `b`? */
inline_always bool is_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

inline_always bool is_expired(const struct session *session, __u64 now)
{
	key32 state = session->state;
	struct timeout *timeout = timeouts.lookup(&state);

	/* Signed: another CPU's clock may be a tick ahead. */
	return !timeout || (__s64)(now - session->last_ns) > (__s64)timeout->ns;
}

inline_always bool is_half_open(const struct session *session)
{
	return session->state == SESSION_TCP_SYN_SENT ||
	       session->state == SESSION_TCP_SYN_RECEIVED ||
	       session->state == SESSION_UDP_OPENING || session->state == SESSION_ICMP_OPENING ||
	       session->state == SESSION_OTHER_OPENING;
}

inline_always struct session *find_session(const struct session_key *key, __u64 now)
{
	struct session *session = sessions.lookup((struct session_key *)key);

	return session && !is_expired(session, now) ? session : NULL;
}

/* Once a tick of the clock some packet has to look for what is expired. */
inline_always bool is_sweep_due(__u64 now)
{
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);

	return clock && clock->swept_ns != now;
}

/* Which end comes first in the key: any order will do, if both directions find the same. */
inline_always __u32 is_high(const struct address_key *a, const struct address_key *b,
			    __u16 a_port, __u16 b_port)
{
	const __u64 *one = (const __u64 *)a->address, *two = (const __u64 *)b->address;

	if (one[0] != two[0])
		return one[0] > two[0];
	if (one[1] != two[1])
		return one[1] > two[1];
	if (a->vni != b->vni)
		return a->vni > b->vni;
	return a_port > b_port;
}

/*
 * Gives the end that `source` is. The ports of an ICMP query are the flow's,
 * not one of each end; who asks is in the key too: a reply to one end's
 * request must not let in the other's requests.
 */
inline_always __u32 fill_key(struct session_key *key, const struct address_key *source,
			     const struct address_key *destination, __u16 source_port,
			     __u16 destination_port, __u8 protocol, enum query query)
{
	__u32 high = is_high(source, destination, query ? 0 : source_port,
			     query ? 0 : destination_port);
	const struct address_key *low_end = high ? destination : source;
	const struct address_key *high_end = high ? source : destination;

	key->low_vni = low_end->vni;
	key->high_vni = high_end->vni;
	__builtin_memcpy(key->low_address, low_end->address, 16);
	__builtin_memcpy(key->high_address, high_end->address, 16);
	key->low_port = high && !query ? destination_port : source_port;
	key->high_port = high && !query ? source_port : destination_port;
	if (query && high == (query == QUERY_REQUEST) &&
	    (key->low_vni != key->high_vni || !same_address(key->low_address, key->high_address)))
		key->high_port |= net16(HIGH_END_ASKS);
	key->family = source->family;
	key->protocol = protocol;
	key->pad[0] = key->pad[1] = 0;
	return high;
}

/* Does the segment acknowledge from what `end` must have, up to all that the other end has sent? */
inline_always bool acknowledges(const struct session *session, const struct packet *p, __u32 end)
{
	__u32 least = OF(session, acked, end);

	return p->tcp_flags & TCP_ACK &&
	       p->acknowledged - least <= OF(session, next, !end) - least;
}

/* RFC 9293 3.10.7.4: does its FIN or RST lie where its receiver would take it? */
inline_always bool is_in_window(const struct session *session, const struct packet *p, __u32 end)
{
	__u32 place = p->sequence + (p->tcp_flags & TCP_RST ? 0 : p->payload);

	if (session->state == SESSION_TCP_SYN_SENT)	/* RFC 9293 3.10.7.3 */
		return end != session->opener && acknowledges(session, p, end);
	return place - OF(session, acked, !end) <= OF(session, window, !end);
}

/* The opener's SYN, also when it tries anew: with other numbers, perhaps. */
inline_always void follow_syn(struct session *session, const struct packet *p, __u32 end)
{
	OF(session, scale, end) = window_scale(p);
	OF(session, next, end) = p->sequence + p->payload + 1;
	OF(session, window, end) = p->window;
	OF(session, acked, !end) = p->sequence + 1;
}

inline_always void follow_numbers(struct session *session, const struct packet *p, __u32 end)
{
	bool syn = p->tcp_flags & TCP_SYN, fin = p->tcp_flags & TCP_FIN;
	__u32 next = p->sequence + p->payload + syn + fin;
	bool scaled = session->low_scale != WINDOW_SCALE_NONE &&
		      session->high_scale != WINDOW_SCALE_NONE && !syn;

	if (session->state == SESSION_TCP_SYN_RECEIVED || is_after(next, OF(session, next, end)))
		OF(session, next, end) = next;
	/* What was never sent cannot be acknowledged (RFC 9293 3.10.7.4). */
	if (!(p->tcp_flags & TCP_ACK) || is_after(p->acknowledged, OF(session, next, !end)))
		return;
	if (is_after(p->acknowledged, OF(session, acked, end)))
		OF(session, acked, end) = p->acknowledged;
	OF(session, window, end) = (__u32)p->window << (scaled ? OF(session, scale, end) & 15 : 0);
}

inline_always void follow_tcp(struct session *session, const struct packet *p, __u32 end)
{
	__u32 opener = session->opener & 1;
	bool closes = p->tcp_flags & (TCP_FIN | TCP_RST) && is_in_window(session, p, end);
	__u8 flags = p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);

	if (p->tcp_flags & TCP_RST) {
		if (closes)
			session->state = SESSION_TCP_CLOSED;
		return;
	}
	if (session->state == SESSION_TCP_SYN_SENT && flags == TCP_SYN && end == opener) {
		follow_syn(session, p, end);
	} else if (session->state == SESSION_TCP_SYN_SENT && flags == (TCP_SYN | TCP_ACK) &&
		   end != opener && acknowledges(session, p, end)) {
		OF(session, scale, end) = window_scale(p);
		OF(session, acked, opener) = p->sequence + 1;
		session->state = SESSION_TCP_SYN_RECEIVED;
	} else if (flags & TCP_SYN) {
		return;
	} else if (session->state == SESSION_TCP_SYN_RECEIVED && end == opener &&
		   acknowledges(session, p, end)) {
		session->state = SESSION_TCP_ESTABLISHED;
	}
	if (session->state == SESSION_TCP_SYN_SENT)
		return;
	if (closes && session->state < SESSION_TCP_CLOSED) {
		session->closing |= 1 << (end & 1);
		session->state = session->closing == 3 ? SESSION_TCP_CLOSED : SESSION_TCP_CLOSING;
	}
	follow_numbers(session, p, end);
}

/* end: which one sent the packet. */
inline_always void follow(struct session *session, const struct packet *p, __u32 end, __u64 now)
{
	session->last_ns = now;
	if (p->protocol == IPPROTO_TCP) {
		if (!p->later_fragment)
			follow_tcp(session, p, end);
	} else if (is_half_open(session) && end != session->opener) {
		session->state++;
	}
}

inline_always void count_rule(key32 rule, __u64 sessions_more, __u64 packets, __u64 bytes)
{
	struct rule_counter *counter = rule ? rule_counters.lookup(&rule) : NULL;

	if (!counter)
		return;
	counter->sessions += sessions_more;
	counter->packets += packets;
	counter->bytes += bytes;
}

inline_always void account_session(struct session *session, __u32 end, __u64 packets,
				   __u64 bytes)
{
	__sync_fetch_and_add(&OF(session, packets, end), packets);
	__sync_fetch_and_add(&OF(session, bytes, end), bytes);
}

#endif
