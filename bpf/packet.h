/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * packet: what is known of a tenant's frame. parse reads the frame once, into
 * these numbers; later stages look at those and never at the frame.
 */
#ifndef CIPU_PACKET_H
#define CIPU_PACKET_H

#define EXTENSION_HEADERS_MAX 6
#define GSO_BY_FRAGS 0xffff	/* linux/skbuff.h: SCTP's segments have no common size */
#define SCTP_HEADER_BYTES 12
#define ARP_REQUEST 1
#define ICMP4_ECHO 8
#define ICMP4_ECHO_REPLY 0
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129
#define ICMP6_ROUTER_SOLICITATION 133
#define ICMP6_SOLICITATION 135
#define ICMP6_ADVERTISEMENT 136
#define ICMP6_REDIRECT 137
#define ECN_MASK 3	/* RFC 3168 5 */
#define ECN_ECT1 1
#define ECN_ECT0 2
#define ECN_CE 3
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_OPTIONS_MAX 12
#define TCP_OPTION_BYTES 40
#define TCP_OPTION_WINDOW_SCALE 3
#define QUOTE_HEADERS_BYTES 68	/* an IPv4 header with options, and 8 bytes more */
#define WINDOW_SCALE_NONE 255
#define WINDOW_SCALE_MAX 14	/* RFC 7323 2.3 */

enum frame_kind {
	FRAME_IP,
	FRAME_ARP,		/* source: who asks; destination: what is asked for */
	FRAME_SOLICITATION,	/* likewise */
	FRAME_DISCOVERY,	/* neighbour discovery that is not a solicitation */
};

/* Which half of an ICMP query and its reply a packet is. */
enum query {
	QUERY_NONE,
	QUERY_REQUEST,
	QUERY_REPLY,
};

/* What an ICMP error says of the packet that it answers; protocol 0: nothing of use. */
struct quote {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;	/* as in struct packet */
	__u16 destination_port;
	__u8 protocol;
	__u8 query;		/* enum query */
};

struct packet {
	struct address_key source;
	struct address_key destination;
	__u8 destination_mac[ETH_ALEN];
	__u8 source_mac[ETH_ALEN];
	__u32 length;		/* bytes of the frame, Ethernet header included */
	__u32 segment;		/* bytes of the biggest IP packet it is cut into */
	__u32 segments;		/* of a super-packet */
	__u32 headers;		/* bytes in front of each segment's payload */
	__u32 ports;		/* 0 where there are none */
	__u16 fragment_start;	/* where what is cut into fragments starts */
	__u16 fragment_bytes;	/* how much of it came in fragments before this one */
	__u32 fragment;		/* the identifier of a fragmented packet, as it stands there */
	__u32 sequence;		/* TCP */
	__u32 acknowledged;
	__u32 payload;		/* TCP: bytes of data */
	__u16 window;		/* TCP, not scaled */
	__u16 source_port;	/* network order; an ICMP query's identifier */
	__u16 destination_port;	/* network order; an ICMP query's type, that of the request */
	__u16 l4;		/* where the transport header starts */
	__u8 kind;
	__u8 protocol;
	__u8 tos;
	__u8 hop_limit;
	__u8 fragmented;
	__u8 later_fragment;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 icmp_error;
	__u8 icmp_query;	/* the type of the request that this is, or answers */
	__u8 arp_operation;
	__u8 truthful;		/* ARP, ND: the MAC inside is the frame's own */
	struct quote quote;
	__u8 options[64];	/* of a TCP SYN: TCP_OPTION_BYTES, and what a masked index may reach */
};

_Static_assert(sizeof(((struct scratch *)0)->packet) >= sizeof(struct packet), "packet");

/* This CPU's: programs do not nest, and the stack is too small for it. NULL cannot be. */
inline_always struct packet *packet_here(void)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return NULL;
	hide(scratch);
	return (struct packet *)scratch->packet;
}

/* Where `packet_here` found it. */
inline_always struct scratch *scratch_of(const struct packet *p)
{
	return (void *)p - __builtin_offsetof(struct scratch, packet);
}

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

inline_always void read_ports(__u16 *source, __u16 *destination, const void *transport)
{
	*source = ((const __u16 *)transport)[0];
	*destination = ((const __u16 *)transport)[1];
}

/* asked: the type of the request that a message of this type is, or answers; 0: neither. */
inline_always enum query query_of(__u8 asked, __u8 type)
{
	if (!asked)
		return QUERY_NONE;
	return asked == type ? QUERY_REQUEST : QUERY_REPLY;
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

inline_always bool same_address(const __u8 *a, const __u8 *b)
{
	const __u32 *one = (const __u32 *)a, *two = (const __u32 *)b;

	return one[0] == two[0] && one[1] == two[1] && one[2] == two[2] && one[3] == two[3];
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
