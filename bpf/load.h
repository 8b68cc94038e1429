/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * load: what a packet weighs, and which limits are asked to let it go. What
 * they say is meter's matter.
 */
#ifndef CIPU_LOAD_H
#define CIPU_LOAD_H

/* Whose limits are asked, in this order. */
enum limit_place {
	PLACE_EGRESS,		/* the sender's, then its VPC's */
	PLACE_INGRESS = 2,	/* the receiver's, then its VPC's */
	LIMITS_MAX = 4,
};

/*
 * What a packet weighs, whom that is asked, and what comes of it. It is in the
 * scratch, of which the verifier knows nothing: it would follow each value.
 */
struct load {
	__u64 now;
	__u64 bytes;
	__u64 packets;
	__u64 wait_ns;
	__u64 elapsed;		/* of the limit that is asked: since its terms began, ns */
	__u32 kinds;		/* and bits: its buckets that are */
	__u32 numbers[LIMITS_MAX];	/* of limits; 0: none */
	__u32 sides[LIMITS_MAX];
	__u32 refusing_place;
	__u32 refusing_kind;	/* BUCKETS: nobody refuses */
	__u8 may_wait;
	__u8 mark;
	__u8 traced;		/* nothing is charged or counted */
};
_Static_assert(sizeof(((struct scratch *)0)->load) >= sizeof(struct load), "load");

inline_always bool counts_packets(int kind)
{
	return kind == BUCKET_PACKETS || kind == BUCKET_PACED_PACKETS;
}

inline_always __u64 cost_of(const struct load *load, int kind)
{
	return counts_packets(kind) ? load->packets : load->bytes;
}

/* A super-packet weighs what its segments weigh, headers and all. */
inline_always void weigh(struct load *load, const struct packet *p)
{
	__u64 more = p->segments > 1 ? p->segments - 1 : 0;

	load->bytes = p->length + more * p->headers;
	load->packets = 1 + more;
}

#endif
