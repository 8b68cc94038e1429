/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * ends: counts a packet at its two ends, the ENIs of this host and the other
 * hosts. What was dropped counts at each end that was known by then.
 */
#ifndef CIPU_ENDS_H
#define CIPU_ENDS_H

/* of: packets, which their bytes follow. */
inline_always void add(__u64 *of, __u32 bytes)
{
	of[0]++;
	of[1] += bytes;
}

inline_always void count_egress(key32 place, bool dropped, __u32 bytes)
{
	struct eni_counter *counter = eni_counters.lookup(&place);

	if (!counter)
		return;
	if (dropped)
		add(&counter->egress_dropped_packets, bytes);
	else
		add(&counter->egress_packets, bytes);
}

inline_always void count_ingress(const struct target *target, bool dropped, __u32 bytes)
{
	key32 place = target->counters;
	struct eni_counter *counter = eni_counters.lookup(&place);

	if (!counter || target->kind != TARGET_LOCAL)
		return;
	if (dropped)
		add(&counter->ingress_dropped_packets, bytes);
	else
		add(&counter->ingress_packets, bytes);
}

/* What a tenant of this host sent. */
inline_always void count_sent(const struct scratch *scratch, const struct way *way,
			      enum verdict verdict, bool dropped, __u32 bytes)
{
	key32 index = way->path_index;
	struct path_counter *path;

	if (scratch->traced)
		return;
	count_egress(way->sender_counters, dropped, bytes);
	if (dropped || verdict == DELIVERED)
		count_ingress(&way->target, dropped, bytes);
	path = verdict == SENT || verdict == SENT_BY_KERNEL ? path_counters.lookup(&index) : NULL;
	if (path)
		add(&path->sent_packets, bytes);
}

/* What came from another host; index: of its path, 0 if it is not known. */
inline_always void count_received(const struct scratch *scratch, key32 index,
				  const struct way *way, enum verdict verdict, bool dropped,
				  __u32 bytes)
{
	struct path_counter *path = index ? path_counters.lookup(&index) : NULL;

	if (scratch->traced)
		return;
	if (dropped || verdict == DELIVERED || verdict == HANDED_OVER)
		count_ingress(&way->target, dropped, bytes);
	if (path)
		add(&path->received_packets, bytes);
}

#endif
