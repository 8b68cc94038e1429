/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * meter: do the limits of its sender, its receiver and their VPCs let a packet
 * go, now or a little later? The first of them is charged at once; the others
 * are asked before they are, so that nobody's tokens are held for a packet that
 * does not go. Who has which limit is Python's matter; the frame is marked and
 * sent elsewhere.
 */
#ifndef CIPU_METER_H
#define CIPU_METER_H

#define MARK_WAIT_NS 5000000ULL	/* a queue as long as this is told of (RFC 8289 4.2) */
#define CHARGE_TRIES 4

/* Bits of the buckets that all packets are asked of: what cannot wait is not paced. */
#define PLAIN_KINDS (1U << BUCKET_RATE | 1U << BUCKET_CEIL | 1U << BUCKET_PACKETS)

_Static_assert(sizeof(((struct limit *)0)->sides) == 2 * sizeof(struct terms), "sides");

/* A limit, as it stands for this one packet. */
struct asked {
	struct terms *terms;
	struct spent *spent;
};

inline_always __u64 *word_of(struct spent *spent, int kind)
{
	return &spent->rate + kind;
}

inline_always bool admits(const struct asked *asked, int kind, const struct load *load)
{
	const struct bucket *b = bucket_of(asked->terms, kind);
	__u64 line = line_of(b, load->elapsed), room = room_of(b, line, load->elapsed);
	__u64 spent = settled(line, room, *(volatile __u64 *)word_of(asked->spent, kind));

	return wait_of(b, line, spent, cost_of(load, kind), false) != NEVER;
}

/* The packet is charged: has it to wait, and is it to be told of congestion? */
inline_always void note_charge(struct load *load, const struct bucket *b, __u64 line,
			       __u64 spent, __u64 wait)
{
	if (wait > load->wait_ns)
		load->wait_ns = wait;
	if (b->pace ? b->mark && wait > MARK_WAIT_NS : (__s64)(line - spent) < (__s64)b->mark)
		load->mark = 1;
}

/*
 * One word, compared and swapped: no two CPUs spend the same. If others were
 * faster each time, they have settled the word just now, and it will do to
 * add to it and to look afterwards.
 */
inline_always bool charge(const struct asked *asked, int kind, struct load *load, bool at_once)
{
	const struct bucket *b = bucket_of(asked->terms, kind);
	__u64 *word = word_of(asked->spent, kind), cost = cost_of(load, kind);
	__u64 line = line_of(b, load->elapsed), room = room_of(b, line, load->elapsed);
	__u64 before, spent, wait;

#pragma unroll
	for (int i = 0; i < CHARGE_TRIES; i++) {
		before = *(volatile __u64 *)word;
		spent = settled(line, room, before);
		wait = wait_of(b, line, spent, cost, at_once);
		if (wait == NEVER)
			return false;
		if (load->traced ||
		    __sync_val_compare_and_swap(word, before, spent + cost) == before) {
			note_charge(load, b, line, spent + cost, wait);
			return true;
		}
	}
	spent = __sync_fetch_and_add(word, cost);
	wait = wait_of(b, line, spent, cost, at_once);
	if (wait == NEVER) {
		__sync_fetch_and_add(word, -cost);
		return false;
	}
	note_charge(load, b, line, spent + cost, wait);
	return true;
}

/* Gives back what was charged in the first so many buckets. */
inline_always void refund(const struct asked *asked, int kinds, const struct load *load)
{
#pragma unroll 1
	for (int kind = 0; kind < BUCKETS && kind < kinds && !load->traced; kind++)
		if (load->kinds >> kind & 1)
			__sync_fetch_and_add(word_of(asked->spent, kind), -cost_of(load, kind));
}

/* The kind of bucket that says no; BUCKETS: none does. */
inline_always int ask_limit(const struct asked *asked, const struct load *load)
{
#pragma unroll 1
	for (int kind = 0; kind < BUCKETS && load->kinds >> kind; kind++)
		if (load->kinds >> kind & 1 && !admits(asked, kind, load))
			return kind;
	return BUCKETS;
}

