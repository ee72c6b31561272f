# SPDX-License-Identifier: GPL-2.0 OR MIT
# Figures of `cargo bento bench upgrade`: INODES is a list of "FILES:SWAPS", RESTARTS how many restarts. Lines "figure …".
set -e
bin=/bento/bin
mkdir -p /mnt/b
echo 1 > /sys/fs/bento/memfs/default
slot_of() { echo /sys/fs/bento/$1/$(stat -c %Hd:%Ld /mnt/b); }
for one in $INODES; do
    files=${one%:*}
    mount -t memfs none /mnt/b
    mkdir /mnt/b/load
    for dir in $(seq $((files / 1000))); do
        mkdir /mnt/b/$dir
        (cd /mnt/b/$dir && seq 1000 | xargs touch)
    done
    touch /mnt/b/client
    rm -f /tmp/stop
    $bin/load /mnt/b/load 2 /tmp/stop > /tmp/load & load=$!
    $bin/swap -c /mnt/b/client $(slot_of memfs) ${one#*:} 2 1 > /tmp/swap || { cat /tmp/swap; exit 1; }
    touch /tmp/stop
    wait $load || { cat /tmp/load; exit 1; }
    grep -q '^not ok' /tmp/load && { cat /tmp/load; exit 1; }
    sed -n "s/^\(pause_ns\|drain_ns\|call_ns\) /figure $files \1 /p" /tmp/swap
    umount /mnt/b
done
echo 1 > /sys/fs/bento/bytesfs/default
mount -t bytesfs none /mnt/b
$bin/swap $(slot_of bytesfs) 1 2 > /dev/null
echo 0 > $(slot_of bytesfs)/restart_limit
mkdir /mnt/b/storm
mount -o remount,on=ioctl,kind=lock none /mnt/b
dmesg -n 1
$bin/restarts /mnt/b/storm $RESTARTS 2 | sed -n 's/^restart_ns /figure 0 restart_ns /p'
mount -o remount,on=,kind=error none /mnt/b
umount /mnt/b
