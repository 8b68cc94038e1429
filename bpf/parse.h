/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * parse: Ethernet, ARP, IP with its options and extension headers, transport.
 * Says what a frame is, not whether it may go.
 */
#ifndef CIPU_PARSE_H
#define CIPU_PARSE_H

inline_always enum verdict parse_arp(struct packet *p, struct cursor *c)
{
	struct arp_ipv4 *arp = take(c, sizeof(*arp));

	if (!arp)
		return RUNT;
	if (arp->hardware != net16(1) || arp->protocol != net16(ETH_P_IP) ||
	    arp->hardware_bytes != ETH_ALEN || arp->protocol_bytes != 4)
		return BAD_HEADER;
	p->kind = FRAME_ARP;
	p->source.family = p->destination.family = FAMILY_IPV4;
	__builtin_memcpy(p->source.address, arp->sender, 4);
	__builtin_memcpy(p->destination.address, arp->target, 4);
	p->arp_operation = net16(arp->operation);
	p->truthful = same_mac(arp->sender_mac, p->source_mac);
	return NEXT;
}

/* headers: bytes in front of the payload of each segment. */
inline_always void fill_segments(struct packet *p, __u32 headers, __u32 gso_bytes)
{
	if (gso_bytes == GSO_BY_FRAGS) {
		p->segment = 0;		/* cut as it was put together, which fitted */
		p->headers = p->l4 + SCTP_HEADER_BYTES;
		return;
	}
	p->segment = headers - ETH_HLEN + gso_bytes;
	p->headers = headers;
	if (p->length > headers)
		p->segments = (p->length - headers + gso_bytes - 1) / gso_bytes;
}

/* gso_bytes: payload of each segment of a super-packet, 0 for a plain packet. */
inline_always enum verdict parse_transport(struct packet *p, struct cursor *c, __u32 gso_bytes)
{
	__u32 header_bytes = 8;

	p->l4 = c->offset;
	if (p->later_fragment)
		return NEXT;
	if (is_icmp(p))
		return parse_icmp(p, c);
	if (p->protocol == IPPROTO_TCP) {
		if (!has(c, sizeof(struct tcphdr)))
			return RUNT;
		header_bytes = parse_tcp(p, c);
		if (!header_bytes)
			return BAD_HEADER;
	} else if (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP) {
		if (!has(c, 8))
			return RUNT;
	} else {
		return NEXT;
	}
	read_ports(&p->source_port, &p->destination_port, c->at);
	/* Only the whole of a flow has ports: its fragments must hash alike. */
	if (!p->fragmented)
		p->ports = *(__u32 *)c->at;
	if (gso_bytes)
		fill_segments(p, p->l4 + header_bytes, gso_bytes);
	return NEXT;
}

/* RFC 3128: a fragment that starts inside the TCP header would rewrite what was judged. */
inline_always bool overlaps_tcp(const struct packet *p, __u32 offset_words)
{
	return p->protocol == IPPROTO_TCP && offset_words == 1;
}

inline_always enum verdict parse_ipv4(struct packet *p, struct cursor *c, __u32 gso_bytes)
{
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 header_bytes, total;

	if (!ip)
		return RUNT;
	header_bytes = ip->ihl * 4;
	if (ip->version != 4 || header_bytes < sizeof(*ip))
		return BAD_HEADER;
	total = net16(ip->tot_len);
	if (!gso_bytes && total > p->length - ETH_HLEN)
		return RUNT;
	if (!gso_bytes && total < header_bytes)
		return BAD_HEADER;
	if (!gso_bytes)
		c->limit = ETH_HLEN + total;
	if (header_bytes > sizeof(*ip) && !take(c, header_bytes - sizeof(*ip)))
		return RUNT;
	p->source.family = p->destination.family = FAMILY_IPV4;
	__builtin_memcpy(p->source.address, &ip->saddr, 4);
	__builtin_memcpy(p->destination.address, &ip->daddr, 4);
	p->protocol = ip->protocol;
	p->tos = ip->tos;
	p->hop_limit = ip->ttl;
	p->fragmented = (ip->frag_off & net16(0x3fff)) != 0;
	p->later_fragment = (ip->frag_off & net16(0x1fff)) != 0;
	p->fragment = ip->id;
	p->fragment_start = ETH_HLEN + header_bytes;
	p->fragment_bytes = (net16(ip->frag_off) & 0x1fff) * 8;
	if (overlaps_tcp(p, net16(ip->frag_off) & 0x1fff))
		return BAD_HEADER;
	return parse_transport(p, c, gso_bytes);
}

