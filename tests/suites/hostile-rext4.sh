# SPDX-License-Identifier: GPL-2.0 OR MIT
# Damaged images whose checksums are right, of several kinds: what a fuzzer found worth keeping, and random ones. rext4 in a
# kernel mounts them or says why not; whatever they contain, it goes on.
. "$(dirname "$0")/lib.sh"
dir=/mnt/h
mkdir -p $dir
settle none
before=$(allocated)

# refused_image WHAT PATTERN [OPTIONS]: it is not mounted, and the log says why.
refused_image() {
    log_mark
    refuse "$1 is refused" "." mount -t rext4 ${3:+-o "$3"} "$BENTO_DISK0" $dir
    logged "and told" "bento: rext4\(.*\): .*$2"
}
make() { mkfs.ext4 -q -F -b 1024 -J size=4 "$@" "$BENTO_DISK0" 16M; }
change() { debugfs -w -R "$1" "$BENTO_DISK0" > $log 2>&1; }
raw() { printf "$2" | dd of="$BENTO_DISK0" bs=1 seek=$((1024 + $1)) conv=notrunc status=none; }

make
for options in nonsense errors=never data=journal commit=soon barrier=2; do
    refused_image "option $options" "${options%%=*}" $options
done
raw 120 x
refused_image "a wrong checksum" "checksum is wrong.*e2fsck"
make
raw 56 '\0\0'
refused_image "no superblock" "no ext2, ext3 or ext4 superblock at byte 1024.*e2fsck"
check "a copy of it will do" mount -t rext4 -o ro,sb=8193 "$BENTO_DISK0" $dir
umount $dir
make -O ^metadata_csum
raw 24 '\7'
refused_image "a block size" "block size of 2\^17 bytes"
make -O inline_data
refused_image "a feature" "feature 0x8000 \(inline_data\) is not supported"
make -O ^metadata_csum
raw 99 '\4'
refused_image "an unknown feature" "feature 0x4000000 \(unknown\) is not supported"
make
change "set_super_value blocks_count 9000000"
refused_image "an image that is too short" "9000000 blocks of 1024 bytes, but the device has only"
make -O fast_commit
mount -t rext4 "$BENTO_DISK0" $dir && umount $dir
printf 'jo -c\njw -b 300 /dev/null\njc\n' > /tmp/commands
debugfs -w -f /tmp/commands "$BENTO_DISK0" > /dev/null 2>&1
refused_image "a journal with fast commits" "recovery.*fast commits.*e2fsck"
make -O quota
log_mark
check "what cannot be written is mounted" mount -t rext4 "$BENTO_DISK0" $dir
logged "and told" "feature 0x100 \(quota\) cannot be written to"
refuse "read-only" "Read-only" touch $dir/file
refuse "for ever" "read-only|write-protected" mount -o remount,rw $dir
check "unmount" umount $dir

# As a crash leaves it: a copy that was made while it was mounted.
make
mount -t rext4 "$BENTO_DISK0" $dir && echo bytes > $dir/file && sync $dir/file
gzip -c "$BENTO_DISK0" > /tmp/crashed
umount $dir
gunzip -c /tmp/crashed > "$BENTO_DISK0"
blockdev --setro "$BENTO_DISK0"
refused_image "a journal that cannot be replayed" "needs recovery.*-o ro,noload" ro
check "without its journal it can be read" mount -t rext4 -o ro,noload "$BENTO_DISK0" $dir
umount $dir
blockdev --setrw "$BENTO_DISK0"
check "a mount that only reads replays" mount -t rext4 -o ro "$BENTO_DISK0" $dir
same "what was synced is there" bytes "$(cat $dir/file)"
refuse "and nothing is written" "Read-only" touch $dir/more
check "until it may be" mount -o remount,rw $dir
check "then it is" touch $dir/more
leave rext4 $dir

# errors=
for behaviour in continue remount-ro; do
    make -O ^metadata_csum
    mount -t rext4 "$BENTO_DISK0" $dir && mkdir $dir/bad && umount $dir
    block=$(debugfs -R "bmap /bad 0" "$BENTO_DISK0" 2> /dev/null)
    raw $((block * 1024 + 4 - 1024)) '\3'
    check "mount" mount -t rext4 -o errors=$behaviour "$BENTO_DISK0" $dir
    log_mark
    refuse "a bad directory" "tructure needs cleaning" ls $dir/bad
    logged "is told" "directory [0-9]+: block $block has a bad entry at byte 0"
    if [ $behaviour = continue ]; then
        check "errors=continue goes on" touch $dir/file
    else
        refuse "errors=remount-ro does not" "Read-only" touch $dir/file
        check "as the table of mounts says" grep -q " $dir rext4 ro" /proc/mounts
    fi
    check "unmount" umount $dir
    log_mark
    check "mount again" mount -t rext4 "$BENTO_DISK0" $dir
    logged "the next mount is told" "e2fsck"
    check "unmount" umount $dir
    same "and e2fsck" "clean with errors" "$(dumpe2fs -h "$BENTO_DISK0" 2> /dev/null | sed -n 's/^Filesystem state: *//p')"
done

for list in $(dirname $here)/mutants/*; do
    echo "# $(basename $list)"
    program mutants rext4 $dir "$BENTO_DISK0" $list $SECONDS_EACH errors=continue
done
check "the log says what and where" sh -c 'dmesg | grep -qE "bento: rext4\(.*\): .*(inode|group|block) [0-9]+"'
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
check "unload" rmmod rext4_v1
finish
