/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * From the fabric: is it a VXLAN packet for us (RFC 7348), from a host we
 * know, whose inner source lives there, for a tenant that lives here?
 * UPLINK_FAMILY is a constant of the compile, the VTEP and its port are put in:
 * each uplink has a program of its own.
 */
#ifndef CIPU_FABRIC_H
#define CIPU_FABRIC_H

#if UPLINK_FAMILY == 6
#define OUTER_BYTES OUTER_IPV6_BYTES
#define OUTER_IP_BYTES 40
#else
#define OUTER_BYTES OUTER_IPV4_BYTES
#define OUTER_IP_BYTES 20
#endif

struct outer {
	struct vtep_key source;
	__u32 vni;
	__u32 path_index;
	__u32 member;		/* number of the sender's ENI if it is in groups, else 0 */
	__u8 tos;
};

/* address: in a packet, of the uplink's family. */
inline_always bool is_vtep(const void *address)
{
	const __u32 *words = address;

	return words[0] == put_in(CONSTANT_VTEP_0) &&
	       (UPLINK_FAMILY == 4 ||
		(words[1] == put_in(CONSTANT_VTEP_1) && words[2] == put_in(CONSTANT_VTEP_2) &&
		 words[3] == put_in(CONSTANT_VTEP_3)));
}

/* Does the frame come from the VTEP's family, to the VTEP? Leaves UDP's place in *udp. */
#if UPLINK_FAMILY == 6
inline_always enum verdict parse_outer_ip(struct outer *o, void *ip_at, void *end, void **udp)
{
	struct ipv6hdr *ip = ip_at;

	if (!is_vtep(&ip->daddr) || ip->nexthdr != IPPROTO_UDP)
		return HOST;
	__builtin_memcpy(o->source.address, &ip->saddr, 16);
	o->tos = net16(*(__u16 *)ip) >> 4;
	*udp = ip + 1;
	return NEXT;
}
#define OUTER_ETHERTYPE net16(ETH_P_IPV6)
#else
inline_always enum verdict parse_outer_ip(struct outer *o, void *ip_at, void *end, void **udp)
{
	struct iphdr *ip = ip_at;

	if (!is_vtep(&ip->daddr) || ip->protocol != IPPROTO_UDP || ip->version != 4)
		return HOST;
	if (ip->frag_off & net16(0x1fff))
		return HOST;	/* has no ports: nobody can say whose it is */
	__builtin_memcpy(o->source.address, &ip->saddr, 4);
	o->tos = ip->tos;
	*udp = ip_at + ip->ihl * 4;
	if (*udp + sizeof(struct udphdr) > end || ip->ihl < 5)
		return HOST;
	if (((struct udphdr *)*udp)->dest != put_in(CONSTANT_VXLAN_PORT))
		return NEXT;
	if (ip->frag_off & net16(0x2000))
		return OUTER_FRAGMENT;
	return ip->ihl == 5 ? NEXT : OUTER_OPTIONS;
}
#define OUTER_ETHERTYPE net16(ETH_P_IP)
#endif

/* HOST: not ours. Any other verdict than NEXT: ours, and ends here. */
inline_always enum verdict parse_outer(struct outer *o, void *frame, void *end)
{
	struct ethhdr *eth = frame;
	struct udphdr *udp;
	struct vxlan *vxlan = frame + OUTER_BYTES - sizeof(*vxlan);
	enum verdict verdict;

	if (frame + ETH_HLEN + OUTER_IP_BYTES + sizeof(*udp) > end ||
	    eth->h_proto != OUTER_ETHERTYPE)
		return HOST;
	verdict = parse_outer_ip(o, eth + 1, end, (void **)&udp);
	if (verdict != NEXT)
		return verdict;
	if (udp->dest != put_in(CONSTANT_VXLAN_PORT))
		return udp->dest == net16(VXLAN_PORT_IANA) || udp->dest == net16(VXLAN_PORT_LINUX) ?
		       WRONG_PORT : HOST;
	if ((void *)(vxlan + 1) > end)
		return RUNT;
	if (!(vxlan->flags & VXLAN_HAS_VNI))
		return BAD_VXLAN;
	o->vni = net32(vxlan->vni) >> 8;
	return NEXT;
}

