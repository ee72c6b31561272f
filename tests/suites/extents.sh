# SPDX-License-Identifier: GPL-2.0 OR MIT
# extentfs: how the shim moves file data over a device, with blocks of 4 KiB and 1 KiB; handlers that lie, that panic, and
# that come back.
. "$(dirname "$0")/lib.sh"
dir=/mnt/e
mkdir -p $dir
up() { mount -t extentfs -o "$1" "$BENTO_DISK0" $dir; }
free() { stat -f -c %f $dir; }
settle none
before=$(allocated)

for block in 4096 1024; do
    check "mount, blocks of $block" up block=$block
    for seed in $SEEDS; do
        echo "# seed $seed"
        program extents $dir $block $seed $OPERATIONS
    done
    check "unmount" umount $dir
done

# Caches dropped in between: what is on the device is what was written.
check "mount" up panics=0
free=$(free)
check "a tree" cp -a /usr/lib/git-core $dir/tree
sync
echo 3 > /proc/sys/vm/drop_caches
check "reads back from the device" diff -r /usr/lib/git-core $dir/tree
check "two writers, one truncates" sh -c "cd $dir
    (for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do dd if=/dev/zero of=race bs=64k count=40 conv=notrunc status=none; done) &
    (for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do truncate -s \$((i * 37777)) race; sync race; done) & wait"
rm -rf $dir/tree $dir/race
sync
same "all blocks are free" "$free" "$(free)"

# The instance panics after an allocation, and before a conversion: it is restarted, nothing is lost.
check "panics" mount -o remount,panics=7 "$BENTO_DISK0" $dir
echo 100000 > "$(echo /sys/fs/bento/extentfs/*:*/restart_limit)"
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    head -c $((i * 50000)) /dev/urandom > /tmp/was-$i
    check "write $i while it panics" cp /tmp/was-$i $dir/is-$i
    sync $dir/is-$i
done
check "no more panics" mount -o remount,panics=0 "$BENTO_DISK0" $dir
sync
echo 3 > /proc/sys/vm/drop_caches
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    check "file $i is whole" cmp /tmp/was-$i $dir/is-$i
done
rm -f $dir/is-* /tmp/was-*
sync
same "all blocks are free again" "$free" "$(free)"
check "unmount" umount $dir

# What handlers say is checked.
for lie in 1 2 3 4 5; do
    check "mount a liar, $lie" up lies=$lie
    # The shim forgets what it knew of a range that is allocated.
    fallocate -l 64k $dir/file
    log_mark
    refuse "a file it lies about" "tructure needs cleaning|nput/output error" cat $dir/file
    logged "is told" "map_extents (returned|put)"
    umount $dir
done
for lie in 6 7; do
    check "mount a liar, $lie" up lies=$lie
    log_mark
    echo data > $dir/file
    refuse "it does not allocate" "tructure needs cleaning" sync $dir/file
    logged "is told" "allocate_extents (returned|left)"
    umount $dir
done
# A loop device can be told what is free; the disk may not.
store=/mnt/store
mkdir -p $store
mount -t tmpfs -o size=20m none $store
truncate -s 16M $store/image
grep -qw loop /proc/devices || modprobe loop
device=$(losetup -f --show $store/image)
for lie in 8 9; do
    check "mount a liar, $lie" mount -t extentfs -o lies=$lie "$device" $dir
    log_mark
    refuse "fstrim" "tructure needs cleaning" fstrim $dir
    logged "is told" "trim went from byte"
    umount $dir
done
check "mount an honest one" mount -t extentfs "$device" $dir
check "fstrim" fstrim $dir
umount $dir
losetup -d "$device"
umount $store
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
same "nor a piece of a map" 0 "$(slab_objects bento_piece)"
finish
