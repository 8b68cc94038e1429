/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the two TC hooks share: pulling headers in before the parse, handing a
 * frame to a tenant's device, and putting one into the tunnel.
 */
#ifndef CIPU_TC_H
#define CIPU_TC_H

#define HEADERS_BYTES 256		/* enough for every header that is walked */
#define LEARN_MARK 0x63697075		/* in cb[0]: the egress hook shall learn the next hop */

inline_always void *frame_of(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

inline_always void *end_of(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

/* The linear part may end before the headers do; then they are pulled in, once. */
inline_always bool pull_more(struct __sk_buff *skb)
{
	__u32 want = skb->len < HEADERS_BYTES ? skb->len : HEADERS_BYTES;

	return frame_of(skb) + want > end_of(skb) && !bpf_skb_pull_data(skb, want);
}

/* redirect_peer does not look at the MAC again: a foreign one must not make it a stranger. */
inline_always int deliver(struct __sk_buff *skb, __u32 ifindex, __u32 flags)
{
	if (!(flags & TARGET_FLAG_PEER))
		return bpf_redirect(ifindex, 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

/* The frame is the tenant's; on return *action carries it out. False: no room. */
inline_always bool send(struct __sk_buff *skb, const struct packet *p, const struct way *way,
			__u32 vni, int *action)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
		      BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

	if (way->path->family == FAMILY_IPV6)
		flags |= BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	else
		flags |= BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	if (bpf_skb_adjust_room(skb, outer_bytes(way->path), BPF_ADJ_ROOM_MAC, flags))
		return false;
	if (!write_outer(frame_of(skb), end_of(skb), p, way, vni))
		return false;
	if (way->hop_destination) {
		*action = bpf_redirect(way->path->ifindex, 0);
		return true;
	}
	skb->cb[0] = LEARN_MARK;
	skb->cb[1] = way->path_index;
	*action = redirect_neighbour(way->path->ifindex, NULL, 0, 0);
	return true;
}

#endif
