# SPDX-License-Identifier: GPL-2.0 OR MIT
# Sourced by the suites over FUSE, after lib.sh: file systems as daemons, each mounted on $dir.
dir=/mnt/daemon # not /mnt/fuse: with some lengths of it pjdfstest subtracts one from zero
mkdir -p $dir

# start FS [OPTIONS [SOURCE]]: mounts FS on $dir and waits until it is there.
start() {
    /bento/cargo-bento mount ${2:+-o "$2"} /bento/objects/$1.so ${3:+"$3"} $dir > /tmp/daemon.log 2>&1 &
    daemon=$!
    local i
    for i in $(seq 200); do
        mountpoint -q $dir && return
        kill -0 $daemon 2> /dev/null || break
        sleep 0.05
    done
    not_ok "mount $1 over FUSE: $(cat /tmp/daemon.log)"
    return 1
}

# gone CODE: the daemon has ended by itself with that code, and so has the mount.
gone() {
    local i
    for i in $(seq 100); do
        kill -0 $daemon 2> /dev/null || break
        sleep 0.05
    done
    kill -0 $daemon 2> /dev/null && { kill -9 $daemon; not_ok "the daemon does not end"; umount -l $dir; return; }
    wait $daemon
    same "the daemon ends with code $1" "$1" $?
    check "and the mount is gone" sh -c "! mountpoint -q $dir"
}

# An empty file system of mke2fs, made with MKFS, on the guest's disk.
make_disk() { check "mke2fs $MKFS" mkfs.ext4 -q -F $MKFS "$BENTO_DISK0"; }

# judge TREE NAME: e2fsck finds nothing on the disk, and the kernel's own ext4 reads there what is in TREE.
judge() {
    check "e2fsck finds nothing" e2fsck -fn "$BENTO_DISK0"
    mkdir -p /mnt/ext4
    check "ext4 mounts it" mount -t ext4 -o ro "$BENTO_DISK0" /mnt/ext4
    check "and reads the same" diff -r --no-dereference "$1" "/mnt/ext4/$2"
    umount /mnt/ext4
}
