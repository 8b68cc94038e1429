/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * answer: turns the tenant's frame into the reply its gateway (or neighbour)
 * would send: ARP, neighbour discovery, ping, and the two errors of RFC 792
 * and RFC 4443 that an overlay must send. TC only; where the reply goes is
 * the hook's matter. On return p describes the reply.
 */
#ifndef CIPU_ANSWER_H
#define CIPU_ANSWER_H

#define ARP_REPLY 2
#define NA_ROUTER (1U << 31)
#define NA_SOLICITED (1U << 30)
#define NA_OVERRIDE (1U << 29)
#define ICMP_BYTES 8
#define SPARE_BYTES 256		/* a frame of this size, less SHED_BYTES, still has an IP header */
#define SHED_BYTES 192
#define QUOTE_BYTES sizeof(((struct scratch *)0)->quote)

enum icmp_error_kind { ERROR_EXPIRED, ERROR_TOO_BIG };

inline_always bool reframe(struct __sk_buff *skb, struct packet *p, __u32 bytes)
{
	if (skb->len != bytes && bpf_skb_change_tail(skb, bytes, 0))
		return false;
	if (bpf_skb_pull_data(skb, bytes))
		return false;
	p->length = bytes;
	return true;
}

inline_always void write_reply_macs(struct ethhdr *eth, struct packet *p, const __u8 *from)
{
	copy_mac(eth->h_dest, p->source_mac);
	copy_mac(eth->h_source, from);
	p->tos = 0;
}

inline_always bool answer_arp(struct __sk_buff *skb, struct packet *p, const struct way *way)
{
	struct ethhdr *eth;
	struct arp_ipv4 *arp;

	if (!reframe(skb, p, sizeof(*eth) + sizeof(*arp)))
		return false;
	eth = (void *)(long)skb->data;
	arp = (void *)(eth + 1);
	if ((void *)(arp + 1) > (void *)(long)skb->data_end)
		return false;
	write_reply_macs(eth, p, way->target.mac);
	eth->h_proto = net16(ETH_P_ARP);
	arp->operation = net16(ARP_REPLY);
	copy_mac(arp->target_mac, p->source_mac);
	copy_mac(arp->sender_mac, way->target.mac);
	__builtin_memcpy(arp->target, p->source.address, 4);
	__builtin_memcpy(arp->sender, p->destination.address, 4);
	return true;
}

/* Sum over the addresses (which stand right before) and the payload, RFC 8200 8.1. */
inline_always __u16 icmpv6_csum(struct ipv6hdr *ip, __u32 payload_bytes, __u32 written_bytes,
				__u32 seed)
{
	return csum_fold((__u64)seed + csum_of(&ip->saddr, 32 + written_bytes,
					       net32(payload_bytes) + net32(IPPROTO_ICMPV6)));
}

inline_always void write_reply_ipv6(struct ipv6hdr *ip, const __u8 *from, const __u8 *to,
				    __u32 payload_bytes)
{
	*(__u32 *)ip = net32(6 << 28);
	ip->payload_len = net16(payload_bytes);
	ip->nexthdr = IPPROTO_ICMPV6;
	ip->hop_limit = 255;
	__builtin_memcpy(&ip->saddr, from, 16);
	__builtin_memcpy(&ip->daddr, to, 16);
}

