# SPDX-License-Identifier: GPL-2.0 OR MIT
# Work on FS whose disk is recorded, write by write; the file system ends before the disk, and marks are written there. SIZE
# is that of the file system in MiB. What the disk holds at each flush is judged outside, when this is over.
. "$(dirname "$0")/lib.sh"
dir=/mnt/c
mkdir -p $dir
mkfs.$([ $FS = rext4 ] && echo ext4 || echo $FS) -q -F $MKFS "$BENTO_DISK0" ${SIZE}M
check "mount $FS" mount -t $FS "$BENTO_DISK0" $dir
program durable $dir "$BENTO_DISK0" $((SIZE << 20)) "$SEED" "$STEPS"
check "unmount" umount $dir
finish
