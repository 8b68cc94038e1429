/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Sends packets of many flows into a program under test: each run writes a
 * frame over the packet, makes it one of the next flow, and calls the program.
 * Flows come in an order that no cache foresees, each once before any again.
 * And the least that others do for a new flow, to stand beside: an insertion.
 */
#include <uapi/linux/bpf.h>

#ifndef FRAME_BYTES
#define FRAME_BYTES 64
#endif
#define FRAMES 16384
#define REMEMBERED 4096		/* flows of churn that are there at a time; a power of two */
#define SOURCE_ADDRESS 26	/* its offset in a frame of IPv4 without options */
#define OFFSETS 127		/* no field that tells flows apart lies further behind */
#define ACROSS 4		/* targets that are no programs: the far end of a veth, nobody */
#define NOWHERE 5
#define TC_OK 0
#define TC_DROP 2

#define inline_always static inline __attribute__((always_inline))

/* The last word may go beyond the frame. */
struct frame {
	u64 words[(FRAME_BYTES + 7) / 8];
};

struct plan {
	u64 next;
	u32 frame_bits;		/* so many frames, a power of two, in turn */
	u32 flow_bits;		/* so many flows of each */
	u32 port_at;		/* offset of the port that tells flows apart */
	u32 address_at;		/* offset of the lower half of the address that does when ports are used up */
	u32 target;		/* which program */
	u32 pad;
};

struct flow_key {
	u8 bytes[48];
};

struct flow_state {
	u8 bytes[120];
};

BPF_ARRAY(frames, struct frame, FRAMES);
BPF_ARRAY(plans, struct plan, 1);
BPF_ARRAY(states, struct flow_state, 1);
BPF_ARRAY(order, struct flow_key, REMEMBERED);
BPF_ARRAY(places, u64, 1);
BPF_PROG_ARRAY(targets, 4);
BPF_PROG_ARRAY(targets_xdp, 4);
BPF_TABLE("lru_hash", struct flow_key, struct flow_state, recent, LRU_ENTRIES);
BPF_F_TABLE("hash", struct flow_key, struct flow_state, kept, 8192, BPF_F_NO_PREALLOC);

/* A permutation of the numbers of so many bits. */
inline_always u64 scattered(u64 number, u32 bits)
{
	u64 mask = (1ULL << (bits & 63)) - 1;

	number = number * 0x9e3779b97f4a7c15ULL & mask;
	number ^= number >> ((bits + 1) / 2 & 63);
	return number * 0xd6e8feb86659fd93ULL & mask;
}

/* Gives 16 bits of the packet, in network order, other bits. */
inline_always void vary(void *data, void *end, u32 at, u16 with)
{
	u16 *field = data + (at & OFFSETS);

	if ((void *)(field + 1) <= end)
		*field ^= __builtin_bswap16(with);
}

/* The packet becomes one of the next flow; gives the target's place, or -1. */
inline_always int become_next(void *data, void *end)
{
	u32 zero = 0, index;
	struct plan *plan = plans.lookup(&zero);
	u64 *to = data, number;
	struct frame *frame;

	if (!plan || data + FRAME_BYTES > end)
		return -1;
	number = scattered(plan->next++, plan->frame_bits + plan->flow_bits);
	index = number & ((1 << (plan->frame_bits & 31)) - 1);
	number >>= plan->frame_bits & 63;
	frame = frames.lookup(&index);
	if (!frame)
		return -1;
#pragma unroll
	for (int i = 0; i < FRAME_BYTES / 8; i++)
		to[i] = frame->words[i];
#pragma unroll
	for (int i = FRAME_BYTES / 8 * 4; i < FRAME_BYTES / 2; i++)
		((u16 *)data)[i] = ((u16 *)frame)[i];
	vary(data, end, plan->port_at, number);
	vary(data, end, plan->address_at, number >> 16);
	return plan->target;
}

int flow_tc(struct __sk_buff *skb)
{
	int target = become_next((void *)(long)skb->data, (void *)(long)skb->data_end);

	targets.call(skb, target);
	return TC_DROP;
}

int flow_xdp(struct xdp_md *xdp)
{
	int target = become_next((void *)(long)xdp->data, (void *)(long)xdp->data_end);

	if (target == ACROSS)
		return XDP_TX;
	if (target == NOWHERE)
		return XDP_DROP;
	targets_xdp.call(xdp, target);
	return XDP_PASS;
}

inline_always bool fill_key(struct __sk_buff *skb, struct flow_key *key)
{
	void *data = (void *)(long)skb->data;

	__builtin_memset(key, 0, sizeof(*key));
	if (data + FRAME_BYTES > (void *)(long)skb->data_end)
		return false;
	__builtin_memcpy(key->bytes, data + SOURCE_ADDRESS, 12);
	return true;
}

/* One row of a table of flows that throws out who was not asked for longest. */
int insert_recent(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct flow_state *state = states.lookup(&zero);
	struct flow_key key;

	if (!state || !fill_key(skb, &key))
		return TC_DROP;
	recent.update(&key, state);
	return TC_OK;
}

/* One row into a plain table, and the one that has been there longest out of it. */
int churn(struct __sk_buff *skb)
{
	u32 zero = 0, place;
	struct flow_state *state = states.lookup(&zero);
	u64 *next = places.lookup(&zero);
	struct flow_key key, *oldest;

	if (!state || !next || !fill_key(skb, &key))
		return TC_DROP;
	place = (*next)++ % REMEMBERED;
	oldest = order.lookup(&place);
	if (!oldest)
		return TC_DROP;
	kept.delete(oldest);
	*oldest = key;
	kept.update(&key, state);
	return TC_OK;
}
