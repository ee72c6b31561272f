# SPDX-License-Identifier: GPL-2.0 OR MIT
# The same file systems as daemons. $1: daemon (its life, and file data), pjdfstest or fsx (those suites on memfs).
. "$(dirname "$0")/lib.sh"
dir=/mnt/daemon # not /mnt/fuse: with some lengths of it pjdfstest subtracts one from zero
mkdir -p $dir

# start FS [OPTIONS]: mounts FS on $dir and waits until it is there.
start() {
    /bento/cargo-bento mount ${2:+-o "$2"} /bento/objects/$1.so $dir > /tmp/daemon.log 2>&1 &
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

case $1 in
    pjdfstest)
        start memfs || finish
        echo "# DIR=$dir"
        FS=fuse DIR=$dir bash $here/pjdfstest.sh || failures=1
        umount $dir
        gone 0
        finish
        ;;
    fsx)
        start memfs || finish
        FS=fuse DIR=$dir bash $here/fsx.sh || failures=1
        umount $dir
        gone 0
        finish
        ;;
esac

# Life and death of the daemon.
start hellofs || finish
same "hellofs says hello" "Hello from safe Rust!" "$(cat $dir/hello)"
refuse "what it does not write is refused" "ermi|not" sh -c "echo > $dir/new"
check "fusermount3 -u" fusermount3 -u $dir
gone 0
for signal in INT TERM; do
    start memfs || continue
    echo kept > $dir/file
    kill -$signal $daemon
    gone 0
done
start memfs size=1m
refuse "options reach it: size=1m" "No space left" dd if=/dev/zero of=$dir/big bs=64k count=32
umount $dir
gone 0
log_mark
refuse "a wrong option is explained" "bogus" timeout 20 /bento/cargo-bento mount -o bogus=1 /bento/objects/memfs.so $dir

# File data. What is left out is FUSE's: the kernel's client has no O_TMPFILE and statx for a daemon of this protocol
# version, and leaves the end of a page as a mapping wrote it (tmpfs too).
WITHOUT="tmpfile btime zerotail"
for fs in memfs bytesfs; do
    start $fs || continue
    for topic in mmap bytes names attrs locks handles; do
        mkdir $dir/$topic
        echo "# $fs: $topic"
        program $topic $dir/$topic "$WITHOUT"
    done
    check "a tree" cp -r /etc $dir/etc
    check "is equal" diff -r --no-dereference /etc $dir/etc
    umount $dir
    gone 0
done

# A fault answers with an errno and the daemon lives on; what cannot unwind poisons its mount.
place='handler mkdir panicked at tests/fs/bytesfs/src/[a-z]+\.rs:[0-9]+:[0-9]+: '
for kind in panic index alloc capacity lock drop recursion; do
    start bytesfs on=mkdir,kind=$kind || continue
    echo alive > $dir/file
    case $kind in
        alloc) refuse "$kind: the caller gets ENOMEM" "Cannot allocate memory" mkdir $dir/d ;;
        *) refuse "$kind: the caller gets EIO" "Input/output error" mkdir $dir/d ;;
    esac
    check "$kind: the daemon's log names handler, file and line" grep -qE "$place" /tmp/daemon.log
    check "$kind: in every line" sh -c "! grep panicked /tmp/daemon.log | grep -qvE '$place'"
    case $kind in
        drop | recursion) refuse "$kind: the mount answers EIO from then on" "Input/output error" stat $dir/x ;;
        *) same "$kind: and it goes on" alive "$(cat $dir/file)" ;;
    esac
    check "$kind: unmount" umount $dir
    gone 0
done
finish
