/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Every table: TABLE(kind, name, key, value, entries, flags). Python reads
 * this file to create and pin the tables before any program is compiled; the
 * lines become declarations of those pinned tables in the program's text.
 * `entries` is a default: `attach --table-size NAME=N` changes it.
 */

/* Python writes, the datapath reads. */
TABLE(hash,         enis,       u32,                struct eni,      65536,   BPF_F_NO_PREALLOC)
TABLE(hash,         vpcs,       u32,                struct vpc,      65536,   BPF_F_NO_PREALLOC)
TABLE(devmap_hash,  devices,    u32,                u32,             65536,   0)
TABLE(hash,         addresses,  struct address_key, struct target,   1048576, BPF_F_NO_PREALLOC)
TABLE(lpm_trie,     routes,     struct route_key,   struct target,   262144,  BPF_F_NO_PREALLOC)
TABLE(hash,         vteps,      struct vtep_key,    u32,             16384,   BPF_F_NO_PREALLOC)
TABLE(array,        paths,      u32,                struct path,     16384,   0)

/* The datapath writes, Python reads. */
TABLE(array,        next_hops,  u32,                struct next_hop, 16384,   0)
TABLE(percpu_array, verdicts,   u32,                struct counter,  64,      0)
TABLE(percpu_array, scratches,   u32,                struct scratch,  1,       0)
