# SPDX-License-Identifier: GPL-2.0 OR MIT
# journalfs: what a transaction changed is all there or not at all, whatever became of its call, of the mount, and of the
# machine (a copy of the device, taken while it was mounted, is what a crash leaves).
. "$(dirname "$0")/lib.sh"
dir=/mnt/j
image=/tmp/journal.img
mkdir -p $dir

le64() { local i n=$1; for i in 1 2 3 4 5 6 7 8; do printf "\\x$(printf %02x $((n & 255)))"; n=$((n >> 8)); done; }
be32() { printf "\\x$(printf %02x $(($1 >> 24 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"; }
put() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# make IMAGE [JOURNAL BLOCKS] [VERSION]: counters at 0, each with a link, and a journal in blocks 64 and up, whose first
# block is in the middle.
make() {
    local to=$1 blocks=${2:-1024} version=${3:-4} n jsb
    rm -f "$to"
    truncate -s 4M "$to"
    { printf journal1; le64 64; le64 $blocks; } | put "$to" 0
    for n in 0 1 2 3 4 5 6 7; do
        { le64 0; printf '\xff\xff\xff\xff\xff\xff\xff\xff'; le64 0; le64 1; le64 420; } | put "$to" $(((16 + n) * 1024))
    done
    [ $blocks = 0 ] && return
    jsb=$(((64 + blocks - blocks / 2) * 1024))
    # magic, type, sequence; block size, length, first; sequence, start, error; one user
    { be32 $((0xc03b3998)); be32 $version; be32 0; be32 1024; be32 $blocks; be32 1; be32 1; be32 0; be32 0; } | put "$to" $jsb
    be32 1 | put "$to" $((jsb + 64))
}

# Not mount -o loop: it would hold the device open for writing, which kernels may refuse.
up() {
    local device code
    device=$(losetup -f --show "${1:-$image}") || return
    mount -t journalfs ${2:+-o "$2"} "$device" $dir
    code=$?
    losetup -d "$device" # when it is unmounted
    return $code
}
values() { getfattr -n user.values --only-values $dir; }
sum() { getfattr -n user.sum --only-values $dir/$1; }
free() { stat -f -c '%f %a' $dir; }
do_() { setfattr -n "user.$1" -v "$2" $dir/0; }
eight() { echo "$1 $1 $1 $1 $1 $1 $1 $1 "; }
healthy() { local i; for i in $(seq 50); do [ "$(cat /sys/fs/bento/journalfs/*:*/health)" = ok ] && return; sleep 0.1; done; return 1; }

grep -qw loop /proc/devices || modprobe loop
settle none
before=$(allocated)

refuse "a mount needs a device" "special device|block device" mount -t journalfs none $dir
make $image
log_mark
check "mount" up
logged "handlers recover" "recover"
logged "the journal is open" "replayed 0"
same "sysfs names the device" 1 "$(ls -d /sys/fs/bento/journalfs/7:* | wc -l)"
same "space" "1000 985" "$(free)"
ls $dir > /dev/null

# What becomes of a call, and of its transaction.
check "a commit" do_ add 3
same "changed everything" "$(eight 3)" "$(values)"
same "and took blocks" "992 977" "$(free)"
unchanged() {
    same "$1 changes nothing" "$(eight 3)" "$(values)"
    same "and gives its blocks back" "992 977" "$(free)"
}
refuse "an error" "Invalid argument" do_ error 5
unchanged "an error"
refuse "a panic" "Input/output" do_ panic 5
unchanged "a panic"
refuse "whoever wants the lock it held" "Input/output" do_ add 5
check "has the instance restarted" healthy
unchanged "a poisoned lock"
check "a transaction that is left behind" do_ leave 5
unchanged "what is left behind"
log_mark
refuse "more blocks than asked for" "No space left" do_ exceed 5
logged "are named" "changes more than the 2 blocks"
unchanged "what exceeds its credits"
log_mark
refuse "a transaction in a transaction" "deadlock" do_ nested 5
logged "is told" "inside of another"
refuse "a block beyond the end" "needs cleaning" do_ fresh 999999
refuse "a block of the journal" "needs cleaning" do_ fresh 70
refuse "an abandoned call" "Input/output" do_ abandon 5
check "is followed by a restart" healthy
unchanged "an abandoned call"
check "after which all goes on" do_ add 1
same "to the next value" "$(eight 4)" "$(values)"
check "a block is made" do_ fresh 2000
check "and freed" do_ free 2000
check "and made again" do_ fresh 2000

# Attributes are the handler's.
check "chmod" chmod 600 $dir/1
same "changed the mode" 600 "$(stat -c %a $dir/1)"
check "unlink" rm $dir/2
refuse "takes the name" "No such file" stat $dir/2
same "and the inode" 999 "$(values | cut -d ' ' -f 3)"
same "whose block is free" "985 970" "$(free)"
check "create" touch $dir/2
same "makes it anew" "0 1 644" "$(values | cut -d ' ' -f 3) $(stat -c '%h %a' $dir/2)"
exec 9< $dir/3
rm $dir/3
same "an open file is evicted later" 4 "$(values | cut -d ' ' -f 4)"
exec 9<&-
same "when it is closed" 999 "$(values | cut -d ' ' -f 4)"

