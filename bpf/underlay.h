/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the underlay tells of its paths: the MACs the kernel writes on our
 * packets, and ICMP errors about packets that were too big for a router.
 */
#ifndef CIPU_UNDERLAY_H
#define CIPU_UNDERLAY_H

#define ICMP4_UNREACHABLE 3
#define ICMP4_FRAGMENTATION_NEEDED 4
#define ICMP6_TOO_BIG 2
#define LIMIT_BYTES_LEAST (UPLINK_FAMILY == 6 ? 1280 : 576)

struct quoted_error {
	__u8 type, code;
	__be16 checksum;
	__be32 mtu;
};

/* Trusts only what quotes a packet of ours: VTEP, port and a remote host that we know. */
inline_always enum verdict learn_limit(void *frame, void *end, bool traced)
{
#if UPLINK_FAMILY == 6
	struct ipv6hdr *ip = frame + ETH_HLEN, *quote;
#else
	struct iphdr *ip = frame + ETH_HLEN, *quote;
#endif
	struct vtep_key key = { .family = UPLINK_FAMILY };
	struct quoted_error *error = (void *)(ip + 1);
	struct next_hop *hop;
	struct udphdr *udp;
	__u32 *index, mtu;

	quote = (void *)(error + 1);
	udp = (void *)(quote + 1);
	if ((void *)(udp + 1) > end || ((struct ethhdr *)frame)->h_proto != OUTER_ETHERTYPE)
		return HOST;
#if UPLINK_FAMILY == 6
	if (ip->nexthdr != IPPROTO_ICMPV6 || error->type != ICMP6_TOO_BIG ||
	    quote->nexthdr != IPPROTO_UDP || !is_vtep(&quote->saddr))
		return HOST;
	__builtin_memcpy(key.address, &quote->daddr, 16);
	mtu = net32(error->mtu);
#else
	if (ip->protocol != IPPROTO_ICMP || ip->ihl != 5 || error->type != ICMP4_UNREACHABLE ||
	    error->code != ICMP4_FRAGMENTATION_NEEDED || quote->ihl != 5 ||
	    quote->protocol != IPPROTO_UDP || !is_vtep(&quote->saddr))
		return HOST;
	__builtin_memcpy(key.address, &quote->daddr, 4);
	mtu = net32(error->mtu) & 0xffff;
#endif
	index = udp->dest == put_in(CONSTANT_VXLAN_PORT) ? vteps.lookup(&key) : NULL;
	hop = index ? next_hops.lookup(index) : NULL;
	if (!hop || mtu < LIMIT_BYTES_LEAST)
		return HOST;
	if (traced)
		return LIMIT_LEARNED;
	hop->limit_bytes = mtu;
	hop->limit_stamp_ns = coarse_ns();
	return LIMIT_LEARNED;
}

/* The packet left with the MACs that the kernel's FIB and neighbour table gave it. */
inline_always void learn_hop(struct __sk_buff *skb, key32 index)
{
	struct ethhdr *eth = frame_of(skb);
	struct next_hop *hop = next_hops.lookup(&index);
	struct path *path = paths.lookup(&index);
	__u64 destination = 0, source = 0;
	__u32 mtu;

	if (!hop || !path || path->ifindex != skb->ifindex || (void *)(eth + 1) > end_of(skb) ||
	    eth->h_proto != OUTER_ETHERTYPE || !device_mtu(skb, skb->ifindex, &mtu))
		return;
	__builtin_memcpy(&destination, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(&source, eth->h_source, ETH_ALEN);
	hop->source = source;
	hop->destination = destination | (__u64)(mtu > 0xffff ? 0xffff : mtu) << 48;
	hop->stamp_ns = coarse_ns();
}

#endif
