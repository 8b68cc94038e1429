/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * bucket: what is in one bucket of a limit, and when will a packet have what it
 * costs? A function of the clock and of the word of what is spent; that is the
 * meter's to write.
 */
#ifndef CIPU_BUCKET_H
#define CIPU_BUCKET_H

#define FILL_SHIFT 56
#define PACE_SHIFT 20
#define OWED_MAX (1ULL << BUCKET_OWED_BITS)
#define AGES_SHIFT 55		/* 2^55 ns are 1.14 years */
#define HORIZON_NS 100000000ULL	/* what may wait before a packet that is paced */
#define WAIT_MAX_NS 2000000000ULL /* and how long it may wait itself: fq gives up after 10 s */
#define NEVER ~0ULL

_Static_assert(sizeof(((struct terms *)0)->buckets) == BUCKETS * sizeof(struct bucket), "buckets");

inline_always struct bucket *bucket_of(struct terms *terms, int kind)
{
	return (struct bucket *)terms->buckets + kind;
}

/* (a * b + part) >> FILL_SHIFT, of which the lower 64 bits. */
inline_always __u64 product(__u64 a, __u64 b, __u64 part)
{
	__u64 a_low = (__u32)a, a_high = a >> 32, b_low = (__u32)b, b_high = b >> 32;
	__u64 low = a_low * b_low, one = a_low * b_high, other = a_high * b_low;
	__u64 middle = (low >> 32) + (__u32)one + (__u32)other;
	__u64 high = a_high * b_high + (one >> 32) + (other >> 32) + (middle >> 32);
	__u64 lower = (middle << 32 | (__u32)low) + part;

	high += lower < part;
	return high << (64 - FILL_SHIFT) | lower >> FILL_SHIFT;
}

/* All that ran in since the beginning. Of it so much is spent, and the rest is there. */
inline_always __u64 line_of(const struct bucket *b, __u64 elapsed)
{
	return b->base + product(elapsed, b->fill, b->part);
}

/* What it can hold by now: no more than ran in since its terms began, on top of what it held then. */
inline_always __u64 room_of(const struct bucket *b, __u64 line, __u64 elapsed)
{
	__u64 room = line - b->floor;

	/* Differences wrap, in 4.7 years at 1000 gbit: by then it is long full. */
	if (room > b->depth || (elapsed >> AGES_SHIFT && b->fill >> 1 >= b->depth))
		return b->depth;
	return room;
}

/*
 * What did not go into a full bucket counts as spent. A word that the line has
 * left behind for longer than that, however long, is one of a full bucket.
 */
inline_always __u64 settled(__u64 line, __u64 room, __u64 spent)
{
	return line - spent + OWED_MAX > room + OWED_MAX ? line - room : spent;
}

/*
 * How long until the bucket has it, behind all that waits there already? NEVER:
 * for too long.
 */
inline_always __u64 queued(const struct bucket *b, __s64 before, __u64 missing)
{
	if (before > 0 && (__u64)before > (HORIZON_NS << PACE_SHIFT) / b->pace)
		return NEVER;
	if (missing > (WAIT_MAX_NS << PACE_SHIFT) / b->pace)
		return NEVER;
	return missing * b->pace >> PACE_SHIFT;
}

/*
 * When may it go? A super-packet may be bigger than the bucket: a full one
 * lets it go, and owes the rest. At once goes only what is not even marked.
 */
inline_always __u64 wait_of(const struct bucket *b, __u64 line, __u64 spent, __u64 cost,
			    bool at_once)
{
	__s64 before = spent - line, missing = before + cost;

	if (at_once)
		return missing + (__s64)b->mark <= 0 ? 0 : NEVER;
	if (missing <= 0 || (cost > b->depth && spent == line - b->depth))
		return 0;
	return b->pace ? queued(b, before, missing) : NEVER;
}

#endif
