#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What is done inside a virtual machine of the Vagrantfile, one verb a run:
#   install               the command, from the synced checkout, and its service
#   uplink MTU ADDR [PREFIX VIA]...
#                         eth1's address and routes, at each boot from now on
#   lab HOST NAME         this host's part of the topology: eth1 attached, tenants
#   router MTU ADDR...    an address on eth1, eth2, ... and forwarding between them
set -euo pipefail

readonly CHECKOUT=/srv/cipu-xdp
readonly WHEELS=/srv/wheels
readonly UPLINK=eth1

install_command() {
    export DEBIAN_FRONTEND=noninteractive
    # A box that has all that is needed is not to ask for a mirror.
    if ! command -v make > /dev/null; then
        apt-get -qq update
        apt-get -qq install -y --no-install-recommends make
    fi
    if [ -d "$WHEELS" ]; then
        export PIP_NO_INDEX=1 PIP_FIND_LINKS=$WHEELS
    fi
    # Of all modules few are ever asked for: Python compiles those that are.
    PIP_COMPILE=0 make -C "$CHECKOUT" setup install-service
}

# In ifupdown's words, so that it is there before the service is started.
set_uplink() {
    local mtu=$1 address=$2 family=inet
    shift 2
    if [[ $address == *:* ]]; then
        family=inet6
    fi
    {
        printf 'auto %s\niface %s %s static\n' "$UPLINK" "$UPLINK" "$family"
        printf '    address %s\n    mtu %s\n' "$address" "$mtu"
        if [ "$family" = inet6 ]; then
            printf '    dad-attempts 0\n'
        fi
        while [ $# -gt 0 ]; do
            printf '    up ip route replace %s via %s\n' "$1" "$2"
            shift 2
        done
    } > "/etc/network/interfaces.d/$UPLINK"
    ifdown --force "$UPLINK" 2> /dev/null || true
    ifup "$UPLINK"
}

build_part() {
    local host=$1 name=$2
    # A file without a name of its own is called after itself.
    install -D -m 0644 /home/vagrant/topology.yaml "/etc/cipu-xdp/$name.yaml"
    echo "CIPU_XDP_INSTANCE=cx-$name-$host" > /etc/default/cipu-xdp
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

verb=${1:?install, uplink, lab or router}
shift
case $verb in
    install) install_command ;;
    uplink) set_uplink "$@" ;;
    lab) build_part "$@" ;;
    router) route_between "$@" ;;
    *)
        echo "provision.sh: $verb is none of install, uplink, lab, router" >&2
        exit 2
        ;;
esac
