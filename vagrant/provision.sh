#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What is done inside a virtual machine of the Vagrantfile, one verb a run:
#   install               the command, from the synced checkout
#   lab HOST NAME         this host's part of the topology: VTEP on eth1, tenants
#   router MTU ADDR...    an address on eth1, eth2, ... and forwarding between them
set -euo pipefail

readonly CHECKOUT=/srv/cipu-xdp
readonly UPLINK=eth1

install_command() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install -y --no-install-recommends make
    make -C "$CHECKOUT" setup install
}

build_part() {
    local host=$1 name=$2
    # A file without a name of its own is called after itself.
    install -D -m 0644 /home/vagrant/topology.yaml "/etc/cipu-xdp/$name.yaml"
    cipu-xdp lab up "/etc/cipu-xdp/$name.yaml" --host "$host" --uplink "$UPLINK"
}

route_between() {
    local mtu=$1 number=1 address
    shift
    for address in "$@"; do
        ip address replace "$address" dev "eth$number"
        ip link set "eth$number" mtu "$mtu" up
        number=$((number + 1))
    done
    sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
}

verb=${1:?install, lab or router}
shift
case $verb in
    install) install_command ;;
    lab) build_part "$@" ;;
    router) route_between "$@" ;;
    *)
        echo "provision.sh: $verb is none of install, lab, router" >&2
        exit 2
        ;;
esac
