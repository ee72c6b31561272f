# SPDX-License-Identifier: GPL-2.0 OR MIT
# Loads, mounts, uses, unmounts and unloads memfs, hellofs and bytesfs; every counter is afterwards what it was before.
# Bad input: options, modules in use, modules of another kernel or another ABI.
. "$(dirname "$0")/lib.sh"
ko=/bento/.bento/ko

before=$(allocated)
same "bento is used by the three file systems only" 3 "$(module_users bento)"
for fs in memfs bytesfs hellofs; do
    check "/proc/filesystems lists $fs" grep -qw "$fs" /proc/filesystems
    same "${fs}_v1 has no user" 0 "$(module_users ${fs}_v1)"
done
same "no inode is left from loading" 0 "$(slab_objects bento_inode)"

# One mount: written, read back, unmounted.
check "mount memfs" fresh memfs /mnt/m
same "its module has a user" 1 "$(module_users memfs_v1)"
refuse "a module in use is not unloaded" "in use" rmmod memfs_v1
refuse "neither is bento" "in use" rmmod bento
check "write" sh -c 'echo written > /mnt/m/file'
same "read back" written "$(cat /mnt/m/file)"
check "a tree" cp -r /etc /mnt/m/etc
check "is equal" diff -r --no-dereference /etc /mnt/m/etc
check "df works" df /mnt/m
check "/proc/mounts names it" grep -q "^none /mnt/m memfs rw" /proc/mounts
check "sysfs names it" ls -d /sys/fs/bento/memfs/*:*
same "healthy" ok "$(cat /sys/fs/bento/memfs/*:*/health)"
exec 9> /mnt/m/open
refuse "a busy mount is not unmounted" "busy" umount /mnt/m
exec 9>&-
check "remount read-only" mount -o remount,ro /mnt/m
refuse "then nothing is written" "Read-only" sh -c 'echo > /mnt/m/x'
check "and read-write" mount -o remount,rw /mnt/m
check "two mounts at once" fresh memfs /mnt/m2
echo other > /mnt/m2/file
same "are two file systems" written "$(cat /mnt/m/file)"
check "unmount" umount /mnt/m2
check "a lazy unmount with an open file" sh -c 'exec 8> /mnt/m/lazy; umount -l /mnt/m; echo late >&8'
settle "$before"
same "Rust holds as many bytes as before" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"
same "the module has no user" 0 "$(module_users memfs_v1)"
check "sysfs forgot the mount" sh -c '! ls -d /sys/fs/bento/memfs/*:*'

# Options.
log_mark
refuse "an unknown option" "bad option|wrong fs type|fsconfig" fresh memfs /mnt/m bogus=1
logged "the log names it" "memfs.*bogus"
log_mark
refuse "an option with a bad value" "bad option|wrong fs type|fsconfig" fresh memfs /mnt/m size=many
logged "the log names option and value" "memfs.*size"
log_mark
refuse "mode beyond 7777" "bad option|wrong fs type|fsconfig" fresh memfs /mnt/m mode=17777
logged "in the author's words" "17777 has bits beyond 7777"
check "options with good values" fresh memfs /mnt/m size=1m,nr_inodes=20,mode=0700,uid=5,gid=6
same "reach the root" "700 5 6" "$(stat -c '%a %u %g' /mnt/m)"
check "and /proc/mounts" grep -q "size=1m" /proc/mounts

# Full.
chmod 755 /mnt/m
refuse "a write beyond size= is ENOSPC" "No space left" dd if=/dev/zero of=/mnt/m/big bs=64k count=32
same "what fitted is there" 1048576 "$(stat -c %s /mnt/m/big)"
same "df says full" 0 "$(stat -f -c %a /mnt/m)"
check "room again after unlink" sh -c 'rm /mnt/m/big && dd if=/dev/zero of=/mnt/m/again bs=64k count=12'
rm /mnt/m/again
refuse "files beyond nr_inodes= are ENOSPC" "No space left" sh -c 'for i in $(seq 30); do : > /mnt/m/f$i || exit 1; done'
check "names go" sh -c 'rm /mnt/m/f*'
check "and inodes are free again" touch /mnt/m/one
check "unmount" umount /mnt/m

# What hellofs does not do.
check "mount hellofs" fresh hellofs /mnt/h
program absent /mnt/h
check "unmount hellofs" umount /mnt/h

# bytesfs takes its inodes back from the cache.
check "mount bytesfs" fresh bytesfs /mnt/b
check "a tree" cp -r /etc /mnt/b/etc
sync
echo 3 > /proc/sys/vm/drop_caches
check "is equal after the caches were dropped" diff -r --no-dereference /etc /mnt/b/etc
check "unmount bytesfs" umount /mnt/b
settle "$before"
same "Rust holds as many bytes as at the start" "$before" "$(allocated)"
same "no inode is left" 0 "$(slab_objects bento_inode)"

# Modules of other worlds.
log_mark
if [ -e /bento/other.ko ]; then
    refuse "a module for another kernel is refused" "nvalid module format|Exec format|Unknown symbol|nvalid parameters" insmod /bento/other.ko
    logged "the log says why" "version magic|disagrees about version|Unknown symbol|section size must match"
fi
check "unload hellofs" rmmod hellofs_v1
python3 - $ko/hellofs_v1.ko /tmp/hellofs_v1.ko << 'PYTHON'
import sys
data = open(sys.argv[1], "rb").read()
# struct bento_module and bento_ops: the ABI number follows magic and size.
magic = b"BNT1" + int(open("/sys/fs/bento/abi").read()).to_bytes(4, "little")
assert magic in data, "the module's head was not found"
open(sys.argv[2], "wb").write(data.replace(magic, b"BNT1\x63\0\0\0"))
PYTHON
log_mark
refuse "a module of another ABI version is refused" "could not insert|Invalid|Exec format|not supported" insmod /tmp/hellofs_v1.ko
logged "the log names both versions" "ABI.*99|99.*ABI"
check "the right one loads again" insmod $ko/hellofs_v1.ko
check "mounts" fresh hellofs /mnt/h
check "unmounts" umount /mnt/h

# And away.
for fs in hellofs bytesfs memfs; do
    check "unload $fs" rmmod ${fs}_v1
    refuse "$fs cannot be mounted any more" "unknown filesystem|No such device|does not exist" mount -t $fs none /mnt/m
done
check "unload bento" rmmod bento
check "no name is left in /proc/filesystems" sh -c '! grep -qE "memfs|bytesfs|hellofs" /proc/filesystems'
check "sysfs is gone" test ! -e /sys/fs/bento
check "no slab cache of ours is left" sh -c '! grep -q ^bento /proc/slabinfo'
refuse "mount after unload" "unknown filesystem type|No such device" mount -t memfs none /mnt/m
check "bento loads again" insmod $ko/bento.ko
check "memfs loads again" insmod $ko/memfs_v1.ko
check "and mounts" fresh memfs /mnt/m
check "unmount" umount /mnt/m
finish
