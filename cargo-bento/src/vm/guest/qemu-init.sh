#!/bin/busybox sh
# First program of a QEMU guest, in the initramfs: loads what the root disk needs and goes on there.
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
while read -r module; do
    $bb insmod "/modules/$module" || echo "bento: $module does not load" > /dev/kmsg
done < /modules/order
tries=0
until [ -b /dev/vdc ]; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || { echo "bento: no disks" > /dev/kmsg; $bb poweroff -f; }
    $bb usleep 20000
done
$bb mount -t ext4 -o noatime /dev/vda /root
$bb mount -t ext4 -o ro /dev/vdb /root/bento
$bb mount -t ext4 -o ro /dev/vdc /root/lib/modules
$bb mount -t proc proc /root/proc
$bb mount --move /dev /root/dev
exec $bb switch_root /root /bento/.bento/init qemu
