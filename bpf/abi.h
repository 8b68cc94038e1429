/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Every record that crosses between the datapath and Python, and the numbers
 * in them. Python reads this file, so: one field a line, no bit-fields, no
 * nested records, padding spelled out. Addresses are 16 bytes in network
 * order; an IPv4 address fills the first four and the rest is zero. All other
 * numbers are in host order unless the comment says otherwise. What CPUs change
 * together is 64 bits wide: BCC's compiler has no other atomics.
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
	TARGET_FLAG_POLICED = 4, /* LOCAL: the ENI is in security groups */
	TARGET_FLAG_MEMBER = 8,	/* an ENI's own address; the ENI has a row in members */
};

enum path_flag {
	PATH_FLAG_VETH = 1,	/* the uplink is a veth: nothing there fills in checksums */
	PATH_FLAG_PACED = 2,	/* the uplink has an fq queue: a packet leaves when it is told to */
};

enum eni_flag {
	ENI_FLAG_SOURCE_CHECK = 1,
	ENI_FLAG_POLICED = 2,	/* it is in security groups */
};

/*
 * Numbers that stand for constants of the host, which are put in when a program
 * is loaded: so it is compiled once for all hosts, uplinks and sizes of tables.
 */
enum constant {
	CONSTANT_VTEP_0 = 7163380330122969089,	/* words of the uplink's VTEP, as they stand in a header */
	CONSTANT_VTEP_1 = 7163380330122969090,
	CONSTANT_VTEP_2 = 7163380330122969091,
	CONSTANT_VTEP_3 = 7163380330122969092,
	CONSTANT_VXLAN_PORT = 7163380330122969093,	/* network order */
	CONSTANT_SLOTS = 7163380330122969094,	/* how many slots there are */
};

/* A hook's further programs: places in the arrays steps and steps_xdp. */
enum step {
	STEP_JUDGE = 0,
	STEP_SETTLE = 1,
	STEP_METER = 2,
	STEP_OTHER = 3,		/* another version's first program, which may know the session */
	STEP_WATCH = 4,		/* carries out what it tells of */
	STEPS = 5,
};

/* Which way a rule looks, from the ENI that it binds. */
enum direction {
	DIRECTION_INGRESS = 0,
	DIRECTION_EGRESS = 1,
};

/* What a limit limits: places in a limit's buckets, bits of its kinds, and of its words in spents. */
enum bucket_kind {
	BUCKET_RATE = 0,	/* bytes, at the rate */
	BUCKET_CEIL = 1,	/* bytes, at the ceiling */
	BUCKET_PACKETS = 2,
	/* The same three, of packets that can wait, and do where there is too little. */
	BUCKET_PACED_RATE = 3,
	BUCKET_PACED_CEIL = 4,
	BUCKET_PACED_PACKETS = 5,
	BUCKETS = 6,
};

enum bucket_bound {
	BUCKET_OWED_BITS = 36,	/* none owes 2^36 units: 0.1 s at 1000 gbit and a packet are less */
};

enum rule_order {
	RULE_ORDER_NONE = 4294967295,	/* no rule says anything */
};

/* How far a session has come; each has a timeout. */
enum session_state {
	SESSION_NONE = 0,
	SESSION_TCP_SYN_SENT = 1,	/* the opener's SYN was seen */
	SESSION_TCP_SYN_RECEIVED = 2,	/* and the SYN+ACK that answers it */
	SESSION_TCP_ESTABLISHED = 3,
	SESSION_TCP_CLOSING = 4,	/* one side has sent its FIN */
	SESSION_TCP_CLOSED = 5,		/* both have, or one its RST */
	SESSION_UDP_OPENING = 6,	/* only one side has sent so far */
	SESSION_UDP_ESTABLISHED = 7,
	SESSION_ICMP_OPENING = 8,
	SESSION_ICMP_ESTABLISHED = 9,
	SESSION_OTHER_OPENING = 10,
	SESSION_OTHER_ESTABLISHED = 11,
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
	__u32 limit;	/* LOCAL: number of the first limit on what the ENI receives, or 0 */
	__u32 counters;	/* LOCAL: the ENI's place in eni_counters */
};