# Sync, freeze, remount, unmount.
check "touch" touch -d @1000000000 $dir/1
check "sync" sync
same "checksums are right" "right" "$(sum 0)"
check "freeze" fsfreeze -f $dir
same "empties the journal: a copy needs no replay" 0 "$(cp $image /tmp/copy.img; dd if=/tmp/copy.img bs=1 skip=$(((64 + 512) * 1024 + 28)) count=4 status=none | od -An -tu4 | tr -d ' ')"
check "thaw" fsfreeze -u $dir
check "read-only" mount -o remount,ro $dir
refuse "nothing is written then" "Read-only" do_ add 1
check "read-write" mount -o remount,rw $dir
check "and again" do_ add 1
log_mark
check "unmount" umount $dir
logged "with the handler's last transaction" "unmount Ok"
check "mount again" up
same "everything is there" "5 5 1 1000 5 5 5 5 " "$(values)"
same "and stored by write_inode" "1000000000 600" "$(stat -c '%Y %a' $dir/1)"
same "with right checksums" "right" "$(sum 5)"

# A crash: what fsync waited for is replayed, what came after may be lost, and no half of anything is there.
check "a change" do_ add 10
check "made durable" sync $dir/0
check "another, which is not" do_ add 100
cp $image /tmp/crash.img
check "unmount" umount $dir
log_mark
check "mount what the crash left" up /tmp/crash.img
logged "transactions are replayed" "[1-9][0-9]* transactions of the journal replayed"
same "the durable one is there" "15 15 11 1010 15 15 15 15 " "$(values)"
check "unmount" umount $dir
check "mount, read-only" up $image ro
same "the other was written by unmounting" "115 115 111 1110 115 115 115 115 " "$(values)"
refuse "no transaction begins" "Read-only" do_ add 1
check "unmount" umount $dir

# Errors.
check "mount for an error" up
log_mark
check "a file system that fails" do_ fail 1
logged "is read-only" "read-only from now on"
refuse "and stays so" "Read-only" do_ add 1
refuse "for the next transaction as well" "Read-only" rm $dir/1
umount $dir
log_mark
check "mount after it" up
logged "the journal remembers the error" "error [^0N]"
check "unmount" umount $dir
log_mark
check "once more" up
logged "and tells it once" "error (None|0)"
check "unmount" umount $dir

# Other journals.
make /tmp/none.img 0
check "without a journal" up /tmp/none.img
check "a commit" do_ add 7
refuse "a panic" "Input/output" do_ panic 5
same "is undone" "$(eight 7)" "$(values)"
check "fsync" sync $dir/0
same "leaves right checksums" "right" "$(sum 0)"
check "unmount" umount $dir
check "mount again" up /tmp/none.img
same "it is there" "$(eight 7)" "$(values)"
check "unmount" umount $dir
make /tmp/old.img 1024 3
log_mark
refuse "a journal of version 1" "not supported|wrong fs|mount" up /tmp/old.img
logged "is told" "version 1, which cannot be written"
# Fast commits: their area is the journal's last 256 blocks but one, its first block the 1025th.
make /tmp/fast.img 1280
jsb=$(((64 + 640) * 1024))
be32 $((0x20)) | put /tmp/fast.img $((jsb + 40))
be32 5 | put /tmp/fast.img $((jsb + 24))
be32 1 | put /tmp/fast.img $((jsb + 28))
be32 256 | put /tmp/fast.img $((jsb + 84))
printf '\x09\x00\x08\x00\x00\x00\x00\x00\x05\x00\x00\x00' | put /tmp/fast.img $(((64 + 1025 - 640) * 1024))
log_mark
refuse "a journal with fast commits" "not supported|wrong fs|mount" up /tmp/fast.img
logged "is told" "fast commits, which cannot be replayed here"
printf '\x04' | put /tmp/fast.img $(((64 + 1025 - 640) * 1024 + 8))
check "old ones do no harm" up /tmp/fast.img
check "a commit" do_ add 2
check "unmount" umount $dir
printf '\x00' | put /tmp/old.img $(((64 + 512) * 1024))
log_mark
refuse "no journal where one should be" "clean|wrong fs|mount" up /tmp/old.img
logged "is told" "no journal's superblock"

# A change that nobody waits for is committed when the interval is over, and not before: what a crash leaves tells.
left() {
    cp $image /tmp/crash.img
    up /tmp/crash.img || return
    values
    umount $dir
}
committed() { local i; for i in $(seq 60); do [ "$(left)" = "$(eight $1)" ] && return; sleep 1; done; return 1; }
make $image
check "mount with a commit each second" up "$image" interval=1
check "a change" do_ add 7
check "is committed in time" committed 7
check "unmount" umount $dir
check "mount with a commit each hour" up "$image" interval=3600
check "a change" do_ add 7
sleep 8 # longer than the journal's own interval
same "is not committed yet" "$(eight 7)" "$(left)"
check "unmount" umount $dir
same "the end of the mount commits it" "$(eight 14)" "$(left)"

# Under load, with panics among the commits, and a swap of the instance.
make $image
check "mount for a storm" up "$image" interval=1
healthy
echo 0 > "$(echo /sys/fs/bento/journalfs/*:*/restart_limit)"
for task in 1 2 3; do
    (for i in $(seq 40); do
        do_ add 1
        [ $((i % 10)) = $task ] && do_ panic 1
        [ $((i % 8)) = 0 ] && sync $dir/0
    done > /dev/null 2>&1) &
done
sleep 0.2
echo 1 > "$(echo /sys/fs/bento/journalfs/*:*/restart)"
wait
healthy
all=$(values)
same "all counters agree" "$(eight "${all%% *}")" "$all"
[ "${all%% *}" -ge 90 ] && ok "most calls went well: ${all%% *}" || not_ok "only ${all%% *} of 120 commits"
check "unmount" umount $dir
settle "$before"
same "no inode is left" 0 "$(slab_objects bento_inode)"
finish
