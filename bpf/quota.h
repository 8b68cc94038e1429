/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * quota: room for sessions, so that nobody starves a neighbour. Each session
 * holds a slot, and each ENI so many slots at most; the oldest half-open
 * session of an ENI goes when it has too many, before they fill its quota;
 * expired ones are swept from the slots a few at every tick of the clock.
 */
#ifndef CIPU_QUOTA_H
#define CIPU_QUOTA_H

#define HALF_OPEN_MAX 4096	/* an ENI; no more than half of its quota */
#define RING_BLOCK_SLOTS 512
#define SWEEP_SLOTS 32		/* at every tick: some 8,000 a second */
#define CLAIM_NEAR 4
#define CLAIM_SLOTS 36
#define RECLAIM_SLOTS 32
#define EVICT_SLOTS 32
#define OPENING_NS 1000000000ULL /* a slot is taken before its session is there */

inline_always void free_slot(key32 index)
{
	struct slot *slot = slots.lookup(&index);
	__u64 holder = slot ? slot->owner : 0;
	key32 number = (__u32)holder;
	struct owner *owner;

	if (!holder || __sync_val_compare_and_swap(&slot->owner, holder, 0) != holder)
		return;
	owner = owners.lookup(&number);
	/* The row may be a new one: it goes when its ENI leaves all groups. */
	if (owner && owner->sessions)
		__sync_fetch_and_add(&owner->sessions, -1);
}

/* Of several CPUs that want it gone, one gives back its slot. */
inline_always bool remove_session(struct session_key *key, const struct session *session,
				  __u32 slot, enum flow_end end)
{
	struct flow_event *event = fill_closed(key, session, end);

	if (sessions.delete(key))
		return false;
	if (event)
		tell_event(event, FLOW_CLOSED);
	free_slot(slot);
	return true;
}

/* Frees the slot if its session is expired or gone. */
inline_always bool is_free(struct slot *slot, __u32 index, __u64 now)
{
	struct session_key *key = (struct session_key *)slot->key;
	struct session *session;

	if (!slot->owner)
		return true;
	session = sessions.lookup(key);
	if (session && session->slot == index)
		return is_expired(session, now) &&
		       remove_session(key, session, index, FLOW_END_IDLE);
	if ((__s64)(now - slot->stamp_ns) < (__s64)OPENING_NS)
		return false;
	free_slot(index);
	return true;
}

inline_always __u32 next_slot(struct session_clock *clock)
{
	return __sync_fetch_and_add(&clock->hand, 1) % (__u32)put_in(CONSTANT_SLOTS);
}

/* Once a tick, on the CPU that comes first; or whenever places are wanted. */
inline_always void sweep(__u64 now, bool wanted)
{
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);
	__u64 swept;

	if (!clock)
		return;
	swept = clock->swept_ns;
	if (!wanted &&
	    (swept == now || __sync_val_compare_and_swap(&clock->swept_ns, swept, now) != swept))
		return;
	for (int i = 0; i < SWEEP_SLOTS; i++) {
		key32 index = next_slot(clock);
		struct slot *slot = slots.lookup(&index);

		if (slot)
			is_free(slot, index, now);
	}
}

/*
 * Gives the slot's number plus one; 0 for none. There are twice as many slots
 * as sessions, so half of them are free whatever anybody has; but a neighbour
 * may have a long row of them: after a few, any place is tried.
 */
inline_always __u32 claim_slot(__u32 number, const struct session_key *key, __u64 now)
{
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);

	for (int i = 0; clock && i < CLAIM_SLOTS; i++) {
		key32 index = i < CLAIM_NEAR ? next_slot(clock) :
					       bpf_get_prandom_u32() % (__u32)put_in(CONSTANT_SLOTS);
		struct slot *slot = slots.lookup(&index);

		if (!slot || !is_free(slot, index, now) ||
		    __sync_val_compare_and_swap(&slot->owner, 0, number) != 0)
			continue;
		slot->stamp_ns = now;
		__builtin_memcpy(slot->key, key, sizeof(slot->key));
		return index + 1;
	}
	return 0;
}

inline_always struct owner *owner_of(key32 number)
{
	struct owner *owner = owners.lookup(&number), *blank;
	key32 zero = 0;

	if (owner)
		return owner;
	blank = (struct owner *)blank_rings.lookup(&zero);
	if (blank)
		owners.insert(&number, blank);
	return owners.lookup(&number);
}

inline_always struct ring_block *ring_block_of(__u32 number, __u32 position)
{
	/* A struct ring_key, written at once, as a key32 is. */
	__u64 key = (__u64)(position / RING_BLOCK_SLOTS) << 32 | number;
	struct ring_block *block = rings.lookup(&key), *blank;
	key32 zero = 0;

	if (block)
		return block;
	blank = blank_rings.lookup(&zero);
	if (blank)
		rings.insert(&key, blank);
	return rings.lookup(&key);
}

/* Nothing is lost with it. A stranger's one packet, answered with a reset or an echo, leaves it. */
inline_always bool is_spare(const struct session *session)
{
	return session->state == SESSION_TCP_CLOSED || session->state == SESSION_ICMP_ESTABLISHED;
}