/* RFC 4861 7.2.4. Duplicate detection asks from nowhere: it is told at all-nodes. */
inline_always bool answer_solicitation(struct __sk_buff *skb, struct packet *p,
				       const struct way *way)
{
	bool detection = is_unspecified(&p->source);
	struct neighbour_message *message;
	struct ipv6hdr *ip;
	struct ethhdr *eth;

	if (!reframe(skb, p, sizeof(*eth) + sizeof(*ip) + sizeof(*message)))
		return false;
	if (detection) {
		p->source_mac[0] = p->source_mac[1] = 0x33;
		p->source_mac[2] = p->source_mac[3] = p->source_mac[4] = 0;
		p->source_mac[5] = 1;
		p->source.address[0] = 0xff;
		p->source.address[1] = 2;
		p->source.address[15] = 1;
	}
	eth = (void *)(long)skb->data;
	ip = (void *)(eth + 1);
	message = (void *)(ip + 1);
	if ((void *)(message + 1) > (void *)(long)skb->data_end)
		return false;
	write_reply_macs(eth, p, way->target.mac);
	eth->h_proto = net16(ETH_P_IPV6);
	write_reply_ipv6(ip, p->destination.address, p->source.address, sizeof(*message));
	message->type = ICMP6_ADVERTISEMENT;
	message->code = 0;
	message->checksum = 0;
	message->flags = net32(NA_OVERRIDE | (detection ? 0 : NA_SOLICITED) |
			       (way->target.kind == TARGET_GATEWAY ? NA_ROUTER : 0));
	__builtin_memcpy(message->target, p->destination.address, 16);
	message->option = 2;
	message->option_words = 1;
	copy_mac(message->mac, way->target.mac);
	message->checksum = icmpv6_csum(ip, sizeof(*message), sizeof(*message), 0);
	return true;
}

inline_always void swap_ipv6(struct ipv6hdr *ip, const struct packet *p)
{
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, p->destination.address, 16);
	__builtin_memcpy(&ip->daddr, p->source.address, 16);
}

inline_always void swap_ipv4(struct iphdr *ip, const struct packet *p)
{
	__u16 *word = (__u16 *)&ip->ttl;	/* TTL and protocol */
	__u16 before = *word;

	ip->ttl = OUTER_TTL;
	ip->check = csum_replace(ip->check, before, *word);
	__builtin_memcpy(&ip->saddr, p->destination.address, 4);
	__builtin_memcpy(&ip->daddr, p->source.address, 4);
}

/* In place, whatever its length: addresses swap, type changes, the hop limit starts anew. */
inline_always bool answer_ping(struct __sk_buff *skb, struct packet *p, const struct way *way)
{
	bool ipv6 = p->source.family == FAMILY_IPV6;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u16 before, after;

	if (data + ETH_HLEN + sizeof(struct iphdr) > end)
		return false;
	write_reply_macs(data, p, way->target.mac);
	if (ipv6) {
		if (data + ETH_HLEN + sizeof(struct ipv6hdr) > end)
			return false;
		swap_ipv6(data + ETH_HLEN, p);
	} else {
		swap_ipv4(data + ETH_HLEN, p);
	}
	before = net16((ipv6 ? ICMP6_ECHO : ICMP4_ECHO) << 8);
	after = net16((ipv6 ? ICMP6_ECHO_REPLY : ICMP4_ECHO_REPLY) << 8);
	if (bpf_l4_csum_replace(skb, p->l4 + 2, before, after, 2))
		return false;
	return !bpf_skb_store_bytes(skb, p->l4, &after, 1, 0);
}

/*
 * Leaves a frame of `bytes`, its content free to be written. The packet may be
 * a super-packet with a checksum still to be filled in: cutting past the place
 * where that starts, and only then to size, makes the kernel forget both.
 */
inline_always bool blank(struct __sk_buff *skb, struct packet *p, __u32 bytes)
{
	if (bpf_skb_change_tail(skb, SPARE_BYTES, 0))
		return false;
	if (bpf_skb_adjust_room(skb, -SHED_BYTES, BPF_ADJ_ROOM_MAC, 0))
		return false;
	return reframe(skb, p, bytes);
}

inline_always void write_error_ipv4(void *at, struct packet *p, struct scratch *scratch,
				    const __u8 *gateway, enum icmp_error_kind kind, __u32 mtu,
				    __u32 quoted)
{
	struct iphdr *ip = at;
	__u32 *icmp = (void *)(ip + 1);

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = net16(sizeof(*ip) + ICMP_BYTES + quoted);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_ICMP;
	__builtin_memcpy(&ip->saddr, gateway, 4);
	__builtin_memcpy(&ip->daddr, p->source.address, 4);
	ip->check = csum_fold(csum_of(ip, sizeof(*ip), 0));
	icmp[0] = net32(kind == ERROR_EXPIRED ? 11 << 24 : 3 << 24 | 4 << 16);
	icmp[1] = net32(kind == ERROR_EXPIRED ? 0 : mtu);
	*((__u16 *)icmp + 1) = csum_fold((__u64)icmp[0] + icmp[1] +
		csum_of(scratch->quote, QUOTE_BYTES, 0));
}

