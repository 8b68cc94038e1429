/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * fragment: later fragments have no ports; what their first one said of them
 * is remembered for each ENI by itself, so that none pushes out another's.
 */
#ifndef CIPU_FRAGMENT_H
#define CIPU_FRAGMENT_H

#define FRAGMENTS_MAX 256		/* that an ENI can have first fragments of */
#define FRAGMENT_NS 30000000000ULL	/* as Linux waits for the rest (net.ipv4.ipfrag_time) */

_Static_assert(sizeof(((struct scratch *)0)->fragment) == sizeof(struct fragment), "fragment");

inline_always __u32 fragment_place(const struct packet *p)
{
	return (p->fragment ^ p->fragment >> 16) % FRAGMENTS_MAX;
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
	fragments.update(&key, fragment);
}

inline_always bool recall_fragment(struct packet *p, __u32 owner, __u64 now)
{
	struct fragment_key key = { .owner = owner, .place = fragment_place(p) };
	struct fragment *fragment = fragments.lookup(&key);

	if (!fragment || (__s64)(now - fragment->stamp_ns) > (__s64)FRAGMENT_NS ||
	    fragment->identifier != p->fragment || fragment->protocol != p->protocol ||
	    fragment->family != p->source.family || fragment->source_vni != p->source.vni ||
	    fragment->destination_vni != p->destination.vni ||
	    !same_address(fragment->source, p->source.address) ||
	    !same_address(fragment->destination, p->destination.address))
		return false;
	p->source_port = fragment->source_port;
	p->destination_port = fragment->destination_port;
	p->icmp_type = fragment->icmp_type;
	p->icmp_code = fragment->icmp_code;
	if (is_icmp(p))
		p->icmp_query = net16(p->destination_port);
	return true;
}

#endif
