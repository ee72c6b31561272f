# SPDX-License-Identifier: GPL-2.0 OR MIT
# The same file systems as daemons. $1: daemon (its life, and file data), pjdfstest or fsx (those suites on FS).
. "$(dirname "$0")/lib.sh"
. $here/daemon.sh

case $1 in
    pjdfstest | fsx)
        case $FS in
            rext4) make_disk && start rext4 "" "$BENTO_DISK0" || finish ;;
            *) start $FS || finish ;;
        esac
        echo "# DIR=$dir"
        (FS=fuse DIR=$dir && export FS DIR && bash $here/$1.sh) || failures=1
        [ $FS = memfs ] || check "a tree" cp -a /etc $dir/tree
        umount $dir
        gone 0
        [ $FS = memfs ] || judge /etc tree
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
