/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * way: the device, next hop and MTU that a resolved target means now. What
 * the kernel's neighbour table says is learnt at the uplink's egress hook
 * (uplink.c); it holds for FRESH_NS, then one packet asks the kernel again.
 */
#ifndef CIPU_WAY_H
#define CIPU_WAY_H

#define FRESH_NS 500000000ULL		/* a MAC that moved is followed within this */
#define LIMIT_NS 600000000000ULL	/* RFC 1191 6.3: a learnt path MTU lives 10 minutes */
#define OUTER_IPV4_BYTES 50		/* what the tunnel adds: IP 20, UDP 8, VXLAN 8, Ethernet 14 */
#define OUTER_IPV6_BYTES 70
#define MAC_BITS 0xffffffffffffULL

struct way {
	struct target target;
	struct path *path;	/* to a remote host; NULL: local */
	__u64 hop_destination;	/* as in struct next_hop; 0: ask the kernel */
	__u64 hop_source;
	__u64 now;		/* coarse clock, if it was read; else 0 */
	__u64 metered_ns;	/* the clock of limits, if it was read; else 0 */
	__u64 departure_ns;	/* when it may leave; 0: at once */
	struct session *session; /* of a packet under policy; NULL: it has none */
	__u32 path_index;
	__u32 sender;		/* which end of its session sent the packet */
	__u32 rules[2];		/* numbers of those that let it pass, 0 for none */
	__u32 limit;		/* number of the first limit on what its sender sends, or 0 */
	__u32 mtu;		/* biggest IP packet of a tenant that fits */
	__u32 sender_counters;	/* place in eni_counters of the ENI of this host that sent it */
	__u8 routed;		/* the tenant sent it to its gateway */
	__u8 mark;		/* tell the receiver of congestion */
	__u8 remote;		/* it has a path */
	__u8 policed;		/* it has a session: that of the flow in the scratch */
	__u8 accounted;		/* it was counted before they were */
};

inline_always __u32 outer_bytes(const struct path *path)
{
	return path->family == FAMILY_IPV6 ? OUTER_IPV6_BYTES : OUTER_IPV4_BYTES;
}

/*
 * False if the device is gone. Its number may be another's by now; what tells
 * is `devices`, out of which the kernel takes a device that is unregistered.
 */
inline_always bool device_mtu(void *ctx, key32 ifindex, __u32 *mtu)
{
	*mtu = 1;	/* in: a length that always fits; out: the device's MTU */
	if (!devices.lookup(&ifindex))
		return false;
	return check_mtu(ctx, ifindex, mtu, 0, 0) >= 0;
}

/* Also without a fresh next hop the path is good: the kernel is asked then. */
inline_always enum verdict find_path(void *ctx, struct way *way, key32 index)
{
	struct path *path = paths.lookup(&index);
	struct next_hop *hop = next_hops.lookup(&index);
	__u64 now = way->now ? way->now : coarse_ns();
	__u32 mtu;

	if (!path || !hop || !path->ifindex)
		return HOST_UNREACHABLE;
	way->path = path;
	way->remote = 1;
	way->now = now;
	way->path_index = index;
	if (hop->destination && now - hop->stamp_ns < FRESH_NS) {
		way->hop_destination = hop->destination;
		way->hop_source = hop->source;
		mtu = hop->destination >> 48;
	} else if (!device_mtu(ctx, path->ifindex, &mtu)) {
		return HOST_UNREACHABLE;
	}
	if (hop->limit_bytes && hop->limit_bytes < mtu && now - hop->limit_stamp_ns < LIMIT_NS)
		mtu = hop->limit_bytes;
	way->mtu = mtu > outer_bytes(path) ? mtu - outer_bytes(path) : 0;
	return NEXT;
}

inline_always enum verdict find_way(void *ctx, const struct packet *p, struct way *way)
{
	bool local = way->target.kind == TARGET_LOCAL;
	enum verdict verdict;

	if (local) {
		if (!device_mtu(ctx, way->target.link, &way->mtu))
			return DEVICE_GONE;
	} else {
		verdict = find_path(ctx, way, way->target.link);
		if (verdict != NEXT)
			return verdict;
	}
	if (p->segment > way->mtu)
		return is_answerable(p) ? ANSWERED_TOO_BIG : TOO_BIG;
	if (local)
		return DELIVERED;
	return way->hop_destination ? SENT : SENT_BY_KERNEL;
}

/* What a hook's programs leave for the next one, and that takes up again: all but pointers. */
inline_always void leave(struct way *way, enum verdict verdict)
{
	key32 zero = 0;
	struct scratch *scratch = scratches.lookup(&zero);

	if (!scratch)
		return;
	way->path = NULL;
	way->session = NULL;
	*(struct way *)scratch->way = *way;
	scratch->verdict = verdict;
}

inline_always void take_up(const struct scratch *scratch, struct way *way)
{
	*way = *(const struct way *)scratch->way;
	way->path = NULL;
	way->session = NULL;
}

/* The path of a way that was taken up. NULL: it has none. */
inline_always struct path *path_of(const struct way *way)
{
	key32 index = way->path_index;

	return way->remote ? paths.lookup(&index) : NULL;
}

/* Do packets to that host leave by a queue that paces? */
inline_always bool is_paced(const struct way *way)
{
	const struct path *path = path_of(way);

	return path && path->flags & PATH_FLAG_PACED;
}

_Static_assert(sizeof(((struct scratch *)0)->way) >= sizeof(struct way), "way");

#endif
