/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * flow_log: tells who logs flows of sessions as they are opened and closed, and
 * of packets that policy denies. While nobody does, nothing is told. What it is
 * worth telling is decided where it happens.
 */
#ifndef CIPU_FLOW_LOG_H
#define CIPU_FLOW_LOG_H

_Static_assert(sizeof(((struct scratch *)0)->event) == sizeof(struct flow_event), "event");
_Static_assert(sizeof(((struct flow_event *)0)->key) == sizeof(struct session_key), "key");
_Static_assert(sizeof(((struct flow_event *)0)->session) == sizeof(struct session), "session");

/* A CPU tells of no more than so many a second: a flood costs little more than without. */
inline_always bool is_due(__u64 interval_ns, struct watcher_count *count, __u64 now)
{
	__u64 earliest = now - SECOND_NS;

	if (!interval_ns)
		return true;
	if ((__s64)(count->next_ns - now) > 0)
		return false;
	if ((__s64)(earliest - count->next_ns) > 0)
		count->next_ns = earliest;
	count->next_ns += interval_ns;
	return true;
}

/* NULL: nobody logs. */
inline_always struct flow_log *flow_log_at(__u64 now)
{
	key32 zero = 0;
	struct flow_log *log = flow_logs.lookup(&zero);

	return log && (__s64)(log->until_ns - now) > 0 ? log : NULL;
}

/* What may be told, by tell_event; NULL cannot be. */
inline_always struct flow_event *fill_event(const struct session_key *key,
					    const struct session *session, __u64 now)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	struct flow_event *event;

	if (!scratch)
		return NULL;
	event = (struct flow_event *)scratch->event;
	event->time_ns = now;
	event->verdict = event->end = event->pad = 0;
	__builtin_memcpy(event->key, key, sizeof(event->key));
	__builtin_memcpy(event->session, session, sizeof(event->session));
	return event;
}

inline_always void tell_event(struct flow_event *event, enum flow_event_kind kind)
{
	key32 zero = 0;
	struct watcher_count *count = flow_log_counts.lookup(&zero);
	void *ring = flow_log_at(event->time_ns) ? flow_rings.lookup(&zero) : NULL;

	if (!ring || !count)
		return;
	event->kind = kind;
	if (ring_output(ring, event, sizeof(*event), 0))
		count->lost++;
	else
		count->told++;
}

inline_always void log_opened(const struct session_key *key, const struct session *session)
{
	struct flow_event *event = fill_event(key, session, session->opened_ns);

	if (event)
		tell_event(event, FLOW_OPENED);
}

/* Before the session is removed: after that its memory may be another's. */
inline_always struct flow_event *fill_closed(const struct session_key *key,
					     const struct session *session, enum flow_end end)
{
	struct flow_event *event = fill_event(key, session, coarse_ns());

	if (event)
		event->end = session->state == SESSION_TCP_CLOSED ? FLOW_END_FINISHED : end;
	return event;
}

/* May this one be told of? They can be as many as a flood has packets. */
inline_always bool is_denied_told(__u64 now)
{
	key32 zero = 0;
	struct watcher_count *count = flow_log_counts.lookup(&zero);
	struct flow_log *log = flow_log_at(now);

	if (!log || !count)
		return false;
	if (is_due(log->interval_ns, count, now))
		return true;
	count->left_out++;
	return false;
}

inline_always void log_denied(const struct session_key *key, const struct session *session,
			      enum verdict verdict, __u64 now)
{
	struct flow_event *event = fill_event(key, session, now);

	if (!event)
		return;
	event->verdict = verdict;
	tell_event(event, FLOW_DENIED);
}

#endif
