/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What lies at the ends of a path of two hops: sinks, which count what comes
 * out and drop it; and the least that a host between them can do, a redirect.
 */
#include <uapi/linux/bpf.h>

#define DEVICES 1024
#define TC_DROP 2

struct arrival {
	u64 packets;
	u64 bytes;
};

BPF_PERCPU_ARRAY(arrivals, struct arrival, 1);
BPF_ARRAY(onward, u32, DEVICES);	/* by the device that a frame came in by: where it goes */

static inline __attribute__((always_inline)) void note(u64 bytes)
{
	u32 zero = 0;
	struct arrival *arrival = arrivals.lookup(&zero);

	if (!arrival)
		return;
	arrival->packets++;
	arrival->bytes += bytes;
}

int sink_xdp(struct xdp_md *xdp)
{
	note(xdp->data_end - xdp->data);
	return XDP_DROP;
}

int sink_tc(struct __sk_buff *skb)
{
	note(skb->len);
	return TC_DROP;
}

int redirect(struct xdp_md *xdp)
{
	u32 from = xdp->ingress_ifindex;
	u32 *to = onward.lookup(&from);

	return to ? bpf_redirect(*to, 0) : XDP_DROP;
}

/* The least that a host can do with a frame. */
int drop(struct xdp_md *xdp)
{
	return XDP_DROP;
}