/* enis: the tenant behind a device of this host; the key is its ifindex. */
struct eni {
	__u32 vni;
	__u32 number;
	__u32 flags;
	__u8 mac[6];
	__u8 pad[2];
	__u32 limit;		/* number of the first limit on what it sends, or 0 */
	__u32 counters;		/* its place in eni_counters */
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

/*
 * eni_counters: one for each ENI of this host and CPU; the key is the place that
 * eni_places gives it. Those that there is no place for share the first.
 */
struct eni_counter {
	__u64 egress_packets;	/* of the tenant's: carried on, or answered */
	__u64 egress_bytes;
	__u64 egress_dropped_packets;
	__u64 egress_dropped_bytes;
	__u64 ingress_packets;	/* handed to the tenant */
	__u64 ingress_bytes;
	__u64 ingress_dropped_packets;
	__u64 ingress_dropped_bytes;
};

/* path_counters: one for each remote VTEP and CPU; the key is that of paths. */
struct path_counter {
	__u64 sent_packets;	/* tenants' */
	__u64 sent_bytes;
	__u64 received_packets;	/* whatever became of them */
	__u64 received_bytes;
};

/*
 * policies: what binds an ENI of this host that is in security groups; the key
 * is its number. A session that was let through under another generation is
 * judged again.
 */
struct policy {
	__u64 generation;	/* never 0 */
	__u64 digest;		/* key of its rule set: the rules of all its groups, as one list */
	__u32 quota;		/* sessions it may have at a time */
	__u32 pad;
};

/* rule_sets: the digest of what is in the set; sets never change, they are replaced. */
struct rule_set_key {
	__u64 digest;
};

/*
 * What a rule set is made of; the names say what a cell holds in each of its
 * parts. Numbers of cells count from the set's first; 0 is none.
 *  head     cells 0 to 3, at direction * 2 + (family == FAMILY_IPV6):
 *           first_ranges, count_ranges, first_groups, count_groups
 *  range    start of an address range (128 bits, IPv4 in the upper 32), node
 *  group    number of a security group, node; in ascending order
 *  node     the services of one remote prefix or group: first, count; parent:
 *           the node of the next wider prefix; best_above: lowest order in the parents
 *  service  start of a range of services (protocol << 16 | port, or ICMP
 *           type << 8 | code); order and number of the rule that comes first there
 */
struct rule_cell {
	__u64 high;		/* range: upper half of its start */
	__u64 low;		/* range: lower half; service: start; group: number */
	__u32 first;		/* head: of its ranges; node: of its services; range, group: node */
	__u32 count;		/* head: of its ranges; node: of its services */
	__u32 link;		/* head: first of its groups; node: parent; service: rule number */
	__u32 order;		/* head: count of its groups; node: best above; service: priority << 1 | allow */
};

/* members: the security groups of an ENI, here or elsewhere; the key is its number. */
struct membership {
	__u32 count;
	__u8 groups[64];	/* 16 numbers, 4 bytes each */
};

/* rule_counters: one for each rule and CPU; the key is the rule's number. */
struct rule_counter {
	__u64 sessions;		/* opened or denied */
	__u64 packets;		/* let through, both ways, or denied */
	__u64 bytes;
};

/* timeouts: how long a session lives without a packet; the key is its state. */
struct timeout {
	__u64 ns;
};

/*
 * sessions: one flow, both directions; of its two ends the one that compares
 * lower comes first. An ICMP query has its identifier and its type for ports.
 */
struct session_key {
	__u32 low_vni;
	__u32 high_vni;
	__u8 low_address[16];
	__u8 high_address[16];
	__u16 low_port;		/* network order */
	__u16 high_port;	/* network order */
	__u8 family;
	__u8 protocol;
	__u8 pad[2];
};

struct session {
	__u64 opened_ns;	/* coarse clock, as all of a session's */
	__u64 last_ns;
	__u64 low_generation;	/* of the policy that let it through at that end; 0: none binds it here */
	__u64 high_generation;
	__u64 low_packets;	/* sent by that end */
	__u64 high_packets;
	__u64 low_bytes;
	__u64 high_bytes;
	__u32 low_eni;		/* number of the ENI of this host that is bound at that end, or 0 */
	__u32 high_eni;
	__u32 low_rule;		/* number of the rule that let it through at that end, or 0 */
	__u32 high_rule;
	__u32 low_next;		/* TCP: sequence number after the last byte that end has sent */
	__u32 high_next;
	__u32 low_acked;	/* TCP: what that end has acknowledged */
	__u32 high_acked;
	__u32 low_window;	/* TCP: bytes beyond low_acked that it takes */
	__u32 high_window;
	__u8 low_scale;		/* TCP: shift of its window field; 255: it sent none */
	__u8 high_scale;
	__u8 state;
	__u8 opener;		/* 0: the low end; 1: the high end */
	__u8 icmp_type;		/* of the packet that opened it */
	__u8 icmp_code;
	__u8 closing;		/* TCP: bit 0: the low end has sent its FIN; bit 1: the high end */
	__u8 pad;
	__u32 slot;		/* its place in slots */
	__u32 owner;		/* number of the ENI whose quota it counts in */
};

/* slots: two for each session there can be; what is expired is found by walking them. */
struct slot {
	__u64 stamp_ns;		/* coarse clock when it was taken */
	__u64 owner;		/* number of the ENI; 0: free */
	__u8 key[48];		/* of sessions */
};

/* owners: what an ENI has of sessions; the key is its number. */
struct owner {
	__u64 opened;
	__u64 evicted;		/* half-open ones that made room for newer ones */
	__u64 refused;		/* for want of quota or room */
	__u64 sessions;		/* slots taken now */
	__u64 head;		/* where its ring of half-open sessions goes on */
};

/* rings: the slots of the newest half-open sessions of an ENI, oldest overwritten first. */
struct ring_key {
	__u32 owner;
	__u32 block;
};

struct ring_block {
	__u8 slots[2048];	/* 512 numbers, 4 bytes each */
};

/*
 * fragments: what a first fragment said that the later ones do not; the key
 * keeps each ENI to a number of rows of its own.
 */
struct fragment_key {
	__u32 owner;
	__u32 place;
};

struct fragment {
	__u64 stamp_ns;
	__u32 source_vni;
	__u32 destination_vni;
	__u8 source[16];
	__u8 destination[16];
	__u32 identifier;	/* as it stands in the header */
	__u16 source_port;	/* network order */
	__u16 destination_port;	/* network order */
	__u8 family;
	__u8 protocol;
	__u8 icmp_type;
	__u8 icmp_code;
	__u32 header_bytes;	/* of its payload: what no later fragment may lie over */
};

/* session_clocks: when expired sessions were last looked for, and where that goes on; the key is 0. */
struct session_clock {
	__u64 swept_ns;
	__u64 hand;		/* counts on; the next slot to look at, modulo their number */
};

/*
 * A bucket of a limit. A line rises with time from `base`; what was let through
 * is spent, up to that line, and what is between the two is there to be spent.
 * Units are bytes or packets.
 */
struct bucket {
	__u64 fill;		/* 2^-56 units a nanosecond */
	__u64 base;		/* where the line stood at since_ns, in whole units */
	__u64 part;		/* and what it was above that, 2^-56 units */
	__u64 floor;		/* counts as spent at least: a bucket that was full then held no more */
	__u64 depth;		/* units that it holds */
	__u64 mark;		/* mark congestion when fewer are left; 0: never */
	__u64 pace;		/* 2^-20 nanoseconds a unit, of buckets that packets wait for; else 0 */
};

/* The terms of a limit: they do not change, others take their place. */
struct terms {
	__u64 since_ns;		/* monotonic clock; until then those on the other side hold */
	__u32 next;		/* number of the limit that is asked after this one, or 0 */
	__u32 only;		/* kind of its bucket if that is all there is to it, else BUCKETS */
	__u32 kinds;		/* bits: which of the buckets count; the others are remembered */
	__u32 reserved;
	__u8 buckets[336];	/* 6 of struct bucket, by their kind */
};

/*
 * limits: what an ENI or VPC may send, or receive; the key is the limit's
 * number. New terms are written to the side that is not used, which then is:
 * nobody reads a half written row. What is spent stays what it was: the terms
 * continue the line of those before.
 */
struct limit {
	__u64 side;
	__u8 sides[720];	/* 2 of struct terms */
};

/* spents: what was let through by each limit, as compared with its lines. */
struct spent {
	__u64 rate;
	__u64 ceil;
	__u64 packets;
	__u64 paced_rate;
	__u64 paced_ceil;
	__u64 paced_packets;
};

/* limit_counters: one for each limit and CPU; the key is the limit's number. */
struct limit_counter {
	__u64 packets;		/* let through, as all here: of tenants' frames, super-packets cut */
	__u64 bytes;
	__u64 over_rate_packets;
	__u64 over_rate_bytes;
	__u64 over_pps_packets;
	__u64 over_pps_bytes;
	__u64 marked;		/* packets let through with a mark */
};

/* Of a packet that is watched: as it came, and as it left. */
enum watch_stage {
	WATCH_BEFORE = 0,
	WATCH_AFTER = 1,
};

enum watch_bound {
	WATCHERS = 8,		/* who may watch at a time */
	SIGHT_BYTES = 9216,	/* of a frame at most */
};

/* Which of its hooks a packet met. */
enum watch_hook {
	WATCH_TENANT_TC = 0,
	WATCH_TENANT_XDP = 1,
	WATCH_UPLINK_TC = 2,
	WATCH_UPLINK_XDP = 3,
};

/* watchings: what is watched now; the key is 0. */
struct watching {
	__u64 secret;		/* carried by a packet that is traced; 0: none is */
	__u32 watchers;		/* bits: places in watchers that are taken */
	__u32 bytes;		/* of each frame, as many as any of them asks for */
};

/*
 * watchers: who is to be told of which packets; the key is a place. What is 0
 * is not asked for; addresses and ports are those of either end.
 */
struct watcher {
	__u64 until_ns;		/* coarse clock: nobody reads any more after that */
	__u64 interval_ns;	/* a CPU tells of one in so long, a second's worth at once; 0: of all */
	__u64 verdicts;		/* bits: those that are asked for */
	__u32 stages;		/* bits of enum watch_stage */
	__u32 bytes;		/* of each frame, SIGHT_BYTES at most */
	__u32 vni;
	__u32 eni;
	__u32 ifindex;
	__u16 one_port;		/* network order */
	__u16 other_port;	/* network order */
	__u8 one_address[16];
	__u8 one_mask[16];
	__u8 other_address[16];
	__u8 other_mask[16];
	__u8 family;
	__u8 protocol;
	__u8 pad[6];
};

/* watcher_counts, flow_log_counts: what became of what was asked for; one for each and CPU. */
struct watcher_count {
	__u64 next_ns;		/* when the next one may be told of */
	__u64 told;
	__u64 left_out;		/* for there were too many */
	__u64 lost;		/* for nobody read */
};

/* What a watcher is told of a packet; `captured` bytes of its frame follow. */
struct sight {
	__u64 time_ns;		/* monotonic clock */
	__u32 verdict;
	__u32 ifindex;
	__u32 length;		/* bytes of the whole frame */
	__u32 captured;
	__u32 source_vni;
	__u32 destination_vni;
	__u32 sender_eni;	/* numbers of ENIs of this host, or 0 */
	__u32 receiver_eni;
	__u32 low_rule;		/* numbers of the rules that decided, or 0 */
	__u32 high_rule;
	__u8 hook;
	__u8 stage;
	__u8 pad[6];
};

/* sights: room for the one that a CPU is about to tell of; the key is 0. */
struct sight_room {
	__u8 sight[56];		/* struct sight */
	__u8 frame[9216];
};

/* What a flow log is told of. */
enum flow_event_kind {
	FLOW_OPENED = 0,
	FLOW_CLOSED = 1,
	FLOW_DENIED = 2,
};

/* Why a session ended: numbers of IPFIX's flowEndReason. */
enum flow_end {
	FLOW_END_NONE = 0,
	FLOW_END_IDLE = 1,
	FLOW_END_FINISHED = 3,
	FLOW_END_FORCED = 4,	/* by the rules, or by hand */
	FLOW_END_NO_ROOM = 5,	/* another took its place */
};

/* flow_logs: is anybody to be told of flows? The key is 0. */
struct flow_log {
	__u64 until_ns;		/* coarse clock: nobody reads any more after that */
	__u64 interval_ns;	/* a CPU tells of one that is denied in so long; 0: of all */
};

/* What a flow log is told. */
struct flow_event {
	__u64 time_ns;		/* coarse clock */
	__u32 kind;		/* enum flow_event_kind */
	__u32 verdict;		/* of one that is denied */
	__u32 end;		/* enum flow_end of one that is closed */
	__u32 pad;
	__u8 key[48];		/* struct session_key */
	__u8 session[120];	/* struct session; of one that is denied, as if it were opened */
};

/*
 * traces: what became of the packet that was traced last; the key is 0. What a
 * stage that was not come to would have said is that of another packet.
 */
struct trace {
	__u64 now_ns;		/* coarse clock of the session, or 0 */
	__u64 metered_ns;	/* monotonic clock of the limits, or 0 */
	__u64 wait_ns;		/* how long limits have it wait */
	__u64 hop_destination;	/* as in struct next_hop; 0: the kernel is asked */
	__u64 hop_source;
	__u8 session[48];	/* struct session_key */
	__u8 limits[16];	/* 4 numbers of 4 bytes: the sender's, its VPC's, the receiver's, its VPC's */
	__u32 verdict;
	__u32 source_vni;
	__u32 destination_vni;
	__u32 sender;		/* the end of the session that sent it: 0 low, 1 high */
	__u32 opener;
	__u32 low_rule;		/* numbers of the rules that let it pass, or not */
	__u32 high_rule;
	__u32 target_link;	/* as in struct target */
	__u32 target_eni;
	__u32 path;		/* index into paths */
	__u32 mtu;		/* biggest IP packet of a tenant that fits */
	__u32 refusing_place;	/* of the limit that says no: as in limits */
	__u32 refusing_kind;	/* enum bucket_kind; BUCKETS: none does */
	__u8 target_kind;	/* enum target_kind; 0: it was not resolved */
	__u8 target_flags;
	__u8 policed;		/* security groups were asked */
	__u8 judged;		/* their rules were, for no fresh session answered */
	__u8 known;		/* judged: it has a session */
	__u8 related;		/* judged: it is an ICMP error about a packet of that session */
	__u8 asked_low;		/* judged: the rules of that end were asked */
	__u8 asked_high;
	__u8 routed;
	__u8 remote;
	__u8 metered;
	__u8 marked;
};

/*
 * scratch: room for what does not fit on the stack, and what a hook's first
 * program leaves for its second; means nothing between two packets.
 */
struct scratch {
	__u8 quote[128];
	__u8 session[120];	/* struct session */
	__u8 fragment[64];	/* struct fragment */
	__u8 flow[288];		/* struct flow */
	__u8 packet[240];	/* struct packet */
	__u8 outer[48];		/* struct outer */
	__u8 way[120];		/* struct way */
	__u8 load[96];		/* struct load */
	__u8 event[192];	/* struct flow_event */
	__u32 verdict;
	__u8 watched;		/* somebody wants to be told of this packet */
	__u8 traced;		/* and it is to change nothing */
	__u8 policed;		/* its session, or want of one, was looked at */
	__u8 judged;		/* and rules were asked */
};

/* What the XDP hook leaves in front of a frame for the TC hook of the same device. */
struct handover {
	__u32 magic;
	__u32 ifindex;
	__u32 flags;
	__u32 eni;
};

#endif