inline_always enum verdict know_sender(struct outer *o)
{
	__u32 *index;

	if (!vpcs.lookup(&o->vni))
		return UNKNOWN_VNI;
	index = vteps.lookup(&o->source);
	if (!index)
		return UNKNOWN_VTEP;
	o->path_index = *index;
	return NEXT;
}

/* Must stand behind its outer source; gateways answer from every host, with errors only. */
inline_always enum verdict lives_behind(struct packet *p, struct outer *o)
{
	struct address_key back = p->destination;
	struct target source;
	enum verdict verdict = resolve(&p->source, &source);

	if (verdict == NOT_PEERED)
		return verdict;
	if (verdict != NEXT)
		return MISPLACED;
	if (p->source.vni != o->vni) {
		back.vni = p->source.vni;
		if (!leads_to(&back, o->vni))
			return NOT_PEERED;
	}
	o->member = source.flags & TARGET_FLAG_MEMBER ? source.eni : 0;
	if (source.kind == TARGET_REMOTE && source.link == o->path_index)
		return NEXT;
	return source.kind == TARGET_GATEWAY && is_icmp(p) && p->icmp_error ? NEXT : MISPLACED;
}

/* Other hosts of ours answer their own tenants; a plain VXLAN bridge asks us. */
inline_always enum verdict fabric_asks(struct packet *p, struct outer *o, struct way *way)
{
	bool arp = p->kind == FRAME_ARP;
	enum verdict verdict;
	struct target *target;

	if (!p->truthful)
		return MISPLACED;
	if (!is_unspecified(&p->source) && !is_link_local_ipv6(&p->source)) {
		verdict = lives_behind(p, o);
		if (verdict != NEXT)
			return verdict;
	}
	if (p->kind == FRAME_DISCOVERY || (arp && p->arp_operation != ARP_REQUEST))
		return arp ? ARP_UNANSWERED : ND_UNANSWERED;
	target = addresses.lookup(&p->destination);
	if (!target || (target->kind != TARGET_LOCAL && target->kind != TARGET_GATEWAY))
		return arp ? ARP_UNANSWERED : ND_UNANSWERED;
	way->target = *target;
	return arp ? ANSWERED_ARP : ANSWERED_ND;
}

inline_always enum verdict fabric_decide(void *ctx, struct packet *p, struct outer *o,
					 struct way *way)
{
	enum verdict verdict;

	p->source.vni = p->destination.vni = o->vni;
	if (p->kind != FRAME_IP)
		return fabric_asks(p, o, way);
	if (is_multicast(p))
		return MULTICAST;
	verdict = lives_behind(p, o);
	if (verdict != NEXT)
		return verdict;
	verdict = resolve(&p->destination, &way->target);
	if (verdict != NEXT)
		return verdict;
	if (way->target.kind == TARGET_GATEWAY)
		return is_echo(p) ? ANSWERED_PING : GATEWAY_CLOSED;
	if (way->target.kind != TARGET_LOCAL || p->destination.vni != o->vni)
		return NOT_LOCAL;
	if ((o->tos & ECN_MASK) == ECN_CE && !(p->tos & ECN_MASK))
		return CONGESTION_UNSEEN;
	verdict = police(p, way, 0, o->member);
	return verdict == NEXT ? find_way(ctx, p, way) : verdict;
}

/* RFC 6040, figure 4: the TOS byte after decapsulation. The row "drop" was decided above. */
inline_always __u8 combine_ecn(__u8 inner, __u8 outer)
{
	__u8 ecn = outer & ECN_MASK;

	if (!(inner & ECN_MASK) || (inner & ECN_MASK) == ECN_CE)
		return inner;
	if (ecn == ECN_CE || ecn == ECN_ECT1)
		return (inner & ~ECN_MASK) | ecn;
	return inner;
}

#endif
