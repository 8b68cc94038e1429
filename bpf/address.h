/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * resolve: who has an address of a VPC, by exact address, then by the longest
 * prefix, across one peering. Says where a packet would go, not whether it may.
 */
#ifndef CIPU_ADDRESS_H
#define CIPU_ADDRESS_H

/* The same on every host, so that a tenant keeps its neighbour when it moves. */
inline_always void gateway_mac(__u8 *mac, __u32 vni)
{
	mac[0] = 0x02;
	mac[1] = 0x63;
	mac[2] = 0x78;
	mac[3] = vni >> 16;
	mac[4] = vni >> 8;
	mac[5] = vni;
}

inline_always bool is_gateway_mac(const __u8 *mac, __u32 vni)
{
	__u8 ours[ETH_ALEN] __attribute__((aligned(4)));

	gateway_mac(ours, vni);
	return same_mac(mac, ours);
}

/* One VPC's own answer: an address, else the longest prefix; false for neither. */
inline_always bool look_up(struct address_key *key, struct target *found)
{
	struct target *target = addresses.lookup(key);
	struct route_key prefix;

	if (!target) {
		prefix.prefix_bits = 64 + 128;
		prefix.vni = key->vni;
		prefix.family = key->family;
		__builtin_memcpy(prefix.address, key->address, 16);
		target = routes.lookup(&prefix);
	}
	if (!target)
		return false;
	*found = *target;
	return true;
}

/* Leaves in key->vni the VPC in which the address was found. */
inline_always enum verdict resolve(struct address_key *key, struct target *found)
{
	if (!look_up(key, found))
		return NO_ROUTE;
	if (found->kind == TARGET_VPC) {
		key->vni = found->link;
		if (!look_up(key, found))
			return NO_ROUTE;
		if (found->kind == TARGET_VPC)
			return NOT_PEERED;
	}
	if (found->kind == TARGET_SUBNET)
		return NO_SUCH_ADDRESS;
	if (found->kind == TARGET_BLACKHOLE)
		return BLACKHOLE;
	return NEXT;
}

/* Does the VPC of `key` lead by its own routes to the VPC `vni` for this address? */
inline_always bool leads_to(struct address_key *key, __u32 vni)
{
	struct target target;

	return look_up(key, &target) && target.kind == TARGET_VPC && target.link == vni;
}

#endif
