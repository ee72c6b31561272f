# SPDX-License-Identifier: GPL-2.0 OR MIT
# A loop device gives back what is discarded: what files free with `discard`, and what fstrim finds free.
. "$(dirname "$0")/lib.sh"
dir=/mnt/d
image=/tmp/store/image
mkdir -p $dir /tmp/store
mount -t tmpfs -o size=200m none /tmp/store
grep -qw loop /proc/devices || modprobe loop
head -c 1000000 /dev/urandom > /tmp/data
kib() { du -k $image | cut -f1; }
size() { [ "$1" "$2" "$3" ] && echo yes || echo "$1"; }
fill() { local i; for i in $(seq "$1"); do cp /tmp/data $dir/file-$i || return; done; sync; }
settle none
before=$(allocated)

for options in "-b 4096" "-b 1024" "-t ext3 -b 1024"; do
    rm -f $image
    truncate -s 100M $image
    device=$(losetup -f --show $image)
    BENTO_DISK0=$device # that leave looks at
    mkfs.ext4 -q -F $options -J size=4 "$device"
    check "mount with discard, $options" mount -t rext4 -o discard "$device" $dir
    cp /tmp/data $dir/kept
    fill 30
    full=$(kib)
    rm $dir/file-*
    sync
    same "what is freed is given back" yes "$(size "$(($(kib) + 28000))" -le "$full")"
    # Freed and taken in turn: nobody misses what he wrote.
    for round in $(seq 6); do
        fill 40 && rm $dir/file-[1-3]*
    done
    for i in $(seq 4 9); do cmp /tmp/data $dir/file-$i || break; done > $log 2>&1
    same "what was written stays" "" "$(cat $log)"
    cmp /tmp/data $dir/kept
    leave rext4 $dir

    check "mount without" mount -t rext4 "$device" $dir
    fill 30
    full=$(kib)
    rm $dir/file-*
    sync
    same "nothing is given back" yes "$(size "$(($(kib) + 1000))" -gt "$full")"
    check "fstrim of 10 MiB" sh -c "fstrim -v -l 10M $dir > $log"
    same "no more than that" yes "$(size "$(sed 's/.*(\([0-9]*\) bytes.*/\1/' $log)" -le 10485760)"
    check "fstrim" sh -c "fstrim -v $dir > $log"
    trimmed=$(sed 's/.*(\([0-9]*\) bytes.*/\1/' $log)
    free=$(($(stat -f -c '%f * %S' $dir)))
    same "all that is free" yes "$(size "$trimmed" -ge "$free")"
    same "is given back" yes "$(size "$(($(kib) + 28000))" -le "$full")"
    refuse "longer runs than there are" "nvalid argument" fstrim -m 1T $dir
    fill 60 &
    for i in $(seq 10); do fstrim $dir || break; done 2> $log
    wait
    same "while files are written" "" "$(cat $log)"
    for i in $(seq 60); do cmp /tmp/data $dir/file-$i || break; done > $log 2>&1
    same "those are whole" "" "$(cat $log)"
    check "read-only" mount -o remount,ro $dir
    refuse "there it is refused" "ead-only" fstrim $dir
    leave rext4 $dir
    losetup -d "$device"
done
umount /tmp/store
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
finish
