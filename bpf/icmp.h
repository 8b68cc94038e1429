/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Parses ICMP of both families: queries, errors and what they quote, neighbour
 * discovery.
 */
#ifndef CIPU_ICMP_H
#define CIPU_ICMP_H

inline_always enum verdict parse_solicitation(struct packet *p, struct cursor *c)
{
	bool whole = has(c, sizeof(struct neighbour_message));
	struct neighbour_message *message = take(c, SOLICITATION_BYTES);

	if (!message)
		return RUNT;
	if (p->hop_limit != 255 || message->code)	/* RFC 4861, 7.1.1 */
		return BAD_HEADER;
	if (p->fragmented)				/* RFC 6980, 5 */
		return BAD_HEADER;
	p->kind = FRAME_SOLICITATION;
	__builtin_memcpy(p->destination.address, message->target, 16);
	p->truthful = 1;
	if (whole && message->option == 1)
		p->truthful = same_mac(message->mac, p->source_mac);
	return NEXT;
}

/* The request that a type is, or answers; 0 for what is neither (RFC 792, 950; RFC 4443). */
inline_always __u8 icmp_query(bool ipv6, __u8 type)
{
	if (ipv6)
		return type == ICMP6_ECHO || type == ICMP6_ECHO_REPLY ? ICMP6_ECHO : 0;
	if (type == ICMP4_ECHO || type == ICMP4_ECHO_REPLY)
		return ICMP4_ECHO;
	return type == 13 || type == 15 || type == 17 ? type :
	       type == 14 || type == 16 || type == 18 ? type - 1 : 0;
}

/* Steps over the fragment header of IPv6; false if it is not that of a first fragment. */
inline_always bool quote_first_fragment(struct cursor *c, __u8 *protocol)
{
	__u8 *header = take(c, 8);

	if (!header || *(__u16 *)(header + 2) & net16(0xfff8))
		return false;
	*protocol = header[0];
	return true;
}

/* Steps over the quoted IP header; false if what follows it is not a transport's first bytes. */
inline_always bool quote_ip(struct quote *q, struct cursor *c, bool ipv6, __u8 *protocol)
{
	if (ipv6) {
		struct ipv6hdr *ip = take(c, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(q->source, &ip->saddr, 16);
		__builtin_memcpy(q->destination, &ip->daddr, 16);
		*protocol = ip->nexthdr;
		return *protocol != IPPROTO_FRAGMENT || quote_first_fragment(c, protocol);
	}
	struct iphdr *ip = c->at;
	__u64 header_bytes;	/* 64 bits: what the verifier can bound */

	if (!has(c, sizeof(*ip)) || ip->frag_off & net16(0x1fff))
		return false;
	__builtin_memcpy(q->source, &ip->saddr, 4);
	__builtin_memcpy(q->destination, &ip->daddr, 4);
	*protocol = ip->protocol;
	header_bytes = ip->ihl * 4;
	asm volatile("" : "+r"(header_bytes));
	return header_bytes >= sizeof(*ip) && header_bytes <= 60 && take(c, header_bytes);
}

/*
 * The quoted packet's first 8 bytes of transport; one with other extension
 * headers than a fragment's is no use.
 */
inline_always enum verdict parse_quote(struct packet *p, struct cursor *c)
{
	bool ipv6 = p->source.family == FAMILY_IPV6;
	__u64 rest = c->limit - c->offset;
	struct quote *q = &p->quote;
	__u8 *transport, protocol;

	if (rest > QUOTE_HEADERS_BYTES)
		rest = QUOTE_HEADERS_BYTES;
	if (c->at + rest > c->end)
		return RUNT;
	transport = quote_ip(q, c, ipv6, &protocol) ? take(c, 8) : NULL;
	if (!transport)
		return NEXT;
	if (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP) {
		read_ports(&q->source_port, &q->destination_port, transport);
	} else if (protocol == (ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
		q->source_port = *(__u16 *)(transport + 4);
		q->destination_port = net16(icmp_query(ipv6, *transport));
		q->query = query_of(icmp_query(ipv6, *transport), *transport);
		if (!q->query)
			return NEXT;
	}
	q->protocol = protocol;
	return NEXT;
}

inline_always enum verdict parse_icmp(struct packet *p, struct cursor *c)
{
	__u8 *type = take(c, 8);
	bool ipv6 = p->source.family == FAMILY_IPV6;

	if (!type)
		return RUNT;
	p->icmp_type = type[0];
	p->icmp_code = type[1];
	p->icmp_error = is_icmp_error(p);
	if (p->icmp_error)
		return parse_quote(p, c);
	p->icmp_query = icmp_query(ipv6, p->icmp_type);
	if (p->icmp_query) {
		p->source_port = *(__u16 *)(type + 4);
		p->destination_port = net16(p->icmp_query);
	}
	if (!ipv6)
		return NEXT;
	if (p->icmp_type == ICMP6_SOLICITATION) {
		c->at = type;
		c->offset -= 8;
		return parse_solicitation(p, c);
	}
	if (p->icmp_type >= ICMP6_ROUTER_SOLICITATION && p->icmp_type <= ICMP6_REDIRECT) {
		p->kind = FRAME_DISCOVERY;
		p->truthful = 1;	/* never acted on, so what it claims does no harm */
	}
	return NEXT;
}

#endif
