# SPDX-License-Identifier: GPL-2.0 OR MIT
# At least PANICS panics from 4 tasks across all handlers, while a memfs mount is busy; then a clean unload.
. "$(dirname "$0")/lib.sh"
PANICS=${PANICS:-100000}
settle none
before=$(allocated)
echo 1 > /proc/sys/kernel/printk # the log stays readable and the serial line free
check "mount bytesfs" fresh bytesfs /mnt/s
check "mount memfs" fresh memfs /mnt/m
counter=$(echo /sys/fs/bento/bytesfs/*:*/panics)

# The neighbour: copies, compares and removes a tree until told to stop.
(
    rounds=0
    until [ -e /tmp/stop ]; do
        cp -r /etc /mnt/m/etc && diff -r --no-dereference /etc /mnt/m/etc && rm -r /mnt/m/etc || { echo bad > /tmp/neighbour; exit; }
        rounds=$((rounds + 1))
        echo "fine $rounds" > /tmp/neighbour
    done
) > /tmp/neighbour.log 2>&1 &
neighbour=$!

panics=0
round=0
# A lock that is poisoned asks for a restart: that storm is upgrade.sh's.
for kind in panic index alloc panic index panic index panic index panic index; do
    round=$((round + 1))
    $bin/storm /mnt/s $kind 3 4 ${CALLS_PER_TASK:-12000} ${SECONDS_PER_ROUND:-60} > $log 2>&1 || not_ok "storm of $kind: $? $(cat $log)"
    panics=$(cat $counter)
    echo "# $kind: $(cat $log), $panics panics so far"
    [ $round -ge 4 ] && [ "$panics" -ge "$PANICS" ] && break
done
if [ "$panics" -ge "$PANICS" ]; then ok "$panics panics from 4 tasks"; else not_ok "only $panics panics"; fi
same "the instance is healthy" ok "$(cat /sys/fs/bento/bytesfs/*:*/health)"
touch /tmp/stop
wait $neighbour
check "the neighbour was busy and unharmed" grep -q fine /tmp/neighbour
echo "# neighbour: $(cat /tmp/neighbour) rounds"
check "bytesfs still works" sh -c 'echo after > /mnt/s/after && grep -q after /mnt/s/after'
check "unmount bytesfs" umount /mnt/s
check "unmount memfs" umount /mnt/m
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
for module in memfs_v1 bytesfs_v1 bento; do check "unload $module" rmmod $module; done
finish