/* The same as ask_limit; if one says no, nothing is charged. */
inline_always int charge_limit(const struct asked *asked, struct load *load)
{
#pragma unroll 1
	for (int kind = 0; kind < BUCKETS && load->kinds >> kind; kind++) {
		if (!(load->kinds >> kind & 1) || charge(asked, kind, load, false))
			continue;
		refund(asked, kind, load);
		return kind;
	}
	return BUCKETS;
}

inline_always struct terms *terms_of(struct limit *limit, __u32 side)
{
	return (struct terms *)(limit->sides + (side & 1) * sizeof(struct terms));
}

/*
 * Which of its sides counts, for this packet from now on: until new terms
 * begin, those before. False: there is no such row, which cannot be.
 */
inline_always bool find_side(struct load *load, int place)
{
	key32 number = load->numbers[place];
	struct limit *limit = limits.lookup(&number);
	__u32 side;

	if (!limit)
		return false;
	side = limit->side;
	load->sides[place] = side ^ (load->now < terms_of(limit, side)->since_ns);
	return true;
}

/* False: there is none in that place. */
inline_always bool find_limit(struct asked *asked, struct load *load, int place)
{
	key32 number = load->numbers[place];
	struct limit *limit;
	__s64 elapsed;

	if (!number)
		return false;
	limit = limits.lookup(&number);
	asked->spent = spents.lookup(&number);
	if (!limit || !asked->spent)
		return false;
	asked->terms = terms_of(limit, load->sides[place]);
	load->kinds = asked->terms->kinds & (load->may_wait ? ~0U : PLAIN_KINDS);
	/* That may be later than this packet: it was slow, and terms have changed twice. */
	elapsed = load->now - asked->terms->since_ns;
	load->elapsed = elapsed > 0 ? elapsed : 0;
	return true;
}

inline_always void count_limit(const struct load *load, int place)
{
	__u32 refusing = load->refusing_kind;
	key32 number = load->numbers[place];
	struct limit_counter *counter = limit_counters.lookup(&number);

	if (!counter || load->traced)
		return;
	if (refusing == BUCKETS) {
		counter->packets += load->packets;
		counter->bytes += load->bytes;
		counter->marked += load->mark ? load->packets : 0;
	} else if (counts_packets(refusing)) {
		counter->over_pps_packets += load->packets;
		counter->over_pps_bytes += load->bytes;
	} else {
		counter->over_rate_packets += load->packets;
		counter->over_rate_bytes += load->bytes;
	}
}

inline_always void refuse(struct load *load, int place, int kind)
{
	load->refusing_place = place;
	load->refusing_kind = kind;
}

/* Asks the limits from that place on. */
inline_always bool ask_from(struct load *load, int first)
{
	struct asked asked;
	int kind;

#pragma unroll 1
	for (int place = 0; place < LIMITS_MAX; place++) {
		if (place < first || !find_limit(&asked, load, place))
			continue;
		kind = ask_limit(&asked, load);
		if (kind == BUCKETS)
			continue;
		refuse(load, place, kind);
		return false;
	}
	return true;
}

/* Gives back what was charged in the places before that one. */
inline_always void refund_before(struct load *load, int last)
{
	struct asked asked;

#pragma unroll 1
	for (int place = 0; place < LIMITS_MAX && place < last; place++)
		if (find_limit(&asked, load, place))
			refund(&asked, BUCKETS, load);
}

/* All limits are charged, or none is. */
inline_always bool charge_all(struct load *load)
{
	bool first = true;
	struct asked asked;
	int kind;

	load->wait_ns = 0;
	load->mark = 0;
	load->refusing_kind = BUCKETS;
#pragma unroll 1
	for (int place = 0; place < LIMITS_MAX; place++) {
		if (!find_limit(&asked, load, place))
			continue;
		kind = charge_limit(&asked, load);
		if (kind != BUCKETS)
			refuse(load, place, kind);
		if (kind != BUCKETS || (first && !ask_from(load, place + 1))) {
			refund_before(load, kind != BUCKETS ? place : place + 1);
			return false;
		}
		first = false;
	}
	return true;
}

