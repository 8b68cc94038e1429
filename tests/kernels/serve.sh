# SPDX-License-Identifier: Apache-2.0
# What a guest does that is told what to do: each N.sh in the share is run, what it said is in
# N.said, and when it has ended its exit status is in N.status.
while true; do
    for each in /mnt/*.sh; do
        if [ ! -e "$each" ]; then
            continue
        fi
        name=${each%.sh}
        sh "$each" > "$name.said" 2>&1
        echo $? > "$name.draft"
        mv "$name.draft" "$name.status"
        rm "$each"
    done
    sleep 0.1
done
