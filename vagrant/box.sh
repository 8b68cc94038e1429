#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A Vagrant box for libvirt, made of Debian's packages by debootstrap, as root:
#   box.sh OUT.box [PACKAGE...]
# It holds what any machine of the Vagrantfile needs, and the PACKAGEs: with those
# of the project, `vagrant up` needs no network. From MIRROR, if it is given.
set -euo pipefail

readonly SUITE=bookworm SIZE=4G LABEL=cipu-xdp
readonly MIRROR=${MIRROR:-http://deb.debian.org/debian}
readonly SECURITY=${SECURITY:-http://deb.debian.org/debian-security}
# Where Debian's Vagrant and the vendor's have the key that they know.
readonly VAGRANTS=(/usr/share/rubygems-integration /opt/vagrant)
readonly GRUB=/usr/lib/grub/i386-pc
# cloud: of hardware, it knows what virtual machines have.
readonly BASE=(linux-image-cloud-amd64 systemd-sysv dbus udev openssh-server sudo ifupdown
    isc-dhcp-client iproute2 rsync make)

fill() { # ROOT PACKAGE...
    local root=$1
    shift
    debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR"
    cat > "$root/etc/apt/sources.list" <<END
deb $MIRROR $SUITE main
deb $MIRROR $SUITE-updates main
deb $SECURITY $SUITE-security main
END
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d" # no daemons here
    chmod 755 "$root/usr/sbin/policy-rc.d"
    mount -t proc proc "$root/proc"
    inside "$root" apt-get -qq update
    inside "$root" apt-get -qq -y install --no-install-recommends "$@"
    inside "$root" apt-get -qq clean
    umount "$root/proc"
    rm -rf "$root/usr/sbin/policy-rc.d" "$root"/var/lib/apt/lists/*
}

inside() { # ROOT COMMAND...
    env DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$@"
}

# What Vagrant expects of a box: a user with its well-known key, who is root by sudo.
equip() { # ROOT KEY
    local root=$1 home=$1/home/vagrant
    inside "$root" useradd --create-home --shell /bin/bash vagrant
    install -d -m 700 "$home/.ssh"
    install -m 600 "$2" "$home/.ssh/authorized_keys"
    inside "$root" chown -R vagrant: /home/vagrant/.ssh
    echo 'vagrant ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/vagrant"
    echo 'UseDNS no' > "$root/etc/ssh/sshd_config.d/vagrant.conf"
    echo "LABEL=$LABEL / ext4 errors=remount-ro 0 1" > "$root/etc/fstab"
    printf 'bookworm\n' > "$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 bookworm\n::1 localhost\n' > "$root/etc/hosts"
    cat > "$root/etc/network/interfaces" <<'END'
source /etc/network/interfaces.d/*
auto lo
iface lo inet loopback
auto eth0
iface eth0 inet dhcp
END
    : > "$root/etc/machine-id" # each machine makes its own
}

# A disk that a BIOS boots: GRUB before the only partition, no device is needed to write it.
pack() { # PLACE
    local place=$1 disk=$1/disk
    truncate -s "$SIZE" "$disk"
    echo '2048,,L,*' | sfdisk -q "$disk"
    cat > "$place/grub.cfg" <<END
set root=(hd0,msdos1)
linux /vmlinuz root=LABEL=$LABEL ro net.ifnames=0 console=tty0 console=ttyS0
initrd /initrd.img
boot
END
    grub-mkimage -O i386-pc -o "$place/core.img" -p '(hd0,msdos1)/boot/grub' \
        -c "$place/grub.cfg" biosdisk part_msdos ext2 linux boot
    dd if="$GRUB/boot.img" of="$disk" bs=446 count=1 conv=notrunc status=none
    dd if="$place/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
    # GRUB 2.06 does not know two features that are newer than it.
    mke2fs -q -t ext4 -L "$LABEL" -O ^metadata_csum_seed,^orphan_file -d "$place/root" \
        -E offset=$((2048 * 512)) "$disk" "$(($(stat -c %s "$disk") / 1024 - 1024))k"
    qemu-img convert -c -O qcow2 "$disk" "$place/box.img"
    printf '{"provider": "libvirt", "format": "qcow2", "virtual_size": %d}\n' \
        "${SIZE%G}" > "$place/metadata.json"
    echo 'Vagrant.configure("2") { |config| config.vm.guest = :debian }' > "$place/Vagrantfile"
    tar -C "$place" -cf "$place/box" metadata.json Vagrantfile box.img
}

if [ "${1-}" = --inside ]; then
    place=$2 key=$3
    shift 3
    fill "$place/root" "${BASE[@]}" "$@"
    equip "$place/root" "$key"
    pack "$place"
    exit
fi

out=${1:?OUT.box [PACKAGE...]}
shift
key=$(find "${VAGRANTS[@]}" -path '*/keys/vagrant.pub' 2>/dev/null | sort | tail -n 1 || true)
if [ -z "$key" ]; then
    echo "box.sh: there is no keys/vagrant.pub in ${VAGRANTS[*]}; install vagrant" >&2
    exit 1
fi
place=$(mktemp -d "$(dirname "$out")/box.XXXXXX")
trap 'rm -rf "$place"' EXIT
# What is mounted or runs for it ends with it, however it ends.
setpriv --pdeathsig KILL unshare --mount --propagation private --pid --fork --kill-child \
    --mount-proc "$0" --inside "$place" "$key" "$@"
mv "$place/box" "$out"