/* The limit of an ENI or VPC, and that of the VPC behind an ENI's. */
inline_always bool enter_limits(struct load *load, int place, __u32 number)
{
#pragma unroll
	for (int i = place; i < place + 2; i++) {
		struct asked asked;

		load->numbers[i] = number;
		if (!number)
			continue;
		if (!find_side(load, i) || !find_limit(&asked, load, i))
			return false;
		number = asked.terms->next;
	}
	return true;
}

inline_always bool speaks_ecn(__u8 ecn)
{
	return ecn == ECN_ECT0 || ecn == ECN_ECT1;
}

inline_always enum verdict refusal_of(const struct load *load)
{
	count_limit(load, load->refusing_place & (LIMITS_MAX - 1));
	if (load->refusing_place < PLACE_INGRESS)
		return counts_packets(load->refusing_kind) ? EGRESS_OVER_PPS : EGRESS_OVER_RATE;
	return counts_packets(load->refusing_kind) ? INGRESS_OVER_PPS : INGRESS_OVER_RATE;
}

/* It is to be delivered or sent, and there are limits that have not been asked. */
inline_always bool is_to_be_metered(const struct way *way, enum verdict verdict)
{
	enum action action = action_of(verdict);

	return (way->limit | way->target.limit) &&
	       (action == ACTION_DELIVER || action == ACTION_SEND);
}

/* The one clock that limits go by; it is read once for a packet, and costs as much as all the rest. */
inline_always __u64 clock_of(struct way *way)
{
	if (!way->metered_ns)
		way->metered_ns = bpf_ktime_get_ns();
	return way->metered_ns;
}

/* Is it the limit of a packet that goes at once? If so, it is charged. */
inline_always bool charge_at_once(struct load *load, int place)
{
	struct asked asked;
	__u32 kind;

	if (!find_side(load, place) || !find_limit(&asked, load, place) || asked.terms->next)
		return false;
	kind = asked.terms->only;
	/* Terms that are the first, and still to begin, have no buckets before them. */
	if (kind >= BUCKETS || !load->kinds)
		return false;
	/* What is used is to be what was compared: Linux 6.1 knows no bounds of a copy. */
	settle_value(kind);
	load->mark = 0;
	load->refusing_kind = BUCKETS;
	return charge(&asked, kind, load, true);
}

/*
 * Most packets have one limit, of one bucket, with plenty left: they are
 * charged at once. False: nothing is charged, and all is left to `meter`.
 */
inline_always bool meter_at_once(struct packet *p, struct way *way)
{
	struct load *load = (struct load *)scratch_of(p)->load;
	__u32 place = way->limit ? PLACE_EGRESS : PLACE_INGRESS;

	if ((way->limit && way->target.limit) || scratch_of(p)->traced)
		return false;
	load->now = clock_of(way);
	load->traced = 0;
	load->numbers[place] = way->limit | way->target.limit;
	weigh(load, p);
	if (!charge_at_once(load, place))
		return false;
	count_limit(load, place);
	return true;
}

/*
 * The verdict of such a packet: the same, or that of the limit which says no.
 * may_wait: can the hook have it leave later?
 */
inline_always enum verdict meter(struct scratch *scratch, struct way *way, bool may_wait)
{
	const struct packet *p = (const struct packet *)scratch->packet;
	struct load *load = (struct load *)scratch->load;

	load->now = clock_of(way);
	weigh(load, p);
	load->traced = scratch->traced;
	load->may_wait = may_wait && is_paced(way);
	if (!enter_limits(load, PLACE_EGRESS, way->limit) ||
	    !enter_limits(load, PLACE_INGRESS, way->target.limit))
		return KERNEL_REFUSED;
	if (!charge_all(load))
		return refusal_of(load);
	load->mark = load->mark && speaks_ecn(p->tos & ECN_MASK);
	way->mark = load->mark;
	way->departure_ns = load->wait_ns ? load->now + load->wait_ns : 0;
#pragma unroll 1
	for (int place = 0; place < LIMITS_MAX; place++)
		if (load->numbers[place])
			count_limit(load, place);
	return scratch->verdict;
}

#endif
