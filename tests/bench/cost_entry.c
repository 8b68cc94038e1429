/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Before a packet under test: the tunnel's headers of the run before go, and
 * its sender's limit becomes one of so many, at random. So each packet is that
 * of another ENI, as far as limits are concerned. And what a clock costs.
 */
#include <uapi/linux/bpf.h>

#define FRAME_BYTES 64
#define TC_DROP 2

struct pick {
	u64 state;
	u32 first;	/* number of the first limit; 0: there is none */
	u32 count;	/* of limits; 0 if there is none */
};

BPF_ARRAY(picks, struct pick, 1);
BPF_PROG_ARRAY(onward, 1);

static u64 (*clock_coarse)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;

static inline __attribute__((always_inline)) u32 picked(void)
{
	u32 zero = 0;
	struct pick *pick = picks.lookup(&zero);

	if (!pick)
		return 0;
	pick->state = pick->state * 6364136223846793005ULL + 1442695040888963407ULL;
	return pick->first + (u32)((pick->state >> 32) * pick->count >> 32);
}

int enter(struct __sk_buff *skb)
{
	u32 ifindex = skb->ifindex, number = picked();
	void *eni = bpf_map_lookup_elem_(bpf_pseudo_fd(1, ENIS), &ifindex);

	if (skb->len > FRAME_BYTES)
		bpf_skb_adjust_room(skb, FRAME_BYTES - (s32)skb->len, BPF_ADJ_ROOM_MAC, 0);
	if (!eni)
		return TC_DROP;
	*(u32 *)(eni + LIMIT_AT) = number;
	onward.call(skb, 0);
	return TC_DROP;
}

int nothing(struct __sk_buff *skb)
{
	return picked() & 1;
}

int clock(struct __sk_buff *skb)
{
	return (picked() + bpf_ktime_get_ns()) & 1;
}

int coarse(struct __sk_buff *skb)
{
	return (picked() + clock_coarse()) & 1;
}
