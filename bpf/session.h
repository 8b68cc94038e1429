/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * session: finds, follows and removes the one entry that a flow has for both
 * directions. What may open one is decided in policy, room for it in quota.
 */
#ifndef CIPU_SESSION_H
#define CIPU_SESSION_H

/* A field of one end of a session: 0 the low end, 1 the high end. */
#define OF(session, field, end) ((&(session)->low_##field)[(end) & 1])

/* Sequence numbers wrap (RFC 9293 3.4): is `a` after `b`? */
inline_always bool is_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

inline_always bool is_expired(const struct session *session, __u64 now)
{
	__u32 state = session->state;
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
	__u32 zero = 0;
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

/* Gives the end that `source` is. query: both ports are the flow's, not one of each end. */
inline_always __u32 fill_key(struct session_key *key, const struct address_key *source,
			     const struct address_key *destination, __u16 source_port,
			     __u16 destination_port, __u8 protocol, bool query)
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
	key->family = source->family;
	key->protocol = protocol;
	key->pad[0] = key->pad[1] = 0;
	return high;
}

/* RFC 9293 3.10.7.4: does the segment lie where its receiver would take it? */
inline_always bool is_in_window(const struct session *session, const struct packet *p, __u32 end)
{
	__u32 other = !end;

	if (session->state == SESSION_TCP_SYN_SENT)	/* RFC 9293 3.10.7.3 */
		return end != session->opener && p->tcp_flags & TCP_ACK &&
		       p->acknowledged == OF(session, next, other);
	return p->sequence - OF(session, acked, other) <= OF(session, window, other);
}

inline_always void follow_numbers(struct session *session, const struct packet *p, __u32 end)
{
	bool syn = p->tcp_flags & TCP_SYN, fin = p->tcp_flags & TCP_FIN;
	__u32 next = p->sequence + p->payload + syn + fin;
	bool scaled = session->low_scale != WINDOW_SCALE_NONE &&
		      session->high_scale != WINDOW_SCALE_NONE && !syn;
	bool young = session->state <= SESSION_TCP_SYN_RECEIVED;

	if (young || is_after(next, OF(session, next, end)))
		OF(session, next, end) = next;
	if (!(p->tcp_flags & TCP_ACK) && !syn)
		return;
	if (p->tcp_flags & TCP_ACK &&
	    (young || is_after(p->acknowledged, OF(session, acked, end))))
		OF(session, acked, end) = p->acknowledged;
	OF(session, window, end) = (__u32)p->window << (scaled ? OF(session, scale, end) & 15 : 0);
}

inline_always void follow_tcp(struct session *session, const struct packet *p, __u32 end)
{
	__u32 opener = session->opener & 1;
	bool closes = p->tcp_flags & (TCP_FIN | TCP_RST) && is_in_window(session, p, end);
	__u8 flags = p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST);

	if (p->tcp_flags & TCP_RST) {
		if (closes)
			session->state = SESSION_TCP_CLOSED;
		return;
	}
	if (session->state == SESSION_TCP_SYN_SENT && flags == (TCP_SYN | TCP_ACK) &&
	    end != opener && p->acknowledged == OF(session, next, opener)) {
		OF(session, scale, end) = window_scale(p);
		OF(session, acked, opener) = p->sequence + 1;
		session->state = SESSION_TCP_SYN_RECEIVED;
	} else if (flags & TCP_SYN) {
		return;
	} else if (session->state == SESSION_TCP_SYN_RECEIVED && flags & TCP_ACK && end == opener) {
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

inline_always void count_rule(__u32 rule, __u64 sessions_more, __u64 packets, __u32 bytes)
{
	struct rule_counter *counter = rule ? rule_counters.lookup(&rule) : NULL;

	if (!counter)
		return;
	counter->sessions += sessions_more;
	counter->packets += packets;
	counter->bytes += bytes;
}

inline_always void account_session(struct session *session, __u32 end, __u32 bytes)
{
	__sync_fetch_and_add(&OF(session, packets, end), 1);
	__sync_fetch_and_add(&OF(session, bytes, end), bytes);
}

#endif
