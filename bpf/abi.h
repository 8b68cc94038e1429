/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Every record that crosses between the datapath and Python, and the numbers
 * in them. Python reads this file, so: one field a line, no bit-fields, no
 * nested records, padding spelled out. Addresses are 16 bytes in network
 * order; an IPv4 address fills the first four and the rest is zero. All other
 * numbers are in host order unless the comment says otherwise.
 */
#ifndef CIPU_ABI_H
#define CIPU_ABI_H

enum family {
	FAMILY_IPV4 = 4,
	FAMILY_IPV6 = 6,
};

/* What stands behind an address or a prefix of a VPC. */
enum target_kind {
	TARGET_LOCAL = 1,	/* link: ifindex of an ENI's device on this host */
	TARGET_REMOTE = 2,	/* link: index into paths */
	TARGET_GATEWAY = 3,	/* the datapath itself answers */
	TARGET_SUBNET = 4,	/* inside a subnet, but nobody has the address */
	TARGET_VPC = 5,		/* link: VNI of the peer VPC */
	TARGET_BLACKHOLE = 6,
};

enum target_flag {
	TARGET_FLAG_PEER = 1,	/* LOCAL: hand over to the veth's far end */
	TARGET_FLAG_XDP = 2,	/* LOCAL: the device takes XDP redirects */
};

enum path_flag {
	PATH_FLAG_VETH = 1,	/* the uplink is a veth: nothing there fills in checksums */
};

enum eni_flag {
	ENI_FLAG_SOURCE_CHECK = 1,
};

/* addresses: one address of one VPC. */
struct address_key {
	__u32 vni;
	__u32 family;
	__u8 address[16];
};

/* routes: a prefix of one VPC; prefix_bits counts vni and family too (64 + n). */
struct route_key {
	__u32 prefix_bits;
	__u32 vni;
	__u32 family;
	__u8 address[16];
};

/* addresses and routes: where it is. */
struct target {
	__u8 kind;
	__u8 flags;
	__u8 mac[6];
	__u32 link;
	__u32 eni;
};

/* enis: the tenant behind a device of this host; the key is its ifindex. */
struct eni {
	__u32 vni;
	__u32 number;
	__u32 flags;
	__u8 mac[6];
	__u8 pad[2];
	__u8 gateway_ipv4[16];
	__u8 gateway_ipv6[16];
};

/* vpcs: what is known of a VNI; the key is the VNI. */
struct vpc {
	__u32 number;
};

/* paths: how to reach one remote VTEP. Python writes it. */
struct path {
	__u32 family;
	__u32 ifindex;
	__u16 port;		/* network order */
	__u16 flags;
	__u32 pad;
	__u8 local[16];
	__u8 remote[16];
};

/* next_hops: what the kernel was last seen to do for a path. The datapath writes it. */
struct next_hop {
	__u64 destination;	/* destination MAC in the low 48 bits, uplink MTU above: one word, so never torn */
	__u64 source;		/* source MAC in the low 48 bits */
	__u64 stamp_ns;		/* coarse clock when last seen */
	__u64 limit_stamp_ns;	/* coarse clock when the underlay said limit_bytes */
	__u32 limit_bytes;	/* path MTU that an underlay router reported; 0: none */
	__u32 pad;
};

/* vteps: an outer source that may send to us; the value is the index of its path. */
struct vtep_key {
	__u32 family;
	__u8 address[16];
};

/* verdicts: one for each verdict and CPU. */
struct counter {
	__u64 packets;
	__u64 bytes;
};

/* scratch: room for what does not fit on the stack; means nothing between two packets. */
struct scratch {
	__u8 quote[128];
	__u64 end;		/* aligns the whole */
};

/* What the XDP hook leaves in front of a frame for the TC hook of the same device. */
struct handover {
	__u32 magic;
	__u32 ifindex;
	__u32 flags;
	__u32 eni;
};

#endif
