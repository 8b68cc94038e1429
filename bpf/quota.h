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
#define CLAIM_SLOTS 12
#define CLAIM_TRIES 3
#define EVICT_SLOTS 32
#define NO_SLOT ~0U
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

inline_always __u32 slot_at(__u32 place)
{
	return place % (__u32)put_in(CONSTANT_SLOTS);
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

inline_always struct session *session_of(const struct slot *slot, __u32 index)
{
	struct session *session = sessions.lookup((struct session_key *)slot->key);

	return session && session->slot == index ? session : NULL;
}

/* Of a slot that is held: what holds it is expired, or gone. */
inline_always bool is_over(const struct slot *slot, const struct session *session, __u64 now)
{
	return session ? is_expired(session, now) :
			 (__s64)(now - slot->stamp_ns) >= (__s64)OPENING_NS;
}

inline_always bool is_vacant(const struct slot *slot, __u32 index, __u64 now)
{
	return !slot->owner || is_over(slot, session_of(slot, index), now);
}

/* Frees the slot if it is vacant. */
inline_always bool is_free(struct slot *slot, __u32 index, __u64 now)
{
	struct session *session;

	if (!slot->owner)
		return true;
	session = session_of(slot, index);
	if (!is_over(slot, session, now))
		return false;
	if (session)
		return remove_session((struct session_key *)slot->key, session, index,
				      FLOW_END_IDLE);
	free_slot(index);
	return true;
}

/* One that was vacant a moment ago; or, after so many, one that was not. */
inline_always key32 find_vacant(struct session_clock *clock, __u64 now)
{
	key32 index = 0;

	for (int i = 0; i < CLAIM_SLOTS; i++) {
		__u32 place = i < CLAIM_NEAR ? __sync_fetch_and_add(&clock->hand, 1) :
					       bpf_get_prandom_u32();
		struct slot *slot;

		index = slot_at(place);
		slot = slots.lookup(&index);
		if (slot && is_vacant(slot, index, now))
			break;
	}
	return index;
}

/*
 * Gives the slot's number plus one; 0 for none. There are twice as many slots
 * as sessions, so half of them are free whatever anybody has; but a neighbour
 * may have a long row of them: after a few, any place is tried. What is found
 * may be another CPU's by then.
 */
inline_always __u32 claim_slot(__u32 number, const struct session_key *key, __u64 now)
{
	key32 zero = 0;
	struct session_clock *clock = session_clocks.lookup(&zero);

	for (int i = 0; clock && i < CLAIM_TRIES; i++) {
		key32 index = find_vacant(clock, now);
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

/* A struct ring_key, written at once, as a key32 is. */
inline_always __u64 ring_key(__u32 number, __u32 position)
{
	return (__u64)(position / RING_BLOCK_SLOTS) << 32 | number;
}

inline_always struct ring_block *ring_block_of(__u32 number, __u32 position)
{
	__u64 key = ring_key(number, position);
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

/* Which slots are looked through for what is expired. */
struct sweep {
	__u32 first;		/* below the hand */
	__u32 owner;		/* 0: those only; else every other one is of its ring */
	__u32 places;		/* of that */
	__u32 position;
};

/*
 * An ENI that is at its quota has its own ring looked through as well, its
 * oldest places first, and further ones each time that it is refused.
 */
inline_always void sweep_ring(struct sweep *sweep, __u32 number, const struct owner *owner,
			      __u32 quota)
{
	sweep->owner = number;
	sweep->places = ring_places(quota);
	sweep->position = owner->head + owner->refused * (SWEEP_SLOTS / 2);
}

/* The i-th of them, or NO_SLOT. */
inline_always key32 swept_slot(const struct sweep *sweep, __u32 i)
{
	struct ring_block *block;
	__u32 position;
	__u64 key;

	if (!sweep->owner || i & 1)
		return slot_at(sweep->first + i);
	position = (sweep->position + i / 2) % sweep->places;
	key = ring_key(sweep->owner, position);
	block = rings.lookup(&key);
	return block ? ((__u32 *)block->slots)[position % RING_BLOCK_SLOTS] - 1 : NO_SLOT;
}

inline_always void carry_out(const struct sweep *sweep, __u64 now)
{
	for (__u32 i = 0; i < SWEEP_SLOTS; i++) {
		key32 index = swept_slot(sweep, i);
		struct slot *slot = slots.lookup(&index);

		if (slot)
			is_free(slot, index, now);
	}
}

/* How many of the owner's would it give back, beside that one? */
inline_always __u32 count_vacant(const struct sweep *sweep, __u64 now, __u32 except)
{
	__u32 vacant = 0;

	for (__u32 i = 0; i < SWEEP_SLOTS; i++) {
		key32 index = swept_slot(sweep, i);
		struct slot *slot = slots.lookup(&index);

		if (slot && index != except && slot->owner == sweep->owner &&
		    is_vacant(slot, index, now))
			vacant++;
	}
	return vacant;
}

/* A slot within the quota, counted; its number plus one, or 0. */
inline_always __u32 take_slot(__u32 number, struct owner *owner, __u32 quota,
			      const struct session_key *key, __u64 now)
{
	__u32 slot = 0;

	if ((__s64)__sync_fetch_and_add(&owner->sessions, 1) < (__s64)quota)
		slot = claim_slot(number, key, now);
	if (!slot)
		__sync_fetch_and_add(&owner->sessions, -1);
	return slot;
}

/* The table is full: somebody has more than his quota, which others have joined to share since. */
inline_always void make_room(__u64 now)
{
	for (int i = 0; i < EVICT_SLOTS; i++) {
		key32 index = slot_at(bpf_get_prandom_u32()), number;
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
