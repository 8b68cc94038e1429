/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The VXLAN header of RFC 7348, section 5, and the ports it is met on. */
#ifndef CIPU_VXLAN_H
#define CIPU_VXLAN_H

#define VXLAN_HAS_VNI 0x08
#define VXLAN_PORT_IANA 4789
#define VXLAN_PORT_LINUX 8472	/* what Linux used before there was a number */

struct vxlan {
	__u8 flags, reserved[3];
	__be32 vni;		/* upper 24 bits */
};

#endif
