/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * rule_set: which rule comes first for a remote address and a service. A set
 * is an array of cells (abi.h), made whole by Python and never changed: the
 * longest prefix and its parents are asked, and each group the remote is in.
 */
#ifndef CIPU_RULE_SET_H
#define CIPU_RULE_SET_H

#define SEARCH_CELLS 1048576	/* ranges, services or groups that are searched, at most */
#define NODES_MAX 8		/* a prefix and its parents */
#define GROUPS_MAX 16

/* In the scratch, answer and all: what stands there the verifier does not follow. */
struct question {
	__u64 high, low;	/* the remote address, as in struct rule_cell */
	__u32 service;
	__u32 head;		/* which head cell */
	__u32 count;		/* of the groups below */
	__u32 groups[GROUPS_MAX]; /* that the remote ENI is in */
	__u32 order;		/* of the rule that comes first, and its number */
	__u32 rule;
};

static void *(*lookup_in)(void *set, const key32 *index) = (void *)BPF_FUNC_map_lookup_elem;

/*
 * The groups of an ENI, 0 for none. A row that is replaced may be another
 * ENI's before it is read to the end: it counts if it still is the row then.
 * False: it was not, three times.
 */
inline_always bool fill_groups(struct question *q, key32 eni)
{
	struct membership *row;

	for (int attempt = 0; attempt < 3; attempt++) {
		row = eni ? members.lookup(&eni) : NULL;
		q->count = row ? row->count : 0;
		if (!row)
			return true;
		__builtin_memcpy(q->groups, row->groups, sizeof(q->groups));
		if (members.lookup(&eni) == row)
			return true;
	}
	return false;
}

inline_always struct rule_cell *cell_at(void *set, key32 index)
{
	return lookup_in(set, &index);
}

/* A zero of which the verifier knows nothing: it is to follow a search once, not for each outcome. */
inline_always __u32 unknown_zero(__u32 any)
{
	__u32 zero = any;

	asm volatile("%0 ^= %1" : "+r"(zero) : "r"(any));
	return zero;
}

/* The last of `count` cells from `first` on that does not come after (high, low). */
inline_always struct rule_cell *search(void *set, __u32 first, __u32 count, __u64 high, __u64 low)
{
	__u32 below = unknown_zero(first);

	for (__u32 step = SEARCH_CELLS / 2; step; step /= 2) {
		__u32 index = below + step;
		struct rule_cell *cell;

		if (index < count) {
			cell = cell_at(set, first + index);
			if (!cell)
				return NULL;
			if (cell->high < high || (cell->high == high && cell->low <= low))
				below = index;
		}
	}
	return cell_at(set, first + below);
}

inline_always void ask_node(void *set, const struct rule_cell *node, struct question *q)
{
	struct rule_cell *found = search(set, node->first, node->count, 0, q->service);

	if (found && found->order < q->order) {
		q->order = found->order;
		q->rule = found->link;
	}
}

inline_always void ask_prefixes(void *set, const struct rule_cell *head, struct question *q)
{
	struct rule_cell *range = search(set, head->first, head->count, q->high, q->low);
	__u32 index = range && head->count ? range->first : 0;

	for (int depth = 0; depth < NODES_MAX && index; depth++) {
		struct rule_cell *node = cell_at(set, index);

		if (!node)
			return;
		ask_node(set, node, q);
		if (node->order >= q->order)
			return;
		index = node->link;
	}
}

inline_always void ask_groups(void *set, const struct rule_cell *head, struct question *q)
{
	for (__u32 i = 0; i < GROUPS_MAX && i < q->count; i++) {
		__u32 group = q->groups[i];
		struct rule_cell *found = search(set, head->link, head->order, 0, group), *node;

		if (!found || found->low != group)
			continue;
		node = cell_at(set, found->first);
		if (node)
			ask_node(set, node, q);
	}
}

/* Leaves in the question which rule comes first; order RULE_ORDER_NONE: none does. */
inline_always void ask(void *set, struct question *q)
{
	struct rule_cell *head = cell_at(set, q->head);

	if (!head)
		return;
	ask_prefixes(set, head, q);
	if (head->order)
		ask_groups(set, head, q);
}

#endif