/* Walks the extension headers of RFC 8200 that a first packet may carry. */
inline_always enum verdict parse_extensions(struct packet *p, struct cursor *c)
{
	for (int i = 0; i <= EXTENSION_HEADERS_MAX; i++) {
		__u8 next = p->protocol;
		__u8 *header = c->at;
		__u32 bytes;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			return NEXT;
		if (i == EXTENSION_HEADERS_MAX)
			return TOO_MANY_HEADERS;
		if (!has(c, 8))
			return RUNT;
		bytes = (header[1] + 1) * 8;
		if (next == IPPROTO_AH)
			bytes = (header[1] + 2) * 4;
		if (next == IPPROTO_FRAGMENT) {
			bytes = 8;
			p->fragmented = 1;
			p->later_fragment = (*(__u16 *)(header + 2) & net16(0xfff8)) != 0;
			p->fragment = *(__u32 *)(header + 4);
			p->fragment_start = c->offset + bytes;
			p->fragment_bytes = net16(*(__u16 *)(header + 2)) & 0xfff8;
		}
		p->protocol = header[0];
		if (p->later_fragment)
			return overlaps_tcp(p, net16(*(__u16 *)(header + 2)) >> 3) ? BAD_HEADER : NEXT;
		if (!take(c, bytes))
			return RUNT;
	}
	return NEXT;
}

inline_always enum verdict parse_ipv6(struct packet *p, struct cursor *c, __u32 gso_bytes)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));
	enum verdict verdict;

	if (!ip)
		return RUNT;
	if (ip->version != 6)
		return BAD_HEADER;
	if (!gso_bytes && net16(ip->payload_len) + sizeof(*ip) > p->length - ETH_HLEN)
		return RUNT;
	if (!gso_bytes)
		c->limit = c->offset + net16(ip->payload_len);
	p->source.family = p->destination.family = FAMILY_IPV6;
	__builtin_memcpy(p->source.address, &ip->saddr, 16);
	__builtin_memcpy(p->destination.address, &ip->daddr, 16);
	p->protocol = ip->nexthdr;
	p->tos = net16(*(__u16 *)ip) >> 4;
	p->hop_limit = ip->hop_limit;
	verdict = parse_extensions(p, c);
	if (verdict != NEXT)
		return verdict;
	return parse_transport(p, c, gso_bytes);
}

/* length: bytes of the whole frame, of which [frame, end) are at hand. */
inline_always enum verdict parse(struct packet *p, void *frame, void *end, __u32 length,
				 __u32 gso_bytes)
{
	struct cursor c = { .at = frame, .end = end, .limit = length };
	struct ethhdr *eth = take(&c, sizeof(*eth));

	__builtin_memset(p, 0, __builtin_offsetof(struct packet, options));
	p->length = length;
	if (!eth)
		return RUNT;
	p->segment = length - ETH_HLEN;
	copy_mac(p->destination_mac, eth->h_dest);
	copy_mac(p->source_mac, eth->h_source);
	switch (eth->h_proto) {
	case net16(ETH_P_IP):
		return parse_ipv4(p, &c, gso_bytes);
	case net16(ETH_P_IPV6):
		return parse_ipv6(p, &c, gso_bytes);
	case net16(ETH_P_ARP):
		return parse_arp(p, &c);
	case net16(ETH_P_8021Q):
	case net16(ETH_P_8021AD):
		return VLAN_TAGGED;
	default:
		return NOT_IP;
	}
}

#endif
