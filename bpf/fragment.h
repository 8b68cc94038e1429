/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * fragment: later fragments have no ports; what their first one said of them
 * is remembered for each ENI by itself, so that none pushes out another's.
 */
#ifndef CIPU_FRAGMENT_H
#define CIPU_FRAGMENT_H

#define FRAGMENT_FLOWS 32	/* shares of an ENI's places, by the far end */
#define FRAGMENTS_MAX 64	/* first fragments that are remembered in each */
#define FRAGMENT_NS 30000000000ULL	/* as Linux waits for the rest (net.ipv4.ipfrag_time) */

_Static_assert(sizeof(((struct scratch *)0)->fragment) == sizeof(struct fragment), "fragment");

/*
 * Each far end has places of its own: a flood of one's fragments does not push
 * out another's. Hosts count their packets each for itself: two may well use
 * the same identifiers in step.
 */
inline_always __u32 fragment_place(const struct packet *p)
{
	const __u64 *from = (const __u64 *)p->source.address;
	const __u64 *to = (const __u64 *)p->destination.address;
	__u64 ends = (from[0] ^ from[1]) * 0x9e3779b97f4a7c15ULL;
	__u64 hash;

	ends = ((ends ^ ends >> 29) + (to[0] ^ to[1])) * 0xbf58476d1ce4e5b9ULL;
	hash = ((ends ^ ends >> 32) + p->fragment) * 0x94d049bb133111ebULL;
	return (ends >> 32) % FRAGMENT_FLOWS * FRAGMENTS_MAX + (hash >> 32) % FRAGMENTS_MAX;
}

/* The first fragment's ports, for those that come after it. */
inline_always void remember_fragment(struct scratch *scratch, const struct packet *p, __u32 owner,
				     __u64 now)
{
	struct fragment_key key = { .owner = owner, .place = fragment_place(p) };
	struct fragment *fragment = (struct fragment *)scratch->fragment;

	fragment->stamp_ns = now;
	fragment->source_vni = p->source.vni;
	fragment->destination_vni = p->destination.vni;
	__builtin_memcpy(fragment->source, p->source.address, 16);
	__builtin_memcpy(fragment->destination, p->destination.address, 16);
	fragment->identifier = p->fragment;
	fragment->source_port = p->source_port;
	fragment->destination_port = p->destination_port;
	fragment->family = p->source.family;
	fragment->protocol = p->protocol;
	fragment->icmp_type = p->icmp_type;
	fragment->icmp_code = p->icmp_code;
	fragment->header_bytes = p->l4 - p->fragment_start +
				 (p->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) : 8);
	fragments.update(&key, fragment);
}

inline_always bool recall_fragment(struct packet *p, __u32 owner, __u64 now)
{
	struct fragment_key key = { .owner = owner, .place = fragment_place(p) };
	struct fragment *fragment = fragments.lookup(&key);

	if (!fragment || (__s64)(now - fragment->stamp_ns) > (__s64)FRAGMENT_NS ||
	    fragment->identifier != p->fragment ||
	    (fragment->protocol != p->protocol && p->source.family == FAMILY_IPV4) ||
	    fragment->family != p->source.family || fragment->source_vni != p->source.vni ||
	    fragment->destination_vni != p->destination.vni ||
	    !same_address(fragment->source, p->source.address) ||
	    !same_address(fragment->destination, p->destination.address))
		return false;
	/* RFC 5722, RFC 3128: nothing may come over the headers that were judged. */
	if (p->fragment_bytes < fragment->header_bytes)
		return false;
	p->protocol = fragment->protocol;	/* RFC 8200 4.5: IPv6's first one alone says it */
	p->source_port = fragment->source_port;
	p->destination_port = fragment->destination_port;
	p->icmp_type = fragment->icmp_type;
	p->icmp_code = fragment->icmp_code;
	if (is_icmp(p))
		p->icmp_query = net16(p->destination_port);
	return true;
}

#endif
