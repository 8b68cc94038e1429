/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Writes what was decided into a frame: MACs, hop limit, congestion mark, and
 * the outer headers. The same bytes for TC and XDP; making room is theirs.
 */
#ifndef CIPU_FRAME_H
#define CIPU_FRAME_H

#define OUTER_TTL 64
#define DONT_FRAGMENT 0x4000
#define ENTROPY_PORT_FIRST 49152	/* RFC 7348 5: the dynamic ports of RFC 6335 */
#define ENTROPY_PORT_MASK 0x3fff

/* RFC 1812 5.3.1: only a packet that was routed lost a hop. */
inline_always void write_hop_limit(struct packet *p, void *ip)
{
	__u16 *word = ip + 8;	/* TTL and protocol */
	__u16 *sum = ip + 10;
	__u16 before = *word;

	p->hop_limit--;
	if (p->source.family == FAMILY_IPV6) {
		((struct ipv6hdr *)ip)->hop_limit--;
		return;
	}
	((struct iphdr *)ip)->ttl--;
	*sum = csum_replace(*sum, before, *word);
}

inline_always void write_tos(struct packet *p, void *ip, __u8 tos)
{
	__u16 *word = ip;
	__u16 before = *word;
	__u16 *sum = ip + 10;

	p->tos = tos;
	if (p->source.family == FAMILY_IPV6) {
		*word = net16((net16(before) & 0xf00f) | tos << 4);
		return;
	}
	((struct iphdr *)ip)->tos = tos;
	*sum = csum_replace(*sum, before, *word);
}

/* Congestion, told to who receives the packet (RFC 3168 5). */
inline_always void write_mark(struct packet *p, void *ip)
{
	write_tos(p, ip, p->tos | ECN_CE);
}

/* MACs of the tenant's frame as its receiver shall see them. */
inline_always void write_macs(struct ethhdr *eth, const struct packet *p, const struct way *way)
{
	copy_mac(eth->h_dest, way->target.mac);
	if (way->routed)
		gateway_mac(eth->h_source, p->destination.vni);
	else
		copy_mac(eth->h_source, p->source_mac);
}

/* Stable for a flow, different between flows: a multiply and fold of its 5-tuple. */
inline_always __u32 flow_hash(const struct packet *p)
{
	const __u64 *from = (const __u64 *)p->source.address;
	const __u64 *to = (const __u64 *)p->destination.address;
	__u64 hash = p->ports + ((__u64)p->protocol << 32);

	hash = (hash ^ from[0]) * 0x9e3779b97f4a7c15ULL;
	hash = (hash ^ hash >> 29 ^ from[1]) * 0xbf58476d1ce4e5b9ULL;
	hash = (hash ^ hash >> 32 ^ to[0]) * 0x94d049bb133111ebULL;
	hash = (hash ^ hash >> 29 ^ to[1]) * 0x9e3779b97f4a7c15ULL;
	return hash >> 32;
}

/* A super-packet may be longer than the field; the kernel writes it for each segment. */
inline_always __u16 length_field(__u32 bytes)
{
	return bytes > 0xffff ? 0 : net16(bytes);
}

inline_always void write_ipv4(struct iphdr *ip, const struct packet *p, const struct path *path,
			      __u32 bytes)
{
	__u16 *words = (__u16 *)ip;
	__u64 sum = 0;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tos = p->tos;
	ip->tot_len = length_field(sizeof(*ip) + bytes);
	ip->frag_off = net16(DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_UDP;
	__builtin_memcpy(&ip->saddr, path->local, 4);
	__builtin_memcpy(&ip->daddr, path->remote, 4);
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	ip->check = csum_fold(sum);
}

inline_always void write_ipv6(struct ipv6hdr *ip, const struct packet *p, const struct path *path,
			      __u32 bytes, __u32 hash)
{
	/* RFC 6438: the flow label spreads tunnels over equal paths too. */
	*(__u32 *)ip = net32(6 << 28 | p->tos << 20 | (hash & 0xfffff));
	ip->payload_len = length_field(bytes);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = OUTER_TTL;
	__builtin_memcpy(&ip->saddr, path->local, 16);
	__builtin_memcpy(&ip->daddr, path->remote, 16);
}

/* frame: room for the outer headers, then the tenant's IP packet (or ARP), whole. */
inline_always bool write_outer(void *frame, void *end, const struct packet *p,
			       const struct way *way, __u32 vni)
{
	bool ipv6 = way->path->family == FAMILY_IPV6;
	__u32 outer = ipv6 ? OUTER_IPV6_BYTES : OUTER_IPV4_BYTES;
	__u32 bytes = sizeof(struct udphdr) + sizeof(struct vxlan) + p->length;
	__u32 hash = flow_hash(p);
	struct ethhdr *eth = frame, *inner;
	struct udphdr *udp;
	struct vxlan *vxlan;

	if (frame + OUTER_IPV6_BYTES + ETH_HLEN > end)
		return false;
	__builtin_memcpy(eth->h_dest, &way->hop_destination, ETH_ALEN);
	__builtin_memcpy(eth->h_source, &way->hop_source, ETH_ALEN);
	if (ipv6) {
		eth->h_proto = net16(ETH_P_IPV6);
		write_ipv6((void *)(eth + 1), p, way->path, bytes, hash);
	} else {
		eth->h_proto = net16(ETH_P_IP);
		write_ipv4((void *)(eth + 1), p, way->path, bytes);
	}
	udp = frame + outer - sizeof(*vxlan) - sizeof(*udp);
	udp->source = net16(ENTROPY_PORT_FIRST + (hash & ENTROPY_PORT_MASK));
	udp->dest = way->path->port;
	udp->len = length_field(bytes);
	udp->check = 0;		/* RFC 7348 5; over IPv6 RFC 6935 */
	vxlan = (void *)(udp + 1);
	*(__u32 *)vxlan = net32(VXLAN_HAS_VNI << 24);
	vxlan->vni = net32(vni << 8);
	inner = (void *)(vxlan + 1);
	write_macs(inner, p, way);
	inner->h_proto = p->kind == FRAME_ARP ? net16(ETH_P_ARP) :
			 p->source.family == FAMILY_IPV6 ? net16(ETH_P_IPV6) : net16(ETH_P_IP);
	return true;
}

#endif
