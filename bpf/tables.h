/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Every table: TABLE(kind, name, key, value, entries, flags). Python reads
 * this file to create and pin the tables before any program is compiled; the
 * lines become declarations of those pinned tables in the program's text.
 * `entries` is a default: `attach --table-size NAME=N` changes it.
 */

/* Python writes, the datapath reads. */
TABLE(hash,         eni_places, u32,                u32,             65536,   BPF_F_NO_PREALLOC)
TABLE(hash,         enis,       u32,                struct eni,      65536,   BPF_F_NO_PREALLOC)
TABLE(hash,         vpcs,       u32,                struct vpc,      65536,   BPF_F_NO_PREALLOC)
TABLE(devmap_hash,  devices,    u32,                u32,             65536,   0)
TABLE(hash,         addresses,  struct address_key, struct target,   1048576, BPF_F_NO_PREALLOC)
TABLE(lpm_trie,     routes,     struct route_key,   struct target,   262144,  BPF_F_NO_PREALLOC)
TABLE(hash,         vteps,      struct vtep_key,    u32,             16384,   BPF_F_NO_PREALLOC)
TABLE(array,        paths,      u32,                struct path,     16384,   0)
TABLE(hash_of_maps, rule_sets,  struct rule_set_key, struct rule_cell, 16384, BPF_F_NO_PREALLOC)
TABLE(hash,         members,    u32,                struct membership, 1048576, BPF_F_NO_PREALLOC)
TABLE(hash,         policies,   u32,                struct policy,   65536,   BPF_F_NO_PREALLOC)
TABLE(array,        timeouts,   u32,                struct timeout,  16,      0)
TABLE(array,        limits,     u32,                struct limit,    16384,   0)
TABLE(array,        watchings,  u32,                struct watching, 1,       0)
TABLE(array,        watchers,   u32,                struct watcher,  8,       0)
TABLE(array_of_rings, watch_rings, u32,             u32,             8,       0)
TABLE(array,        flow_logs,  u32,                struct flow_log, 1,       0)
TABLE(array_of_rings, flow_rings, u32,              u32,             1,       0)

/* The datapath writes, Python reads. */
TABLE(array,        next_hops,  u32,                struct next_hop, 16384,   0)
TABLE(percpu_array, verdicts,   u32,                struct counter,  64,      0)
TABLE(percpu_array, eni_counters, u32,              struct eni_counter, 8192, 0)
TABLE(percpu_array, path_counters, u32,             struct path_counter, 16384, 0)
TABLE(percpu_array, rule_counters, u32,             struct rule_counter, 65536, 0)
TABLE(array,        spents,     u32,                struct spent,    16384,   0)
TABLE(percpu_array, limit_counters, u32,            struct limit_counter, 16384, 0)
TABLE(hash,         sessions,   struct session_key, struct session,  262144,  BPF_F_NO_PREALLOC)
TABLE(array,        slots,      u32,                struct slot,     524288,  0)
TABLE(hash,         owners,     u32,                struct owner,    65536,   BPF_F_NO_PREALLOC)
TABLE(hash,         rings,      struct ring_key,    struct ring_block, 65536, BPF_F_NO_PREALLOC)
TABLE(array,        blank_rings, u32,               struct ring_block, 1,     0)
TABLE(hash,         fragments,  struct fragment_key, struct fragment, 262144, BPF_F_NO_PREALLOC)
TABLE(array,        session_clocks, u32,            struct session_clock, 1,  0)
TABLE(array,        traces,     u32,                struct trace,    1,       0)
TABLE(percpu_array, watcher_counts, u32,            struct watcher_count, 8,  0)
TABLE(percpu_array, flow_log_counts, u32,           struct watcher_count, 1,  0)
TABLE(percpu_array, sights,     u32,                struct sight_room, 1,     0)
TABLE(percpu_array, scratches,  u32,                struct scratch,  1,       0)