inline_always void write_error_ipv6(void *at, struct packet *p, struct scratch *scratch,
				    const __u8 *gateway, enum icmp_error_kind kind, __u32 mtu,
				    __u32 quoted)
{
	struct ipv6hdr *ip = at;
	__u32 *icmp = (void *)(ip + 1);

	write_reply_ipv6(ip, gateway, p->source.address, ICMP_BYTES + quoted);
	ip->hop_limit = OUTER_TTL;
	icmp[0] = net32(kind == ERROR_EXPIRED ? 3 << 24 : 2 << 24);
	icmp[1] = net32(kind == ERROR_EXPIRED ? 0 : mtu);
	*((__u16 *)icmp + 1) = icmpv6_csum(ip, ICMP_BYTES + quoted, ICMP_BYTES,
		csum_of(scratch->quote, QUOTE_BYTES, 0));
}

/* gateway: whose address the error comes from; vni: the VPC of the packet's sender. */
inline_always bool answer_error(struct __sk_buff *skb, struct packet *p, const __u8 *gateway,
				__u32 vni, enum icmp_error_kind kind, __u32 mtu)
{
	bool ipv6 = p->source.family == FAMILY_IPV6;
	__u32 headers = ETH_HLEN + ICMP_BYTES + (ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	__u64 quoted = (__u32)(p->length - ETH_HLEN);	/* 64 bits: what the verifier can bound */
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);
	__u8 mac[ETH_ALEN] __attribute__((aligned(4)));
	struct ethhdr *eth;

	if (!scratch)
		return false;
	if (quoted < sizeof(struct iphdr))
		return false;
	asm volatile("" : "+r"(quoted));	/* one register, whose bounds the verifier follows */
	if (quoted > QUOTE_BYTES)
		quoted = QUOTE_BYTES;
	__builtin_memset(scratch->quote, 0, sizeof(scratch->quote));
	if (bpf_skb_load_bytes(skb, ETH_HLEN, scratch->quote, quoted))
		return false;
	if (!blank(skb, p, headers + quoted))
		return false;
	eth = (void *)(long)skb->data;
	if ((void *)eth + ETH_HLEN + sizeof(struct ipv6hdr) + ICMP_BYTES >
	    (void *)(long)skb->data_end)
		return false;
	gateway_mac(mac, vni);
	write_reply_macs(eth, p, mac);
	eth->h_proto = ipv6 ? net16(ETH_P_IPV6) : net16(ETH_P_IP);
	if (ipv6)
		write_error_ipv6(eth + 1, p, scratch, gateway, kind, mtu, quoted);
	else
		write_error_ipv4(eth + 1, p, scratch, gateway, kind, mtu, quoted);
	return !bpf_skb_store_bytes(skb, headers, scratch->quote, quoted, 0);
}

/* error_gateway: 16 bytes, the gateway in the packet's family. */
inline_always bool answer(struct __sk_buff *skb, struct packet *p, const struct way *way,
			  enum verdict verdict, const __u8 *error_gateway)
{
	if (verdict == ANSWERED_ARP)
		return answer_arp(skb, p, way);
	if (verdict == ANSWERED_ND)
		return answer_solicitation(skb, p, way);
	if (verdict == ANSWERED_PING)
		return answer_ping(skb, p, way);
	return answer_error(skb, p, error_gateway, p->source.vni,
			    verdict == ANSWERED_EXPIRED ? ERROR_EXPIRED : ERROR_TOO_BIG, way->mtu);
}

#endif
