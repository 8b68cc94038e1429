/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The outcomes of a packet and their counters. A stage returns a verdict, or
 * NEXT when the packet goes on to the next stage.
 */
#ifndef CIPU_VERDICT_H
#define CIPU_VERDICT_H

enum verdict {
	JUDGE = -2,	/* the packet goes on to the hook's second program */
	NEXT = -1,
#define VERDICT(name, action, meaning) name,
#include "verdict.def"
#undef VERDICT
};

enum action { ACTION_DELIVER, ACTION_SEND, ACTION_ANSWER, ACTION_PASS, ACTION_DROP };

inline_always enum action action_of(enum verdict verdict)
{
	switch (verdict) {
#define VERDICT(name, action, meaning) case name: return ACTION_##action;
#include "verdict.def"
#undef VERDICT
	default: return ACTION_DROP;
	}
}

/* A GSO super-packet counts as one packet with all its bytes. */
inline_always void count(const struct scratch *scratch, enum verdict verdict, __u32 bytes)
{
	key32 index = verdict;
	struct counter *counter = verdicts.lookup(&index);

	if (!counter || scratch->traced)
		return;
	counter->packets++;
	counter->bytes += bytes;
}

#endif
