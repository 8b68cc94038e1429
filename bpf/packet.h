/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * parse: reads a tenant's frame once, into numbers; later stages look at
 * those and never at the frame. Says what a frame is, not whether it may go.
 */
#ifndef CIPU_PACKET_H
#define CIPU_PACKET_H

#define EXTENSION_HEADERS_MAX 6
#define GSO_BY_FRAGS 0xffff	/* linux/skbuff.h: SCTP's segments have no common size */
#define ARP_REQUEST 1
#define ICMP4_ECHO 8
#define ICMP4_ECHO_REPLY 0
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_SOLICITATION 135
#define ICMP6_ADVERTISEMENT 136
#define ICMP6_REDIRECT 137

enum frame_kind {
	FRAME_IP,
	FRAME_ARP,		/* source: who asks; destination: what is asked for */
	FRAME_SOLICITATION,	/* likewise */
	FRAME_DISCOVERY,	/* neighbour discovery that is not a solicitation */
};

struct packet {
	struct address_key source;
	struct address_key destination;
	__u8 destination_mac[ETH_ALEN];
	__u8 source_mac[ETH_ALEN];
	__u32 length;		/* bytes of the frame, Ethernet header included */
	__u32 segment;		/* bytes of the biggest IP packet it is cut into */
	__u32 ports;		/* 0 where there are none */
	__u16 l4;		/* where the transport header starts */
	__u8 kind;
	__u8 protocol;
	__u8 tos;
	__u8 hop_limit;
	__u8 fragmented;
	__u8 later_fragment;
	__u8 icmp_type;
	__u8 icmp_error;
	__u8 arp_operation;
	__u8 truthful;		/* ARP, ND: the MAC inside is the frame's own */
};

struct cursor {
	void *at;
	void *end;
	__u32 offset;
	__u32 limit;	/* offset where the packet says it ends: what follows is padding */
};

struct arp_ipv4 {
	__be16 hardware, protocol;
	__u8 hardware_bytes, protocol_bytes;
	__be16 operation;
	__u8 sender_mac[ETH_ALEN], sender[4], target_mac[ETH_ALEN], target[4];
} __attribute__((packed));

struct neighbour_message {
	__u8 type, code;
	__be16 checksum;
	__be32 flags;
	__u8 target[16];
	__u8 option, option_words, mac[ETH_ALEN];
} __attribute__((packed));
#define SOLICITATION_BYTES 24	/* without the option */

inline_always bool has(const struct cursor *c, __u32 bytes)
{
	return c->at + bytes <= c->end && c->offset + bytes <= c->limit;
}

/* Fewer bytes at hand than a header needs: the caller may have more to pull in. */
inline_always void *take(struct cursor *c, __u32 bytes)
{
	void *header = c->at;

	if (!has(c, bytes))
		return NULL;
	c->at = header + bytes;
	c->offset += bytes;
	return header;
}

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

/* Each family has its own ICMP; the other's number is just another protocol. */
inline_always bool is_icmp(const struct packet *p)
{
	return p->protocol ==
	       (p->source.family == FAMILY_IPV6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

/* No error may answer an error (RFC 1122 3.2.2, RFC 4443 2.4). */
inline_always bool is_icmp_error(const struct packet *p)
{
	if (p->source.family == FAMILY_IPV6)
		return p->icmp_type < 128;
	return p->icmp_type == 3 || p->icmp_type == 4 || p->icmp_type == 5 ||
	       p->icmp_type == 11 || p->icmp_type == 12;
}

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

inline_always enum verdict parse_icmp(struct packet *p, struct cursor *c)
{
	__u8 *type = c->at;

	if (!has(c, 8))
		return RUNT;
	p->icmp_type = *type;
	p->icmp_error = is_icmp_error(p);
	if (p->source.family != FAMILY_IPV6)
		return NEXT;
	if (p->icmp_type == ICMP6_SOLICITATION)
		return parse_solicitation(p, c);
	if (p->icmp_type >= ICMP6_ROUTER_SOLICITATION && p->icmp_type <= ICMP6_REDIRECT) {
		p->kind = FRAME_DISCOVERY;
		p->truthful = 1;	/* never acted on, so what it claims does no harm */
	}
	return NEXT;
}

/* gso_bytes: payload of each segment of a super-packet, 0 for a plain packet. */
inline_always enum verdict parse_transport(struct packet *p, struct cursor *c, __u32 gso_bytes)
{
	__u32 header_bytes = 8;
	__u8 *tcp = c->at;

	p->l4 = c->offset;
	if (p->later_fragment)
		return NEXT;
	if (is_icmp(p))
		return parse_icmp(p, c);
	if (p->protocol == IPPROTO_TCP) {
		if (!has(c, 20))
			return RUNT;
		header_bytes = tcp[12] >> 4 << 2;
		if (header_bytes < 20)
			return BAD_HEADER;
	} else if (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_SCTP) {
		if (!has(c, 8))
			return RUNT;
	} else {
		return NEXT;
	}
	/* Only the whole of a flow has ports: its fragments must hash alike. */
	if (!p->fragmented)
		p->ports = *(__u32 *)tcp;
	if (gso_bytes == GSO_BY_FRAGS)
		p->segment = 0;		/* cut as it was put together, which fitted */
	else if (gso_bytes)
		p->segment = p->l4 - ETH_HLEN + header_bytes + gso_bytes;
	return NEXT;
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
		}
		p->protocol = header[0];
		if (p->later_fragment)
			return NEXT;
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

	__builtin_memset(p, 0, sizeof(*p));
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

inline_always bool is_multicast(const struct packet *p)
{
	const __u8 *to = p->destination.address;

	if (p->destination_mac[0] & 1)
		return true;
	if (p->destination.family == FAMILY_IPV6)
		return to[0] == 0xff;
	return to[0] >= 224;
}

inline_always bool is_unspecified(const struct address_key *key)
{
	const __u64 *words = (const __u64 *)key->address;

	return !words[0] && !words[1];
}

inline_always bool is_link_local_ipv6(const struct address_key *key)
{
	return key->family == FAMILY_IPV6 && key->address[0] == 0xfe &&
	       (key->address[1] & 0xc0) == 0x80;
}

inline_always bool is_echo(const struct packet *p)
{
	if (p->fragmented || !is_icmp(p))
		return false;
	return p->icmp_type == (p->source.family == FAMILY_IPV6 ? ICMP6_ECHO : ICMP4_ECHO);
}

/* May the gateway tell the sender of an error (RFC 1812 4.3.2.7, RFC 4443 2.4)? */
inline_always bool is_answerable(const struct packet *p)
{
	return !p->later_fragment && !p->icmp_error && !is_unspecified(&p->source);
}

#endif
