# SPDX-License-Identifier: GPL-2.0 OR MIT
# The same random operations on FS and on ext4 (OPERATIONS from each of SEEDS), each on a disk of its own: every answer, and
# now and then everything there is, must be the same. Then the disks change places: what one wrote the other shows as it
# was, and goes on with it.
. "$(dirname "$0")/lib.sh"
one=/mnt/one two=/mnt/two
mkdir -p $one $two
for disk in "$BENTO_DISK0" "$BENTO_DISK1"; do mkfs.ext4 -q -F $MKFS "$disk"; done

both() { check "mount -t $1 and -t $2" sh -c "mount -t $1 $BENTO_DISK0 $one && mount -t $2 $BENTO_DISK1 $two"; }

sound() {
    check "unmount" umount $one $two
    for disk in "$BENTO_DISK0" "$BENTO_DISK1"; do check "e2fsck finds nothing" e2fsck -fn "$disk"; done
}

both $FS ext4
for seed in $SEEDS; do program differ $one $two --seed $seed --count "$OPERATIONS"; done
sound
both ext4 $FS
program differ compare $one $two
program differ $one $two --seed "$AFTERWARDS" --count "$OPERATIONS"
sound
both $FS ext4
program differ compare $one $two
sound
finish
