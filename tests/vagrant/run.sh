#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Vagrant's machines for real, emulated, as root: two hosts are brought up and
# checked, one is halted and brought up again, all is checked again and removed.
#   run.sh BOX [TOPOLOGY]
# libvirt runs in namespaces of its own, so its bridges, dnsmasq and firewall are
# not this machine's; they end with this script, however it ends, and so does
# everything that was written.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
readonly PYTHON=$ROOT/.venv/bin/python
readonly BY_HAND=by-hand

# libvirtd as of a machine that has just been installed, and that lets root in.
start_libvirt() {
    local dir
    for dir in /run /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
        mount -t tmpfs -o mode=755 tmpfs "$dir"
    done
    mount -t sysfs sysfs /sys # of this network namespace
    ip link set lo up
    printf 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n' > /etc/libvirt/libvirtd.conf
    printf '%s\n' 'user = "root"' 'group = "root"' 'security_driver = "none"' \
        'stdio_handler = "file"' 'cgroup_controllers = []' 'namespaces = []' \
        'remember_owner = 0' > /etc/libvirt/qemu.conf
    libvirtd > "$PLACE/libvirtd.log" 2>&1 &
    timeout 60 bash -c 'until virsh -q list; do sleep 0.2; done' > /dev/null 2>&1
    virsh -q pool-create-as default dir --target "$PLACE/pool" > /dev/null
}

step() { # COMMAND...: how long it took is told
    local began=$SECONDS
    "$@"
    echo "== $((SECONDS - began)) s: ${*/#$ROOT\//}"
}

on_machine() { # HOST COMMAND
    (cd "$ROOT/vagrant" && vagrant ssh "$1" --no-tty -c "$2" 2> /dev/null)
}

expect() { # WHAT WORD HOST COMMAND: what the command says has the word
    local said
    said=$(on_machine "$3" "$4" || true)
    printf '%s\n' "$said"
    if ! grep -qw "$2" <<< "$said"; then
        echo "FAILED: $1" >&2
        exit 1
    fi
    echo "ok: $1"
}

is_left() {
    [ -n "$(virsh -q list --all)$(virsh -q vol-list default | grep -v _box_)" ]
}

inside() { # BOX TOPOLOGY
    local host instance
    start_libvirt
    step vagrant box add --name "$CIPU_XDP_BOX" "$1"
    step "$PYTHON" "$ROOT/vagrant/lab.py" up "$2"

    host=alpha
    instance=cx-$2-$host
    on_machine "$host" "sudo cipu-xdp --instance $instance vpc create $BY_HAND --vni 999"
    cd "$ROOT/vagrant"
    step vagrant halt "$host"
    step vagrant up "$host"
    expect "the service has restored $host" restored "$host" \
        "sudo journalctl -b -o cat -u cipu-xdp"
    expect "what was made by hand is there" "$BY_HAND" "$host" \
        "sudo cipu-xdp --instance $instance vpc list"
    step "$PYTHON" "$ROOT/vagrant/lab.py" check "$2"

    step "$PYTHON" "$ROOT/vagrant/lab.py" down "$2"
    if is_left; then
        virsh list --all
        virsh vol-list default
        echo "FAILED: there should be no machine and no disk left" >&2
        exit 1
    fi
}

if [ "${1-}" = --inside ]; then
    inside "$2" "$3"
    exit
fi

box=$(readlink -f "${1:?BOX [TOPOLOGY]}")
mkdir -p "$ROOT/build/vagrant"
PLACE=$(mktemp -d "$ROOT/build/vagrant/test.XXXXXX")
export PLACE
trap 'rm -rf "$PLACE"' EXIT
mkdir "$PLACE/pool"
export VAGRANT_HOME=$PLACE/home VAGRANT_DOTFILE_PATH=$PLACE/dot VAGRANT_CHECKPOINT_DISABLE=1
export VAGRANT_DEFAULT_PROVIDER=libvirt LIBVIRT_DEFAULT_URI=qemu:///system
export CIPU_XDP_BOX=cipu-xdp/test CIPU_XDP_VM_DRIVER=qemu CIPU_XDP_TOPOLOGY=${2:-two-hosts}
setpriv --pdeathsig KILL unshare --mount --propagation private --net --ipc --pid --fork \
    --kill-child --mount-proc "$0" --inside "$box" "$CIPU_XDP_TOPOLOGY"
