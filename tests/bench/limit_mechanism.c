/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Two ways to have many CPUs spend from one bucket: a word that is compared
 * and swapped, as the datapath does it, and a spin lock around two of them.
 * The arithmetic is the same, the clock is read in both; which bucket it is,
 * is picked at random of BUCKETS, each CPU from its own half if APART.
 */
#include <uapi/linux/bpf.h>

#define FILL_SHIFT 56
#define TRIES 8
#define COST 1500
#define FAILED -1
#define PASSED 0
#define REFUSED 2

struct word {
	u64 spent;
	u64 pad[7];
};

struct locked {
	struct bpf_spin_lock lock;
	u32 pad;
	u64 spent;
	u64 more[6];
};

struct terms {
	u64 since_ns;
	u64 base;
	u64 fill;
	u64 depth;
	u64 floor;
};

struct seed {
	u64 state;
};

BPF_ARRAY(words, struct word, 2 * BUCKETS);
BPF_ARRAY(locks, struct locked, 2 * BUCKETS);
BPF_ARRAY(terms, struct terms, 2 * BUCKETS);
BPF_PERCPU_ARRAY(seeds, struct seed, 1);

#define inline_always static inline __attribute__((always_inline))

inline_always u64 product(u64 a, u64 b)
{
	u64 a_low = (u32)a, a_high = a >> 32, b_low = (u32)b, b_high = b >> 32;
	u64 low = a_low * b_low, one = a_low * b_high, other = a_high * b_low;
	u64 middle = (low >> 32) + (u32)one + (u32)other;
	u64 high = a_high * b_high + (one >> 32) + (other >> 32) + (middle >> 32);

	return high << (64 - FILL_SHIFT) | (middle << 32 | (u32)low) >> FILL_SHIFT;
}

inline_always u32 picked(void)
{
	u32 zero = 0, number;
	struct seed *seed = seeds.lookup(&zero);

	if (!seed)
		return 0;
	seed->state = seed->state * 6364136223846793005ULL + 1442695040888963407ULL;
	number = (seed->state >> 33) & (BUCKETS - 1);
	return APART ? number + BUCKETS * (bpf_get_smp_processor_id() & 1) : number;
}

inline_always u64 line_of(const struct terms *t)
{
	return t->base + product(bpf_ktime_get_ns() - t->since_ns, t->fill);
}

inline_always u64 settled(const struct terms *t, u64 line, u64 spent)
{
	if ((s64)(t->floor - spent) > 0)
		spent = t->floor;
	if ((s64)(line - t->depth - spent) > 0)
		spent = line - t->depth;
	return spent;
}

int nothing(struct __sk_buff *skb)
{
	u32 number = picked();
	struct terms *t = terms.lookup(&number);

	return t ? line_of(t) & 1 : 0;
}

int swap(struct __sk_buff *skb)
{
	u32 number = picked();
	struct word *word = words.lookup(&number);
	struct terms *t = terms.lookup(&number);
	u64 line, before, spent;

	if (!word || !t)
		return FAILED;
	line = line_of(t);
#pragma unroll
	for (int i = 0; i < TRIES; i++) {
		before = *(volatile u64 *)&word->spent;
		spent = settled(t, line, before);
		if ((s64)(spent + COST - line) > 0)
			return REFUSED;
		if (__sync_val_compare_and_swap(&word->spent, before, spent + COST) == before)
			return PASSED;
	}
	return FAILED;
}

int lock(struct __sk_buff *skb)
{
	u32 number = picked();
	struct locked *locked = locks.lookup(&number);
	struct terms *t = terms.lookup(&number);
	int action = REFUSED;
	u64 line, spent;

	if (!locked || !t)
		return FAILED;
	line = line_of(t);
	bpf_spin_lock(&locked->lock);
	spent = settled(t, line, locked->spent);
	if ((s64)(spent + COST - line) <= 0) {
		locked->spent = spent + COST;
		action = PASSED;
	}
	bpf_spin_unlock(&locked->lock);
	return action;
}
