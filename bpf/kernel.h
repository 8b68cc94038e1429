/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the kernel and the compiler offer, under short names: headers, byte
 * order, checksums, MAC addresses. Nothing here knows of tenants or tunnels.
 */
#ifndef CIPU_KERNEL_H
#define CIPU_KERNEL_H

#include <uapi/linux/bpf.h>
#include <linux/types.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define inline_always static inline __attribute__((always_inline))
#define net16(x) ((__u16)__builtin_bswap16(x))
#define net32(x) ((__u32)__builtin_bswap32(x))
#define SECOND_NS 1000000000ULL

#define TC_NEXT_FILTER -1
#define TC_DROP 2

/*
 * A table's __u32 key on the stack, in the eight bytes of a slot: of a slot
 * that is written in part the verifier remembers what stood there, and takes
 * for different what is the same from here on (DESIGN.md 30).
 */
typedef __u64 key32;
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "key32: the key is to be the half that comes first"
#endif

/*
 * The compiler is not to know what is in here. Of a pointer that was compared
 * with NULL, LLVM 19 takes the address of a field before the comparison, which
 * the verifier refuses; LLVM 14 does not, and would make 3 % more instructions.
 */
#if __clang_major__ > 14
#define hide(pointer) asm volatile("" : "+r"(pointer))
#else
#define hide(pointer)
#endif

/* What is used from here on is what is compared: the compiler would use another copy. */
#define settle_value(value) asm volatile("" : "+r"(value))

/* A constant of the host (enum constant): of what it will be the compiler knows nothing. */
#define put_in(constant) ({ __u64 put; asm("%0 = %1 ll" : "=r"(put) : "i"(constant)); put; })

/* The compiler's headers declare this one with an argument too few. */
struct neighbour {
	__u32 family;
	__u32 address[4];
};
static long (*redirect_neighbour)(__u32 ifindex, struct neighbour *hop, int bytes,
				  __u64 flags) = (void *)BPF_FUNC_redirect_neigh;
static long (*set_departure)(struct __sk_buff *skb, __u64 ns,
			     __u32 clock) = (void *)BPF_FUNC_skb_set_tstamp;
static long (*check_mtu)(void *ctx, __u32 ifindex, __u32 *mtu_bytes, __s32 more,
			 __u64 flags) = (void *)BPF_FUNC_check_mtu;
static long (*xdp_load_bytes)(struct xdp_md *xdp, __u32 offset, void *to,
			      __u32 bytes) = (void *)BPF_FUNC_xdp_load_bytes;
static long (*ring_output)(void *ring, void *data, __u64 bytes,
			   __u64 flags) = (void *)BPF_FUNC_ringbuf_output;
static __u64 (*coarse_ns)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;

inline_always bool same_mac(const __u8 *a, const __u8 *b)
{
	const __u16 *one = (const __u16 *)a, *two = (const __u16 *)b;

	return one[0] == two[0] && one[1] == two[1] && one[2] == two[2];
}

inline_always void copy_mac(__u8 *to, const __u8 *from)
{
	__builtin_memcpy(to, from, ETH_ALEN);
}

inline_always __u16 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * The sum over so many bytes, to be folded. Before Linux 6.13 it has 32 bits,
 * of which the highest is no sign, though bcc has the helper return an int.
 */
inline_always __u32 csum_of(void *from, __u32 bytes, __u32 seed)
{
	return bpf_csum_diff(NULL, 0, from, bytes, seed);
}

/* RFC 1624, equation 3: what a checksum becomes when one of its words changes. */
inline_always __u16 csum_replace(__u16 sum, __u16 before, __u16 after)
{
	return csum_fold((__u64)(__u16)~sum + (__u16)~before + after);
}

#endif
