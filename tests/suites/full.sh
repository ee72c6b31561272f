# SPDX-License-Identifier: GPL-2.0 OR MIT
# A small rext4 is filled, emptied, and filled again at once: what was freed can be had before anybody syncs, by data and by
# names. A mount that nobody uses writes its superblock, and no more.
. "$(dirname "$0")/lib.sh"
dir=/mnt/f
mkdir -p $dir
head -c 1048576 /dev/urandom > /tmp/data
value=$(printf '%0700d' 0)
sectors() { awk '{ print $7 }' "/sys/block/${BENTO_DISK0#/dev/}/stat"; }
for block in 1024 4096; do
    mkfs.ext4 -q -F -b $block -m 0 -N 4000 -J size=4 "$BENTO_DISK0" 24M
    sync
    written=$(sectors)
    check "mount, blocks of $block" mount -t rext4 "$BENTO_DISK0" $dir
    same "which writes the superblock" $((written + block / 512)) "$(sectors)"
    sync
    same "a sync of what nobody changed writes nothing" $((written + block / 512)) "$(sectors)"
    n=0
    while cp /tmp/data $dir/file-$n 2> $log; do n=$((n + 1)); done
    same "it is full" "No space left on device" "$(sed 's/.*: //' $log)"
    sync
    for round in 1 2 3; do
        rm -f $dir/file-*
        for i in $(seq 0 $((n - 2))); do cp /tmp/data $dir/file-$i || break; done 2> $log
        same "round $round: as much has room at once" "" "$(cat $log)"
        check "and reaches the disk" sync -f $dir
        for i in $(seq 0 $((n - 2))); do cmp /tmp/data $dir/file-$i || break; done 2> $log
        same "as it was" "" "$(cat $log)"
    done
    while head -c 20000 /tmp/data > $dir/more-$n 2> /dev/null; do n=$((n + 1)); done
    rm -f $dir/file-*
    for i in $(seq 500); do mkdir $dir/dir-$i || break; done 2> $log
    same "directories have room at once" "" "$(cat $log)"
    rm -f $dir/more-*
    for i in $(seq 500); do setfattr -n user.large -v $value $dir/dir-$i || break; done 2> $log
    same "so have attributes" "" "$(cat $log)"
    leave rext4 $dir
done
finish
