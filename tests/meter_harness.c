/*
 * The meter alone, put behind the text of tenant.c: time and weight come in the
 * frame, and what came of it goes back there. For tests/meter_harness.py.
 */
struct wish {
	__u64 now_ns;
	__u64 bytes;
	__u64 packets;
	__u32 egress;
	__u32 ingress;
	__u32 at_once;
	__u32 may_wait;
	__u64 wait_ns;		/* from here on: answers */
	__u32 passed;
	__u32 place;
	__u32 kind;
	__u32 mark;
};

/* What a run by many CPUs shares. */
struct drill {
	__u64 clock_ns;
	__u64 step_ns;		/* 0: the kernel's clock is read */
	__u64 bytes;
	__u64 egress;
	__u64 ingress;
	__u64 passed;
	__u64 refused;
};

BPF_ARRAY(drills, struct drill, 1);

inline_always bool harness_charge(struct load *load, __u32 egress, __u32 ingress)
{
	return enter_limits(load, PLACE_EGRESS, egress) &&
	       enter_limits(load, PLACE_INGRESS, ingress) && charge_all(load);
}

int harness_ask(struct xdp_md *xdp)
{
	struct wish *wish = (void *)(long)xdp->data;
	struct packet *p = packet_here();
	struct load *load;

	if ((void *)(wish + 1) > (void *)(long)xdp->data_end || !p)
		return XDP_ABORTED;
	load = (struct load *)scratch_of(p)->load;
	load->now = wish->now_ns;
	load->bytes = wish->bytes;
	load->packets = wish->packets;
	load->may_wait = wish->may_wait;
	if (wish->at_once) {
		load->numbers[PLACE_EGRESS] = wish->egress;
		wish->passed = charge_at_once(load, PLACE_EGRESS);
		return XDP_PASS;
	}
	wish->passed = harness_charge(load, wish->egress, wish->ingress);
	wish->wait_ns = load->wait_ns;
	wish->place = load->refusing_place;
	wish->kind = load->refusing_kind;
	wish->mark = load->mark;
	return XDP_PASS;
}

int harness_drill(struct xdp_md *xdp)
{
	__u32 zero = 0;
	struct drill *drill = drills.lookup(&zero);
	struct packet *p = packet_here();
	struct load *load;

	if (!drill || !p)
		return XDP_ABORTED;
	load = (struct load *)scratch_of(p)->load;
	load->now = drill->step_ns ? __sync_fetch_and_add(&drill->clock_ns, drill->step_ns)
				   : bpf_ktime_get_ns();
	load->bytes = drill->bytes;
	load->packets = 1;
	load->may_wait = 0;
	if (harness_charge(load, drill->egress, drill->ingress))
		__sync_fetch_and_add(&drill->passed, 1);
	else
		__sync_fetch_and_add(&drill->refused, 1);
	return XDP_PASS;
}
