/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * From a tenant: is the source its own, what does it want, where does it go?
 * Decides only; the hooks change and send packets.
 */
#ifndef CIPU_TENANT_H
#define CIPU_TENANT_H

/* What is known of an address that is the ENI's own; NULL if it is not. */
inline_always struct target *own(const struct eni *eni, struct address_key *key)
{
	struct target *target = addresses.lookup(key);

	return target && target->kind == TARGET_LOCAL && target->eni == eni->number ? target : NULL;
}

/* RFC 5227 probes and RFC 4862 duplicate detection ask with no source address. */
inline_always bool may_ask(const struct packet *p, const struct eni *eni, struct address_key *asker)
{
	if (!p->truthful)
		return false;
	if (is_unspecified(asker) || is_link_local_ipv6(asker))
		return true;
	return !(eni->flags & ENI_FLAG_SOURCE_CHECK) || own(eni, asker);
}

/* ARP and neighbour solicitations: answered for every address but the asker's own. */
inline_always enum verdict tenant_asks(struct packet *p, const struct eni *eni, struct way *way)
{
	bool arp = p->kind == FRAME_ARP;
	struct target *target;

	if (!may_ask(p, eni, &p->source))
		return SPOOFED;
	if (p->kind == FRAME_DISCOVERY || (arp && p->arp_operation != ARP_REQUEST))
		return arp ? ARP_UNANSWERED : ND_UNANSWERED;
	target = addresses.lookup(&p->destination);
	if (!target || (target->kind == TARGET_LOCAL && target->eni == eni->number))
		return arp ? ARP_UNANSWERED : ND_UNANSWERED;
	way->target = *target;
	return arp ? ANSWERED_ARP : ANSWERED_ND;
}

/* Peering needs a route on both sides; the destination's VPC must lead back to ours. */
inline_always bool is_peered_back(const struct packet *p, __u32 vni)
{
	struct address_key back = p->source;

	if (p->destination.vni == vni)
		return true;
	back.vni = p->destination.vni;
	return leads_to(&back, vni);
}

inline_always enum verdict tenant_decide(void *ctx, struct packet *p, const struct eni *eni,
					 struct way *way)
{
	struct target *source;
	enum verdict verdict;

	p->source.vni = p->destination.vni = eni->vni;
	way->limit = eni->limit;
	if (!same_mac(p->source_mac, eni->mac))
		return SPOOFED;
	if (p->kind != FRAME_IP)
		return tenant_asks(p, eni, way);
	if (is_multicast(p))
		return MULTICAST;
	source = own(eni, &p->source);
	if (eni->flags & ENI_FLAG_SOURCE_CHECK && !source)
		return SPOOFED;
	verdict = resolve(&p->destination, &way->target);
	if (verdict != NEXT)
		return verdict;
	if (!is_peered_back(p, eni->vni))
		return NOT_PEERED;
	if (way->target.kind == TARGET_GATEWAY)
		return is_echo(p) ? ANSWERED_PING : GATEWAY_CLOSED;
	way->routed = is_gateway_mac(p->destination_mac, eni->vni);
	if (way->routed && p->hop_limit <= 1)
		return is_answerable(p) ? ANSWERED_EXPIRED : EXPIRED;
	verdict = police(p, way, eni->flags & ENI_FLAG_POLICED ? eni->number : 0,
			 source && source->flags & TARGET_FLAG_MEMBER ? source->eni : 0);
	return verdict == NEXT ? find_way(ctx, p, way) : verdict;
}

#endif
