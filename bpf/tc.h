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

/* What a packet carries that is traced; of another it can be anything. */
inline_always __u64 token_of(const struct __sk_buff *skb)
{
	return (__u64)skb->cb[3] << 32 | skb->cb[2];
}

/* Segments of one size, but for the last. */
inline_always bool has_segments(const struct __sk_buff *skb)
{
	return skb->gso_size && skb->gso_size != GSO_BY_FRAGS;
}

/* SCTP's super-packets do not say how long their segments are. */
inline_always void count_segments(const struct __sk_buff *skb, struct packet *p)
{
	if (skb->gso_size == GSO_BY_FRAGS)
		p->segments = skb->gso_segs;
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

/*
 * Room, and the outer family for a packet of the other. bpf_skb_change_proto
 * puts 20 bytes where the tenant's IP header starts, or takes as many away,
 * and those have to be put back.
 */
inline_always bool make_foreign_room(struct __sk_buff *skb, bool ipv6)
{
	__u8 taken[OUTER_IPV6_BYTES - OUTER_IPV4_BYTES];

	if (ipv6)
		return !bpf_skb_change_proto(skb, net16(ETH_P_IPV6), 0) &&
		       !bpf_skb_adjust_room(skb, OUTER_IPV4_BYTES, BPF_ADJ_ROOM_MAC, 0);
	return !bpf_skb_load_bytes(skb, ETH_HLEN, taken, sizeof(taken)) &&
	       !bpf_skb_change_proto(skb, net16(ETH_P_IP), 0) &&
	       !bpf_skb_adjust_room(skb, OUTER_IPV6_BYTES, BPF_ADJ_ROOM_MAC, 0) &&
	       !bpf_skb_store_bytes(skb, ETH_HLEN + OUTER_IPV4_BYTES, taken, sizeof(taken), 0);
}

/*
 * The kernel makes a tunnel's room only once: not in a packet that is, or once
 * was, a tunnel's (it never forgets). Plain room will do for a single packet,
 * and for a TCP super-packet that was ours: its marks fit the tunnel again.
 */
inline_always bool make_plain_room(struct __sk_buff *skb, const struct packet *p,
				   const struct path *path)
{
	bool ipv6 = path->family == FAMILY_IPV6;

	if (skb->protocol != (ipv6 ? net16(ETH_P_IPV6) : net16(ETH_P_IP)))
		return !skb->gso_size && make_foreign_room(skb, ipv6);
	if (skb->gso_size && p->protocol != IPPROTO_TCP)
		return false;
	return !bpf_skb_adjust_room(skb, outer_bytes(path), BPF_ADJ_ROOM_MAC,
				    BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* What could not be carried out although it was decided. */
inline_always enum verdict refusal(const struct __sk_buff *skb)
{
	return skb->gso_size ? GSO_REFUSED : KERNEL_REFUSED;
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
	/* A tunnel's mark outlives a veth, and whoever answers the packet there needs it gone. */
	bool plain = way->path->flags & PATH_FLAG_VETH && !skb->gso_size &&
		     make_plain_room(skb, p, way->path);

	if (!plain &&
	    bpf_skb_adjust_room(skb, outer_bytes(way->path), BPF_ADJ_ROOM_MAC, flags) &&
	    !make_plain_room(skb, p, way->path))
		return false;
	if (!write_outer(frame_of(skb), end_of(skb), p, way, vni))
		return false;
	if (way->departure_ns && set_departure(skb, way->departure_ns, BPF_SKB_TSTAMP_DELIVERY_MONO))
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
