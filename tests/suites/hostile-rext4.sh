# SPDX-License-Identifier: GPL-2.0 OR MIT
# Damaged images whose checksums are right, of several kinds: what a fuzzer found worth keeping, and random ones. rext4 in a
# kernel mounts them or says why not; whatever they contain, it goes on.
. "$(dirname "$0")/lib.sh"
dir=/mnt/h
mkdir -p $dir
settle none
before=$(allocated)
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
