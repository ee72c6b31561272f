# SPDX-License-Identifier: GPL-2.0 OR MIT
# Files on rext4 that replace others without an fsync, and a crash right after the next commit: what the device has by then
# is copied below the mount, and looked at by another. Nothing is written by age here, only because of auto_da_alloc.
. "$(dirname "$0")/lib.sh"
dir=/mnt/r
after=/mnt/after
image=/tmp/replace.img
mkdir -p $dir $after
grep -qw loop /proc/devices || modprobe loop
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
for size in 300 5000 200000; do
    for n in 1 2 3; do head -c $size /dev/urandom > /tmp/$size-$n; done
done

# on DIR IMAGE [OPTIONS]
on() {
    local device code
    device=$(losetup -f --show "$2") || return
    mount -t rext4 ${3:+-o "$3"} "$device" "$1"
    code=$?
    losetup -d "$device" # when it is unmounted
    return $code
}

# The journal commits, for another file; then the machine stops, and what is left is mounted.
crash() {
    echo other >> $dir/other
    sync $dir/other && cp $image $image.crashed && on $after $image.crashed
}

# left WHAT EXPECTED: of `target` after a crash.
left() {
    check "$1" crash
    check "  the target is as it should be" cmp "$2" $after/target
    umount $after
    check "  and the disk is sound" e2fsck -fn $image.crashed
}

# soon WHAT EXPECTED: the same, as soon as what has been begun is done.
soon() {
    local i
    for i in $(seq 100); do
        crash > $log 2>&1 || break
        if cmp "$2" $after/target > $log 2>&1; then
            umount $after
            ok "$1"
            return
        fi
        umount $after
        sleep 0.1
    done
    not_ok "$1: $(cat $log)"
}

old() { cp "$1" $dir/target && sync -f $dir; }

for kind in "ext4 -b 1024" "ext4 -b 4096" "ext3 -b 1024"; do
    rm -f $image
    truncate -s 24M $image
    mkfs -t $kind -q -F -J size=4 $image
    check "mount $kind" on $dir $image
    for size in 300 5000 200000; do
        old /tmp/$size-1
        cp /tmp/$size-2 $dir/new && mv -f $dir/new $dir/target
        left "$size bytes renamed over a file" /tmp/$size-2
        exec 9> $dir/new
        cat /tmp/$size-3 >&9
        mv -f $dir/new $dir/target
        left "$size bytes, and still open" /tmp/$size-3
        exec 9>&-
        # What comes last lies in a block that is there already.
        head -c $((size / 2)) /tmp/$size-1 > $dir/new
        sync $dir/new
        tail -c +$((size / 2 + 1)) /tmp/$size-1 >> $dir/new
        mv -f $dir/new $dir/target
        left "$size bytes, half of them synced" /tmp/$size-1
        cat /tmp/$size-2 > $dir/target
        soon "$size bytes written over what was there" /tmp/$size-2
    done
    check "unmount" umount $dir
    check "e2fsck finds nothing" e2fsck -fn $image

    # The control: without it they are empty.
    check "mount noauto_da_alloc" on $dir $image noauto_da_alloc
    same "which /proc/mounts shows" 1 "$(grep " $dir " /proc/mounts | grep -c 'noauto_da_alloc')"
    old /tmp/5000-1
    cp /tmp/5000-2 $dir/new && mv -f $dir/new $dir/target
    left "renamed over without it" /dev/null
    sync -f $dir
    cat /tmp/5000-3 > $dir/target
    left "written over without it" /dev/null
    check "a remount that says nothing" mount -o remount,rw none $dir
    old /tmp/5000-1
    cp /tmp/5000-2 $dir/new && mv -f $dir/new $dir/target
    left "leaves it so" /dev/null
    check "remount" mount -o remount,auto_da_alloc $dir
    cp /tmp/5000-1 $dir/new && mv -f $dir/new $dir/target
    left "renamed over with it again" /tmp/5000-1
    check "unmount" umount $dir
done
finish
