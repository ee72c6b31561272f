# SPDX-License-Identifier: GPL-2.0 OR MIT
# Everything user space can do with a file: FS is the file system, WITHOUT what it cannot do by its own design.
. "$(dirname "$0")/lib.sh"
dir=/mnt/data
before=$(allocated 2> /dev/null)
check "mount $FS" fresh $FS $dir
cd $dir || exit
for topic in mmap bytes names attrs handles locks; do
    mkdir $topic
    program $topic $dir/$topic "$WITHOUT"
    left=$(ls -A $topic)
    same "$topic leaves nothing behind" "" "$left"
done

# ACLs, inherited and in force.
mkdir acl && cd acl || exit
echo secret > file
chmod 600 file
check "setfacl" setfacl -m u:1234:r,g:77:rw file
same "getfacl" "user:1234:r--" "$(getfacl -c file | grep 1234)"
same "the mask is in the mode" 660 "$(stat -c %a file)"
same "the named user reads" secret "$(setpriv --reuid 1234 --regid 1 --clear-groups cat file)"
refuse "and does not write" "ermission denied" setpriv --reuid 1234 --regid 1 --clear-groups sh -c 'echo > file'
refuse "another user does not read" "ermission denied" setpriv --reuid 1235 --regid 1 --clear-groups cat file
check "chmod" chmod 4750 file
same "sets the mask, and the rest of the mode" "4750 mask::r-x" "$(stat -c %a file) $(getfacl -c file | grep mask)"
check "an ACL that says no more than a mode" setfacl --set u::rw,g::r,o::- file
same "is a mode" "4640 0" "$(stat -c %a file) $(getfacl -c file | grep -c mask)"
check "a default ACL" setfacl -d -m u:1234:rwx,o::- .
mkdir sub && touch sub/file
same "is inherited by directories" 2 "$(getfacl -c sub | grep -c 'user:1234:rwx')"
same "and by files" "user:1234:rwx" "$(getfacl -c sub/file | grep -o 'user:1234:rwx')"
check "remove them" setfacl -b -k file . sub
same "gone" 0 "$(getfacl -c file | grep -c 1234)"
cd .. && rm -rf acl

# Frozen: nothing is written until it thaws.
case "$WITHOUT" in
*freeze*) refuse "freeze without a handler" "not supported" fsfreeze -f $dir ;;
*)
    check "freeze" fsfreeze -f $dir
    (echo thawed > $dir/frozen) &
    sleep 0.5
    check "a writer waits" kill -0 $!
    same "nothing was written" "" "$(cat $dir/frozen 2> /dev/null)"
    check "thaw" fsfreeze -u $dir
    wait $!
    same "then the write is done" thawed "$(cat $dir/frozen)"
    refuse "thaw twice" "nvalid argument" fsfreeze -u $dir
    ;;
esac

# Shell tools as people use them.
check "cp -a of a tree" cp -a /usr/lib/git-core/mergetools $dir/tools
check "cp --reflink=auto" cp --reflink=auto $dir/tools/vimdiff $dir/copy
check "tar out and in" sh -c "mkdir $dir/t && tar cf - -C $dir tools | tar xf - -C $dir/t && diff -r $dir/tools $dir/t/tools"
check "find, sort, du" sh -c "find $dir -type f | sort | xargs du -sc"
check "sync of a file" sync $dir/copy
check "inotify-free tail -f ends" timeout 5 sh -c "tail -n 1 $dir/copy"
check "truncate -s" truncate -s 1g $dir/huge
same "a hole takes no room" 0 "$(stat -c %b $dir/huge)"
check "rm -rf" rm -rf $dir/t $dir/tools $dir/copy $dir/huge $dir/frozen

if [ "$FS" = bytesfs ]; then
    program calls $dir
    program errors $dir
    log_mark
    check "a remount with a bad word is refused" sh -c "! mount -o remount,on=nonsense $dir"
fi
cd /
leave $FS $dir
if [ -n "$before" ]; then
    settle "$before"
    same "Rust holds as many bytes as before" "$before" "$(allocated)"
    same "no inode is left" 0 "$(slab_objects bento_inode)"
    check "nothing odd was returned" sh -c '! dmesg | grep -E "bento: .*(returned|not entered)"'
fi
finish
