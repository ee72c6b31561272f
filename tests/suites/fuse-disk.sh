# SPDX-License-Identifier: GPL-2.0 OR MIT
# rext4 as a daemon on the guest's disk, made with MKFS: daemons that are killed and told to end, mounts that are refused.
. "$(dirname "$0")/lib.sh"
. $here/daemon.sh
kept=/tmp/kept

# load ROUND: writes, renames and removes until the mount goes away. What fsync has promised has a copy in $kept.
load() {
    local n=0 name
    mkdir $dir/round-$1 $kept/round-$1 || return
    while :; do
        name=round-$1/file-$n
        head -c $((RANDOM * 3)) /dev/urandom > /tmp/bytes
        cp /tmp/bytes $dir/$name.new && sync $dir/$name.new && mv $dir/$name.new $dir/$name || return
        # The rename as well.
        sync $dir/round-$1 && cp /tmp/bytes $kept/$name || return
        n=$((n + 1))
    done
}

# What is made durable by nobody, and goes on as fast as it can.
noise() {
    while cp -r /etc $dir/noise-$1 && rm -rf $dir/noise-$1; do :; done
}

# recovered: what was promised is there; there may be more.
recovered() {
    (cd $kept && find . -type f -print0 | xargs -0 -r -I{} cmp {} "$1/{}")
}

mkdir -p $kept /mnt/ext4
make_disk || finish
for round in 1 2 3 4 5 6; do
    start rext4 "" "$BENTO_DISK0" || finish
    load $round 2> /dev/null &
    loads=$!
    noise $round 2> /dev/null &
    loads="$loads $!"
    sleep 0.$((RANDOM % 7 + 3))
    sleep 0.$((RANDOM % 10))
    kill -KILL $daemon
    wait $daemon 2> /dev/null
    wait $loads
    check "round $round: the dead mount goes away" umount $dir
    if [ $((round % 2)) = 0 ]; then
        # ext4 can do what rext4's next mount would.
        check "round $round: ext4 recovers" mount -t ext4 "$BENTO_DISK0" /mnt/ext4
        check "round $round: what was promised is there" recovered /mnt/ext4
        umount /mnt/ext4
    else
        start rext4 "" "$BENTO_DISK0" || finish
        check "round $round: what was promised is there" recovered $dir
        check "round $round: what was not goes away" sh -c "rm -rf $dir/noise-*"
        umount $dir
        gone 0
    fi
    check "round $round: e2fsck finds nothing" e2fsck -fn "$BENTO_DISK0"
done
check "something was promised" test -n "$(find $kept -type f)"

# Told to end: everything is where it belongs, though nobody has called sync.
for signal in INT TERM; do
    start rext4 "" "$BENTO_DISK0" || finish
    rm -rf $dir/tree
    cp -a /etc $dir/tree
    kill -$signal $daemon
    gone 0
    check "no journal is left to recover" sh -c "! dumpe2fs -h $BENTO_DISK0 2> /dev/null | grep -q needs_recovery"
    judge /etc tree
done

# Reading only: nothing is written, not even times.
before=$(md5sum < "$BENTO_DISK0")
start rext4 ro "$BENTO_DISK0" || finish
check "a read-only mount reads" diff -r --no-dereference /etc $dir/tree
refuse "and does not write" "Read-only file system" touch $dir/new
umount $dir
gone 0
same "not a byte has changed" "$before" "$(md5sum < "$BENTO_DISK0")"

# refused WHAT PATTERN ARGUMENTS…: no mount, no hang, and a sentence that says why.
refused() {
    local what=$1 pattern=$2
    shift 2
    refuse "$what" "$pattern" timeout 20 /bento/cargo-bento mount "$@" $dir
    check "nothing is mounted" sh -c "! mountpoint -q $dir"
}

object=/bento/objects/rext4.so
start rext4 "" "$BENTO_DISK0" || finish
mkdir -p /tmp/second
refuse "a second daemon on one device" "in use" timeout 20 /bento/cargo-bento mount $object "$BENTO_DISK0" /tmp/second
umount $dir
gone 0
mount -t ext4 "$BENTO_DISK0" /mnt/ext4
refused "a device that is mounted" "in use" $object "$BENTO_DISK0"
umount /mnt/ext4
refused "a wrong option" "bogus" -o bogus=1 $object "$BENTO_DISK0"
refused "no source" "give an image" $object
refused "no such image" "no such image" $object /nowhere.img
refused "a folder" "is a folder" $object /tmp
: > /tmp/empty.img
refused "an empty image" "is an empty file" $object /tmp/empty.img
truncate -s 8M /tmp/zero.img
refused "an image of zeroes" "superblock|magic|ext4" $object /tmp/zero.img
truncate -s 16M /tmp/image
mkfs.ext4 -q -F /tmp/image
start rext4 "" /tmp/image || finish
refuse "a second daemon on one image" "in use" timeout 20 /bento/cargo-bento mount $object /tmp/image /tmp/second
umount $dir
gone 0
# What is free is given back to the image.
truncate -s 64M /tmp/trimmed
mkfs.ext4 -q -F -J size=4 /tmp/trimmed
start rext4 "" /tmp/trimmed || finish
head -c 20000000 /dev/urandom > $dir/file
sync -f $dir
full=$(du -k /tmp/trimmed | cut -f1)
rm $dir/file
check "fstrim" fstrim $dir
# The kernel lets the daemon know in its own time that nobody has the file any more; what is free then is so once it is committed.
given_back() { [ $(($(du -k /tmp/trimmed | cut -f1) + 18000)) -le $full ]; }
for i in $(seq 40); do
    given_back && break
    sleep 0.5
    sync $dir && fstrim $dir
done
check "gives the image's blocks back" given_back
umount $dir
gone 0
check "e2fsck finds nothing" e2fsck -fn /tmp/trimmed
rm /tmp/trimmed
loop=$(losetup -f --show /tmp/image)
refused "an image below a loop device" "in use as $loop" $object /tmp/image
losetup -d "$loop"
# Its first group descriptors, one copy of many.
cp /tmp/image /tmp/damaged
dd if=/dev/urandom of=/tmp/damaged bs=1k seek=2 count=1 conv=notrunc 2> /dev/null
refused "a damaged image" "descriptor|checksum|corrupt|damaged" $object /tmp/damaged
truncate -s 8M /tmp/image
refused "an image that was cut short" "block|device|smaller|short" $object /tmp/image
mv /dev/fuse /dev/fuse.away
refused "without /dev/fuse" "/dev/fuse is missing" $object "$BENTO_DISK0"
mv /dev/fuse.away /dev/fuse
judge /etc tree
finish
