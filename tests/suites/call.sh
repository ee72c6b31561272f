# SPDX-License-Identifier: GPL-2.0 OR MIT
# The time of CALLS getattrs inside the kernel, the shortest of RUNS, ROUNDS times in turns: tmpfs, hellofs (no handler, so
# no call into Rust), memfs (an empty handler). Lines "ns SIDE NANOSECONDS" for all of the CALLS.
set -e
for fs in tmpfs hellofs memfs; do
    mkdir -p /mnt/$fs
    mount -t $fs none /mnt/$fs
done
echo x > /mnt/tmpfs/hello
echo x > /mnt/memfs/hello
for round in $(seq "$ROUNDS"); do
    for fs in tmpfs hellofs memfs; do
        insmod /bento/call.ko path=/mnt/$fs/hello calls="$CALLS" runs="$RUNS"
        echo "ns $fs $(cat /sys/module/call/parameters/ns)"
        rmmod call
    done
done
umount /mnt/tmpfs /mnt/hellofs /mnt/memfs
