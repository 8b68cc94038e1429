/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * A steady load of live frames: a run in whose time a frame is due makes it up
 * and passes it on, all others drop theirs at once. Who receives them, and how
 * many there are to be, is decided by whoever runs it.
 */
#include <uapi/linux/bpf.h>

#define HEAD_BYTES 64
#define LATE_NS 1000000ULL	/* what is not sent by then is not made up for */

struct plan {
	u64 every_ns;
	u64 next_ns;
	u64 sent;
	u64 began_ns;	/* when the first one was made up; monotonic clock */
	u64 head[HEAD_BYTES / 8];
};

BPF_ARRAY(plans, struct plan, 1);
BPF_ARRAY(stops, u64, 1);	/* not 0: no more frames; what was sent stays counted */

static inline __attribute__((always_inline)) bool is_due(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	u32 zero = 0;
	struct plan *plan = plans.lookup(&zero);
	u64 now = bpf_ktime_get_ns(), *to = data, *stop = stops.lookup(&zero);

	if (!plan || !stop || *stop || now < plan->next_ns || data + HEAD_BYTES > end)
		return false;
#pragma unroll
	for (int i = 0; i < HEAD_BYTES / 8; i++)
		to[i] = plan->head[i];
	plan->next_ns += plan->every_ns;
	if (plan->next_ns + LATE_NS < now)
		plan->next_ns = now;
	if (!plan->sent++)
		plan->began_ns = now;
	return true;
}

/* Into the device. */
int flood(struct xdp_md *xdp)
{
	return is_due(xdp) ? XDP_PASS : XDP_DROP;
}

/* Out of it: to an XDP program at the far end of a veth. */
int flood_across(struct xdp_md *xdp)
{
	return is_due(xdp) ? XDP_TX : XDP_DROP;
}

/* What the least a host can do with a frame is: nothing. */
int drop(struct __sk_buff *skb)
{
	return 2;
}
