#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The first program of a guest: it sees the machine's files, none of which it can
# change, runs /command there, leaves its exit status in the share, and ends.
# What it is given: RELEASE of the kernel, TREE of its package.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
. /settings

while read -r module; do
    insmod "/modules/$module" || echo "cannot load $module"
done < /order

share() { # TAG PLACE OPTIONS
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$3" "$1" "$2"
}
share machine /machine ro,cache=loose
mount -t tmpfs -o size=80% tmpfs /changes
mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/machine,upperdir=/changes/upper,workdir=/changes/work overlay /root
share results /root/mnt cache=none

for place in proc sys dev; do
    mount --move "/$place" "/root/$place"
done
cd /root || exit
mkdir -p dev/pts dev/shm "lib/modules/$RELEASE"
mount -t devpts devpts dev/pts
for place in dev/shm run tmp; do
    mount -t tmpfs tmpfs "$place"
done
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tracefs tracefs sys/kernel/tracing
mount --bind "/root$TREE/lib/modules/$RELEASE" "lib/modules/$RELEASE"
cp /command /bin/busybox run
ip link set lo up

# The machine's files are the root of all that runs from here on, also of this process.
cat > run/main <<END
/usr/bin/env -i HOME=/root TERM=dumb \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /bin/sh /run/command < /dev/null
echo \$? > /mnt/status
sync
/run/busybox poweroff -f
END
exec switch_root . /bin/sh /run/main
