/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Parses a TCP header (RFC 9293 3.1): what a session follows.
 */
#ifndef CIPU_TCP_H
#define CIPU_TCP_H

/* Out of the frame, where an index that varies is hard to follow; what is missing reads as end. */
inline_always void copy_options(struct packet *p, const struct cursor *c, __u32 header_bytes)
{
	const __u32 *words = c->at + sizeof(struct tcphdr);
	__u32 *options = (__u32 *)p->options;

	__builtin_memset(p->options, 0, sizeof(p->options));
#pragma unroll
	for (int i = 0; i < TCP_OPTION_BYTES / 4; i++) {
		__u32 end = sizeof(struct tcphdr) + 4 * (i + 1);

		if (end > header_bytes || c->at + end > c->end)
			break;
		options[i] = words[i];
	}
}

/* RFC 7323 2.2: the shift that a SYN announces for the windows of its side. */
inline_always __u8 window_scale(const struct packet *p)
{
	__u64 at = 0;

	for (int i = 0; i < TCP_OPTIONS_MAX && at < TCP_OPTION_BYTES; i++) {
		__u8 kind = p->options[at & 63], length = p->options[(at + 1) & 63];
		__u8 value = p->options[(at + 2) & 63];

		if (!kind || (kind != 1 && length < 2))
			break;
		if (kind == TCP_OPTION_WINDOW_SCALE)
			return value > WINDOW_SCALE_MAX ? WINDOW_SCALE_MAX : value;
		at += kind == 1 ? 1 : length;
	}
	return WINDOW_SCALE_NONE;
}

/* Gives the bytes of the header, 0 for a length that cannot be. */
inline_always __u32 parse_tcp(struct packet *p, const struct cursor *c)
{
	struct tcphdr *tcp = c->at;
	__u32 header_bytes = tcp->doff * 4;

	if (header_bytes < sizeof(*tcp))
		return 0;
	p->tcp_flags = ((__u8 *)tcp)[13];
	p->sequence = net32(tcp->seq);
	p->acknowledged = net32(tcp->ack_seq);
	p->window = net16(tcp->window);
	if (c->limit > c->offset + header_bytes)
		p->payload = c->limit - c->offset - header_bytes;
	if (p->tcp_flags & TCP_SYN)
		copy_options(p, c, header_bytes);
	return header_bytes;
}

#endif