inline_always __u32 ring_places(__u32 quota)
{
	return quota / 2 < HALF_OPEN_MAX ? quota / 2 : HALF_OPEN_MAX;
}

/* Puts a half-open session into its ENI's ring, over the oldest one, which goes. */
inline_always bool enter_ring(__u32 number, struct owner *owner, __u32 quota, __u32 slot_number)
{
	__u32 position = __sync_fetch_and_add(&owner->head, 1) % ring_places(quota);
	struct ring_block *block = ring_block_of(number, position);
	struct session *session;
	struct slot *slot;
	__u32 *place;
	key32 index;
	bool half_open;

	if (!block)
		return false;
	place = (__u32 *)block->slots + position % RING_BLOCK_SLOTS;
	index = (__u32)(*place - 1);
	*place = slot_number + 1;
	slot = slots.lookup(&index);
	if (!slot || slot->owner != number)
		return true;
	session = sessions.lookup((struct session_key *)slot->key);
	if (!session || session->slot != index)
		return true;
	half_open = is_half_open(session);
	if ((half_open || is_spare(session)) &&
	    remove_session((struct session_key *)slot->key, session, index, FLOW_END_NO_ROOM) &&
	    half_open)
		__sync_fetch_and_add(&owner->evicted, 1);
	return true;
}

/* What is expired counts no more, only nobody has looked yet: the ring knows where they are. */
inline_always void reclaim(__u32 number, struct owner *owner, __u32 quota, __u64 now)
{
	__u32 places = ring_places(quota), head = owner->head;

	for (__u32 i = 0; i < RECLAIM_SLOTS; i++) {
		struct ring_block *block = ring_block_of(number, (head + i) % places);
		struct slot *slot;
		key32 index;

		if (!block)
			return;
		index = (__u32)(((__u32 *)block->slots)[(head + i) % places % RING_BLOCK_SLOTS] - 1);
		slot = slots.lookup(&index);
		if (slot && slot->owner == number)
			is_free(slot, index, now);
	}
}

/* Would is_free say so? Nothing is freed. */
inline_always bool is_vacant(const struct slot *slot, __u32 index, __u64 now)
{
	struct session *session = sessions.lookup((struct session_key *)slot->key);

	if (session && session->slot == index)
		return is_expired(session, now);
	return (__s64)(now - slot->stamp_ns) >= (__s64)OPENING_NS;
}

/* Would reclaim, or a sweep, give back one of its slots? */
inline_always bool may_reclaim(__u32 number, struct owner *owner, __u32 quota, __u64 now)
{
	__u32 places = ring_places(quota), head = owner->head, index;
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);

	for (__u32 i = 0; clock && i < RECLAIM_SLOTS + SWEEP_SLOTS; i++) {
		struct ring_block *block;
		struct slot *slot;
		key32 place;
		__u64 key;

		if (i < RECLAIM_SLOTS) {
			key = (__u64)((head + i) % places / RING_BLOCK_SLOTS) << 32 | number;
			block = rings.lookup(&key);
			if (!block)
				continue;
			index = ((__u32 *)block->slots)[(head + i) % places % RING_BLOCK_SLOTS] - 1;
		} else {
			index = (clock->hand + i - RECLAIM_SLOTS) % (__u32)put_in(CONSTANT_SLOTS);
		}
		place = index;
		slot = slots.lookup(&place);
		if (slot && slot->owner == number && is_vacant(slot, index, now))
			return true;
	}
	return false;
}

/* A slot within the quota, counted; its number plus one, or 0. */
inline_always __u32 take_slot(__u32 number, struct owner *owner, __u32 quota,
			      const struct session_key *key, __u64 now)
{
	__u32 slot = 0;
	bool over;

	over = (__s64)__sync_fetch_and_add(&owner->sessions, 1) >= (__s64)quota;
	if (over) {
		reclaim(number, owner, quota, now);
		sweep(now, true);
		over = (__s64)owner->sessions > (__s64)quota;
	}
	if (!over)
		slot = claim_slot(number, key, now);
	if (!slot)
		__sync_fetch_and_add(&owner->sessions, -1);
	return slot;
}

/* The table is full: somebody has more than his quota, which others have joined to share since. */
inline_always void make_room(__u64 now)
{
	for (int i = 0; i < EVICT_SLOTS; i++) {
		key32 index = bpf_get_prandom_u32() % (__u32)put_in(CONSTANT_SLOTS), number;
		struct slot *slot = slots.lookup(&index);
		struct session *session;
		struct policy *policy;
		struct owner *owner;

		if (!slot || is_free(slot, index, now))
			continue;
		number = (__u32)slot->owner;
		owner = owners.lookup(&number);
		policy = policies.lookup(&number);
		if (owner && policy && (__s64)owner->sessions <= (__s64)policy->quota)
			continue;
		session = sessions.lookup((struct session_key *)slot->key);
		if (session &&
		    remove_session((struct session_key *)slot->key, session, index,
				   FLOW_END_NO_ROOM) &&
		    owner)
			__sync_fetch_and_add(&owner->evicted, 1);
		return;
	}
}

#endif
