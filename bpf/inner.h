/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * inner: the headers of a tenant's own tunnel, which each segment of such a
 * super-packet gets again. Only its size is a matter of ours: what is in it may
 * be anything, and is believed as far as its lengths agree with the packet's.
 */
#ifndef CIPU_INNER_H
#define CIPU_INNER_H

#define GRE_CHECKSUM 0x80	/* RFC 2784, RFC 2890: each adds a word */
#define GRE_KEY 0x20
#define GRE_SEQUENCE 0x10

inline_always bool is_in_tunnel(__u16 type)
{
	return type == net16(ETH_P_IP) || type == net16(ETH_P_IPV6) || type == net16(ETH_P_TEB);
}

inline_always __u32 link_bytes(__u16 type)
{
	return type == net16(ETH_P_TEB) ? ETH_HLEN : 0;
}

/* Where the inner IP header starts; 0: this is no tunnel that we know. */
inline_always __u32 inner_start(struct __sk_buff *skb, const struct packet *p)
{
	__u8 header[8];
	__u16 *type = (__u16 *)(header + 2);

	if (p->protocol == IPPROTO_IPIP || p->protocol == IPPROTO_IPV6)
		return p->l4;
	if (p->protocol == IPPROTO_GRE && !bpf_skb_load_bytes(skb, p->l4, header, 4))
		return p->l4 + 4 + link_bytes(*type) + (header[0] & GRE_CHECKSUM ? 4 : 0) +
		       (header[0] & GRE_KEY ? 4 : 0) + (header[0] & GRE_SEQUENCE ? 4 : 0);
	if (p->protocol != IPPROTO_UDP || bpf_skb_load_bytes(skb, p->l4 + 8, header, 8))
		return 0;
	/* Geneve (RFC 8926 3.4): version 0, and the words of its options. */
	if (header[0] >> 6 == 0 && is_in_tunnel(*type))
		return p->l4 + 16 + (header[0] & 0x3f) * 4 + link_bytes(*type);
	return header[0] & VXLAN_HAS_VNI ? p->l4 + 16 + ETH_HLEN : 0;
}

/* Where the inner transport header starts, and what it is; 0: lengths do not agree. */
inline_always __u32 inner_transport(struct __sk_buff *skb, __u32 start, __u8 *protocol)
{
	__u8 header[20];
	__u32 left = skb->len - start, said;

	if (bpf_skb_load_bytes(skb, start, header, sizeof(header)))
		return 0;
	if (header[0] >> 4 == 4) {
		said = net16(*(__u16 *)(header + 2));
		*protocol = header[9];
		return said == left || !said ? start + (header[0] & 15) * 4 : 0;
	}
	said = net16(*(__u16 *)(header + 4));
	*protocol = header[6];
	if (header[0] >> 4 != 6 || (said && said + sizeof(struct ipv6hdr) != left))
		return 0;
	return start + sizeof(struct ipv6hdr);
}

/* Bytes in front of the payload of each segment; 0: it is no tunnel's super-packet that we know. */
inline_always __u32 tunnel_headers(struct __sk_buff *skb, const struct packet *p)
{
	__u32 start = inner_start(skb, p), l4;
	__u8 protocol, words;

	if (!start)
		return 0;
	l4 = inner_transport(skb, start, &protocol);
	if (!l4)
		return 0;
	if (protocol == IPPROTO_UDP)
		return l4 + sizeof(struct udphdr);
	if (protocol != IPPROTO_TCP || bpf_skb_load_bytes(skb, l4 + 12, &words, 1))
		return 0;
	return l4 + (words >> 4) * 4;
}

/*
 * A tenant could make a datagram look like a tunnel's to have it counted as
 * fewer segments: where the kernel does not say how many they are, it is the
 * more of what the headers inside and those outside make of it.
 */
inline_always void count_tunnelled(struct __sk_buff *skb, struct packet *p)
{
	__u32 headers = tunnel_headers(skb, p), outside = p->segments;

	if (!headers)
		return;
	fill_segments(p, headers, skb->gso_size);
	if (skb->gso_segs)
		p->segments = skb->gso_segs;
	else if (p->segments < outside)
		p->segments = outside;
}

#endif
